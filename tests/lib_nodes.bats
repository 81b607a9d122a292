#!/usr/bin/env bats
# lib/nodes.sh: what servers say of their nodes, fetched, kept and found again.

load test_helper
load lib_helper
load cmd_helper

setup() {
  autopod_setup
  make_home
}
teardown() {
  double_stop
  autopod_teardown
}

# serve TEXT [STATUS [SECONDS]] - a server that says TEXT to every GET; sets DOUBLE
serve() {
  local port
  printf '%s' "$1" >"$BATS_TEST_TMPDIR/answer"
  : >"$BATS_TEST_TMPDIR/double.port"
  "$AUTOPOD_PYTHON" - "$BATS_TEST_TMPDIR/answer" "${2:-200}" "${3:-0}" "$BATS_TEST_TMPDIR/asked" \
    >"$BATS_TEST_TMPDIR/double.port" 2>"$BATS_TEST_TMPDIR/double.err" 3>&- <<'E' &
import http.server, sys, time
answer, status, seconds, log = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(log, "a") as file:
            file.write(self.path + "\n")
        time.sleep(float(seconds) if self.path == "/object_info" else 0)
        body = open(answer, "rb").read()
        if self.path == "/system_stats":
            body = b'{"system": {"comfyui_version": "1.2.3"}}'
        self.send_response(int(status) if self.path == "/object_info" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
E
  DOUBLE_PID=$!
  wait_until 20 has_line "$BATS_TEST_TMPDIR/double.port"
  read -r port <"$BATS_TEST_TMPDIR/double.port"
  DOUBLE=http://127.0.0.1:$port
}

# saved NAME... - files of this kind, each a second newer than the one before
saved() {
  local name second=10
  mkdir -p "$AUTOPOD_HOME/object_info"
  for name; do
    echo '{}' >"$AUTOPOD_HOME/object_info/$name.json"
    touch -t "2026010100$second.00" "$AUTOPOD_HOME/object_info/$name.json"
    second=$((second + 1))
  done
}

@test "what a server says is kept in the line shape, under its version and its name; and asked for once" {
  serve '{"B": {"input": {}}, "A": {"input": {}, "output": []}}'
  run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=''
nodes_fetch "$1" && printf '%s live=%s\n' "${NODES_FILE##*/}" "$NODES_LIVE"
nodes_has "$1" && printf 'has %s live=%s\n' "${NODES_FILE##*/}" "$NODES_LIVE"
nodes_keep "$1"
nodes_fetch "$1/some/path" 'pod-1' && printf '%s\n' "${NODES_FILE##*/}"
NODES_DOUBT=1
nodes_keep "$1" && nodes_keep "$1"
COMFY_VERSION=9.9
nodes_has "$1" pod-1 || echo "another version is not it"
E
  assert_status 0
  assert_equal "$output" "1.2.3@127.0.0.1_${DOUBLE##*:}.json live=1
has 1.2.3@127.0.0.1_${DOUBLE##*:}.json live=
1.2.3@pod-1.json
another version is not it"
  assert_equal "$(tr '\n' ' ' <"$BATS_TEST_TMPDIR/asked")" '/system_stats /object_info /some/path/object_info /object_info '
  assert_equal "$(head -c 6 "$AUTOPOD_HOME/object_info/1.2.3@pod-1.json")" $'{\n"A":'
  assert_equal "$(find "$AUTOPOD_HOME/object_info" -type f | wc -l | tr -d ' ')" 2
}

@test "answers that make no sense are not kept; they are told only to who needs them, and asked for once" {
  local answer
  for answer in '{}' '[]' 'null' '<html>no</html>' '' '{"A": 5}' '{"A": {"input":'; do
    : >"$BATS_TEST_TMPDIR/asked"
    serve "$answer"
    run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=1.0
nodes_keep "$1"
_NODES_VAIN=''
nodes_keep "$1" # in another call, too
_NODES_VAIN=' '$NODES_SERVER
[ -z "$CORE_ERROR" ] || echo "remembered: $CORE_ERROR"
nodes_fetch "$1" || echo "status $? file=$NODES_FILE"
E
    assert_contains 'status 5 file=' "$output" || return
    refute_contains remembered "$output" || return
    refute_contains Traceback "$output" || return
    assert_equal "$(grep -c . "$BATS_TEST_TMPDIR/asked")" 1 || return
    assert_equal "$(find "$AUTOPOD_HOME" -name '*.json*')" '' || return
    rm -f -- "$AUTOPOD_HOME"/object_info/*.vain
    double_stop
  done
}

@test "a server that says 404, or nothing: it is not waited for long, and no error comes of it" {
  serve '{"A": {"input": {}}}' 404
  run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=1.0
nodes_keep "$1" && echo "kept on"
nodes_fetch "$1" || echo "status $?"
E
  assert_contains 'kept on'
  assert_contains 'does not say which nodes it has'
  double_stop
  serve '{"A": {"input": {}}}' 200 30
  run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=1.0 _NODES_LOOK_SECONDS=1
SECONDS=0
nodes_keep "$1" && echo "kept on"
[ "$SECONDS" -le 4 ] && echo soon
E
  assert_equal "$output" $'kept on\nsoon'
}

@test "no room, or no right to write: told, and nothing half is left" {
  [ "$(id -u)" = 0 ] || skip 'needs root to make it a file'
  serve '{"A": {"input": {}}}'
  : >"$AUTOPOD_HOME/object_info"
  run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=1.0
nodes_keep "$1" && echo "kept on"
_NODES_VAIN=''
nodes_fetch "$1" || echo "status $?"
E
  assert_contains 'kept on'
  assert_contains "can't write"
  assert_contains 'status 1'
}

@test "a graph waits longer for what the nodes are like: nothing goes on without" {
  serve '{"A": {"input": {}}}' 200 2
  run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=1.0 NODES_SECONDS=1
nodes_get "$1" && echo "${NODES_FILE##*/} live=$NODES_LIVE"
E
  assert_equal "$output" "1.0@127.0.0.1_${DOUBLE##*:}.json live=1"
}

@test "on another pod a graph is converted anew; a workflow that came as one stays" {
  mkdir graph api
  touch graph/graph.json graph/workflow.json graph/rendered.json graph/prompt.json api/workflow.json api/uploads.json
  run lib job <<'E'
for JOB_RUN in graph api; do _job_start_over; done
E
  assert_status 0
  assert_equal "$(printf '%s ' graph/* api/*)" 'graph/graph.json api/workflow.json '
}

@test "the ten newest are kept" {
  saved 1.0@a 1.0@b 1.0@c 1.0@d 1.0@e 1.0@f 1.0@g 1.0@h 1.0@i 1.0@j 1.0@k
  serve '{"A": {"input": {}}}'
  COMFY_VERSION=2.0 run lib nodes "$DOUBLE" <<'E'
COMFY_VERSION=2.0
nodes_fetch "$1" new
E
  assert_status 0
  assert_equal "$(cd "$AUTOPOD_HOME/object_info" && echo *)" \
    '1.0@c.json 1.0@d.json 1.0@e.json 1.0@f.json 1.0@g.json 1.0@h.json 1.0@i.json 1.0@j.json 1.0@k.json 2.0@new.json'
}

@test "which of them is taken: the server's own, then a known pod's, then the newest; what was given before all" {
  run lib_both nodes <<'E'
nodes_saved x && echo "none: $NODES_FILE."
E
  assert_equal "$output" 'none: .'
  saved 1.0@other 2.0@pod-1 1.0@pod-1 3.0@127.0.0.1_8188
  run lib_both nodes <<'E'
show() { printf '%s: %s live=%s\n' "$1" "${NODES_FILE##*/}" "$NODES_LIVE"; }
rm -f -- "$AUTOPOD_HOME/pods.json"
nodes_saved other && show own
nodes_saved gone && show newest
nodes_saved && show newest
nodes_server https://Some.Host:99/a/../b && echo "$NODES_SERVER"
nodes_server 'http://x' '../../etc' && echo "$NODES_SERVER"
printf '{"pods":{"pod-1":{}}}' >"$AUTOPOD_HOME/pods.json"
nodes_saved && show pod
nodes_saved pod-1 && show pod
NODES_GIVEN=/a/file
nodes_saved pod-1 && show given
nodes_check_given || echo "status $?"
E
  assert_status 0
  assert_contains 'own: 1.0@other.json live=
newest: 3.0@127.0.0.1_8188.json live=
newest: 3.0@127.0.0.1_8188.json live=
Some.Host_99_a_.._b
.._.._etc
pod: 1.0@pod-1.json live=
pod: 1.0@pod-1.json live=
given: file live=1'
  assert_contains 'there is no file /a/file'
  assert_contains 'status 2'
}
