#!/usr/bin/env bats
# autopod-status: what goes on, and what became of it. Nobody is asked, and nothing is changed.

load test_helper
load runs_helper

setup() { autopod_setup; }

teardown() {
  local status=0
  someone_gone
  autopod_teardown || status=1
  return "$status"
}

# some_runs - one that is at it, one that waits, one that was left, one that failed, one that is done
some_runs() {
  lay_run "done.$NOW.0001" "$(result success 0 '{"pod": {"id": "local-abc"}, "outputs": [{"path": "/out/a.png"}]}')"
  lay_run "bad.$NOW.0002" "$(result failed 8 '{"hint": "look", "seconds": {"total": 3.7}, "cost_usd": 0}')"
  lay_run "left.$NOW.0003"
  echo '{"prompt_id":"b48c736a-7fa9-4a0b-8ce4-f2c18a7542fe","client_id":"x","at":1,"url":"http://127.0.0.1:18188","pod":""}' >"$RUN/prompt.json"
  echo '{"state":"running","percent":48,"cost_usd":"0.0300"}' >"$RUN/progress" # what it wrote down before it was killed
  lay_run "next.$NOW.0004"
  someone
  queued "$OWNER"
  lay_run "now.$NOW.0005"
  carried "$OWNER"
  echo '{"id":"k3j2abcdefghij","provider":"runpod","made_for_this_run":false}' >"$RUN/pod.json"
  progress running 48
}

# progress STATE PERCENT [MORE_JSON] - what RUN has written down, 72 seconds after it began
progress() {
  jq -nc --arg state "$1" --argjson percent "$2" --argjson now "$(date +%s)" --argjson more "${3:-"{}"}" \
    '{state: $state, percent: $percent, left: 80, node: "3", title: "KSampler", value: 12, max: 25, position: null,
      at: $now, began: ($now - 72), cost_usd: "0.0300"} + $more' >"$RUN/progress"
}

@test "the table: a line for each run, those that go on first" {
  some_runs
  command_ autopod-status
  assert_status 0
  assert_equal "${lines[0]}" 'JOB                    RUN  POD             STATE           %     TIME     COST'
  assert_matches '^now                    0005 k3j2abcdefghij  running      48 %   1m 1[2-9]s    \$0\.03$' "${lines[1]}"
  assert_equal "${lines[2]}" 'next                   0004 -               waiting         -        -        -'
  assert_equal "${lines[3]}" 'left                   0003 127.0.0.1:18188 left            -        -        -'
  assert_equal "${lines[4]}" 'done                   0001 local-abc       done        100 %   1m 15s    $0.02'
  assert_equal "${lines[5]}" 'bad                    0002 127.0.0.1:1     failed          -       3s        -'
  assert_equal "${#lines[@]}" 6
  assert_contains '1 running, 1 waiting, 1 left (autopod-attach' "$stderr"
  assert_equal "$(find "$AUTOPOD_HOME/runs" "$AUTOPOD_HOME/locks" -newer "$RUN/progress" ! -name 'now.*' | wc -l | tr -d ' ')" 0 \
    'files that were touched'
}

@test "what a run is at" {
  local row
  lay_run "now.$NOW.0005"
  carried
  while read -r row; do
    progress "${row%% *}" null
    command_ autopod-status
    assert_contains " ${row#* } " "${lines[1]}"
  done <<'ROWS'
target starting
upload uploading
submit submitting
pending pending
running running
collect fetching
ROWS
  rm "$RUN/progress"
  command_ autopod-status
  assert_contains ' running ' "${lines[1]}"
}

@test "one run: everything about it" {
  some_runs
  command_ autopod-status now
  assert_status 0
  assert_contains "     Run: now.$NOW.0005"
  assert_matches '   State: running, process [0-9]+'
  assert_contains 'Progress: 48 %, KSampler (12/25), about 1m 20s left'
  assert_contains '     Pod: k3j2abcdefghij'
  command_ autopod-status 0002
  assert_contains '   State: failed (exit code 8)'
  assert_contains '   Error: it went wrong'
  assert_contains '    Hint: look'
  refute_contains 'Cost:'
  command_ autopod-status "$AUTOPOD_HOME/runs/done.$NOW.0001"
  assert_contains '  Output: /out/a.png'
  assert_contains '    Took: 1m 15s'
  command_ autopod-status left
  assert_contains '   State: left'
  refute_contains '48 %'
  assert_contains 'autopod-attach 0003' "$stderr"
  lay_run "q.$NOW.0006"
  carried "$OWNER"
  progress pending null '{"position": 3}'
  command_ autopod-status q
  assert_contains "State: running, pending at position 3 of the server's queue"
}

