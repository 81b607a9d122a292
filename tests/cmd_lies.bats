# Servers that lie, break off, restart and call their files names: nothing is lost, nothing is believed, nothing runs twice.

load test_helper
load cmd_helper

setup() { cmd_setup; }
teardown() { cmd_teardown; }

# fails_with CODE TEXT... - the job `one` on the double ends with CODE and says each TEXT in readable lines
fails_with() {
  local code=$1 text
  shift
  comfy_run --url "$DOUBLE" one.json
  assert_status "$code" || return
  for text in "$@"; do assert_contains "$text" "$stderr" || return; done
  refute_contains $'\033' "$stderr" || return
  refute_contains Traceback "$stderr" || return
  refute_contains 'unbound variable' "$stderr" || return
  refute_contains '<html>' "$stderr"
}

# --- submit ---------------------------------------------------------------------------------------

@test "a 500 for a prompt that was queued all the same: it runs once, and the outputs come" {
  double_start '{"prompt_once": "500_queued"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_executions 1
  assert_file outputs/one_00001_.png
}

@test "a 500 for a prompt that was not queued: it is posted again, and runs once" {
  double_start '{"prompt_once": "500"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_executions 1
}

@test "the connection breaks before or in the middle of the answer to a prompt: it runs once" {
  double_start '{"prompt_once": "cut"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_executions 1
  double_tell '{"prompt_once": "half"}'
  job two picture
  comfy_run --url "$DOUBLE" two.json
  assert_status 0
  assert_executions 2
  double_tell '{"prompt_once": "html"}'
  job three picture
  comfy_run --url "$DOUBLE" three.json
  assert_status 0
  assert_executions 3
}

@test "a server that is busy (429) is asked again" {
  double_start '{"prompt_once": "429"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_executions 1
}

@test "a server that never takes the prompt: refused, after a few tries" {
  double_start '{"prompt": "500"}'
  job one picture
  fails_with 7 'the server did not take the job' 'HTTP 500'
  assert_executions 0
}

@test "a server that says it took the prompt, but did not" {
  double_start '{"prompt": "dropped"}'
  job one picture
  fails_with 8 'the server has lost the job'
  assert_executions 0
}

@test "a server that runs the prompt under another id: told, not waited for, and executed once" {
  double_start '{"prompt": "other_id"}'
  job one picture
  comfy_run --url "$DOUBLE" --timeout 1 one.json
  assert_executions 1
  if [ "$status" = 0 ]; then
    assert_file outputs/one_00001_.png # taken up under its id: the best that can be done
  else
    assert_contains ' id' "$stderr" # or told what is wrong
  fi
}

@test "a refusal: node title, class, id, field, what was given, what is allowed, the nearest" {
  double_start
  double_tell '{"prompt": "refuse", "refusal": {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "", "extra_info": {}},
    "node_errors": {"2": {"class_type": "SaveImage", "dependent_outputs": ["2"], "errors": [
      {"type": "value_not_in_list", "message": "Value not in list", "details": "format: \u001b[31m'"'jpgg'"' not in [...]",
       "extra_info": {"input_name": "format", "received_value": "jpgg", "input_config": [["png", "jpg", "webp"], {}]}},
      {"type": "value_bigger_than_max", "message": "Value 900 bigger than max of 100", "details": "quality",
       "extra_info": {"input_name": "quality", "received_value": 900, "input_config": ["INT", {"min": 1, "max": 100}]}}]}}}}'
  job one picture
  fails_with 7 'SaveImage "Result" (node 2)' format jpgg 'png' '"jpg"' quality 900 100
  assert_executions 0
  assert_equal "$(jq -r '.status + " " + (.exit_code | tostring)' "$(the_run)/result.json")" 'failed 7'
}

@test "a refusal that is no ComfyUI answer: HTML, nothing, a list, too large a body" {
  double_start '{"prompt": "refuse", "refusal": "<html>\u001b[31mno</html>"}'
  job one picture
  fails_with 7 'the server '
  double_tell '{"refusal": ""}'
  fails_with 7 'the server '
  double_tell '{"refusal": [1, {"a": null}]}'
  fails_with 7
  double_tell '{"refusal": {"error": 5, "node_errors": [7]}}'
  fails_with 7
  double_tell '{"refusal": {"error": {"type": 1, "message": {}, "details": []}, "node_errors": {"2": {"errors": [null, 5, {}]}}}}'
  fails_with 7
  double_tell '{"refusal": "Maximum request body size 104857600 exceeded.", "refusal_status": 413}'
  fails_with 7 'HTTP 413'
  assert_executions 0
}

