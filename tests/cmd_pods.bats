# autopod-connect, -ls, -info, -kill with local pods, and the settings that all commands share.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

setup() { cmd_setup; }
teardown() { cmd_teardown; }

# command_ NAME ARG... - `run`s a command, its two outputs apart
command_() {
  local name=$1
  shift
  run --separate-stderr "$AUTOPOD_BIN/$name" "$@"
}

# connect ARG... - makes a pod; sets POD
connect() {
  command_ autopod-connect --json "$@"
  assert_status 0
  POD=$(jq -r .id <<<"$output")
}

# fast_comfyui - pods run the double, which starts faster than the simulator
fast_comfyui() {
  export AUTOPOD_LOCAL_COMFYUI=$BATS_TEST_TMPDIR/comfyui AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  mkdir -p "$AUTOPOD_LOCAL_COMFYUI"
  cp "$ROOT/tests/doubles/lying_comfyui.py" "$AUTOPOD_LOCAL_COMFYUI/main.py"
}

# --- a pod's life ---------------------------------------------------------------------------------

@test "connect, ls, info, kill: a pod with sshd, a tunnel and ComfyUI, then nothing of it" {
  AUTOPOD_LOCAL_RATE=0.44 connect
  local made=$output pids pid url
  assert_equal "$(jq -r '[.provider, .status, .gpu, .gpu_count, .cost_per_hr, .ssh.host] | map(tostring) | join(" ")' <<<"$made")" \
    'local running CPU 1 0.44 127.0.0.1'
  url=$(jq -r .url <<<"$made")
  assert_equal "$url" "http://127.0.0.1:$AUTOPOD_PORT"
  assert_equal "$(curl -qsf "$url/system_stats" | jq -r .system.comfyui_version)" 0.3.64
  pids=$(
    awk '{ print $2 }' "$AUTOPOD_HOME/local/$POD/processes"
    jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json"
  )
  assert_equal "$(wc -w <<<"$pids" | tr -d ' ')" 3
  # the key and the address that are told really let one in
  assert_equal "$(ssh -F none -o BatchMode=yes -o UserKnownHostsFile="$AUTOPOD_HOME/known_hosts.d/$POD" -o StrictHostKeyChecking=yes \
    -i "$(jq -r .ssh.key <<<"$made")" -p "$(jq -r .ssh.port <<<"$made")" "$(jq -r .ssh.user <<<"$made")@127.0.0.1" 'echo $AUTOPOD_POD_ID')" "$POD"
  command_ autopod-ls
  assert_status 0
  assert_matches "$POD +local +running +CPU +\\\$0.44/h"
  assert_contains ":$AUTOPOD_PORT"
  command_ autopod-ls --json
  assert_equal "$(jq -r .id <<<"$output")" "$POD"
  command_ autopod-info
  assert_status 0
  assert_contains "$POD"
  assert_contains 0.3.64
  assert_contains "$url"
  command_ autopod-info --json "$POD"
  assert_equal "$(jq -r '.id + .status' <<<"$output")" "${POD}running"
  command_ autopod-kill
  assert_status 0
  assert_contains "$POD is terminated; it cost" "$stderr"
  for pid in $pids; do gone "$pid"; done
  assert_no_pods
  assert_equal "$(jq -c . "$AUTOPOD_HOME/tunnels.json")" '{}'
  command_ autopod-ls
  assert_status 0
  refute_contains "$POD"
  assert_contains 'No pods.' "$stderr"
}

@test "info and kill without a pod, or with ids that are none" {
  local ref
  command_ autopod-info
  assert_status 4
  assert_contains 'no pod of this installation runs' "$stderr"
  command_ autopod-kill
  assert_status 4
  mkdir "$AUTOPOD_HOME/keep"
  for ref in ../keep '; touch pwned' '$(touch pwned)' 'local-' '*' '-x' /; do
    command_ autopod-info -- "$ref"
    assert_status 4
    assert_contains "there is no pod \"$ref\"" "$stderr"
    command_ autopod-kill -- "$ref"
    assert_status 4
    command_ autopod-kill --provider local -- "$ref"
    assert_status 2
  done
  [ -d "$AUTOPOD_HOME/keep" ]
  refute_exists pwned
  command_ autopod-info a b
  assert_status 2
  command_ autopod-kill --all a
  assert_status 2
}

