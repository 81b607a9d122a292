#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # variables of a test are its own: bats runs each in a subshell
# lib/runpodctl.sh: which runpodctl will do, what its failures mean, in the words of each generation, and where the key
# is, and where it is not.

load test_helper
load lib_helper

KEY=rpa_SECRET0123456789abcdef

setup() {
  autopod_setup
  stub sleep <<'SH'
echo "$*" >>pauses
SH
  : >pauses
  good_runpodctl
}

# good_runpodctl - a runpodctl of the second generation that prints the files out and err, ends with the number in the
# file status, and notes how it was called
good_runpodctl() {
  : >calls
  : >out
  : >err
  echo 0 >status
  stub runpodctl <<'SH'
case "$*" in
  'pod list --help') printf 'Usage:\n  runpodctl pod list [flags]\n\nFlags:\n  -a, --all   show all pods\n' && exit ;;
esac
echo "$*" >>calls
cat out
cat err >&2
read -r status <status
exit "$status"
SH
}

# ctl - runs the program on stdin with a runpodctl that was looked at and found good
ctl() {
  local text
  text=$(cat)
  lib 'config runpodctl' "$@" <<SH
export RUNPOD_API_KEY=\${RUNPOD_API_KEY-$KEY}
ui_init
core_trap
config_load
runpodctl_check
$text
SH
}

# --- which one will do ----------------------------------------------------------------------------

@test "no runpodctl, one of the first generation, and broken ones: code 3 and what to do" {
  local broken
  PATH=$(path_of bash env cat jq mktemp rm mkdir chmod) run ctl </dev/null
  assert_status 3
  assert_contains 'runpodctl, which is not installed'
  printf 'exec %q %q "$@"\n' "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" | stub runpodctl
  RUNPODCTL_DOUBLE=1.14 run ctl </dev/null
  assert_status 3
  assert_contains 'of the old generation (1.x)'
  assert_contains 'upgrade it: brew upgrade runpodctl'
  for broken in 'exit 1' 'kill -SEGV $$' ':' 'echo "runpodctl: cannot execute binary file" >&2; exit 126' 'printf "\0\1\377garbage"'; do
    stub runpodctl <<<"$broken"
    run --separate-stderr ctl <<<'echo "it was taken: $_RUNPODCTL_FEATURES"'
    assert_status 3
    assert_equal "$output" '' "stdout with: $broken"
    # shellcheck disable=SC2154 # run --separate-stderr
    assert_contains 'or does not run' "$stderr"
    assert_contains 'upgrade it' "$stderr"
  done
  printf '\177ELF not for this machine' >"$STUBS/runpodctl"
  run ctl </dev/null
  assert_status 3
  assert_contains 'upgrade it'
}

@test "on a disk without any room a runpodctl is taken for what it is, and one that hangs is ended all the same" {
  stub runpodctl <<'SH'
case "$*" in
  'pod list --help') printf 'Usage:\n  runpodctl pod list [flags]\n\nFlags:\n  -a, --all   show all pods\n' && exit ;;
esac
exec tail -f /dev/null
SH
  run lib 'config runpodctl' <<SH
export RUNPOD_API_KEY=$KEY RUNPODCTL_PAUSES=
ui_init
core_trap
config_load
core_tmpdir
trap '' XFSZ
ulimit -f 0
runpodctl_check
echo "features:\$_RUNPODCTL_FEATURES"
RUNPODCTL_SECONDS=1
runpodctl_order "\$CORE_TMP/out" pod stop x || echo "\$RUNPODCTL_WHY"
SH
  assert_status 0
  assert_contains 'features:2 all'
  assert_contains unanswered
}