@test "a prompt that was taken only in part is cancelled and refused, unless --allow-partial" {
  double_start '{"prompt": "partial", "seconds": 60}'
  job one picture
  fails_with 7 'Invalid image file: nothere.png' '--allow-partial'
  assert_equal "$(double_ask '.running or .pending > 0')" false 'still on the server'
  double_tell '{"seconds": 0}'
  job two picture
  comfy_run --url "$DOUBLE" --allow-partial two.json
  assert_status 0
  assert_contains 'warning: ' "$stderr"
  assert_contains 'nothere.png' "$stderr"
  assert_equal "$(find outputs -type f | wc -l)" 1
}

# --- await ----------------------------------------------------------------------------------------

@test "a server that restarts while the job runs: noticed and told, not waited for" {
  double_start '{"seconds": 60}'
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 20 double_says .running true
  double_tell '{"restart": true, "seconds": 0}'
  finish_command 30
  assert_status 8
  assert_contains 'the server has lost the job' "$stderr"
  assert_contains '--resume' "$stderr"
  comfy_run --resume "$(basename "$(the_run)")"
  assert_status 0
  assert_executions 2
  assert_file outputs/one_00002_.png
}

@test "a server that is gone for a while: the run waits, and goes on" {
  double_start '{"seconds": 2}'
  local port=${DOUBLE##*:}
  job one picture
  start_command comfy-run --url "$DOUBLE" one.json
  wait_until 20 double_says .running true
  kill -STOP "$DOUBLE_PID"
  sleep 1
  kill -CONT "$DOUBLE_PID"
  finish_command 60
  assert_status 0
  assert_executions 1
  assert_equal "$DOUBLE" "http://127.0.0.1:$port"
}

@test "answers about the queue and the history that make no sense: an end, with a code, and no nonsense said" {
  job one picture
  double_start '{"history": "html"}'
  AUTOPOD_RECONNECT_TIMEOUT=2 fails_with 5 'has not said for 2 s where the job is'
  double_tell '{"history": "list"}'
  fails_with 8
  double_tell '{"history": "cut"}'
  fails_with 8 'history'
  double_tell '{"history": "garbage"}'
  fails_with 8
  double_tell '{"history": null, "queue": "html"}'
  comfy_run --url "$DOUBLE" one.json # the history alone tells enough
  assert_status 0
}

@test "the time limit cancels the job on the server, running or waiting, and exits 10" {
  double_start '{"seconds": 60}'
  job one picture
  job two picture
  comfy_run --url "$DOUBLE" --timeout 0.02 one.json
  assert_status 10
  assert_contains 'the time limit is reached' "$stderr"
  assert_contains 'cancelled on the server' "$stderr"
  assert_equal "$(double_ask '.running or .pending > 0')" false 'still on the server'
  job blocker picture
  start_command comfy-run --url "$DOUBLE" blocker.json
  wait_until 20 double_says .running true
  job two picture '{}' '{"pod_config": {"timeout_minutes": 0.02}}'
  comfy_run --url "$DOUBLE" two.json
  assert_status 10
  assert_contains 'position 1' "$stderr"
  assert_equal "$(double_ask '"\(.running) \(.pending)"')" 'true 0' 'the other job, and ours'
  kill_command TERM
  finish_command
  assert_equal "$(double_ask '.running or .pending > 0')" false 'still on the server'
}

@test "a server that can't be interrupted: the time limit still ends the wait, and says so" {
  double_start '{"seconds": 60, "deaf": true}'
  job one picture
  COMFY_CANCEL_SECONDS=2 comfy_run --url "$DOUBLE" --timeout 0.02 one.json
  assert_status 10
  assert_contains 'did not confirm' "$stderr"
}

# --- how it ends ----------------------------------------------------------------------------------

@test "errors of the workflow: where, what and what to do, without colours and traces" {
  job one picture
  double_start '{"ending": "oom", "message": "Allocation on device \u001b[31m0\nThis error means \u0007 more\n"}'
  fails_with 8 'EmptyImage (node 1): Allocation on device 0 This error means more [torch.OutOfMemoryError]' \
    'the GPU ran out of memory'
  double_tell '{"ending": "error", "message": "boom"}'
  fails_with 8 'EmptyImage (node 1): boom [RuntimeError]'
  double_tell '{"ending": "interrupted"}'
  fails_with 8 'interrupted on the server at EmptyImage (node 1)'
  double_tell '{"ending": "blocked"}'
  fails_with 9 'made no file'
  double_tell '{"ending": null, "outputs": {}}'
  fails_with 9 'made no file'
}

@test "what was made before an error is kept" {
  double_start '{"ending": "error", "message": "boom", "outputs": {"2": {"images": [
    {"filename": "first.png", "subfolder": "", "type": "output"}]}}}'
  job one picture
  fails_with 8 boom
  assert_file outputs/first.png
}

