#!/usr/bin/env bats
# lib/guard.sh, and the heartbeat of a tunnel, against a real pod of the local provider.

load test_helper
load lib_helper

setup() {
  autopod_setup
  export AUTOPOD_GUARD_POLL=1
  AUTOPOD_PORT=$(lib os <<<'os_random_port; echo "$OS_PORT"')
  export AUTOPOD_PORT
  make_pod
  need_pod
  POD=$(basename "$AUTOPOD_HOME"/local/*)
  GUARD=$AUTOPOD_HOME/local/$POD/ram/autopod-guard.$POD
  LOG=$AUTOPOD_HOME/logs/tunnel-$POD.log
}

teardown() {
  local status=0
  pod_away || status=1
  autopod_teardown || status=1
  return "$status"
}

# guard - runs the program on stdin, with the pod loaded
guard() {
  local text
  text=$(cat)
  program prog config pod guard tunnel <<SH
ui_init
core_trap
config_load
pod_find local-
say() { echo "rc \$1 \$GUARD_STATE\${GUARD_WHY:+ \$GUARD_WHY}"; }
$text
SH
  bash prog </dev/null 3>&-
}

# counted - from now on each ssh is noted in ./calls
counted() { stub ssh <<<"echo called >>'$PWD/calls'; exec $(type -P ssh) \"\$@\""; }

# calls - how many there were
calls() { if [ -f calls ]; then grep -c . calls; else echo 0; fi; }

# guard_pid - the number of the guard that counts
guard_pid() { cut -d ' ' -f 1 <"$GUARD/pid"; }

# ended PID, is_off - 0 when it runs no more; when the pod is stopped
ended() { ! kill -0 "$1" 2>/dev/null; }
is_off() { [ "$(lib 'config pod' <<<'ui_init; core_trap; config_load; provider_local_list' | jq -r .status)" = stopped ]; }

# said TEXT - 0 when that is what the tunnel's session says of the guard now
said() { [ "$(grep '^autopod-guard-is ' "$LOG" | tail -n 1)" = "autopod-guard-is $1" ]; }

# sessions - how many sessions of tunnels run on the pod (where it can be seen what environment they have)
sessions() {
  local file count=0
  while IFS= read -r file; do
    ! grep -qsaF 'autopod-pod-is' "${file%environ}cmdline" || count=$((count + 1))
  done < <(grep -lsaF "AUTOPOD_POD_ID=$POD" /proc/[0-9]*/environ)
  echo "$count"
}

# logins - how many processes of logins run on the pod (where that can be seen)
logins() {
  local file count=0
  while IFS= read -r file; do
    ! grep -qsaF 'What autopod-ssh runs' "${file%environ}cmdline" || count=$((count + 1))
  done < <(grep -lsaF "AUTOPOD_POD_ID=$POD" /proc/[0-9]*/environ)
  echo "$count"
}

# limit SECONDS - in a guard program: its time is over in so many
limit() { printf 'os_now; pod_deadline() { POD_DEADLINE=%d; }\n' "$(($(date +%s) + $1))"; }

@test "a guard is armed over ssh without a tunnel, knows the deadline of the pod's record, and lives on" {
  run guard <<<'guard_ensure; say $?; pod_deadline; echo "$POD_DEADLINE"'
  assert_status 0
  assert_equal "${lines[0]}" 'rc 0 armed'
  assert_equal "$(cat "$GUARD/pid")" "$(guard_pid) ${lines[1]}"
  kill -0 "$(guard_pid)"
  refute_exists "$LOG"
  assert_equal "$(lib os "$GUARD" <<<'os_mode "$1"')" 700
}

@test "a tunnel arms it before it is used; who finds the tunnel asks nobody; a guard that died is seen and armed again" {
  local first
  counted
  run guard <<<'tunnel_ensure 20; guard_ensure; say $?; guard_is_up && echo up; echo "$POD_DEADLINE"'
  assert_equal "${lines[0]}:${lines[1]}" 'rc 0 armed:up'
  assert_equal "$(calls)" 2
  said "alive ${lines[2]}"
  # A program that comes later, and one whose tunnel is new: both learn it from the session.
  guard <<<'tunnel_ensure 20; guard_ensure'
  assert_equal "$(calls)" 2
  guard <<<'tunnel_close; tunnel_ensure 20; guard_ensure'
  assert_equal "$(calls)" 3
  first=$(guard_pid)
  kill -9 "$first"
  wait_until 12 said dead
  run guard <<<'guard_is_up || echo down; guard_ensure; say $?; guard_is_up && echo up'
  assert_equal "$output" $'down\nrc 0 armed\nup'
  assert_equal "$(calls)" 4
  [ "$(guard_pid)" != "$first" ]
  # What a tunnel said that is gone counts no more.
  run guard <<<'kill -9 "$(jq -r ".[].pid" "$AUTOPOD_HOME/tunnels.json")"; sleep 0.3; guard_ensure; say $?'
  assert_equal "$output" 'rc 0 armed'
  assert_equal "$(calls)" 5
}