@test "the second generation is known by its help; whether it can list all, too" {
  local generation
  run ctl <<'SH'
runpodctl_check && runpodctl_list || :
SH
  assert_status 0
  assert_equal "$(sort -u calls)" 'pod list --all'
  stub runpodctl <<'SH'
[ "$*" != 'pod list --help' ] || { printf 'Usage:\n  runpodctl pod list [flags]\n' && exit; }
echo "$*" >>calls
echo '[]'
SH
  : >calls
  run ctl <<'SH'
runpodctl_list
cat "$CORE_TMP/runpodctl.list"
SH
  assert_status 0
  assert_equal "$output:$(cat calls)" '[]:pod list'
  printf 'exec %q %q "$@"\n' "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" | stub runpodctl
  for generation in main 2.7; do
    RUNPODCTL_DOUBLE=$generation run ctl <<<'echo good'
    assert_equal "$output" good
  done
}

# --- what failures mean ---------------------------------------------------------------------------

# The texts that RunPod's APIs and runpodctl have for failures, and the class of each.
TEXTS='capacity|There are no longer any instances available with the requested specifications. Please refresh and try again.
capacity|There are no longer any instances available with the request specifications. Please try again later.
capacity|There are no longer any instances available with enough disk space.
capacity|create pod: There are no instances currently available
capacity|no gpu available
capacity|SUPPLY_CONSTRAINT
capacity|Unable to find a machine with capacity
capacity|This machine does not have the resources to deploy your pod. Please try a different machine.
capacity|There are not enough free GPUs on the host machine to start this pod.
balance|Your account balance is too low. Please add funds and try again.
balance|INSUFFICIENT_BALANCE
auth|api key not configured
auth|api key not found. run '\''runpodctl doctor'\'' or set RUNPOD_API_KEY
auth|Unauthorized
scope|Forbidden: the API key lacks the scope for this action
gone|pod not found
rate|rate limit exceeded
rate|Too Many Requests
network|request failed: Post "https://api.runpod.io/v2/pods": dial tcp 1.2.3.4:443: connect: connection refused
network|request failed: Get "https://api.runpod.io/v2/pods": dial tcp: lookup api.runpod.io: no such host
network|request failed: Get "https://api.runpod.io/v2/pods": dial tcp 1.2.3.4:443: i/o timeout
unanswered|request failed: Post "https://api.runpod.io/v2/pods": context deadline exceeded (Client.Timeout exceeded while awaiting headers)
unanswered|failed to read response: context deadline exceeded (Client.Timeout or context cancellation while reading body)
unanswered|request failed: Post "https://api.runpod.io/v2/pods": EOF
unanswered|failed to read response: unexpected EOF
unanswered|http2: server sent GOAWAY and closed the connection
unanswered|request failed: Post "https://api.runpod.io/v2/pods": write: broken pipe
unanswered|request failed: Post "https://api.runpod.io/v2/pods": http2: client connection lost: context canceled
unanswered|request failed: Post "https://api.runpod.io/v2/pods": read tcp 1.2.3.4:443: read: connection reset by peer
ambiguous|failed to parse response: invalid character '\''<'\'' looking for beginning of value
ambiguous|pod creation returned no data
ambiguous|Something went wrong. Please try again later or contact support.
ambiguous|INTERNAL_SERVER_ERROR
ambiguous|Internal Server Error
usage|either --template-id or --image is required
usage|only one gpu id is supported; use --gpu-count for multiple gpus of the same type
usage|unknown flag: --nonsense
other|pod is locked
other|the geofence proof is off'

