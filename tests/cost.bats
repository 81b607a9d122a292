#!/usr/bin/env bats
# helpers/cost.py: tables and sums from the ledger, the pods that are there, the runs, and a provider's bill.

load test_helper

setup() {
  autopod_setup
  export TZ=UTC
  mkdir runs
  : >live
  NOW=$(date +%s)
  MIDNIGHT=$((NOW - NOW % 86400))
}

# day N - prints the date of N days ago
day() { jq -nr --argjson at $((MIDNIGHT - $1 * 86400)) '$at | todate[:10]'; }

# cost ARG... - runs the helper
cost() {
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/cost.py" --ledger=ledger.jsonl --live=live --runs=runs "$@"
}

# pod ID FROM TO [JSON] - prints a line: it ran from FROM to TO (epochs) for $36/h, a quarter each of boot, compute, idle, tail
pod() {
  jq -nc --arg id "$1" --argjson from "$2" --argjson to "$3" --argjson more "${4:-"{}"}" '($to - $from) as $ran | ($ran / 4) as $part
    | {boot: $part, tunnel: 0, transfer: 0, queue: 0, compute: $part, idle: $part, tail: $part} as $seconds
    | {pod: $id, name: $id, provider: "runpod", gpu: "A40", gpu_count: 1, usd_per_hour: 36, since: $from, ended: $to,
       seconds_run: $ran, seconds_stopped: 0, cost_usd: ($ran / 100), ready: true, seconds: $seconds,
       usd: (($seconds | map_values(. / 100)) + {disk: 0}), running: [[$from, $to]]} * $more'
}

# run_of NAME JSON - a result in runs/, ended just now
run_of() {
  mkdir "runs/$1"
  jq -nc --arg at "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --argjson more "$2" '{job_id: "sunset", template: "txt2img", exit_code: 0,
    cost_usd: 1, seconds: {total: 99}, finished_at: $at,
    bill: {seconds: {boot: 10, tunnel: 0, transfer: 0, queue: 0, compute: 30, idle: 0, tail: null}, usd: {}}} * $more' >"runs/$1/result.json"
}

@test "pods: a line each, the newest first, and what it comes to" {
  pod one $((NOW - 3000)) $((NOW - 2000)) '{"gpu_count": 2}' >ledger.jsonl
  pod failed $((NOW - 4000)) $((NOW - 3900)) '{"ready": false, "seconds": {"boot": 100, "compute": 0, "idle": 0, "tail": 0},
    "usd": {"boot": 1, "compute": 0, "idle": 0, "tail": 0}}' >>ledger.jsonl
  pod here $((NOW - 400)) "$NOW" '{"ended": null}' >live
  cost --since=24h
  assert_status 0
  assert_equal "$stderr" ''
  assert_equal "$(sed -E 's/ [0-9-]{5} [0-9:]{5}/ when/; s/since .*: /since when: /; s/  +/ /g' <<<"$output")" 'POD GPU BEGAN RAN BUSY IDLE COST
here A40 when 6m 40s+ 25 % $2.00 $4.00
one 2 x A40 when 16m 40s 25 % $5.00 $10.00
failed A40 when 1m 40s fail $0.00 $1.00

$15.00 since when: 3 pods, which ran for 25m 00s.
The GPU was busy for 23 % of it; idle cost $7.00, boots $3.50.
Lost to 1 pod that never got ready: $1.00.
1 of them still there (+): counted up to now.'
  cost --since=24h --json
  assert_equal "$(jq -c '.total' <<<"$output")" '{"pods":3,"seconds_run":1500,"compute_seconds":350,"gpu_busy":0.2333,"idle_usd":7,"cost_usd":15,"boot_usd":3.5,"disk_usd":0,"failed_boots":1,"failed_boots_usd":1,"live_pods":1,"unknown_prices":0}'
  assert_equal "$(jq -r '.rows[] | "\(.pod) \(.ready) \(.ended == null) \(.seconds | add) \(.usd | add) \(.cost_usd)"' <<<"$output")" 'here true true 400 4 4
one true false 1000 10 10
failed false false 100 1 1'
}

@test "of a pod from before only what was since then counts; --whole counts all of it" {
  pod one $((NOW - 7200)) $((NOW - 1800)) >ledger.jsonl
  pod old $((NOW - 9000)) $((NOW - 8000)) >>ledger.jsonl
  cost --since=1h --json
  assert_equal "$(jq -r '[.rows[] | .pod, (.seconds_run / 10 | round), (.seconds.compute / 10 | round), (.cost_usd * 10 | round)] | join(" ")' <<<"$output")" 'one 180 45 180'
  cost --since=1h --json --whole
  assert_equal "$(jq -r '.rows[] | "\(.pod) \(.seconds_run) \(.cost_usd)"' <<<"$output")" 'one 5400 54'
  cost --since=all --json
  assert_equal "$(jq -r '[.rows[].pod] | join(" ")' <<<"$output")" 'one old'
}

@test "a pod that was stopped for a while: what of its disk and of its run was since then" {
  pod one $((NOW - 10000)) "$NOW" '{"seconds_run": 2000, "seconds_stopped": 8000, "cost_usd": 28, "usd": {"disk": 8}}' |
    jq -c '.running = [[.since, .since + 1000], [.ended - 1000, .ended]]' >ledger.jsonl
  cost --since=1h --json
  assert_equal "$(jq -r '.rows[0] | "\(.seconds_run) \(.seconds_stopped / 10 | round) \(.usd.disk * 10 | round) \(.cost_usd * 10 | round)"' <<<"$output")" \
    '1000 260 26 126'
}