@test "two pods at once; a name that could mean both; each is ended on its own" {
  fast_comfyui
  "$AUTOPOD_BIN/autopod-connect" --json >one.out 2>one.err 3>&- &
  local first=$! one two
  connect
  two=$POD
  wait "$first"
  one=$(jq -r .id one.out)
  [ "$one" != "$two" ]
  assert_equal "$(jq -r '.pods | keys | length' "$AUTOPOD_HOME/pods.json")" 2
  assert_equal "$(jq -r 'map(.port) | unique | length' "$AUTOPOD_HOME/tunnels.json")" 2
  command_ autopod-kill local-
  assert_status 2
  assert_contains "$one" "$stderr"
  assert_contains "$two" "$stderr"
  command_ autopod-kill "${one:0:12}"
  assert_status 0
  assert_equal "$(the_pod)" "$two"
  assert_equal "$(pod_field "$two" .status)" running
  assert_equal "$(curl -qsf "http://127.0.0.1:$(jq -r '.[].port' "$AUTOPOD_HOME/tunnels.json")/system_stats" | jq -r .system.comfyui_version)" 0.3.64
  command_ autopod-kill --all
  assert_status 0
  assert_no_pods
}

@test "kill ends exactly its own processes: another one that got a recorded number lives on" {
  fast_comfyui
  connect --no-tunnel
  local innocent comfyui file=$AUTOPOD_HOME/local/$POD/processes
  comfyui=$(pod_process "$POD" comfyui)
  (unset AUTOPOD_TEST_MARK && exec sleep 300) 3>&- &
  innocent=$!
  # as after a reboot: the number is given out again, to somebody who started at another time
  kill -9 "$comfyui"
  awk -v pid="$innocent" '$1 == "comfyui" { $2 = pid } { print }' "$file" >changed && cp changed "$file"
  command_ autopod-kill "$POD"
  assert_status 0
  alive "$innocent"
  kill "$innocent"
  assert_no_pods
}

@test "a pod whose machine was rebooted is told as stopped, and can be ended; half of one as failed" {
  fast_comfyui
  connect
  kill -9 "$(pod_process "$POD" comfyui)"
  wait_until 10 gone "$(pod_process "$POD" comfyui)"
  assert_equal "$(pod_field "$POD" .status)" failed
  kill -9 "$(pod_process "$POD" sshd)" "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
  wait_until 10 gone "$(pod_process "$POD" sshd)"
  command_ autopod-ls
  assert_matches "$POD +local +stopped"
  assert_equal "$(pod_field "$POD" '.status, .ssh' | paste -sd ' ' -)" 'stopped null'
  job one picture
  comfy_run --pod "$POD" one.json
  assert_status 4
  assert_contains "$POD is stopped" "$stderr"
  command_ autopod-kill "$POD"
  assert_status 0
  assert_no_pods
}

@test "a stopped pod is not taken for the running one: a new one is made" {
  fast_comfyui
  connect --no-tunnel
  local old=$POD
  kill -9 "$(pod_process "$POD" comfyui)" "$(pod_process "$POD" sshd)"
  wait_until 10 gone "$(pod_process "$POD" sshd)"
  job one picture
  comfy_run one.json
  assert_status 0
  assert_contains 'made for this run' "$stderr"
  assert_equal "$(the_pod)" "$old"
  command_ autopod-kill "$old"
  assert_status 0
}

# --- what can be missing or wrong -----------------------------------------------------------------

@test "no sshd on this machine: exit 3, and the package" {
  unshare -m true 2>/dev/null || skip 'can not hide sshd here (unshare -m)'
  mkdir empty
  job one picture
  local dir
  for dir in /usr/sbin /usr/local/sbin /sbin; do
    [ ! -d "$dir" ] || printf 'mount --bind "%s" "%s"\n' "$PWD/empty" "$(cd -P "$dir" && pwd)" >>hide
  done
  run --separate-stderr unshare -m bash -c '. ./hide; exec "$0" one.json' "$AUTOPOD_BIN/comfy-run"
  assert_status 3
  assert_contains 'sshd' "$stderr"
  assert_contains 'openssh' "$stderr"
  assert_no_pods
}

@test "no jq, no curl, no python3: exit 3, one line that names it" {
  job one picture
  local bare
  bare=$(path_of bash sed grep awk mkdir rm cat mv cp date od stat ssh ssh-keygen id tr head tail readlink ln rmdir sleep chmod mktemp wc)
  PATH=$bare AUTOPOD_PYTHON='' run --separate-stderr "$AUTOPOD_BIN/comfy-run" one.json
  assert_status 3
  assert_matches '(jq|curl) is not installed' "$stderr"
  ln -s "$(type -P jq)" "$bare/jq"
  PATH=$bare run --separate-stderr "$AUTOPOD_BIN/comfy-run" one.json
  assert_status 3
  assert_contains 'curl is not installed' "$stderr"
  AUTOPOD_PYTHON=/nonexistent/python comfy_run one.json
  assert_status 3
  assert_contains 'AUTOPOD_PYTHON is /nonexistent/python' "$stderr"
  assert_no_runs
}

