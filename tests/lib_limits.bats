#!/usr/bin/env bats
# lib/limits.sh: which limit is first, what is said when it is near or reached, and whether the next job fits in.

load test_helper
load lib_helper

setup() {
  autopod_setup
  make_home
  mkdir "$AUTOPOD_HOME/timings"
}

teardown() { autopod_teardown; }

# limits_prog - runs the program on stdin, at second 1000 and on a pod that costs $3600 an hour, so a dollar is a second.
# `at SECOND` lets time pass, `plan RUN [MAX_COST [SECONDS [TIMINGS]]]` lays a run down, `first` prints which limit is first.
limits_prog() {
  local text
  text=$(cat)
  lib 'config limits' <<SH
ui_init
core_trap
config_load
core_tmpdir
NOW=1000
os_now() { OS_NOW=\$NOW; }
at() { NOW=\$1; }
plan() {
  mkdir -p "\$1"
  printf 'timeout_seconds\t%s\nmax_cost_usd\t%s\ntimings\t%s\n' "\${3:-}" "\${2:-}" "\${4:-none}" >"\$1/plan"
}
pod() { # [MAX_COST [MINUTES]]
  POD_ID=p1 POD_PROVIDER=runpod POD_RATE=3600 POD_OURS=1 POD_FROM=1000 POD_SINCE=1000 POD_STATUS=running
  POD_LIMIT=\${1:-} POD_MINUTES=\${2:-} POD_UNLIMITED=''
  [ -n "\${2:-}" ] || POD_UNLIMITED=1
}
first() {
  if limits_last; then printf 'on '; else printf 'over '; fi
  printf '%s\n' "\${LIMITS_WHOSE:-none} \${LIMITS_CODE:-0} \${LIMITS_END:-0} \${HTTP_UNTIL:-never}"
}
$text
SH
}

# limits_run - the same, both outputs apart
limits_run() { run --separate-stderr limits_prog; }

# --- which is first -------------------------------------------------------------------------------

@test "the smallest of job, call and pod counts; without any there is none, and without a step nothing is looked at" {
  limits_run <<'SH'
plan run 30
limits_begin run 1000
first
pod
limits_step target
first
pod 20
first
LIMITS_CALL_MAX=10
first
plan run 5
limits_begin run 1000
limits_step target
first
limits_step ''
first
LIMITS_CALL_MAX=''
plan run
pod
limits_begin run 1000
limits_step target
first
SH
  assert_status 0
  assert_equal "$output" "on none 0 0 never
on job 11 1027 1027
on pod 11 1018 1018
on call 11 1009 1009
on job 11 1005 1005
on none 0 0 never
on none 0 0 never"
}

@test "time: the job's own counts from the submission, the pod's from its start; outputs may come until its last second" {
  limits_run <<'SH'
plan run '' 50
pod '' 2
limits_begin run 1000
limits_step target
first
at 1010
limits_submitted 1010
limits_step await
first
at 1060
first
limits_step collect
first
at 1119
first
at 1120
first
SH
  assert_status 0
  assert_equal "$output" "on pod 10 1108 1108
on job 10 1060 1060
over job 10 1060 1060
on pod 10 1120 1120
on pod 10 1120 1120
over pod 10 1120 1120"
}

@test "a pod that boots may use up what its first job may cost: the next one needs it, too" {
  limits_run <<'SH'
plan run 5
pod 60
limits_begin run 1000
limits_step boot
first
at 1020
first
limits_step upload
first
SH
  assert_status 0
  assert_equal "$output" "on pod 11 1054 1054
on pod 11 1054 1054
over job 11 1005 1005"
}

@test "the call pays for each pod that it had; a pod without a price, or a server, has no limit of cost" {
  limits_run <<'SH'
LIMITS_CALL_MAX=100
plan run 5
limits_begin run 1000
limits_step boot
first
pod
first
at 1020
POD_ID=''
limits_last
at 1030
pod
POD_ID=p2 POD_FROM=1030
first
POD_RATE=0
limits_step await
first
POD_ID='' POD_RATE=3600
first
SH
  assert_status 0
  # 20 s of the first pod are paid; since it went the call pays for the next one.
  assert_equal "$output" "on none 0 0 never
on call 11 1090 1090
on call 11 1092 1092
on none 0 0 never
on none 0 0 never"
}