@test "--json: an object a line, of the same runs" {
  some_runs
  command_ autopod-status --json
  assert_status 0
  assert_equal "${#lines[@]}" 5
  assert_equal "$(jq -sc 'map([.job_id, .state, .percent, .cost_usd, .pod])' <<<"$output")" \
    '[["now","running",48,0.03,"k3j2abcdefghij"],["next","waiting",null,null,null],["left","left",null,null,null],["done","done",100,0.0123,"local-abc"],["bad","failed",null,0,null]]'
  assert_equal "$(jq -sc '.[0] | [.title, .value, .max, .left_seconds, .seconds >= 72]' <<<"$output")" '["KSampler",12,25,80,true]'
  assert_equal "$stderr" ''
  command_ autopod-status --json bad
  assert_equal "$(jq -c '[.run, .exit_code, .error, .directory]' <<<"$output")" \
    "[\"bad.$NOW.0002\",8,\"it went wrong\",\"$AUTOPOD_HOME/runs/bad.$NOW.0002\"]"
}

@test "nothing there: it says so, and makes nothing up" {
  command_ autopod-status
  assert_status 0
  assert_equal "$output" ''
  assert_contains 'No runs in the last day' "$stderr"
  command_ autopod-status --all --json
  assert_status 0
  assert_equal "$output" ''
  command_ autopod-status none
  assert_status 2
  assert_contains 'there is no run or job "none"' "$stderr"
}

@test "names that are none" {
  lay_run "a.$NOW.0001"
  command_ autopod-status ''
  assert_status 2
  command_ autopod-status ../../..
  assert_status 2
  command_ autopod-status '$(touch pwned)'
  assert_status 2
  command_ autopod-status -- $'-x\e[31m'
  assert_status 2
  refute_contains $'\e' "$stderr"
  command_ autopod-status a b
  assert_status 2
  command_ autopod-status --all a
  assert_status 2
  refute_exists pwned
}

@test "what a run has written down can't speak to the terminal, or break the table" {
  lay_run "now.$NOW.0001"
  carried
  local state=$'run\e[31mning\n\tx'
  progress "$state" 48 '{"title": "a\u001b]0;pwned\u0007\nb\u009bc\u001f", "percent": "\u001b[2J", "max": {}}'
  printf '{"id":"p\\u001b[1m\\u001f","provider":3}' >"$RUN/pod.json"
  lay_run "bad.$NOW.0002" '{"exit_code":"8\u001f","status":"failed","error":"\u001b[31m\nx","hint":7,"seconds":{"total":-1e300},"cost_usd":1e300}'
  command_ autopod-status
  assert_status 0
  assert_equal "${#lines[@]}" 3
  refute_contains $'\e'
  command_ autopod-status now
  assert_status 0
  refute_contains $'\e'
  refute_contains $'\xc2\x9b'
  command_ autopod-status bad
  assert_status 0
  refute_contains $'\e'
  assert_contains 'Error:  [31m x'
}

@test "20 of them; --all shows the others, and those of before" {
  local i
  for ((i = 1; i <= 25; i++)); do lay_run "$(printf 'job%02d.%s.%04x' "$i" "$NOW" "$i")" "$(result success 0)"; done
  lay_run old.20200101T000000Z.0001 "$(result success 0)"
  touch -t 202001010000 "$RUN"
  command_ autopod-status
  assert_equal "${#lines[@]}" 21
  assert_contains '5 more: autopod-status --all' "$stderr"
  refute_contains old
  command_ autopod-status --all
  assert_equal "${#lines[@]}" 27
  assert_contains old
}

@test "jq is started once, however many runs there are" {
  local i count=$BATS_TEST_TMPDIR/count
  for ((i = 1; i <= 30; i++)); do lay_run "$(printf 'job%02d.%s.%04x' "$i" "$NOW" "$i")" "$(result success 0)"; done
  stub jq <<SH
echo >>"$count"
exec $(command -v jq) "\$@"
SH
  command_ autopod-status --all
  assert_equal "${#lines[@]}" 31
  assert_equal "$(wc -l <"$count" | tr -d ' ')" 1 'calls of jq'
}

@test "a damaged pods.json, or no network, is nothing to it" {
  some_runs
  echo 'garbage' >"$AUTOPOD_HOME/pods.json"
  export RUNPOD_API_KEY=rpa_x AUTOPOD_PROVIDER=runpod
  stub curl <<<'echo "$@" >>"$TMPDIR/asked"'
  stub runpodctl <<<'echo "$@" >>"$TMPDIR/asked"'
  command_ autopod-status
  assert_status 0
  assert_equal "${#lines[@]}" 6
  refute_exists "$TMPDIR/asked"
}