@test "the pod is stopped at its deadline, with nothing alive on this side" {
  guard < <(limit 3 && echo guard_ensure)
  assert_equal "$(left_processes | grep -vcF -e "/local/$POD/" -e '<defunct>')" 0
  wait_until 15 is_off
  wait_until 5 eval '[ ! -e "$GUARD" ]'
}

@test "another deadline by command: longer, shorter, and the old guard is gone at once" {
  local first
  guard < <(limit 3600 && echo guard_ensure)
  first=$(guard_pid)
  guard < <(limit 7200 && echo guard_extend)
  wait_until 2 ended "$first"
  assert_contains 'armed, for 7' "$(tail -n 2 "$GUARD/log")"
  run guard < <(limit 1 && echo 'guard_extend; say $?')
  assert_equal "$output" 'rc 0 armed'
  wait_until 15 is_off
}

@test "the heart beats through the tunnel: a pod with one lives on, without it an idle one is stopped" {
  export AUTOPOD_GUARD_GRACE=4
  guard <<<'tunnel_ensure 20'
  sleep 7
  assert_file "$GUARD/beat"
  refute_contains 'nothing was heard' "$(<"$GUARD/log")"
  # ssh, as on a laptop that falls asleep: the beats end with it
  kill -STOP "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
  wait_until 20 is_off
  kill -CONT "$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")"
}

# heartbeats - the numbers of the processes that write a tunnel's heartbeat, each with its parent's
heartbeats() { left_processes | awk '/autopod[-]heartbeat/ { print $1 }' | while read -r pid; do echo "$pid $(ps -o ppid= -p "$pid")"; done; }

@test "however ssh ends, its heartbeat and its session end with it" {
  local signal pid
  for signal in TERM KILL; do
    guard <<<'tunnel_ensure 20'
    [ -n "$(heartbeats)" ]
    [ ! -r /proc/self/environ ] || assert_equal "$(sessions)" 1
    pid=$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")
    kill -s "$signal" "$pid"
    wait_until 5 eval '! left_processes | grep -q "autopod[-]heartbeat"'
    wait_until 5 eval '[ "$(sessions)" = 0 ]'
  done
}