@test "what a cancelled job has finished gets the grace, but not beyond the limit of the pod; nothing is said then" {
  limits_run <<'SH'
plan run 5
pod 200
limits_begin run 1000
limits_step await
at 1005
limits_check || :
limits_keep
first
at 1110
limits_keep
first
at 1200
first
limits_check || echo "$?"
SH
  assert_status 0
  assert_equal "$output" "on job 9 1125 1125
on pod 11 1200 1200
over pod 11 1200 1200
9"
  assert_equal "$(grep -c 'limit is reached' <<<"$stderr")" 1
}

@test "a pod that was found stopped behind its deadline has reached it; one that somebody stopped has not" {
  limits_run <<'SH'
plan run
limits_begin run 1000
limits_step boot
pod 20
first
POD_STATUS=stopped
at 1010
first
at 1021
limits_check || echo "$?"
POD_ID=p2
first
SH
  assert_status 0
  assert_equal "$output" "on pod 11 1018 1018
on pod 11 1018 1018
11
on none 0 0 never"
  assert_contains 'for pod p1' "$stderr"
}

@test "limits that autopod-extend has changed meanwhile are asked for before the end" {
  limits_run <<'SH'
state_installation
record() { printf '{"pods":{"p1":{"pod":{"id":"p1"},"since":1000,"limits":%s}}}\n' "$1" >"$AUTOPOD_HOME/pods.json"; }
pod 20
plan run
limits_begin run 1000
limits_step await
record '{"max_cost_usd": 20}'
at 1020
first
at 1021
record '{"max_cost_usd": 500, "minutes": 4}'
first
printf 'broken' >"$AUTOPOD_HOME/pods.json"
at 1300
first
SH
  assert_status 0
  assert_equal "$output" "over pod 11 1018 1018
on pod 10 1216 1216
over pod 10 1216 1216"
}

# --- what is said ---------------------------------------------------------------------------------

@test "at 90 %: once for each limit, and once for those that end together" {
  limits_run <<'SH'
plan run 3000
pod 3005
LIMITS_CALL_MAX=6000
limits_begin run 1000
limits_step await
for second in 3000 3500 3591 3592 3593 3700 3878; do
  at "$second"
  limits_last
  echo "$second"
done
plan run
limits_begin run 3600
POD_LIMIT=''
limits_step await
for second in 6000 6292 6300; do
  at "$second"
  limits_last
done
SH
  assert_status 0
  assert_equal "$(grep -c 'warning: 90 %' <<<"$stderr")" 2
  assert_contains 'warning: 90 % of the cost limit are used up ($3000.00 for this job): what runs is ended in ' "$stderr"
  assert_contains 'warning: 90 % of the cost limit are used up ($6000.00 for this call): what runs is ended in ' "$stderr"
  assert_contains '; allow more with --max-cost USD' "$stderr"
}

@test "at 90 % of a pod's limit: how it can be extended" {
  limits_run <<'SH'
plan run
limits_begin run 1000
pod '' 60
limits_step await
at 4200
limits_last
pod 3700
at 4300
limits_last
SH
  assert_status 0
  assert_contains '90 % of the time limit are used up (1 h for pod p1): what runs is ended in 4m 40s; autopod-extend p1 --timeout MINUTES allows more' "$stderr"
  assert_contains '90 % of the cost limit are used up ($3700.00 for pod p1): what runs is ended in 4m 40s; autopod-extend p1 --max-cost USD allows more' "$stderr"
}