@test "AUTOPOD_LOCAL_COMFYUI: a checkout is run with its own Python and arguments; nothing is written elsewhere" {
  mkdir checkout
  # A real main.py gets these arguments; this one notes them, and is then a server all the same.
  {
    printf 'import os, runpy, sys\n'
    printf 'open(%s, "w").write(" ".join(sys.argv[1:]) + "\\n" + sys.executable)\n' "'$PWD/arguments'"
    printf 'runpy.run_path(%s, run_name="__main__")\n' "'$ROOT/tests/doubles/lying_comfyui.py'"
  } >checkout/main.py
  export AUTOPOD_LOCAL_COMFYUI=checkout AUTOPOD_LOCAL_COMFYUI_ARGS='--cache-none  --preview-method none' AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  local root
  root=$(find / -mindepth 1 -maxdepth 1)
  connect
  assert_equal "$(find / -mindepth 1 -maxdepth 1)" "$root" 'content of the root directory'
  assert_equal "$(jq -r .image <<<"$output")" "$PWD/checkout"
  assert_matches '^--cpu --listen 127.0.0.1 --port [0-9]+ ' "$(<arguments)"
  assert_contains '--disable-auto-launch --cache-none --preview-method none' "$(<arguments)"
  job one picture
  comfy_run one.json
  assert_status 0
  command_ autopod-kill
  assert_status 0
}

@test "AUTOPOD_LOCAL_COMFYUI that is no checkout: exit 3" {
  mkdir nothing
  AUTOPOD_LOCAL_COMFYUI=nothing command_ autopod-connect
  assert_status 3
  assert_contains 'no main.py' "$stderr"
  AUTOPOD_LOCAL_COMFYUI=/nonexistent command_ autopod-connect
  assert_status 3
  assert_no_pods
}

@test "a ComfyUI that dies at once: a code, the reason and quickly; the pod is gone" {
  mkdir checkout
  printf 'import sys\nsys.exit("No module named torch")\n' >checkout/main.py
  export AUTOPOD_LOCAL_COMFYUI=$PWD/checkout AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON
  job one picture
  start_command comfy-run one.json
  finish_command 30
  assert_status 4
  assert_contains 'No module named torch' "$stderr"
  assert_no_pods
  start_command autopod-connect
  finish_command 30
  assert_status 4
  assert_contains 'No module named torch' "$stderr"
  assert_no_pods
}

@test "a ComfyUI that never answers: exit 4 after the boot time-out; a pod that never worked is ended, not kept" {
  mkdir checkout
  printf 'import time\ntime.sleep(300)\n' >checkout/main.py
  export AUTOPOD_LOCAL_COMFYUI=$PWD/checkout AUTOPOD_LOCAL_PYTHON=$AUTOPOD_PYTHON AUTOPOD_BOOT_TIMEOUT=3
  job one picture
  start_command comfy-run one.json
  finish_command 40
  assert_status 4
  assert_matches '(does|did) not answer' "$stderr"
  refute_contains 'outputs are still on it' "$stderr"
  assert_no_pods
}