@test "a tunnel whose heartbeat was killed ends, whichever part of it that was; nothing is left of it" {
  local pid which parts
  for which in writer both; do
    guard <<<'tunnel_ensure 20'
    pid=$(jq -r '.[].pid' "$AUTOPOD_HOME/tunnels.json")
    # The writer is the child of the other.
    parts=$(heartbeats | awk -v which="$which" '{ parent[$1] = $2 }
      END { for (pid in parent) if (which == "both" || parent[pid] in parent) print pid }')
    xargs kill -9 <<<"$parts"
    wait_until 5 ended "$pid"
    wait_until 5 eval '[ -z "$(heartbeats)" ]'
    wait_until 5 eval '[ "$(sessions)" = 0 ]'
  done
}

@test "a login is a sign of life, too, for as long as it lives; a second later nothing is left of it" {
  local pid
  AUTOPOD_GUARD_GRACE=3 guard <<<'guard_ensure'
  "$ROOT/bin/autopod-ssh" "$POD" -- sh -c 'touch "$1"; exec sleep 7' sh "$PWD/there" </dev/null 3>&- &
  pid=$!
  wait_until 10 test -e there
  wait "$pid"
  refute_contains 'nothing was heard' "$(<"$GUARD/log")"
  [ ! -r /proc/self/environ ] || assert_equal "$(logins)" 0
  wait_until 15 is_off # nobody is there any more
}

@test "a login whose link is gone is none any more, though what it runs goes on" {
  local pid
  [ -r /proc/self/environ ] || skip 'this system does not tell'
  guard <<<'guard_ensure'
  "$ROOT/bin/autopod-ssh" "$POD" -- sh -c 'echo $$ >"$1"; exec sleep 60' sh "$PWD/there" </dev/null 3>&- &
  pid=$!
  wait_until 10 test -s there
  wait_until 5 eval '[ "$(cat "$GUARD/beat")" != 0 ]'
  { echo "$pid" && pgrep -f "known_hosts.d/$POD"; } | xargs kill -9 # it, and its ssh
  wait_until 5 eval '[ "$(logins)" = 1 ]' # the shell that waits for what it runs
  kill -0 "$(<there)"
  kill "$(<there)"
  wait_until 5 eval '[ "$(logins)" = 0 ]'
}

@test "what an earlier boot has left means nothing: neither its number nor its deadline" {
  sleep 60 3>&- &
  mkdir -p "$GUARD"
  printf '%s 1\n' "$!" >"$GUARD/pid"
  printf 'exit 66\n' >"$GUARD/stop.sh"
  run guard <<<'tunnel_ensure 20; guard_ensure; say $?'
  assert_equal "$output" 'rc 0 armed'
  kill -0 "$!"
  kill "$!"
  [ "$(guard_pid)" != "$!" ]
  # A stop takes the guard and its memory; after the next start there is a new one.
  local first
  first=$(guard_pid)
  run guard <<<'tunnel_close; pod_stop; echo stopped; pod_start; tunnel_ensure 20; guard_ensure; say $?'
  assert_equal "$output" $'stopped\nrc 0 armed'
  wait_until 5 ended "$first"
  kill -0 "$(guard_pid)"
}

# guards - how many processes of guards there are for the pod
# shellcheck disable=SC2009 # pgrep can't look for fixed text
guards() { ps -A -ww -o args= | grep -F -e "$GUARD/guard.sh" | grep -vcF -e 'grep -F' || :; }

@test "a stop from here while the guard is about to stop the pod leaves nothing of it behind" {
  guard < <(limit 1 && echo 'provider_local_self_stop_script() { echo "exec sleep 300"; }; guard_ensure')
  wait_until 10 grep -q 'stopping the pod' "$GUARD/log"
  wait_until 10 eval '[ "$(guards)" -ge 2 ]' # it, and what ends its order when that hangs
  guard <<<'pod_stop'
  assert_equal "$(guards)" 0
}

@test "why there is none: not our pod, no connection, nowhere to write; and it isn't tried again at once" {
  counted
  run guard <<'SH'
POD_OURS=''
guard_ensure || say $?
POD_OURS=1
port=$POD_SSH_PORT POD_SSH_PORT=''
guard_ensure || say $?
POD_SSH_PORT=1 _GUARD_FAILED=''
guard_ensure || say $?
POD_SSH_PORT=$port
guard_ensure || say $?
SH
  assert_equal "${lines[0]}" 'rc 1  it is not of this installation'
  assert_equal "${lines[1]}" 'rc 1  it has no ssh address yet'
  assert_matches '^rc 1  .*port 1: Connection refused$' "${lines[2]}"
  assert_equal "${lines[3]}" "${lines[2]}"
  assert_equal "$(calls)" 1
}

@test "an ssh that hangs holds nobody up" {
  stub ssh <<<'exec sleep 60'
  run guard <<<'GUARD_SECONDS=1; SECONDS=0; guard_ensure || say $?; [ "$SECONDS" -lt 10 ]'
  assert_status 0
  assert_contains 'ssh said nothing within 1 s'
}

@test "another pod at that address is left alone" {
  run guard <<<'real=$POD_ID; cp "$AUTOPOD_HOME/known_hosts.d/$real" "$AUTOPOD_HOME/known_hosts.d/local-00000000"
provider_local_self_stop_script() { echo exit 66; }
POD_ID=local-00000000; guard_extend || say $?'
  assert_contains "pod $POD answers at the address of local-00000000"
  refute_exists "$GUARD"
}

@test "its log is read over ssh, and an AUTOPOD_HOME of any name does no harm" {
  run guard <<<'guard_log || echo "rc $?"; guard_ensure; guard_log; guard_log 1'
  assert_contains 'no guard was ever armed'
  assert_contains 'rc 1'
  assert_equal "$(grep -c 'armed, for ' <<<"$output")" 2
  AUTOPOD_HOME="$PWD/it's a 100%h ü" make_pod
  AUTOPOD_HOME="$PWD/it's a 100%h ü" run guard < <(limit 1 && echo 'guard_ensure; say $?')
  assert_equal "$output" 'rc 0 armed'
  AUTOPOD_HOME="$PWD/it's a 100%h ü" wait_until 15 is_off
  AUTOPOD_HOME="$PWD/it's a 100%h ü" pod_away
}