# as_json TEXT - sets JSON to the text (without control characters) as a JSON string
as_json() {
  JSON=${1//\\/\\\\}
  JSON=\"${JSON//\"/\\\"}\"
}

# wrapped KIND TEXT - makes out, err and status what runpodctl of that kind says and does about TEXT
wrapped() {
  local quoted usage=$'Usage:\n  runpodctl pod create [flags]\n\nFlags:\n      --all   not found anywhere, unauthorized or not\n'
  as_json "$2"
  quoted=$JSON
  : >out
  echo 1 >status
  case $1 in
    coded) printf '{"error":%s,"code":"cli_error"}\n' "${quoted/\"/\"failed to create pod: }" ;;
    coded-usage) printf '{"error":%s,"code":"cli_error"}\n%s' "$quoted" "$usage" ;;
    twice)
      printf '{"error":%s}\nError: failed to create pod: %s\n%s\n' "$quoted" "$2" "$usage"
      printf '{"error":"failed to create pod: %s"}\n' "$2" # by hand: no JSON when there are quotes in it
      ;;
    once) printf 'Error: failed to create pod: %s\n%s\n{"error":"failed to create pod: %s"}\n' "$2" "$usage" "${2//\"/\'}" ;; # not twice
    v1 | v2 | graphql)
      case $1 in
        v1) as_json "api error: {\"error\":$quoted,\"status\":500} (status 599)" ;;
        v2) as_json "api error: {\"title\":\"T\",\"detail\":$quoted} (status 499)" ;;
        graphql) as_json "graphql error: status 499: {\"errors\":[{\"message\":$quoted}]}" ;;
      esac
      printf '{"error":%s}\n' "$JSON"
      ;;
    stdout) # and says that it worked
      printf '{"id":"x","name":"y","status":"RUNNING","error":%s}\n' "$quoted" >out
      echo 0 >status
      ;;
    plain) printf '%s\n' "$2" ;;
    noted) printf 'note: secure cloud pods always have public ips\n{"error":%s,"code":"cli_error"}\n' "$quoted" ;;
  esac >err
}

# classes KIND - every text, wrapped so, is taken for what it is
classes() {
  local wanted text
  mkdir -p cases
  while IFS='|' read -r wanted text; do
    wrapped "$1" "$text"
    case $1:$wanted in # who says 5xx, or that it worked, may have done it; who says 4xx has not
      v1:other | v1:usage) wanted=ambiguous ;;
      stdout:other) wanted=unanswered ;;
      v2:other | graphql:other) wanted=usage ;;
    esac
    COUNT=$((COUNT + 1))
    mkdir "cases/$COUNT"
    mv out err status "cases/$COUNT/"
    printf '%s|%s|%s\n' "$wanted" "$1" "$text" >"cases/$COUNT/wanted"
  done <<<"$TEXTS"
}

