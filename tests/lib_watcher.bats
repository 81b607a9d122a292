#!/usr/bin/env bats
#
# lib/watcher.sh: the process that watches over pods: started once, by whoever needs it, and gone by itself.

load test_helper
load lib_helper

setup() {
  autopod_setup
  make_home
  APP=$BATS_TEST_TMPDIR/app
  program "$APP" config pod wish watcher <<'SH'
AUTOPOD_SELF=${BASH_SOURCE[0]:-}

# ensure - says what it came to
ensure() { if watcher_ensure; then printf '%s\n' "$WATCHER_PID"; else printf 'none: %s\n' "$WATCHER_WHY"; fi; }

# hold FILE - the same, and lives until there is a FILE
hold() {
  ensure
  until [ -e "$1" ]; do core_sleep 0.05; done
}

# look - says what there is
look() {
  watcher_look
  printf '%s %s\n' "${WATCHER_PID:-none}" "$WATCHER_SINCE"
}

# pod LIMITS_JSON [MORE_JSON] - makes one that is handed over, MORE_JSON merged over its record
pod() {
  local more=${2:-"{}"}
  watcher_ensure
  wish_make local '{}' '' "$1"
  record_change "$POD_ID" 'del(.waiting) * $more' --argjson more "$more"
  state_unlock "pod-$POD_ID"
  printf '%s\n' "$POD_ID"
}

main() {
  watcher_entry "$@"
  ui_init
  core_trap
  config_load
  core_tmpdir
  [ -z "${GOES_TO:-}" ] || cd "$GOES_TO"
  "$@"
}

main "$@"
exit
SH
}

teardown() {
  pod_away >/dev/null 2>&1 || :
  autopod_teardown
}

# held - starts a watcher, and somebody who needs it until the file $BATS_TEST_TMPDIR/go is there; sets HELD
held() {
  rm -f "$BATS_TEST_TMPDIR/said"
  bash "$APP" hold "$BATS_TEST_TMPDIR/go" >"$BATS_TEST_TMPDIR/said" 3>&- &
  wait_until 20 has_line "$BATS_TEST_TMPDIR/said"
  HELD=$(<"$BATS_TEST_TMPDIR/said")
}

# let_go - he ends
let_go() {
  touch "$BATS_TEST_TMPDIR/go"
  wait
}

# app ARG... - `run`s the program
app() { run bash "$APP" "$@" 3>&-; }

# watcher - prints the number of the watcher; 1 when none lives
watcher() {
  local owner
  owner=$(readlink "$AUTOPOD_HOME/locks/watcher") && kill -0 "${owner%%-*}" 2>/dev/null && printf '%s\n' "${owner%%-*}"
}

# no_watcher - 0 when none lives
no_watcher() { ! watcher >/dev/null; }

# log_says TEXT - 0 when its log has it
log_says() { grep -qsF -e "$1" "$AUTOPOD_HOME/logs/watcher.log"; }

# need_sshd - skips the test where local pods can't be
need_sshd() { [ -x /usr/sbin/sshd ] || [ -x /usr/local/sbin/sshd ] || skip 'this machine has no sshd'; }

# state_of POD - prints what pods.json says of it
state_of() { jq -r --arg id "$1" '.pods[$id].state // "forgotten"' "$AUTOPOD_HOME/pods.json"; }

# has_state POD STATE - 0 when that is so
has_state() { [ "$(state_of "$1")" = "$2" ]; }

# --- one of them ---

@test "who needs it starts it, who comes later finds it; it outlives him, and goes when there is no pod" {
  held
  app ensure
  assert_status 0
  assert_equal "$output" "$HELD"
  assert_equal "$(watcher)" "$output"
  app look
  assert_matches "^$(watcher) 20..-..-..T..:..:..Z\$"
  sleep 3
  app look
  assert_matches "^$(watcher) " # somebody who needs it lives
  let_go
  wait_until 20 no_watcher
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" '' locks
  log_says 'no pod is left'
  app look
  assert_equal "$output" 'none '
}