@test "the end: which limit, after how long, at which step, and what to do; once" {
  limits_run <<'SH'
plan run 5 40
end() {
  code=0
  limits_check || code=$?
  echo "$code $LIMITS_ENDED $CORE_ERROR_CODE"
}
limits_begin run 1000
pod
limits_step upload
at 1007
end
end
at 1000
plan run '' 40
limits_begin run 1000
limits_submitted 1000
limits_step await
end
at 1041
end
at 1000
LIMITS_CALL_MAX=6
limits_begin run 1000
limits_step collect
at 1090
end
LIMITS_CALL_MAX=''
POD_LIMIT=50
limits_begin run 1000
limits_step await
end
POD_LIMIT='' POD_MINUTES=1 POD_UNLIMITED=''
limits_begin run 1000
limits_step await
end
SH
  assert_status 0
  assert_equal "$output" "11 job 11
11 job 11
0  11
10 job 10
11 call 11
11 pod 11
10 pod 10"
  assert_equal "$(grep -v warning <<<"$stderr")" 'prog: error: the cost limit is reached before the job was submitted, after 7s ($5.00 for this job)
  allow more with pod_config.max_cost_usd
prog: error: the time limit is reached after 41s (40s for this job)
  allow more with --timeout MINUTES or pod_config.timeout_minutes
prog: error: the cost limit is reached while its outputs were downloaded, after 1m 30s ($6.00 for this call)
  allow more with --max-cost USD
prog: error: the cost limit is reached after 1m 30s ($50.00 for pod p1)
  a new pod may have more: --max-cost, AUTOPOD_MAX_COST, pod_config.max_cost_usd; this one: autopod-extend p1 --max-cost USD
prog: error: the time limit is reached after 1m 30s (1 min for pod p1)
  a new pod may have more: --timeout, AUTOPOD_MAX_LIFETIME; this one: autopod-extend p1 --timeout MINUTES'
}

@test "what failed because a limit was reached is not told, but the limit is" {
  limits_run <<'SH'
plan run 5
pod
limits_begin run 1000
limits_step target
core_quietly core_fail 5 "the link is gone" "look" || limits_instead $? || echo "$?"
at 1005
core_quietly core_fail 5 "nobody waits" || limits_instead $? || echo "$?"
SH
  assert_status 0
  assert_equal "$output" $'5\n11'
  assert_contains 'error: the link is gone' "$stderr"
  refute_contains 'nobody waits' "$stderr"
  assert_contains 'the cost limit is reached' "$stderr"
}

@test "a pod whose price nobody says: that its limit of cost can't hold is told once" {
  limits_run <<'SH'
plan run 5
limits_begin run 1000
limits_priced
pod
limits_priced
POD_RATE=0
limits_priced
limits_priced
POD_PROVIDER=local POD_ID=p2
limits_priced
POD_PROVIDER=runpod
plan run
limits_begin run 1000
limits_priced
SH
  assert_status 0
  assert_equal "$(grep -c 'nobody says' <<<"$stderr")" 1
  assert_contains 'nobody says what pod p1 costs' "$stderr"
}

# --- for a pod that is made -----------------------------------------------------------------------

@test "the limits of a pod that is made: the least of all that is known" {
  limits_run <<'SH'
wish() {
  limits_call "$@"
  limits_wish
}
AUTOPOD_BOOT_TIMEOUT=600
plan a 2 90
plan b 3.5 60
plan c '' 60
wish a b
wish a c
AUTOPOD_MAX_COST=4
wish a b
wish a c
LIMITS_CALL_MAX=3
wish a b
AUTOPOD_MAX_LIFETIME=5
wish a
LIMITS_NO_LIMIT=1
wish a
AUTOPOD_MAX_COST='' LIMITS_CALL_MAX=''
wish c
plan d 0.000001 60
wish d
LIMITS_CALL_MAX=3
limits_call d
limits_begin d 1000
limits_step target
pod
limits_last || :
at 1003
POD_ID=''
limits_wish || echo "$?"
SH
  assert_status 0
  assert_contains 'this call has cost the $3 that it may' "$stderr"
  assert_equal "$(jq -c . <<<"$output")" '{"max_cost_usd":5.5,"minutes":13}
{"max_cost_usd":null,"minutes":13}
{"max_cost_usd":4,"minutes":13}
{"max_cost_usd":4,"minutes":13}
{"max_cost_usd":3,"minutes":13}
{"max_cost_usd":2,"minutes":5}
{"max_cost_usd":2,"minutes":null,"unlimited":true}
{"max_cost_usd":null,"minutes":null,"unlimited":true}
{"max_cost_usd":0.0001,"minutes":null,"unlimited":true}
11'
}