# --- download -------------------------------------------------------------------------------------

@test "a page in place of a picture, a file that is cut, empty, refused or elsewhere: exit 9, and no file is left" {
  job one picture
  double_start '{"view": "html"}'
  fails_with 9 'a web page came in place of pic/one_00001_.png'
  double_tell '{"view": "empty"}'
  fails_with 9 'it is empty'
  double_tell '{"view": "302"}'
  fails_with 9 'HTTP 302'
  double_tell '{"view": "500"}'
  fails_with 9 'HTTP 500'
  double_tell '{"view": "404"}'
  fails_with 9 'the server no longer has'
  refute_exists outputs/one_00001_.png
  assert_equal "$(find . -name '*.part')" '' 'parts that are left'
  refute_contains 'else.png' "$(double_ask '.requests[]')"
}

@test "a file that always ends too early is never taken for whole" {
  job one picture
  double_start '{"view": "short", "view_bytes": 5000}'
  HTTP_TRIES=2 fails_with 9 'one_00001_.png'
  assert_equal "$(find . -name '*.part' -o -name '*.png')" '' 'files that are left'
}

@test "a cached output that was deleted: why, and what to do" {
  double_start '{"view": "404", "cached": ["1", "2"]}'
  job one picture
  fails_with 9 'the server has deleted' 'cache' 'seed'
}

@test "a download that breaks off goes on where it was, and ends with the same bytes" {
  double_start '{"view_once": "reset", "view_bytes": 3000000}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  double_picture pic/one_00001_.png
  assert_equal "$(sum_of <outputs/one_00001_.png)" "$PICTURE_SUM"
  assert_equal "$(jq -r '.outputs[0].sha256' "$(the_run)/result.json")" "$PICTURE_SUM"
  assert_equal "$(double_ask '[.requests[] | select(startswith("GET /view"))] | length')" 3 # and that of this test
  assert_equal "$(find . -name '*.part')" ''
}

@test "a server that is overloaded for a moment (503) is asked again for the file" {
  double_start '{"view_once": "503"}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_file outputs/one_00001_.png
}

@test "one file of three can't be had: the others are here, exit 9, and --resume fetches the one" {
  double_start '{"view_once": "500", "outputs": {"2": {"images": [
    {"filename": "a.png", "subfolder": "", "type": "output"},
    {"filename": "b.png", "subfolder": "", "type": "output"},
    {"filename": "c.png", "subfolder": "", "type": "output"}]}}}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 9
  refute_exists outputs/a.png
  assert_file outputs/b.png
  assert_file outputs/c.png
  comfy_run --resume one
  assert_status 0
  assert_equal "$(cd outputs && echo *)" 'a.png b.png c.png'
  assert_executions 1
}

@test "names that lead elsewhere, hold controls or begin oddly: all land in the output directory, under harmless names" {
  local name
  double_start "$(jq -n '{outputs: {"2": {images: [
    "../../up.png", "/abs.png", "new\nline.png", "esc\u001b[31m.png", "-dash.png", ".dot.png", "$(touch pwned).png", "`touch pwned`.png",
    "..", "a b\"c'"'"'.png", "back\\slash.png", ("x" * 300 + ".png"), "tab\there.png", "ü\u202eng.png"
    | {filename: ., subfolder: "../..", type: "output"}]}}}')"
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_equal "$(find "$BATS_TEST_TMPDIR" -name 'up.png' -o -name 'abs.png' | sort | sed "s|^$PWD/||")" $'outputs/abs.png\noutputs/up.png'
  refute_contains $'\033' "$stderr"
  for name in outputs/*; do
    name=${name##*/}
    case $name in -* | .*) _complain "begins oddly: $name" && return 1 ;; esac
    assert_equal "${name//[[:cntrl:]]/}" "$name" 'control characters in a name'
    [ "${#name}" -le 255 ]
  done
  assert_equal "$(find outputs -mindepth 1 -name '.*')" ''
  [ "$(find outputs -type f -name '*.png' | wc -l)" -ge 13 ]
  find "$BATS_TEST_TMPDIR" -name pwned | { ! grep .; }
}