@test "ten who need it at the same time start one" {
  local i
  for i in 1 2 3 4 5 6 7 8 9 10; do
    bash "$APP" hold "$BATS_TEST_TMPDIR/go" >"$BATS_TEST_TMPDIR/said.$i" 3>&- &
  done
  for i in 1 2 3 4 5 6 7 8 9 10; do wait_until 30 has_line "$BATS_TEST_TMPDIR/said.$i"; done
  assert_equal "$(sort -u "$BATS_TEST_TMPDIR"/said.*)" "$(watcher)"
  # shellcheck disable=SC2009 # pgrep can't look for fixed text; what it forks looks like itself
  assert_equal "$(ps -A -o pgid=,args= | grep -F " @watcher:$AUTOPOD_HOME" | grep -vF 'grep -F' | awk '{ print $1 }' | sort -u)" "$(watcher)"
  let_go
}

@test "kill -9 of it blocks nobody: the next one who needs it starts another one" {
  local first
  held
  first=$HELD
  kill -9 "$first"
  wait_until 20 no_watcher
  app look
  assert_equal "$output" 'none '
  app ensure # who needed the first one lives
  assert_equal "$output" "$(watcher)"
  [ "$output" != "$first" ]
  let_go
}

@test "neither the hang-up of a terminal nor the end of all that started it ends it" {
  local pid
  "$AUTOPOD_PYTHON" -c 'import os, sys
os.setsid()
os.execvp("bash", ["bash", sys.argv[1], "hold", sys.argv[2]])' "$APP" "$BATS_TEST_TMPDIR/go" >"$BATS_TEST_TMPDIR/said" 3>&- &
  pid=$!
  wait_until 20 has_line "$BATS_TEST_TMPDIR/said"
  kill -HUP "$(watcher)"
  kill -HUP -- "-$(watcher)" # its sleep, too
  kill -9 -- "-$pid"
  { wait "$pid"; } 2>/dev/null || :
  bash "$APP" hold "$BATS_TEST_TMPDIR/go" >/dev/null 3>&- &
  sleep 1
  assert_equal "$(watcher)" "$(<"$BATS_TEST_TMPDIR/said")"
  let_go
}

@test "TERM ends it, and leaves nothing behind" {
  held
  kill -TERM "$HELD"
  wait_until 20 no_watcher
  refute_exists "$AUTOPOD_HOME/locks/watcher"
  let_go
}

# --- how it is started ---

@test "it is this very program, also by a path that leads from another directory, and knows paths by where we were" {
  [ -r /proc/self/environ ] || skip 'this system does not show the environment of processes'
  local environ
  cd "$BATS_TEST_TMPDIR" || return
  mkdir -p away work
  printf '{"guard_grace": 77}\n' >"$AUTOPOD_HOME/config.json"
  cd work || return
  APP=../app GOES_TO=$BATS_TEST_TMPDIR/away AUTOPOD_SSH_KEY=keys/mine AUTOPOD_OUTPUT_DIR=out AUTOPOD_PYTHON=python3 held
  environ=$(tr '\0' '\n' <"/proc/$HELD/environ")
  assert_contains $'\nAUTOPOD_GUARD_GRACE=77\n' "$environ"
  assert_contains $'\n'"AUTOPOD_SSH_KEY=$BATS_TEST_TMPDIR/away/keys/mine"$'\n' "$environ"
  assert_contains $'\nAUTOPOD_PYTHON=python3\n' "$environ"
  let_go
}

@test "the key goes to it by its environment alone; its state tells it from others, and not what it is" {
  [ -r /proc/self/environ ] || skip 'this system does not show the environment of processes'
  RUNPOD_API_KEY=rpa_SECRET0123456789 held
  tr '\0' '\n' <"/proc/$HELD/environ" | grep -qx RUNPOD_API_KEY=rpa_SECRET0123456789
  refute_contains SECRET "$(tr '\0' ' ' <"/proc/$HELD/cmdline")"
  assert_equal "$(grep -rlF SECRET "$AUTOPOD_HOME" || :)" '' 'files with the key'
  assert_matches '^[0-9]+-[^ ]+ [^ ]+ [0-9a-f]{12}$' "$(<"$AUTOPOD_HOME/watcher")"
  let_go
}