# --- the next job ---------------------------------------------------------------------------------

@test "what jobs of a kind took before has to fit into what is left of call and pod; what was never run is begun" {
  limits_run <<'SH'
covers() {
  code=0
  limits_cover run || code=$?
  echo "$code $LIMITS_ENDED"
}
plan run 1 10 kind
limits_begin run 1000
echo '{"runs": 3, "nodes": {"1": 0.25, "a:b": 12.5, "c": 3}, "idle": ["9"]}' >"$AUTOPOD_HOME/timings/kind.json"
pod 100
covers
at 1070
covers
at 1075
covers
LIMITS_ENDED=''
plan run '' '' other
covers
echo 'broken' >"$AUTOPOD_HOME/timings/other.json"
covers
plan run '' '' kind
POD_LIMIT='' LIMITS_CALL_MAX=80
covers
LIMITS_ENDED='' LIMITS_CALL_MAX='' POD_MINUTES=2 POD_UNLIMITED=''
at 1104
covers
LIMITS_ENDED='' POD_ID=''
covers
SH
  assert_status 0
  assert_equal "$output" "0 
0 
11 pod
0 
0 
11 call
10 pod
0 "
  assert_contains 'error: what is left of the cost limit ($100.00 for pod p1) lasts for 15s, and jobs like the next one took 16s: it is not begun' "$stderr"
  assert_contains 'autopod-extend p1 --max-cost USD allows more' "$stderr"
  assert_contains 'what is left of the time limit (2 min for pod p1) lasts for 4s' "$stderr"
}

# --- the other guards -----------------------------------------------------------------------------

@test "a watcher and a guard that have ended are started again, which is told; that they can't be, once" {
  limits_run <<'SH'
alive='' can=1 up=1
watcher_look() { WATCHER_PID=$alive; }
watcher_ensure() { WATCHER_PID='' WATCHER_WHY='no file'; [ -n "$can" ] && WATCHER_PID=77; }
guard_is_up() { [ -n "$up" ]; }
guard_ensure() { GUARD_STATE='' GUARD_WHY='no disk'; [ -n "$can" ] && GUARD_STATE=armed; }
look() {
  SECONDS=$((SECONDS + ${1:-10}))
  limits_guards
  echo "$1"
}
plan run
limits_begin run 1000
pod
limits_step await
alive=77 up='' GUARD_STATE=armed
look 5 # too early
alive=77 up=1
look 20
look 20
alive='' up=''
look 5 # too early
look 20
alive='' can=''
look 20
look 20
look 20
SH
  assert_status 0
  assert_equal "$stderr" 'The watcher on this machine had ended: it was started again (process 77).
The guard on pod p1 had ended: it was armed again.
prog: warning: the watcher on this machine has ended, and can'"'"'t be started again: no file
prog: warning: the guard on pod p1 has ended, and can'"'"'t be armed again: no disk'
}

@test "the guards are looked at at every step, but not when what was cancelled comes home, nor without a step" {
  limits_run <<'SH'
watcher_look() { WATCHER_PID=7; echo "$_LIMITS_STEP"; }
guard_is_up() { return 0; }
plan run
pod
limits_begin run 1000
for step in target boot upload submit await collect cover keep ''; do
  _LIMITS_STEP=$step
  CORE_ERROR=mine
  limits_last || :
  SECONDS=$((SECONDS + 20))
  limits_last || :
  [ "$CORE_ERROR" = mine ] || echo "$CORE_ERROR"
done
SH
  assert_equal "$(paste -sd ' ' - <<<"$output")" 'target boot upload submit await collect'
}

@test "pods of others have no guards of ours" {
  limits_run <<'SH'
watcher_look() { echo looked; }
guard_is_up() { echo looked; }
plan run
pod
POD_OURS=''
limits_begin run 1000
SECONDS=100; limits_guards
SECONDS=200; limits_guards
POD_ID=''
SECONDS=300; limits_guards
echo end
SH
  assert_equal "$output" end
}
