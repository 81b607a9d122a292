#!/usr/bin/env bats
# lib/http.sh: real curl against a server that fails in every way (tests/doubles/http_faults.py).
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

# One server for the whole file: its faults are counted for each path, and each test has its own.
setup_file() {
  local python=$BATS_TEST_DIRNAME/../.venv/bin/python3
  "$python" "$BATS_TEST_DIRNAME/doubles/http_faults.py" "$BATS_FILE_TMPDIR/port" \
    "$BATS_FILE_TMPDIR/requests" 3>&- >"$BATS_FILE_TMPDIR/server.log" 2>&1 &
  printf '%s\n' "$!" >"$BATS_FILE_TMPDIR/pid"
}

teardown_file() { kill "$(<"$BATS_FILE_TMPDIR/pid")"; }

setup() {
  autopod_setup
  wait_until 10 test -e "$BATS_FILE_TMPDIR/port"
  URL=http://127.0.0.1:$(<"$BATS_FILE_TMPDIR/port")
  export URL HTTP_TRIES=3
}

# http [ARG...] - runs the program on stdin; `say STATUS` tells how a call went
http() {
  local text
  text=$(cat)
  lib http "$@" <<SH
ui_init
core_trap
say() { echo "rc \$1, status \$HTTP_STATUS, curl \$HTTP_CURL\${HTTP_ERROR:+, \$HTTP_ERROR}"; }
$text
SH
}

# asked PATH - how often the server was asked for it
asked() { grep -cF " $1 " "$BATS_FILE_TMPDIR/requests" || :; }

# the_file NAME - the file that the server calls so (see content() in the double)
the_file() {
  "$AUTOPOD_PYTHON" -c '
import importlib.util, sys
spec = importlib.util.spec_from_file_location("double", sys.argv[1])
double = importlib.util.module_from_spec(spec)
spec.loader.exec_module(double)
sys.stdout.buffer.write(double.content(sys.argv[2]))' "$ROOT/tests/doubles/http_faults.py" "$1"
}

