#!/usr/bin/env bats
# lib/runs.sh: which run is meant, and what has become of it.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load lib_helper
load runs_helper

setup() {
  autopod_setup
  make_home
}

teardown() {
  local status=0
  someone_gone
  autopod_teardown || status=1
  return "$status"
}

# states - prints the state of each run, by its job
states() {
  lib_both runs <<'SH'
for run in "$AUTOPOD_HOME"/runs/*/; do
  run=${run%/}
  runs_state "$run"
  run=${run##*/}
  printf '%s %s %s\n' "${run%%.*}" "$RUNS_STATE" "${RUNS_CARRIER:+carried}"
done
SH
}

# found REF [open] - prints the name of the run that REF means, or what is said instead
found() {
  lib runs "$@" <<'SH'
runs_find "$1" "${2:-}" && printf '%s\n' "${RUNS_FOUND##*/}"
SH
}

@test "each state, by what is on disk" {
  local mine recycled=1-0.0 # the process 1 lives, but began at another time
  lay_run "a.$NOW.0001" "$(result success 0)"
  lay_run "b.$NOW.0002" "$(result failed 8)"
  lay_run "c.$NOW.0003" "$(result cancelled 130)"
  lay_run "d.$NOW.0004" "$(result interrupted 143)"
  lay_run "e.$NOW.0005"
  carried
  mine=$OWNER
  lay_run "f.$NOW.0006"
  queued "$mine"
  lay_run "g.$NOW.0007"
  lay_run "h.$NOW.0008"
  carried "$recycled"
  lay_run "i.$NOW.0009"
  queued "$recycled"
  lay_run "j.$NOW.000a" # it was killed while it carried this one out: its batch waits for nothing
  queued "$mine"
  carried "$recycled"
  lay_run "k.$NOW.000b" '{"job_id":"k","exit_code":0,"sta'
  lay_run "l.$NOW.000c" '{"job_id":"x\",\"status\":\"success\"","status":"failed","exit_code":8}'
  lay_run "m.$NOW.000d" 'null'
  carried "$mine"
  run states
  assert_equal "$output" 'a done 
b failed 
c cancelled 
d interrupted 
e running carried
f waiting carried
g left 
h left 
i left 
j left 
k left 
l failed 
m running carried'
}

@test "a run that ends between two looks has ended" {
  lay_run "a.$NOW.0001"
  carried
  export RUN RESULT
  RESULT=$(result success 0)
  run lib runs "$RUN" <<'SH'
readlink() { printf '%s\n' "$RESULT" >"$RUN/result.json"; } # and the lock is nobody's any more
runs_state "$1"
echo "$RUNS_STATE$RUNS_CARRIER"
SH
  assert_equal "$output" 'done'
}

@test "a run is found by its name, the beginning of it, its digits, its path, or its job" {
  lay_run "sun.20260101T000000Z.0001"
  lay_run "sun.20260103T000000Z.0002"
  lay_run "sun.20260102T000000Z.fff3"
  lay_run "sunset.20260104T000000Z.0004"
  lay_run "sun.20260101T000000Z.0001.20260105T000000Z.0005"
  assert_equal "$(found sun)" sun.20260103T000000Z.0002 'the newest run of the job'
  assert_equal "$(found sun.20260101T000000Z.0001)" sun.20260101T000000Z.0001 'a name that is also the name of a job'
  assert_equal "$(found suns)" sunset.20260104T000000Z.0004 'the beginning'
  assert_equal "$(found sun.20260102)" sun.20260102T000000Z.fff3 'the beginning with the date'
  assert_equal "$(found 0004)" sunset.20260104T000000Z.0004 'its digits'
  assert_equal "$(found "$AUTOPOD_HOME/runs/sunset.20260104T000000Z.0004/")" sunset.20260104T000000Z.0004 'the path'
  cd "$AUTOPOD_HOME/runs"
  assert_equal "$(found ./sunset.20260104T000000Z.0004)" sunset.20260104T000000Z.0004 'a relative path'
}

@test "when several could be meant, they are listed" {
  lay_run "sun-1.20260101T000000Z.0001"
  lay_run "sun-2.20260101T000000Z.0002"
  run found sun
  assert_status 2
  assert_contains '2 runs could be meant: sun-1.20260101T000000Z.0001 sun-2.20260101T000000Z.0002'
}

@test "for what can't be undone: of a job's runs the one without a result, and none is guessed" {
  lay_run "a.20260101T000000Z.0001"
  lay_run "a.20260102T000000Z.0002" "$(result success 0)"
  assert_equal "$(found a)" a.20260102T000000Z.0002
  assert_equal "$(found a open)" a.20260101T000000Z.0001
  lay_run "a.20260103T000000Z.0003"
  run found a open
  assert_status 2
  assert_contains '2 runs could be meant: a.20260101T000000Z.0001 a.20260103T000000Z.0003'
  assert_equal "$(found 0002 open)" a.20260102T000000Z.0002 'one with a result, by its name'
}