@test "a pod that can't be ended: exit 12, and what to do" {
  fast_comfyui
  connect --no-tunnel
  # A kill that does nothing to a pod's processes, as when they hang in the kernel.
  cat >nokill <<'NOKILL'
kill() {
  if awk -v pid="${!#}" '$2 == pid { found = 1 } END { exit !found }' "$AUTOPOD_HOME"/local/*/processes 2>/dev/null; then return 0; fi
  builtin kill "$@"
}
export -f kill
NOKILL
  # shellcheck disable=SC2016 # for the inner bash
  run --separate-stderr timeout -k 1 60 bash -c '. ./nokill; exec "$@"' - "$AUTOPOD_BIN/autopod-kill" "$POD"
  assert_status 12
  assert_contains "$POD" "$stderr"
  assert_contains 'kill -9' "$stderr"
  "$AUTOPOD_BIN/autopod-kill" -q "$POD"
  job one picture
  # shellcheck disable=SC2016
  run --separate-stderr timeout -k 1 60 bash -c '. ./nokill; exec "$@"' - "$AUTOPOD_BIN/comfy-run" one.json
  assert_status 12 # the job went well, but that is not the whole of it
  assert_file outputs/one_00001_.png
  assert_contains "autopod-kill $(the_pod)" "$stderr"
  "$AUTOPOD_BIN/autopod-kill" -q --all
}

# --- settings -------------------------------------------------------------------------------------

# provider_of ARG... - prints which provider a command would use, from its complaint about it
provider_of() {
  run --separate-stderr "$AUTOPOD_BIN/autopod-connect" "$@"
  [[ $stderr =~ there\ is\ no\ provider\ \"([a-z]*)\" ]] && printf '%s\n' "${BASH_REMATCH[1]}"
}

@test "settings: option, environment, .env, config.json, in this order" {
  mkdir -p "$AUTOPOD_HOME"
  echo '{"provider": "json"}' >"$AUTOPOD_HOME/config.json"
  assert_equal "$(provider_of)" json
  echo 'AUTOPOD_PROVIDER="dotenv" # a comment' >.env
  assert_equal "$(provider_of)" dotenv
  assert_equal "$(AUTOPOD_PROVIDER='env' provider_of)" env
  assert_equal "$(AUTOPOD_PROVIDER='env' provider_of --provider option)" option
  assert_no_pods
}

@test ".env: values are text, never run; what isn't ours is left alone" {
  cat >.env <<'ENV'
AUTOPOD_PROVIDER='$(touch pwned)`touch pwned`'
PATH=/nonexistent
OTHER=1
ENV
  command_ autopod-connect
  assert_status 2
  assert_contains 'there is no provider "$(touch pwned)`touch pwned`"' "$stderr"
  refute_exists pwned
  refute_contains 'can be read by others' "$stderr"
}

@test ".env that others can read while it holds a key is a warning; the key is never shown" {
  printf 'RUNPOD_API_KEY=rpa_SECRET\nAUTOPOD_PROVIDER=rpa_SECRET\n' >.env
  chmod 644 .env
  command_ autopod-ls
  assert_contains '.env holds RUNPOD_API_KEY and can be read by others' "$stderr"
  assert_contains 'chmod 600 .env' "$stderr"
  command_ autopod-connect
  assert_status 2
  refute_contains SECRET "$stderr"
  refute_contains SECRET "$(<"$AUTOPOD_HOME/logs/autopod.log")"
  chmod 600 .env
  command_ autopod-ls
  refute_contains 'can be read' "$stderr"
}

@test "config.json: an unknown key is named, with those that are known; a wrong value or file is an error" {
  mkdir -p "$AUTOPOD_HOME"
  echo '{"provder": "x", "port": 8200}' >"$AUTOPOD_HOME/config.json"
  command_ autopod-ls
  assert_status 0
  assert_contains 'unknown key "provder"' "$stderr"
  assert_contains 'provider' "$stderr"
  echo '{"port": "80x"}' >"$AUTOPOD_HOME/config.json"
  unset AUTOPOD_PORT
  command_ autopod-ls
  assert_status 2
  assert_contains '"80x"' "$stderr"
  assert_contains '1 to 65535' "$stderr"
  echo '{"port": {}}' >"$AUTOPOD_HOME/config.json"
  command_ autopod-ls
  assert_status 2
  assert_contains "$AUTOPOD_HOME/config.json" "$stderr"
  echo '{"port": ' >"$AUTOPOD_HOME/config.json"
  command_ autopod-ls
  assert_status 2
  assert_contains "$AUTOPOD_HOME/config.json" "$stderr"
  echo '[]' >"$AUTOPOD_HOME/config.json"
  command_ autopod-ls
  assert_status 2
}

@test "AUTOPOD_LOCAL_RATE that is no price: exit 2, nothing is made" {
  AUTOPOD_LOCAL_RATE=cheap command_ autopod-connect
  assert_status 2
  assert_contains AUTOPOD_LOCAL_RATE "$stderr"
  assert_no_pods
}

@test "a home that can't be written: exit 3, one line" {
  : >file
  AUTOPOD_HOME=$PWD/file command_ autopod-ls
  assert_status 3
  assert_contains "can't write to $PWD/file" "$stderr"
  assert_contains AUTOPOD_HOME "$stderr"
}

@test "a damaged pods.json or tunnels.json is told, and no pod is lost by it" {
  fast_comfyui
  connect
  local tunnel
  tunnel=$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")
  echo '{"broken' >"$AUTOPOD_HOME/tunnels.json"
  echo 'garbage' >"$AUTOPOD_HOME/pods.json"
  command_ autopod-ls
  assert_contains "$POD"
  command_ autopod-kill "$POD"
  case $status in 0 | 1) ;; *) assert_status 1 ;; esac
  assert_contains 'damaged' "$stderr"
  gone "$tunnel" || kill "$tunnel" # nobody knows any more whose it is
  assert_no_pods
}