@test "two files of one name in two folders, and the same file named twice" {
  double_start '{"outputs": {"2": {"images": [
    {"filename": "x.png", "subfolder": "a", "type": "output"},
    {"filename": "x.png", "subfolder": "b", "type": "output"},
    {"filename": "x.png", "subfolder": "a", "type": "output"}]}}}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_equal "$(cd outputs && echo *)" 'x-2.png x.png'
  double_picture a/x.png
  assert_equal "$(sum_of <outputs/x.png)" "$PICTURE_SUM"
  double_picture b/x.png
  assert_equal "$(sum_of <outputs/x-2.png)" "$PICTURE_SUM"
}

@test "files under any key at any depth, beside things of other shapes; text outputs become files" {
  double_start '{"outputs": {"2": {"gifs": [{"filename": "a.txt", "subfolder": "", "type": "output", "format": "video/h264-mp4"}],
      "deep": {"er": [[{"filename": "b.csv"}], true, null, 7, "x"]}, "animated": [true], "images": "none"},
    "7": {"text": ["first \\n \u001b[31m %s", "second"]}, "8": null, "9": [1]}}'
  job one picture
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_equal "$(<outputs/a.txt)" 'made of /a.txt'
  assert_equal "$(<outputs/b.csv)" 'made of /b.csv'
  assert_equal "$(find outputs -name '*.txt' | wc -l)" 3
  assert_equal "$(cat outputs/text-7.txt)" $'first \\n \033[31m %s'
  refute_contains $'\033' "$stderr"
}

# --- uploads --------------------------------------------------------------------------------------

@test "an upload that the server renames: the workflow uses the server's name" {
  double_start '{"upload_name": "other (1).png"}'
  png in.png
  job one scale '{"image": "in.png"}'
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_contains '"autopod/other (1).png"' "$(<"$(the_run)/workflow.json")"
}

@test "an upload that the server refuses, or answers with nonsense: exit 6" {
  double_start '{"upload": "413"}'
  png in.png
  job one scale '{"image": "in.png"}'
  fails_with 6 "$PWD/in.png" '--max-upload-size'
  double_tell '{"upload": "500"}'
  fails_with 6 "$PWD/in.png" 'HTTP 500'
  double_tell '{"upload": "html"}'
  fails_with 6 'makes no sense'
  double_tell '{"upload_name": "a\nb", "upload": null}'
  fails_with 6 'makes no sense'
  assert_executions 0
}

@test "a file above the server's limit is not even begun" {
  double_start '{"limit": 2100}'
  png in.png
  "$AUTOPOD_PYTHON" -c 'import os; open("in.png", "ab").write(os.urandom(3000))'
  job one scale '{"image": "in.png"}'
  fails_with 6 "$PWD/in.png is 3.0 kB, and the server takes no more than 2.1 kB" '--max-upload-size'
  assert_equal "$(double_ask '.uploaded | length')" 0
}

@test "an input whose name holds blanks, quotes, commas and semicolons arrives whole" {
  local name=' a";b,c'"'"'d\e; type=x.png'
  double_start
  png "$name"
  jq -n --arg file "./$name" '{job_id: "one", workflow_template: "scale", inputs: {image: $file}}' >one.json
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
  assert_equal "$(double_ask '.uploaded | length')" 1
  assert_equal "$(curl -qsf -o got -w '%{http_code}' --noproxy '*' "$DOUBLE/view?type=input&subfolder=autopod&filename=$(double_ask '.uploaded[0] | sub("autopod/"; "")')")" 200
  assert_equal "$(($(wc -c <got)))" "$(($(wc -c <"./$name")))"
}

# --- connection -----------------------------------------------------------------------------------

@test "what answers is no ComfyUI, or nothing does: exit 5, quickly" {
  job one picture
  double_start '{"stats": "html"}'
  fails_with 5 'is not a ComfyUI'
  double_tell '{"stats": "500"}'
  fails_with 5 'is not a ComfyUI (HTTP 500)'
  double_stop
  fails_with 5 'no ComfyUI at'
}

@test "a proxy in the environment and a ~/.curlrc don't come between" {
  double_start
  job one picture
  export http_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 ALL_PROXY=http://127.0.0.1:9
  printf 'output = "/dev/null"\nproxy = http://127.0.0.1:9\n' >"$HOME/.curlrc"
  comfy_run --url "$DOUBLE" one.json
  assert_status 0
}