@test "what is no run is not found, whatever it is called" {
  local ref
  lay_run "a.$NOW.0001"
  mkdir -p "$AUTOPOD_HOME/runs/.new.12.34" "$AUTOPOD_HOME/runs/half.$NOW.0002" "$AUTOPOD_HOME/runs/other" "$TMPDIR/x"
  : >"$AUTOPOD_HOME/runs/.new.12.34/plan"
  : >"$AUTOPOD_HOME/runs/other/plan"
  : >"$TMPDIR/x/plan"
  for ref in '' . .. .new half other '*' '?' '[a]' 'a*' ../runs ../../etc/passwd "$AUTOPOD_HOME/runs/." "$TMPDIR/x" / \
    '$(touch pwned)' "a'; touch pwned; '" "$AUTOPOD_HOME/runs/a.$NOW.0001/../.."; do
    run found "$ref"
    assert_status 2
  done
  refute_exists pwned
}

@test "the list has what is carried out, then what has happened in the last day, newest first" {
  local list='runs_list "${1:-}" && printf "%s\n" "${RUNS_LIST[@]##*/}" "$RUNS_MORE"'
  lay_run a.20200101T000000Z.0001 # long ago, and goes on
  carried
  touch -t 202001010000 "$RUN"
  lay_run b.20200102T000000Z.0002 "$(result failed 8)"
  touch -t 202001020000 "$RUN"
  lay_run c.20200103T000000Z.0003 "$(result success 0)" # begun long ago, ended just now
  lay_run "d.$NOW.0004" "$(result success 0)"
  lay_run "e.$NOW.0005"
  queued "$OWNER"
  lay_run "f.20300101T000000Z.0006"
  mkdir "$AUTOPOD_HOME/runs/other"
  run lib_both runs 20 <<<"$list"
  assert_equal "$output" "a.20200101T000000Z.0001
e.$NOW.0005
f.20300101T000000Z.0006
d.$NOW.0004
c.20200103T000000Z.0003
0"
  run lib_both runs 3 <<<"$list"
  assert_equal "$output" "a.20200101T000000Z.0001
e.$NOW.0005
f.20300101T000000Z.0006
2"
  run lib_both runs <<<"$list"
  assert_contains b.20200102T000000Z.0002
  assert_equal "${#lines[@]}" 7
}

@test "only one of two takes a run that nobody carries out, and none one that has ended" {
  lay_run "a.$NOW.0001"
  run lib runs "$RUN" <<'SH'
runs_take "$1" && echo taken
state_unlock "run-${1##*/}"
SH
  assert_equal "$output" taken
  carried
  run lib runs "$RUN" <<<'runs_take "$1" || echo not'
  assert_equal "$output" not
  lay_run "b.$NOW.0002" "$(result success 0)"
  run lib runs "$RUN" <<<'runs_take "$1" || echo not'
  assert_equal "$output" not
  assert_equal "$(ls "$AUTOPOD_HOME/locks")" "run-a.$NOW.0001" locks
}

@test "as a bash 3.2 of macOS runs it" {
  old_lib
  lay_run "a.$NOW.0001" "$(result success 0)"
  lay_run "b.$NOW.0002"
  OWNER=$(LIB=$LIB lib os "$$" <<<'os_process_start "$1" && printf "%s-%s\n" "$1" "$OS_START"')
  carried "$OWNER"
  lay_run "c.$NOW.0003"
  queued "$OWNER"
  run states
  assert_equal "$output" 'a done 
b running carried
c waiting carried'
}