# refused_port - prints a loopback port on which nobody listens
refused_port() {
  "$AUTOPOD_PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# --- small answers --------------------------------------------------------------------------------

@test "body and status are kept apart; any answer is one" {
  run http <<'SH'
http_get "$URL/status/404/1/apart" body; say $?; cat body
http_get "$URL/status/404/1/apart" body; say $?; cat body
http_get "$URL/empty/apart" body; say $?; cat body
SH
  assert_status 0
  assert_equal "$output" "rc 0, status 404, curl 0
<html>fault</html>
rc 0, status 200, curl 0
ok
rc 0, status 200, curl 0"
}

@test "GET is asked again after 502, 503, 504, a reset, a silent close and a cut body" {
  local fault
  # At the same time: each has to make its pauses.
  program prog http <<'SH'
ui_init
core_trap
http_get "$URL/$1/2/get" "body.${1##*/}"
echo "rc $?, status $HTTP_STATUS, $(<"body.${1##*/}")" >"said.${1##*/}"
SH
  for fault in status/502 status/503 status/504 reset close short; do
    bash prog "$fault" 3>&- &
  done
  wait
  for fault in status/502 status/503 status/504 reset close short; do
    assert_equal "$(<"said.${fault##*/}")" 'rc 0, status 200, ok' "$fault"
    assert_equal "$(asked "/$fault/2/get")" 3 "$fault"
  done
}

@test "GET gives up after HTTP_TRIES: with the server's answer, or with curl's reason" {
  run http <<'SH'
http_get "$URL/status/503/99/up" body && say 0
http_get "$URL/reset/99/up" body || say $?
SH
  assert_equal "${lines[0]}" 'rc 0, status 503, curl 0'
  assert_matches '^rc 1, status 0, curl (56|52|55), .*[a-z]' "${lines[1]}"
  assert_equal "$(asked /status/503/99/up)" 3
  assert_equal "$(asked /reset/99/up)" 3
}

@test "no other answer is asked for twice" {
  local code
  for code in 400 401 403 404 413 500 501; do
    run http "$code" <<<'http_get "$URL/status/$1/9/once" body; say $?'
    assert_equal "$output" "rc 0, status $code, curl 0"
    assert_equal "$(asked "/status/$code/9/once")" 1
  done
}

@test "the pauses between the tries grow" {
  HTTP_TRIES=4 run http <<<'http_get "$URL/status/503/3/grow" body; say $?'
  assert_equal "$output" 'rc 0, status 200, curl 0'
  run awk '/ \/status\/503\/3\/grow / { if (n++) print ($3 - last >= 0.24 * 2 ^ (n - 2)) ? "ok" : "too soon: " $3 - last; last = $3 }' \
    "$BATS_FILE_TMPDIR/requests"
  assert_equal "$output" $'ok\nok\nok'
}

@test "Retry-After is honoured, up to a limit; nonsense is ignored" {
  run http <<<'SECONDS=0; http_get "$URL/status/503/1/wait?retry-after=2" body; say $?; [ "$SECONDS" -ge 2 ]'
  assert_status 0
  assert_equal "$output" 'rc 0, status 200, curl 0'
  # A wait of a day is not waited, but told: the caller gets the 503.
  run http <<<'http_get "$URL/status/503/9/day?retry-after=86400" body; say $?'
  assert_equal "$output" 'rc 0, status 503, curl 0'
  assert_equal "$(asked /status/503/9/day)" 1
  local word
  for word in 00 08 -5 soon 'Wed,%2021%20Oct%202015%2007:28:00%20GMT' 99999999999999999999; do
    run http "$word" <<<'HTTP_RETRY_AFTER_MAX=0; http_get "$URL/status/503/1/$1?retry-after=$1" body; say $?'
    assert_status 0
    assert_matches '^rc 0, status (200|503), curl 0$'
  done
}

@test "a server that can't be reached: tried again, then curl's reason" {
  run http "$(refused_port)" <<<'http_get "http://127.0.0.1:$1/" body || say $?'
  assert_matches '^rc 1, status 0, curl 7, .*(refused|connect)'
}

@test "a server that stays silent is given up after the time limit" {
  run http <<<'HTTP_TIMEOUT=1 HTTP_TRIES=2; http_get "$URL/stall/9/silent" body || say $?'
  assert_matches '^rc 1, status [0-9]+, curl 28, '
  assert_equal "$(asked /stall/9/silent)" 2
}

@test "HTTP_UNTIL: what runs ends then, and is not tried again; what is begun later gets a moment" {
  run http <<'SH'
os_now
HTTP_UNTIL=$((OS_NOW + 3)) HTTP_STALL=60
for call in 'http_get "$URL/stall/9/until-get" body' 'http_download "$URL/stall/9/until-down" part' \
  'http_upload "$URL/stall/9/until-up" "$0" name folder body' 'http_get_two "$URL/headers/a" one "$URL/stall/9/until-two" two'; do
  eval "$call" || say $?
done
http_get "$URL/headers/until" body && say $?
SH
  assert_equal "$(grep -c '^rc 1, status [0-9]*, curl 28, ' <<<"$output")" 4
  assert_equal "${lines[4]}" 'rc 0, status 200, curl 0'
  assert_equal "$(asked /stall/9/until-get) $(asked /stall/9/until-down) $(asked /stall/9/until-up) $(asked /stall/9/until-two)" '1 1 1 1'
}

@test "HTTP_UNTIL: no pause that a server asks for goes beyond it, and a shorter time of a call stays" {
  run http <<'SH'
os_now
HTTP_UNTIL=$((OS_NOW + 60))
http_get "$URL/status/503/9/until?retry-after=100" body && say $?
HTTP_TIMEOUT=1 HTTP_TRIES=1 http_get "$URL/stall/9/until-short" body || say $?
SH
  assert_equal "${lines[0]}" 'rc 0, status 503, curl 0'
  assert_equal "$(asked /status/503/9/until)" 1
  assert_matches '^rc 1, status [0-9]+, curl 28, ' "${lines[1]}"
}

@test "HTTP_UNTIL does not hold for what goes to a provider" {
  : >empty
  run http <<<'HTTP_UNTIL=1; http_post_as "$URL/status/429/1/until-provider?retry-after=1" empty body empty; say $?'
  assert_matches '^rc 0, status 200, curl 0$'
}

@test "an answer that is too large for a small question is refused" {
  run http <<<'HTTP_JSON_MAX=1000000; http_get "$URL/zeros/2000000/large" body || say $?'
  assert_matches '^rc 1, status 200, curl (23|63)'
  assert_equal "$(asked /zeros/2000000/large)" 1
}

@test "a redirect is not followed" {
  run http <<<'http_get "$URL/redirect/me" body; say $?'
  assert_equal "$output" 'rc 0, status 302, curl 0'
  assert_equal "$(asked /headers/redirected)" 0
}

@test "two answers over one connection; the worse status counts" {
  run http <<'SH'
http_get_two "$URL/headers/a" one "$URL/headers/b" two; say $?
grep -c autopod/test one two
http_get_two "$URL/headers/c" one "$URL/status/500/1/d" two; say $?
http_get_two "$URL/headers/e" one "$URL/reset/9/f" two || say $?
SH
  assert_equal "${lines[0]}" 'rc 0, status 200, curl 0'
  assert_equal "${lines[1]} ${lines[2]}" 'one:1 two:1'
  assert_equal "${lines[3]}" 'rc 0, status 500, curl 0'
  assert_matches '^rc 1, ' "${lines[4]}"
}

@test "many answers side by side: what each said, silence among them, in their order" {
  run http <<'SH'
echo stale >many.1
http_get_many many "$URL/headers/g" "$URL/reset/9/h" "$URL/status/500/1/i" "$URL/headers/j" "http://127.0.0.1:1/"; echo "$? ${HTTP_CODES[*]}"
grep -l autopod/test many.*
[ ! -s many.1 ] && echo 'many.1 is empty'
http_get_many one "http://127.0.0.1:1/" || echo "$? ${HTTP_CODES[*]}"
HTTP_JSON_MAX=1000000
http_get_many two "$URL/zeros/2000000/many" "$URL/headers/k"; echo "$? ${#HTTP_CODES[@]}"
grep -l autopod/test two.1
SH
  assert_equal "$output" $'0 200 0 500 200 0\nmany.0\nmany.3\nmany.1 is empty\n1 0\n0 2\ntwo.1'
}

@test "many answers with a curl that can't ask side by side" {
  stub curl <<STUB
case " \$* " in *' --parallel '*) exit 2 ;; esac
exec "$(type -P curl)" "\$@"
STUB
  run http <<<'http_get_many many "$URL/headers/l" "$URL/status/404/9/m" "$URL/headers/n"; echo "$? ${HTTP_CODES[*]}"; grep -l autopod/test many.*'
  assert_equal "$output" $'0 200 404 200\nmany.0\nmany.2'
}

@test "HEAD gives the length" {
  run http <<<'http_head "$URL/plain/0/head"; say $?; echo "$HTTP_LENGTH"'
  assert_equal "$output" $'rc 0, status 200, curl 0\n300000'
}

# --- POST -----------------------------------------------------------------------------------------

@test "a POST that may have been taken is sent exactly once" {
  local fault
  printf '{}' >json
  for fault in status/502 status/503 status/504 status/500 reset close short; do
    run http "$fault" <<<'http_post "$URL/$1/9/post" json body && say 0 || say $?'
    assert_matches '^rc [01], ' "$output"
    assert_equal "$(asked "/$fault/9/post")" 1 "$fault"
  done
  run http <<<'HTTP_TIMEOUT=1; http_post "$URL/stall/9/post" json body || say $?'
  assert_matches 'curl 28'
  assert_equal "$(asked /stall/9/post)" 1
}

@test "a POST is sent again after 429, which says that nothing was taken" {
  printf '{}' >json
  run http <<<'http_post "$URL/status/429/2/post?retry-after=0" json body; say $?'
  assert_equal "$output" 'rc 0, status 200, curl 0'
  assert_equal "$(asked /status/429/2/post)" 3
}

@test "a POST is sent again when the connection was refused" {
  local port
  port=$(refused_port)
  printf '{"a":1}' >json
  # The server comes up while the second or third try is due.
  { sleep 0.4 && exec "$AUTOPOD_PYTHON" - "$port" >posted <<'PY'; } 3>&- &
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), self.headers["Content-Type"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.timeout = 20
server.handle_request()
PY
  HTTP_TRIES=6 run http "$port" <<<'http_post "http://127.0.0.1:$1/" json body; say $?'
  wait
  assert_equal "$output" 'rc 0, status 200, curl 0'
  assert_equal "$(<posted)" '{"a":1} application/json'
}

# --- whose settings count -------------------------------------------------------------------------

@test "neither a proxy in the environment nor ~/.curlrc touches what goes over loopback" {
  local name
  printf 'header = "X-Curlrc: read"\nproxy = "http://127.0.0.1:1"\nuser-agent = "other"\n' >"$HOME/.curlrc"
  for name in http_proxy HTTP_PROXY https_proxy all_proxy ALL_PROXY; do
    export "$name=http://127.0.0.1:1"
  done
  run http <<<'http_get "$URL/headers/mine" body; say $?; cat body'
  assert_equal "${lines[0]}" 'rc 0, status 200, curl 0'
  assert_contains 'User-Agent: autopod/test'
  refute_contains X-Curlrc
  # The progress meter takes another way to curl.
  run http <<<'HTTP_PROGRESS=:; http_get "$URL/headers/meter" body; say $?; cat body'
  assert_equal "${lines[0]}" 'rc 0, status 200, curl 0'
  refute_contains X-Curlrc
}

@test "braces and brackets in a URL are no patterns" {
  run http <<<'http_get "$URL/headers/{a,b}[1-3]" body; say $?'
  assert_equal "$output" 'rc 0, status 200, curl 0'
  assert_equal "$(asked '/headers/{a,b}[1-3]')" 1
}

# --- uploads --------------------------------------------------------------------------------------

@test "files with any name arrive byte for byte" {
  local name sum
  for name in 'plain.png' 'a b.png' 'quote".png' "it's.png" 'semi;type=text.png' 'comma,comma.png' \
    'back\slash.png' 'back\\".png' 'per%20cent.png' 'ünï 日本.png' '$(touch pwned).png' '-dash.png' \
    '@at.png' '<less.png' 'eq=ual&.png' '#hash?.png'; do
    printf '\000\377\r\n--boundary\r\n%s' "$name" >"$PWD/$name"
    sum=$(openssl dgst -sha256 <"$PWD/$name")
    run http "$PWD/$name" <<<'http_upload "$URL/upload/0/x" "$1" in-1a2b.png autopod body; say $?; cat body'
    assert_equal "${lines[0]}" 'rc 0, status 200, curl 0' "$name"
    assert_equal "$(jq -c '[.image.sha256, .image.file, .subfolder.text, .type.text]' <<<"${lines[1]}")" \
      "[\"${sum##* }\",\"in-1a2b.png\",\"autopod\",\"input\"]" "$name"
  done
  refute_exists pwned
}

@test "a subfolder that looks like curl's syntax is only text" {
  printf x >file
  printf secret >secret
  run http <<<'http_upload "$URL/upload/0/syntax" file a.png "@secret;type=x" body; cat body'
  assert_equal "$(jq -r .subfolder.text <<<"$output")" '@secret;type=x'
}

@test "an upload that was cut is sent again" {
  printf x >file
  run http <<<'http_upload "$URL/upload/1/cut" file a.png autopod body; say $?'
  assert_equal "$output" 'rc 0, status 200, curl 0'
  assert_equal "$(asked /upload/1/cut)" 2
}

@test "an upload of a file that is gone is an error with a reason" {
  run http <<<'http_upload "$URL/upload/0/gone" no-such-file a.png autopod body || say $?'
  assert_matches '^rc 1, status 0, curl 26, .+'
  assert_equal "$(asked /upload/0/gone)" 0
}

# --- downloads ------------------------------------------------------------------------------------

@test "a download that was cut goes on where it was, and gives identical bytes" {
  the_file file >wanted
  run http <<<'http_download "$URL/file/2/resume" part; echo "$?, curl $HTTP_CURL, $HTTP_LENGTH"'
  assert_equal "$output" '0, curl 0, 300000'
  cmp part wanted
  assert_equal "$(awk '$2 == "/file/2/resume" { print ($4 == "-") ? "whole" : "rest", $5 }' "$BATS_FILE_TMPDIR/requests")" \
    $'whole -\nrest "file"\nrest "file"'
}

@test "a file that is another one after the cut is fetched from the beginning" {
  the_file new >wanted
  run http <<<'http_download "$URL/changed/1/file" part; echo "$?, $HTTP_LENGTH"'
  assert_equal "$output" '0, 300000'
  cmp part wanted
}

@test "a server without ETag and ranges is asked for the whole again" {
  the_file file >wanted
  run http <<<'http_download "$URL/plain/1/again" part; echo "$?, $HTTP_LENGTH"'
  assert_equal "$output" '0, 300000'
  cmp part wanted
}

@test "a download that stops is dead after HTTP_STALL seconds, and goes on" {
  the_file file >wanted
  run http <<<'HTTP_STALL=1; http_download "$URL/stall/1/dead" part; echo "$?"'
  assert_equal "$output" 0
  cmp part wanted
}

@test "what an earlier program left is not taken for the beginning" {
  the_file file >wanted
  printf 'something else' >part
  run http <<<'http_download "$URL/file/0/left" part; echo "$?"'
  assert_equal "$output" 0
  cmp part wanted
}

@test "a download that fails again and again ends, with a reason" {
  run http <<<'http_download "$URL/plain/99/end" part || say $?'
  assert_matches '^rc 1, .*, curl (18|56), .+'
  assert_equal "$(asked /plain/99/end)" 3
}

@test "the body of a 503 never becomes part of the file; its answer is told" {
  the_file file >wanted
  run http <<<'http_download "$URL/status/503/1/part?retry-after=0" part; say $?; cat part'
  assert_equal "$output" $'rc 0, status 200, curl 0\nok'
  run http <<<'http_download "$URL/status/503/99/part" part; say $?'
  assert_equal "$output" 'rc 0, status 503, curl 0'
  run http <<<'http_download "$URL/status/503/99/day?retry-after=86400" part; say $?'
  assert_equal "$output" 'rc 0, status 503, curl 0'
  assert_equal "$(asked /status/503/99/day)" 1
}

@test "the length: as given, none when it isn't given, none for an empty file" {
  run http <<'SH'
http_download "$URL/chunked/70000/len" part; echo "$?, $HTTP_STATUS, <$HTTP_LENGTH>, $(os_size part)"
http_download "$URL/empty/len" part; echo "$?, $HTTP_STATUS, <$HTTP_LENGTH>, $(os_size part)"
http_download "$URL/status/404/9/len" part; echo "$?, $HTTP_STATUS"
SH
  assert_equal "$output" $'0, 200, <>, 70000\n0, 200, <0>, 0\n0, 404'
}

@test "a directory that can't be written to is told, and not tried again" {
  run http <<<'http_download "$URL/file/0/nowhere" no/such/dir/part || say $?'
  assert_matches '^rc 1, .*, curl 23, .+'
  assert_equal "$(asked /file/0/nowhere)" 1
}

# --- large files ----------------------------------------------------------------------------------

@test "300 MB up and 300 MB down take constant memory" {
  "$AUTOPOD_PYTHON" -c 'open("large", "wb").truncate(300_000_000)'
  program prog http <<'SH'
ui_init
core_trap
http_upload "$URL/sink/large" large a.bin autopod body && [ "$(<body)" -gt 300000000 ] && rm large
http_download "$URL/zeros/300000000/large" part && [ "$HTTP_LENGTH" = 300000000 ] && os_size part
SH
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/peak.py" peak bash prog
  assert_status 0
  assert_equal "$output" 300000000
  [ "$(<peak)" -lt 65536 ] || { _complain "peak of $(<peak) KiB" && return 1; }
}

@test "the progress is told, and leaves no process behind" {
  run http <<'SH'
report() { printf '%s ' "$1" >&2; }
HTTP_PROGRESS=report
http_download "$URL/slow/1/progress" part
echo "rc $?"
SH
  assert_matches '[1-9][0-9]? .*rc 0'
  # What sleeps between two looks at the meter may still do so for a moment.
  refute_left_processes 1
}

@test "a signal during a transfer ends curl, and the progress with it" {
  program prog http <<'SH'
ui_init
report() { touch ready; }
slow() { sleep 1; }
core_on_exit slow
core_trap
HTTP_PROGRESS=report
http_download "$URL/stall/9/signal" part
SH
  run signalled TERM ready bash prog
  assert_equal "$output" 'signal TERM'
  assert_equal "$(ls -A "$TMPDIR")" ''
}

# --- what only one server may know ----------------------------------------------------------------

@test "headers from a private file go to the address they are for, and to no other that begins alike" {
  printf 'X-Key: secret\nAuthorization: Basic abc=\n' >seal
  run http <<'SH'
has() { if grep -q 'X-Key: secret' "$1"; then echo sealed; else echo bare; fi; }
HTTP_SEAL_FILE=seal HTTP_SEAL_URL=$URL/headers
http_get "$URL/headers/below" body; has body
http_get "$URL/headersalike" body || :; has body
http_get "${URL/127.0.0.1/localhost}/headers/below" body; has body
http_post "$URL/headers/below" seal body; has body
http_get_two "$URL/headers/one" body "$URL/headers/two" body2; has body; has body2
HTTP_SEAL_URL=$URL
http_get "$URL/redirect/seal" body; say $?; has body
http_download "$URL/headers/file" part; has part
HTTP_SEAL_URL=''
http_get "$URL/headers/below" body; has body
SH
  assert_status 0
  assert_equal "$output" "sealed
bare
bare
sealed
sealed
sealed
rc 0, status 302, curl 0
bare
sealed
bare"
}

@test "52x and 530 are passing faults of a gateway, a web page is no answer, and 500 is the server's own" {
  run http <<'SH'
away() { if http_is_away; then echo "$1 away"; else echo "$1 own"; fi; }
for code in 520 522 524 530; do
  http_get "$URL/status/$code/1/away" body
  echo "$code $HTTP_STATUS"
done
HTTP_TRIES=1
for code in 502 504 524 500 404 401; do
  http_get "$URL/status/$code/9/away" body
  away "$code"
done
http_get "$URL/empty/away" body; away 200
HTTP_STATUS=200 HTTP_PAGE=1; away page
SH
  assert_status 0
  assert_equal "$output" "520 200
522 200
524 200
530 200
502 away
504 away
524 away
500 own
404 own
401 own
200 own
page away"
}

@test "a line for each request in the log that is asked for: no query of others, failed ones too" {
  local refused
  refused=$(refused_port)
  run http "$refused" <<'SH'
http_log log
http_get "$URL/headers/x?key=secret" body
http_get "$URL/headers/view?filename=a.png" body
http_get_two "$URL/headers/one?a" body "$URL/headers/two" body2
HTTP_TRIES=1 http_get "http://127.0.0.1:$1/gone" body || :
http_head "$URL/headers/head"
printf '{}' >json
http_post "$URL/sink/1" json body
http_log ''
http_get "$URL/headers/later" body
cut -f 2-5 log
SH
  assert_status 0
  assert_equal "$output" $'method\tpath\tstatus\tcurl
GET\t/headers/x\t200\t0
GET\t/headers/view?filename=a.png\t200\t0
GET\t/headers/one\t200\t0
GET\t/headers/two\t200\t0
GET\t/gone\t000\t7
HEAD\t/headers/head\t200\t0
POST\t/sink/1\t200\t0'
  refute_contains secret "$(<log)"
}
