#!/usr/bin/env bats
# The simulator answers as a recorded ComfyUI 0.3.64 did. AUTOPOD_RECORDINGS is the folder of the
# recordings; COMFYUI_URL holds another server against them.

load test_helper

@test "at least nine of ten recordings of a real ComfyUI agree" {
  [ -n "${AUTOPOD_RECORDINGS-}" ] || skip "AUTOPOD_RECORDINGS is not set: no recordings to hold it to"
  run "$AUTOPOD_PYTHON" "$ROOT/tests/conformance.py" --min 0.90
  printf '# %s\n' "${lines[0]}" >&3
  assert_status 0
  refute_contains " differ:"
}

@test "recordings that are not there are a failure" {
  AUTOPOD_RECORDINGS=$PWD run "$AUTOPOD_PYTHON" "$ROOT/tests/conformance.py" --min 0
  assert_status 2
  assert_contains "no recordings"
}

@test "an answer that differs is found" {
  mkdir recordings
  printf '%s\n' '{"name": "get_queue_idle",
    "request": {"method": "GET", "url": "http://127.0.0.1:8199/queue", "headers": {}, "body": null},
    "response": {"status": 200, "headers": {"Content-Type": "application/json; charset=utf-8"},
      "body": {"size": 40, "json": {"queue_running": [], "pending": []}}}}' \
    >recordings/get_queue_idle.json
  AUTOPOD_RECORDINGS=$PWD/recordings run "$AUTOPOD_PYTHON" "$ROOT/tests/conformance.py"
  assert_status 1
  assert_contains "0 of 1 recordings agree"
  assert_contains "missing keys ['pending'], other keys ['queue_pending']"
}