@test "facts: files that are missing or damaged are facts that are not known" {
  lay_run "a.$NOW.0001" "$(result success 0 '{"pod": {"id": "p\u001b[31m1"}, "outputs": [{"path": "/x"}, 3]}')"
  lay_run "b.$NOW.0002"
  carried
  echo '{"state":"running","percent":48,"left":80,"value":12,"max":25,"title":"K","position":null,"began":5,"cost_usd":"0.0300"}' >"$RUN/progress"
  echo '{"id":"p2"}' >"$RUN/pod.json"
  lay_run "c.20269999T999999Z.0003" '{"exit_code":8,"status":"failed",'
  printf '\xff\x00{"state"' >"$RUN/progress"
  printf '[]' >"$RUN/pod.json"
  printf '"text"' >"$RUN/prompt.json"
  lay_run "d.$NOW.0004" '{"status":"failed","seconds":3,"cost_usd":"many","pod":"x","outputs":{},"error":["x"],"exit_code":"$(x)"}'
  run lib_both runs "$AUTOPOD_HOME/runs"/*/ <<'SH'
runs_facts '[.job_id, .state, .percent, .left_seconds, (.seconds | . == null or . > 60), .cost_usd, .pod, .exit_code, .outputs]
  | tojson' -r -- "${@%/}"
SH
  assert_equal "$output" '["a","done",100,null,true,0.0123,"p [31m1",0,["/x"]]
["b","running",48,80,true,0.03,"p2",null,[]]
["c","failed",null,null,true,null,null,null,[]]
["d","failed",null,null,true,null,null,null,[]]'
}

@test "a pod is needed by a run that was last on it and has no result" {
  lay_run "a.$NOW.0001"
  echo '{"id":"p1","provider":"local","made_for_this_run":false}' >"$RUN/pod.json"
  lay_run "b.$NOW.0002" "$(result success 0)"
  echo '{"id":"p2","provider":"local","made_for_this_run":false}' >"$RUN/pod.json"
  run lib_both runs <<<'runs_need p1 && echo p1; runs_need p2 || echo not p2; runs_need p || echo not p'
  assert_equal "$output" 'p1
not p2
not p'
}

@test "outputs that are still on a pod: not of what was fetched or has failed, but of what was killed, lost, or ended early" {
  # laid NAME RESULT_JSON FILE... - a run on pod p, with these files
  laid() {
    local name=$1 result=$2 file
    shift 2
    lay_run "$name.$NOW.0001" "$result"
    printf '{"id":"p","provider":"local","made_for_this_run":true}\n' >"$RUN/pod.json"
    for file in prompt.json "$@"; do echo '{}' >"$RUN/$file"; done
  }
  laid killed ''
  laid lost "$(result failed 5)"
  laid early "$(result failed 10)" history.json
  laid stalled "$(result failed 8)" history.json
  laid cancelled "$(result cancelled 130)" history.json
  laid fetched "$(result success 0)" history.json outputs.json
  laid failed "$(result failed 8 '{"seconds": {"collect": 0.2, "total": 1}}')" history.json
  laid tidy "$(result cancelled 130)"
  rm "$RUN/prompt.json"
  laid partial "$(result failed 8 '{"seconds": {"collect": 0.2, "total": 1}}')" history.json unfetched
  laid limit "$(result failed 11 '{"seconds": {"collect": 0.2, "total": 1}}')" history.json unfetched
  # What became of it nobody knows: its prompt was neither seen to end nor cancelled for certain.
  for code in 1 10 11 130 143; do laid "unknown-$code" "$(result failed "$code")"; done
  laid unasked "$(result failed 4 '{"seconds": {"target": 2, "total": 2}}')"
  laid gone "$(result failed 4 '{"seconds": {"await": 2, "total": 2}}')"
  laid refused "$(result failed 7)"
  laid vanished "$(result failed 8)"
  run lib runs <<<'runs_unfetched p'
  assert_equal "$(cut -d . -f 1 <<<"$output" | paste -sd ' ' -)" 'cancelled early killed limit lost partial stalled unasked unknown-1 unknown-10 unknown-11 unknown-130 unknown-143'
}

@test "a pod is in use by a call that is between two of its jobs; what the dead and we ourselves say of it does not count" {
  local locks=$AUTOPOD_HOME/locks user
  someone
  user=${HOLDERS[0]}
  ln -s "$OWNER" "$locks/use-p-$user"
  cp -P "$locks/use-p-$user" "$locks/use-p-2-$user" # of the pod p-2
  ln -s 99999999-dead.1 "$locks/use-p-99999999"
  ln -s 99999998-dead.1 "$locks/use-q-99999998"
  run lib runs <<'SH'
runs_in_use p && printf '%s\n' "$RUNS_USER"
state_lock "use-q-$$" && { runs_in_use q || echo 'not q'; }
SH
  assert_equal "$output" "process $user"$'\nnot q'
  assert_equal "$(cd "$locks" && printf '%s\n' use-p-* | sort)" "$(printf '%s\n' "use-p-2-$user" "use-p-$user" | sort)" 'locks'
  refute_exists "$locks/use-q-99999998"
}

@test "a pod that may still work on a run: only on one that is submitted, has no end, and is none of the caller's" {
  lay_run "a.$NOW.0001"
  printf '{"id":"p","provider":"local","made_for_this_run":true}\n' >"$RUN/pod.json"
  run lib runs <<<'runs_compute p'
  assert_status 1
  echo '{}' >"$RUN/prompt.json"
  run lib runs <<<'runs_compute p && printf "%s" "$RUNS_USER"'
  assert_status 0
  assert_equal "$output" "run a.$NOW.0001"
  run lib runs "$RUN" <<<'runs_compute p "$1"'
  assert_status 1
  echo '{}' >"$RUN/history.json"
  run lib runs <<<'runs_compute p'
  assert_status 1
}

@test "to take one up: of several runs the one that is not done" {
  lay_run "a.20260101T000000Z.0001" "$(result failed 8)"
  lay_run "a.20260102T000000Z.0002" "$(result success 0)"
  : >"$RUN/outputs.json"
  assert_equal "$(found a undone)" a.20260101T000000Z.0001
  assert_equal "$(found 0002 undone)" a.20260102T000000Z.0002
}