@test "each text is taken for what it is, however a generation wraps it" {
  local kind COUNT=0
  stub runpodctl <<'SH'
[ "$*" != 'pod list --help' ] || { printf 'runpodctl pod list\n' && exit; }
cat "$3/out"
cat "$3/err" >&2
exit "$(<"$3/status")"
SH
  for kind in coded coded-usage twice once v1 v2 graphql stdout plain noted; do classes "$kind"; done
  run ctl <<'SH'
for dir in cases/*; do
  IFS='|' read -r wanted kind text <"$dir/wanted"
  ! runpodctl_look answer pod get "$dir" || printf 'taken for an answer: %s %s\n' "$kind" "$text"
  [ "$RUNPODCTL_WHY" = "$wanted" ] || printf '%s is %s: <%s> of %s\n' "$text" "$RUNPODCTL_WHY" "$RUNPODCTL_SAID" "$kind"
  [ "$kind" != once ] || text=${text//\"/\'} # as the double quotes could not be told from JSON's
  case $RUNPODCTL_SAID in "$text" | "$text (status "*) ;; *) printf '%s is told as <%s>\n' "$kind, $text," "$RUNPODCTL_SAID" ;; esac
done
SH
  assert_status 0
  assert_equal "$output" ''
  assert_equal "$(find cases -name wanted | grep -c .)" 390 'number of cases'
}

@test "by its code, by its status, and by neither: garbage, nothing, a page, a crash" {
  cat >cases <<'CASES'
auth|1||{"error":"who are you","code":"unauthorized","status":401}
auth|1||{"error":"no","code":"no_credentials"}
scope|1||{"error":"you may not","code":"forbidden","status":403}
gone|1||{"error":"nobody knows it","code":"not_found","status":404}
rate|1||{"error":"slowly","code":"rate_limited","status":429}
ambiguous|1||{"error":"api request failed with status 502","code":"server_error","status":502}
ambiguous|1||{"error":"hm","code":"server_error"}
unanswered|1||{"error":"hm","code":"network_error"}
unanswered|1||{"error":"hm","code":"timeout"}
usage|1||{"error":"hm","code":"usage_error"}
usage|1||{"error":"hm","code":"bad_request"}
usage|1||{"error":"hm","code":"conflict"}
usage|1||{"error":"hm","code":"conflict","status":409}
usage|1||{"error":"hm","status":422}
usage|1||{"error":"api error: {\"title\":\"Bad Request\"} (status 400)"}
capacity|1||{"error":"no gpu available","code":"not_found","status":404}
balance|1||{"error":"api error: {\"title\":\"Payment Required\"} (status 402)"}
auth|1||{"error":"api error: {} (status 401)"}
scope|1||{"error":"api error: nothing (status 403)"}
gone|1||{"error":"api error: <html>x</html> (status 404)"}
retired|1||{"error":"api error: {\"error\":\"REST API v1 has been retired.\"} (status 410)"}
rate|1||{"error":"api error:  (status 429)"}
ambiguous|1||{"error":"api error: <html><h1>502 Bad Gateway</h1></html> (status 502)"}
ambiguous|1||{"error":"graphql error: status 503: "}
unanswered|1||{"error":"api error: <html>504 Gateway Time-out</html> (status 504)"}
unanswered|1||{"error":"hm","code":"server_error","status":504}
unanswered|1||{"error":"hm","status":408}
other|1||
other|1||<html><body><h1>It works!</h1></body></html>
other|1||panic: runtime error: index out of range
unanswered|0||
unanswered|0|no JSON at all|
unanswered|0|"text"|
unanswered|0|null|
unanswered|0|{"id":|
unanswered|137||
unanswered|139||Segmentation fault
other|127||runpodctl: not found on this line: command
other|1|[]|
other|1|{"id":"x"}|
CASES
  run ctl <<'SH'
while IFS='|' read -r wanted status out err; do
  printf '%s\n' "$status" >status
  printf '%s' "$out" >out
  printf '%s' "$err" >err
  ! runpodctl_look answer pod get x || printf 'taken for an answer: %s %s\n' "$out" "$err"
  [ "$RUNPODCTL_WHY" = "$wanted" ] || printf '<%s> <%s> with %s is %s: <%s>\n' "$out" "$err" "$status" "$RUNPODCTL_WHY" "$RUNPODCTL_SAID"
  [ -n "$RUNPODCTL_SAID" ] || printf 'nothing is told of <%s> <%s>\n' "$out" "$err"
done <cases
SH
  assert_status 0
  assert_equal "$output" '<> <runpodctl: not found on this line: command> with 127 is gone: <runpodctl: not found on this line: command>'
}

@test "what it says is told without control characters, and not at any length" {
  printf '{"error":"a\\u001b[2Jb\\nc\\u0007%01000d"}' 0 >err
  echo 1 >status
  run ctl <<'SH'
runpodctl_look answer pod get x || printf '%s\n' "$RUNPODCTL_SAID"
SH
  assert_matches '^a \[2Jb c 0+$'
  [ "${#output}" -le 300 ]
}

@test "an answer is JSON with status 0: a list, or an object without an error; notes beside it do not matter" {
  local answer
  printf 'note: a new version is there\n' >err
  for answer in '[]' '{}' '[{"error":"of a part"}]' '{"id":"x","ssh":{"error":"pod not ready"}}'; do
    printf '%s\n' "$answer" >out
    run ctl <<<'runpodctl_look answer pod get x && cat answer'
    assert_status 0
    assert_equal "$output" "$answer"
  done
}

# --- what is tried again --------------------------------------------------------------------------

@test "a question is put again after a passing fault; an order only when nothing was taken; a look never" {
  local how why times
  echo 1 >status
  while read -r how why times; do
    : >calls
    : >pauses
    case $why in
      rate) echo '{"error":"rate limit exceeded"}' ;;
      network) echo '{"error":"dial tcp: connection refused"}' ;;
      ambiguous) echo '{"error":"Internal Server Error"}' ;;
      unanswered) echo '{"error":"unexpected EOF"}' ;;
      capacity) echo '{"error":"no gpu available"}' ;;
      auth) echo '{"error":"Unauthorized"}' ;;
    esac >err
    run ctl <<<"runpodctl_$how answer pod get x || echo \"\$RUNPODCTL_WHY\""
    assert_equal "$output" "$why"
    assert_equal "$how $why $(grep -c . calls)" "$how $why $times"
    assert_equal "$(grep -c . pauses || :)" "$((times - 1))" 'number of pauses'
  done <<'CASES'
ask rate 3
ask network 3
ask ambiguous 3
ask unanswered 3
ask capacity 1
ask auth 1
order rate 3
order network 1
order ambiguous 1
order unanswered 1
order capacity 1
look rate 1
look network 1
look ambiguous 1
look unanswered 1
CASES
  assert_equal "$(cat pauses)" ''
}

@test "after a fault that has passed the answer counts" {
  stub runpodctl <<'SH'
[ "$*" != 'pod list --help' ] || { printf 'runpodctl pod list\n' && exit; }
echo "$*" >>calls
[ "$(grep -c . calls)" -gt 2 ] || { echo '{"error":"rate limit exceeded"}' >&2 && exit 1; }
echo '{"id":"x"}'
SH
  run ctl <<<'runpodctl_order answer pod create --name "a b" && cat answer && echo "<$RUNPODCTL_WHY>"'
  assert_status 0
  assert_equal "$output" $'{"id":"x"}\n<>'
  assert_equal "$(cat pauses)" $'2\n4'
}

# --- its environment ------------------------------------------------------------------------------

@test "runpodctl gets the key and HOME, and none of the variables that it takes for settings; stdin is not eaten" {
  stub runpodctl <<'SH'
[ "$*" != 'pod list --help' ] || { printf 'runpodctl pod list\n' && exit; }
env >environment
cat >stdin
echo '{}'
SH
  export TIMEOUT=600 GRAPHQLTIMEOUT=600 APIKEY=other APIURL=http://other RESTAPIURL=http://other
  run ctl <<'SH'
runpodctl_ask answer user
env >ours
SH
  assert_status 0
  assert_equal "$(grep -E '^(TIMEOUT|GRAPHQLTIMEOUT|APIKEY|APIURL|RESTAPIURL)=' environment || :)" ''
  assert_contains "RUNPOD_API_KEY=$KEY" "$(cat environment)"
  assert_contains "HOME=$HOME" "$(cat environment)"
  assert_equal "$(cat stdin)" ''
  assert_contains TIMEOUT=600 "$(cat ours)" # the user's own, for his own programs
  refute_contains "$KEY" "$(cat ours)"
}

@test "an exported TIMEOUT=600, which runpodctl takes for 600 ns, does no harm" {
  local generation
  printf 'exec %q %q "$@"\n' "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpodctl" | stub runpodctl
  "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/runpod_api.py" --state "$PWD/api" --no-machines >said 2>complaints </dev/null 3>&- &
  local api=$!
  wait_until 20 grep -q '^listening' said
  local url
  url=http://127.0.0.1:$(sed -n 's/^listening //p' said)
  export RUNPOD_API_URL=$url/v1 RUNPOD_REST_V2_URL=$url/v2 RUNPOD_GRAPHQL_URL=$url/graphql RUNPOD_API_KEY=rpa_TESTKEY0123456789
  export TIMEOUT=600 GRAPHQLTIMEOUT=600
  for generation in main 2.7; do
    export RUNPODCTL_DOUBLE=$generation
    run runpodctl pod list # so it is without us
    assert_contains 'deadline exceeded'
    run ctl <<<'runpodctl_list once && cat "$CORE_TMP/runpodctl.list"'
    assert_equal "$output" '[]'
  done
  kill "$api"
  wait "$api" || :
}

# --- the key --------------------------------------------------------------------------------------

# which_key - prints the key that is used, and who has it in his environment
which_key() {
  lib 'config runpodctl' <<'SH'
ui_init
core_trap
config_load
if runpodctl_key; then echo "$RUNPOD_API_KEY"; else echo none; fi
env | grep '^RUNPOD_API_KEY=' || :
SH
}

@test "the key: from the environment, else .env, else config.json, else runpodctl's own configuration" {
  make_home
  mkdir -p "$HOME/.runpod"
  umask 077
  run which_key
  assert_equal "$output" none
  printf "apikey = 'of-runpodctl'\napiurl = 'https://api.runpod.io/graphql'\n" >"$HOME/.runpod/config.toml"
  run which_key
  assert_equal "$output" of-runpodctl
  printf '{"runpod_api_key":"of-config"}' >"$AUTOPOD_HOME/config.json"
  run which_key
  assert_equal "$output" of-config
  printf 'RUNPOD_API_KEY=of-dotenv\n' >.env
  run which_key
  assert_equal "$output" of-dotenv
  RUNPOD_API_KEY=of-environment run which_key
  assert_equal "$output" of-environment
  RUNPOD_API_KEY='' run which_key # set, and empty: whoever it is, not .env
  assert_equal "$output" of-runpodctl
}

@test "runpodctl's configuration in all the ways in which it is written; nothing in it is run" {
  local line
  mkdir -p "$HOME/.runpod"
  while IFS='|' read -r wanted line; do
    printf "apiurl = 'x'\\n%b" "$line" >"$HOME/.runpod/config.toml"
    run which_key
    assert_equal "$output" "$wanted" "the key of $line"
  done <<'CASES'
k1|apikey = 'k1'\n
k1|apiKey = "k1"\n
k1|  apikey='k1'
k1|apikey = 'k1'\r\n
none|apikey = ''\n
none|# apikey = 'k1'\n
none|notapikey = 'k1'\n
none|apikey = 'two words'\n
$(touch${IFS}pwned)|apikey = '$(touch${IFS}pwned)'\n
none|
CASES
  refute_exists pwned
  rm "$HOME/.runpod/config.toml"
  mkdir "$HOME/.runpod/config.toml"
  run which_key
  assert_equal "$output" none
}

@test "without a key, or with one that can't be one: code 3, and where to get it; nothing is called" {
  local key
  for key in '' 'two words' $'line\nbreak' 'quo"te'; do
    RUNPOD_API_KEY=$key run ctl </dev/null
    assert_status 3
    assert_contains 'there is no RunPod API key'
    assert_contains console.runpod.io/user/settings
  done
  assert_equal "$(cat calls)" ''
}

# watch - runpodctl, curl, ssh and jq that note how they were called, with what environment, and what ps shows of all
# processes at that moment
watch() {
  local name real
  for name in runpodctl curl ssh jq; do
    real=''
    [ "$name" = runpodctl ] || [ "$name" = ssh ] || real=$(type -P "$name")
    {
      printf 'printf "%%s\\n" "$@" >>seen-argv\nps -A -ww -o args= >>seen-argv\n'
      [ ! -r /proc/self/cmdline ] || printf 'tr "\\0" " " </proc/$$/cmdline >>seen-argv\n'
      [ "$name" = runpodctl ] || printf 'env >>seen-env\n'
      case $name in
        runpodctl)
          printf 'case "$*" in *--help*) echo "runpodctl pod list" && exit ;; esac\n'
          printf 'echo "the key ${RUNPOD_API_KEY:-none} was not found in the list" >&2\nexit 1\n'
          ;;
        curl)
          printf 'for word; do case $word in @*key) ls -l "${word#@}" >>modes && cat "${word#@}" >>headers ;; esac; done\n'
          printf 'exec %q "$@"\n' "$real"
          ;;
        ssh) ;;
        *) printf 'exec %q "$@"\n' "$real" ;;
      esac
    } | stub "$name"
  done
}

@test "the key is in nobody's arguments, in no environment but runpodctl's, in no output, log or file of ours" {
  watch
  mkdir -p "$HOME/.runpod"
  (umask 077 && printf "apikey = '%s'\n" "$KEY" >"$HOME/.runpod/config.toml")
  local from
  for from in environment configuration; do
    RUNPOD_API_KEY=
    [ "$from" = configuration ] || RUNPOD_API_KEY=$KEY
    export RUNPOD_API_KEY RUNPOD_GRAPHQL_URL=http://127.0.0.1:9/graphql AUTOPOD_DEBUG=1
    run lib 'config runpodctl ssh state' <<'SH'
ui_init "$AUTOPOD_HOME/logs/autopod.log"
core_trap
config_load
HTTP_TRIES=1
runpodctl_check
runpodctl_ask answer pod list || core_fail 4 "it said: $RUNPODCTL_SAID" || :
runpodctl_order answer pod create --env '{"SECRET_OF_POD":"hush"}' || :
runpodctl_graphql '{"query":"{ myself { id } }"}' || echo "$RUNPODCTL_SAID"
ssh_run pod1 127.0.0.1 1 root '' true
state_update "$AUTOPOD_HOME/pods.json" '.a = 1'
echo it is done
SH
    assert_status 0
    assert_contains 'it said: the key **** was not found'
    assert_contains 'it is done'
    refute_contains "$KEY"
    refute_contains hush
  done
  assert_contains '+ runpodctl pod list' # so it was shown what is called
  assert_file seen-argv
  assert_file seen-env
  refute_contains "$KEY" "$(cat seen-argv)"
  refute_contains "$KEY" "$(grep -v '^AUTOPOD_TEST' seen-env)"
  assert_equal "$(sort -u headers)" "Authorization: Bearer $KEY"
  assert_equal "$(cut -c 1-10 modes | sort -u)" '-rw-------'
  assert_file "$AUTOPOD_HOME/logs/autopod.log"
  assert_equal "$(grep -rlF -e "$KEY" "$AUTOPOD_HOME" "$TMPDIR" || :)" '' 'files with the key in them'
  refute_contains hush "$(cat "$AUTOPOD_HOME/logs/autopod.log")"
}

# --- the way past it ------------------------------------------------------------------------------

@test "GraphQL: data, an error within a 200, another status, no JSON, nobody there" {
  local url
  cat >server.py <<'PY'
import http.server
import sys

ANSWERS = {
    "/data": (200, '{"data":{"myself":{"id":"u"}}}'),
    "/error": (200, '{"errors":[{"message":"pod\\u001b not\\nfound"}],"data":null}'),
    "/denied": (401, '{"errors":[{"message":"Unauthorized"}]}'),
    "/page": (502, "<html>Bad Gateway</html>"),
    "/empty": (200, ""),
    "/list": (200, "[]"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("posted", "ab") as file:
            file.write(self.headers["Authorization"].encode() + b" " + body + b"\n")
        status, text = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
  "$AUTOPOD_PYTHON" server.py >port 2>complaints </dev/null 3>&- &
  local server=$!
  wait_until 20 has_line port
  url=http://127.0.0.1:$(cat port)
  URL=$url run ctl <<'SH'
HTTP_TRIES=1
for path in data error denied page empty list; do
  RUNPOD_GRAPHQL_URL=$URL/$path
  said=no
  ! runpodctl_graphql '{"query":"q"}' || said=$(<"$CORE_TMP/runpodctl.answer")
  echo "$path: $said${RUNPODCTL_SAID:+, $RUNPODCTL_SAID}"
done
RUNPOD_GRAPHQL_URL=http://127.0.0.1:9/graphql
runpodctl_graphql '{"query":"q"}' || echo "nobody: no, $RUNPODCTL_SAID"
SH
  kill "$server"
  wait "$server" 2>/dev/null || :
  assert_status 0
  assert_equal "${lines[0]}" 'data: {"data":{"myself":{"id":"u"}}}'
  assert_equal "${lines[1]}" 'error: no, pod  not found'
  assert_equal "${lines[2]}" 'denied: no, Unauthorized'
  assert_equal "${lines[3]}" 'page: no, HTTP 502'
  assert_matches '^empty: no, .+' "${lines[4]}"
  assert_matches '^list: no, .+' "${lines[5]}"
  assert_matches '^nobody: no, .+' "${lines[6]}"
  assert_equal "$(sort -u posted)" "Bearer $KEY {\"query\":\"q\"}"
}