@test "one with another key is none for pods of RunPod; one without a key is replaced" {
  local first
  held
  first=$HELD
  RUNPOD_API_KEY=rpa_FIRST0123456789 AUTOPOD_PROVIDER=local app ensure
  assert_equal "$output" "$first" 'for local pods any will do'
  RUNPOD_API_KEY=rpa_FIRST0123456789 AUTOPOD_PROVIDER=runpod app ensure
  assert_equal "$output" "$(watcher)"
  [ "$output" != "$first" ]
  first=$output
  RUNPOD_API_KEY=rpa_FIRST0123456789 AUTOPOD_PROVIDER=runpod app ensure
  assert_equal "$output" "$first"
  RUNPOD_API_KEY=rpa_OTHER0123456789 AUTOPOD_PROVIDER=runpod app ensure
  assert_equal "$output" "none: the watcher that runs (process $first) has another RunPod key"
  assert_equal "$(watcher)" "$first"
  let_go
}

@test "a program without a file can't start it, but finds one that lives" {
  run bash -s ensure <"$APP" 3>&-
  assert_equal "$output" 'none: this command was not started from a file that could be started again'
  held
  run bash -s ensure <"$APP" 3>&-
  assert_equal "$output" "$(watcher)"
  let_go
}

@test "one that can't start says why in its log, and we say that" {
  sed 's|^  watcher_entry "$@"|  case ${1:-} in @*) echo "no room for bash" >\&2 \&\& exit 3 ;; esac\n&|' "$APP" >"$APP.x"
  mv "$APP.x" "$APP"
  app ensure
  assert_equal "$output" 'none: it ended at once: no room for bash'
}

@test "its log is bounded" {
  head -c 300000 /dev/zero | tr '\0' x >"$AUTOPOD_HOME/logs/watcher.log"
  app ensure
  wait_until 20 no_watcher
  [ "$(wc -c <"$AUTOPOD_HOME/logs/watcher.log")" -lt 10000 ]
  assert_file "$AUTOPOD_HOME/logs/watcher.log.1"
}

# --- what it does ---

@test "it stops a pod at its limit, alone, and goes" {
  need_sshd
  AUTOPOD_LOCAL_RATE=3600 app pod '{"max_cost_usd": 4}'
  assert_status 0
  wait_until 30 no_watcher
  assert_equal "$(state_of "$output")" stopped
  assert_equal "$(jq -c --arg id "$output" '.pods[$id] | .ran >= 4 and .ran <= 12' "$AUTOPOD_HOME/pods.json")" true "$(<"$AUTOPOD_HOME/pods.json")"
}

@test "it was asleep, with everything else, when the limit came: it acts as soon as it wakes up" {
  need_sshd
  AUTOPOD_LOCAL_RATE=3600 app pod '{"max_cost_usd": 5}'
  kill -STOP "$(watcher)"
  sleep 8
  assert_equal "$(state_of "$output")" running
  kill -CONT "$(watcher)"
  wait_until 8 has_state "$output" stopped
}

@test "killed before the limit: the next one that is started knows all that it knew" {
  need_sshd
  AUTOPOD_LOCAL_RATE=3600 app pod '{"max_cost_usd": 6}'
  local id=$output
  kill -9 "$(watcher)"
  sleep 1
  app ensure
  wait_until 30 has_state "$id" stopped
}

@test "a damaged pods.json is not its end, nor that of what it knew; when it is whole again it goes on" {
  need_sshd
  AUTOPOD_LOCAL_RATE=3600 app pod '{"max_cost_usd": 8}'
  local id=$output
  sleep 2.5 # it has read it by then
  cp "$AUTOPOD_HOME/pods.json" "$BATS_TEST_TMPDIR/saved"
  printf '{"pods":' >"$AUTOPOD_HOME/pods.json"
  wait_until 30 log_says "pod $id: stop done"
  assert_contains 'is damaged' "$(<"$AUTOPOD_HOME/logs/watcher.log")"
  watcher >/dev/null
  assert_equal "$(grep -c 'what it said before counts' "$AUTOPOD_HOME/logs/watcher.log")" 1 'times that it says so'
  printf '{}\n' >"$AUTOPOD_HOME/pods.json"
  wait_until 20 no_watcher
}

@test "it stays for a pod without any limit, and goes when its directory is taken away" {
  need_sshd
  app pod '{"minutes": null, "unlimited": true}'
  sleep 3
  watcher >/dev/null
  local pid home
  pid=$(watcher)
  pod_away
  home=$AUTOPOD_HOME
  mv "$home" "$home.away"
  wait_until 20 not_alive "$pid"
  mv "$home.away" "$home"
}

# not_alive PID - 0 when it doesn't run
not_alive() { ! kill -0 "$1" 2>/dev/null; }