@test "days: a pod over midnight is split, also over several" {
  pod one $((MIDNIGHT - 90000)) $((MIDNIGHT + 1)) '{"cost_usd": 900.01}' >ledger.jsonl
  cost --since=7d --by=day --json
  assert_equal "$(jq -r '.rows[] | "\(.day) \(.pods) \(.seconds_run) \(.cost_usd * 100 | round)"' <<<"$output")" \
    "$(day 0) 1 1 1
$(day 1) 1 86400 86400
$(day 2) 1 3600 3600"
  cost --since=7d --by=day
  assert_matches '^DAY +PODS +RAN +BUSY +IDLE +COST' "$output"
}

@test "jobs and templates, the dearest first; runs of other versions say what they can" {
  run_of a.1 '{"cost_usd": 1.5}'
  run_of a.2 '{"cost_usd": 1.5, "exit_code": 8}'
  run_of b.1 '{"job_id": "other", "template": "upscale", "cost_usd": 2}'
  run_of old.1 '{"job_id": "old", "cost_usd": 0.5, "server_seconds": 33, "bill": null, "template": null}'
  run_of ancient.1 '{"job_id": "ancient", "finished_at": "2020-01-01T00:00:00Z"}'
  mkdir runs/damaged runs/.new.5
  printf '{"job' >runs/damaged/result.json
  : >ledger.jsonl
  cost --since=1h --by=job --json
  assert_equal "$(jq -r '.rows[] | "\(.job) \(.runs) \(.done) \(.seconds) \(.gpu_busy) \(.cost_usd)"' <<<"$output")" 'sunset 2 1 80 0.75 3
other 1 1 40 0.75 2
old 1 1 99 0.3333 0.5'
  cost --since=1h --by=template
  assert_equal "$(head -n 4 <<<"$output" | sed 's/  */ /g')" 'TEMPLATE RUNS DONE TOOK BUSY COST
txt2img 2 1 1m 20s 75 % $3.00
upscale 1 1 40s 75 % $2.00
? 1 1 1m 39s 33 % $0.50'
  cost --since=all --by=job --json
  assert_contains ancient "$output"
}

@test "what can't be read is counted and left out; the last line of a pod counts; unknown prices are told" {
  {
    pod one $((NOW - 3000)) $((NOW - 2000)) '{"cost_usd": 99}'
    printf 'half a li\n[1]\n{"pod":7}\n\n\377\376\n'
    pod one $((NOW - 3000)) $((NOW - 2000))
    pod dark $((NOW - 3000)) $((NOW - 2000)) '{"usd_per_hour": null, "cost_usd": 0}'
  } >ledger.jsonl
  cost --since=24h
  assert_status 0
  assert_contains '$10.00 since' "$output"
  assert_contains '1 of unknown price: not in the sum.' "$output"
  assert_contains "4 lines of the ledger can't be read: not in the sum." "$output"
  assert_matches 'dark .* unknown'
}

@test "names from elsewhere can't drive a terminal, and no number is nonsense" {
  pod one $((NOW - 30)) $((NOW - 20)) '{"pod": "e\u001b[31mvil", "gpu": "A\n40", "cost_usd": 1e400, "seconds": {"compute": -5}}' 2>/dev/null |
    sed 's/1.7976931348623157e+308/1e999/' >ledger.jsonl
  cost --since=24h
  assert_status 0
  refute_contains $'\033' "$output"
  assert_equal "$(grep -c '' <<<"$output")" 5
  cost --since=24h --json
  jq . <<<"$output" >/dev/null
}

@test "nothing at all" {
  cost --since=7d
  assert_status 0
  assert_contains '$0.00 since' "$output"
  rmdir runs
  cost --since=all --by=job
  assert_status 0
  assert_contains '$0.00 in all: 0 pods' "$output"
}

@test "--since is a time, or exit 2 and one line" {
  local wrong
  for wrong in x 7 7m -1d 2026-13-01 2026-1-1x '' '24h '; do
    cost --since="$wrong"
    assert_status 2
    assert_equal "$output" ''
    assert_matches '^--since is ".*", but must be like 24h, 7d, 4w, 2026-01-31, or all$' "$stderr"
  done
}

@test "beside the bill: each pod as a whole, what is not on it, and what was not made here" {
  pod one $((NOW - 7200)) $((NOW - 1800)) >ledger.jsonl
  pod two $((NOW - 1000)) $((NOW - 900)) >>ledger.jsonl
  pod mine $((NOW - 1000)) $((NOW - 900)) '{"provider": "local"}' >>ledger.jsonl
  printf '{"pod":"one","usd":50}\n{"pod":"one","usd":5.5}\n{"pod":"else","usd":7}\n' >bill
  cost --since=1h --billing=bill --providers='runpod'
  assert_status 0
  assert_equal "$(sed -E 's/ [0-9-]{5} [0-9:]{5}/ when/; s/  +/ /g' <<<"$output")" 'POD BEGAN RAN OURS BILLED MORE
two when 1m 40s $1.00 - -
one when 1h 30m $54.00 $55.50 +1.50

Of those on the bill ours is $54.00, billed were $55.50 (+1.50).
-: not on the bill; a provider may take an hour or more to write it.
Also on the bill, and not made here: 1 pod, $7.00.'
  cost --since=1h --billing=bill --providers=runpod --json
  assert_equal "$(jq -r '.rows[] | "\(.pod) \(.cost_usd) \(.billed_usd) \(.more_usd)"' <<<"$output")" 'two 1 null null
one 54 55.5 1.5'
  assert_equal "$(jq -c .others <<<"$output")" '[{"pod":"else","billed_usd":7}]'
}
