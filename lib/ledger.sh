# shellcheck shell=bash
# ledger.sh - the bill of each pod: what its time was used for while it is there (bills/POD, a line a span), and one line
# in ledger.jsonl once it is gone. All of it is on this machine; nobody is asked.

[ -z "${_AUTOPOD_LEDGER_SH:-}" ] || return 0 # @guard
_AUTOPOD_LEDGER_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/budget.sh"

LEDGER_TODAY=0 LEDGER_PENDING=0 # dollars, see ledger_today
LEDGER_UNTIL=0                  # epoch, see ledger_stopped

# ledger_span KIND FROM TO - the loaded pod, if it is ours, was used for KIND between these times (milliseconds since 1970):
# boot, tunnel, transfer, queue or compute by a run; running, when it was stopped after that; ready: it was, then. One
# short write, since each job of a batch has some of them.
ledger_span() {
  [ -n "$POD_ID" ] && [ -n "$POD_OURS" ] || return 0
  [ -d "$AUTOPOD_HOME/bills" ] || mkdir -p -- "$AUTOPOD_HOME/bills" 2>/dev/null || :
  { printf '%s\t%s\t%s\t%s\n' "$POD_ID" "$@" >>"$AUTOPOD_HOME/bills/$POD_ID"; } 2>/dev/null || : # it tells less then
}

# ledger_ready [OPENED_AT] - the loaded pod is ready, which runs since POD_FROM: until OPENED_AT, when its tunnel was begun
# (milliseconds since 1970; empty: it has none), it booted.
ledger_ready() {
  local opened=${1:-}
  os_now_ms
  [ -n "$opened" ] && [ "$opened" -ge "${POD_FROM}000" ] || opened=$OS_MS
  ledger_span boot "${POD_FROM}000" "$opened"
  [ "$opened" = "$OS_MS" ] || ledger_span tunnel "$opened" "$OS_MS"
  ledger_span ready "$OS_MS" "$OS_MS"
}

# ledger_close [ID [UNTIL]] - the pod (default: the loaded one), whose record is about to go, is over: appends its line to
# the ledger, once. It ran until UNTIL (epoch; default: now) at most. That this fails is told, and is no reason to
# keep a pod.
ledger_close() {
  local id=${1:-$POD_ID} line=''
  os_now
  line=$(_ledger_lines "$id" "${2:-$OS_NOW}" "${2:-$OS_NOW}") || :
  [ -n "$line" ] || return 0
  _ledger_append "$line" || ui_warn "what pod $id has cost could not be written to $AUTOPOD_HOME/ledger.jsonl"
  rm -f -- "$AUTOPOD_HOME/bills/$id"
}

# ledger_lost ID - as ledger_close, for a pod whose end nobody saw.
ledger_lost() {
  _ledger_latest "$1"
  ledger_close "$1" "$LEDGER_UNTIL"
}

# ledger_stopped SINCE [now] - the loaded pod, which runs since then (epoch) by its record, stands still: sets LEDGER_UNTIL to
# when it was stopped, at the latest. `now`: it was just stopped by our order.
ledger_stopped() {
  os_now
  LEDGER_UNTIL=$OS_NOW
  [ -n "${2:-}" ] || _ledger_latest "$POD_ID"
  [ "$LEDGER_UNTIL" -ge "$1" ] || LEDGER_UNTIL=$1
  ledger_span running "${1}000" "${LEDGER_UNTIL}000"
}

# _ledger_latest ID - sets LEDGER_UNTIL to now, or to when the guard on that pod had stopped it by its limits, if that is
# over: while this machine slept, nobody saw it. Only where that guard was alive with these limits when it was heard
# last: a bill is never told smaller than it may be.
_ledger_latest() {
  local id from rate spent _cost limit minutes said
  local BUDGET_DEADLINE BUDGET_CODE BUDGET_WARN_AT BUDGET_CANCEL_AT BUDGET_BILL BUDGET_MICRO # a caller may be at it
  os_now
  LEDGER_UNTIL=$OS_NOW
  core_tmpdir && _ledger_lines "$1" "$OS_NOW" null >"$CORE_TMP/ledger.live" && core_quietly _ledger_limits || return 0
  while IFS=$'\x1f' read -r id from rate spent _cost limit minutes _; do
    [ "$id" = "$1" ] || continue
    budget_deadline "$from" "$rate" "$spent" "$limit" "$minutes"
    [ -n "$BUDGET_DEADLINE" ] || continue
    said=$(grep -F -e "$SSH_GUARD" "$AUTOPOD_HOME/logs/tunnel-$1.log" 2>/dev/null | tail -n 1) || continue
    [ "$said" = "${SSH_GUARD}alive $BUDGET_DEADLINE" ] || continue
    from=$((BUDGET_DEADLINE + AUTOPOD_GUARD_POLL + BUDGET_STOP_SECONDS))
    [ "$from" -gt "$LEDGER_UNTIL" ] || LEDGER_UNTIL=$from
  done <"$CORE_TMP/ledger.limits"
}

# _ledger_append LINE - one write under a lock. Behind half a line, as a full disk leaves one, it stands on one of its own.
_ledger_append() {
  local file=$AUTOPOD_HOME/ledger.jsonl status=0 start=''
  state_lock ledger || return
  [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || start=$'\n'
  { printf '%s%s\n' "$start" "$1" >>"$file"; } 2>/dev/null || status=1
  state_unlock ledger
  return "$status"
}

# ledger_live - prints the line of each pod that is there, as if it ended now; its `ended` is null. EX_FAIL when pods.json
# is damaged.
ledger_live() {
  os_now
  _ledger_lines '' "$OS_NOW" null || state_read "$AUTOPOD_HOME/pods.json" . >/dev/null
}

# _ledger_lines ID NOW ENDED - prints the line of the pod ID, or (empty) of all of them, as it is NOW; 1 when pods.json is
# damaged.
_ledger_lines() {
  local bills
  [ -s "$AUTOPOD_HOME/pods.json" ] || return 0
  bills=("$AUTOPOD_HOME/bills/$1")
  [ -n "$1" ] || bills=("$AUTOPOD_HOME"/bills/*)
  [ -f "${bills[0]}" ] || bills=(/dev/null)
  jq -R -n -c --slurpfile known "$AUTOPOD_HOME/pods.json" --arg only "$1" --argjson now "$2" --argjson ended "$3" "$_LEDGER_JQ"'
    spans as $spans | $known[0] | object | .pods | object | to_entries[] | select($only == "" or .key == $only)
    | .key as $id | .value | object | entry($id; $spans[$id] // []; $now; $ended)' "${bills[@]}" 2>/dev/null
}

# ledger_today - sets LEDGER_TODAY to what the pods of this installation have cost since midnight, and LEDGER_PENDING to
# what those that run, or are being made, may still cost by their limits, in dollars. EX_FAIL when pods.json is damaged.
ledger_today() {
  local live
  core_tmpdir && os_midnight || return
  live=$CORE_TMP/ledger.live
  ledger_live >"$live" && _ledger_limits || return
  [ ! -s "$AUTOPOD_HOME/ledger.jsonl" ] || set -- "$AUTOPOD_HOME/ledger.jsonl"
  LEDGER_TODAY=$(jq -R -n -r --argjson from "$OS_MIDNIGHT" "$_LEDGER_JQ"'
    [inputs | fromjson? | objects] | map({(.pod | tostring): .}) | add // {} | [.[] | since($from)] | add // 0 | up' \
    "$@" "$live") || core_fail "$EX_FAIL" "jq could not add up $AUTOPOD_HOME/ledger.jsonl" || return
  budget_total "$LEDGER_TODAY"
  LEDGER_TODAY=$BUDGET_COST
  _ledger_pending
}

# _ledger_limits - a line in ledger.limits for each pod of the lines in ledger.live, and for each that is wished for: its
# limits. EX_FAIL.
_ledger_limits() {
  state_read "$AUTOPOD_HOME/pods.json" -r --slurpfile live "$CORE_TMP/ledger.live" --arg minutes "$AUTOPOD_MAX_LIFETIME" \
    "$_LEDGER_JQ$_LEDGER_LIMITS" >"$CORE_TMP/ledger.limits"
}

# _ledger_pending - sets LEDGER_PENDING. A pod that stands still costs nothing to speak of; of one without a price or a
# limit nobody can say what it may cost, which is told.
_ledger_pending() {
  local id from rate spent cost limit minutes pending=0 open=''
  while IFS=$'\x1f' read -r id from rate spent cost limit minutes _; do
    budget_deadline "$from" "$rate" "$spent" "$limit" "$minutes"
    if [ -n "$BUDGET_BILL" ]; then
      budget_micro "$BUDGET_BILL"
      from=$BUDGET_MICRO
      budget_micro "$cost" && [ "$from" -gt "$BUDGET_MICRO" ] || BUDGET_MICRO=$from
      pending=$((pending + from - BUDGET_MICRO))
    elif [ "$rate" != free ]; then
      open="$open $id"
    fi
  done <"$CORE_TMP/ledger.limits"
  budget_cost 0 0 "$pending"
  LEDGER_PENDING=$BUDGET_COST
  [ -z "$open" ] || ui_warn "nobody can say what these may still cost, for want of a price or a limit:$open"
}

# What ledger.limits says of each pod that runs or is wished for: id, since when, price, cost before and up to now, limits.
_LEDGER_LIMITS='
  def limits: (.limits | object) as $limits
    | [($limits.max_cost_usd | number // ""), (if $limits.unlimited == true then "" else $limits.minutes | number // $minutes | tonumber | floor end)];
  ($live | map({(.pod): .}) | add // {}) as $lines
  | (.pods | object | to_entries[] | .key as $id | .value | object | select(.state != "stopped") | $lines[$id] as $line | select($line)
      | ((.from | number) // (.since | number) // 0) as $from
      | ([(.ran | number // 0) + $from - (.state_at | number // $from), 0] | max) as $ran
      | [$id, $from, (if $line.usd_per_hour == 0 then "free" else $line.usd_per_hour // "" end),
         ($ran * ($line.usd_per_hour // 0) / 3600 + $line.usd.disk | up), $line.cost_usd] + limits),
    (.intents | object | to_entries[] | .key as $name | .value | object
      | [$name, (.at | number // 0), (.list_price | number // (if .provider == "local" then "free" else "" end)), 0, 0] + limits)
  | map(tostring) | join("\u001f")'

# A pod's line, made of its record and its spans. Where several things went on at the same time, the first one of `order`
# counts, so that the parts add up to the time that it ran. What nobody used it for is idle; tail: after the last run.
_LEDGER_JQ='
  def number: if type == "number" then . else null end;
  def object: if type == "object" then . else {} end;
  def money: . * 10000 | round / 10000;
  # As budget.sh does: a bill is never told smaller than it is.
  def up: . * 10000 - 0.000001 | ceil / 10000 + 0;
  def order: ["compute", "transfer", "queue", "tunnel", "boot", "tail"];
  def spans: reduce (inputs | split("\t") | select(length == 4 and (.[2:] | all(test("^[0-9]{1,15}$"))))) as [$pod, $kind, $from, $to]
    ({}; .[$pod] += [{kind: $kind, from: ($from | tonumber), to: ($to | tonumber)} | select(.from <= .to)]);
  def sweep: [.[] | {at: .from, kind, step: 1}, {at: .to, kind, step: -1}] | sort_by(.at)
    | reduce .[] as $edge ({at: 0, open: {}, sums: {}}; .open as $open
        | (if ($open.running // 0) > 0 then first(order[] | select(($open[.] // 0) > 0)) // "idle" else "none" end) as $kind
        | .sums[$kind] += ($edge.at - .at) / 1000 | .at = $edge.at | .open[$edge.kind] += $edge.step)
    | .sums;
  def running($spans; $since; $until): (.ran | number // 0) as $ran
    | [$spans[] | select(.kind == "running") | [.from / 1000, .to / 1000]] as $noted
    | (if ($noted | map(.[1] - .[0]) | add // 0) == $ran then $noted else [[$since, $since + $ran]] end)
      + (if .state == "stopped" then [] else [[(.state_at | number // $since), $until]] end);
  def entry($id; $spans; $now; $ended): (.pod | object) as $pod | (.since | number // $now) as $since
    | ([$now, $since, (.state_at | number // 0)] | max) as $until
    | ([.price | number // 0, 0] | max) as $rate | ($pod.stopped_usd_per_month | number // 0) as $monthly
    | running($spans; $since; $until) as $running | ($running | map(.[1] - .[0]) | add // 0) as $ran
    | ((.rested | number // 0) + (if .state == "stopped" then $until - (.state_at | number // $since) else 0 end)) as $rested
    | [$spans[] | select(.kind == "compute" or .kind == "transfer" or .kind == "queue")] as $used
    | (.waiting != true or $used != [] or any($spans[]; .kind == "ready")) as $ready
    | ([$spans[] | select(.kind as $kind | order | index($kind))] + [$running[] | {kind: "running", from: (.[0] * 1000), to: (.[1] * 1000)}]
        + (if $ready then [] else [{kind: "boot", from: ($since * 1000), to: ($until * 1000)}] end)
        + (if $used == [] then [] else [{kind: "tail", from: ($used | map(.to) | max), to: ($until * 1000)} | select(.from < .to)] end)
      | sweep) as $sums
    | ({boot: 0, tunnel: 0, transfer: 0, queue: 0, compute: 0, idle: 0, tail: 0}
        | with_entries(.value = ($sums[.key] // 0 | . * 1000 | round / 1000))) as $seconds
    | ($monthly * $rested / 2592000 | money) as $disk
    # As a second more, since both ends were cut to the second.
    | ($rate * ($ran + 1) / 3600 + $monthly * $rested / 2592000 | up) as $cost
    | ($seconds | map_values(. * $rate / 3600 | money) | .disk = $disk) as $usd
    | ($seconds | to_entries | max_by(.value).key) as $most
    | {pod: $id, name: $pod.name, provider, gpu: $pod.gpu, gpu_count: ($pod.gpu_count // 1),
       usd_per_hour: (if $rate > 0 or .provider == "local" then $rate else null end), since: $since, ended: $ended,
       seconds_run: $ran, seconds_stopped: $rested, cost_usd: $cost, ready: $ready, seconds: $seconds,
       usd: ($usd | .[$most] = (.[$most] + $cost - ($usd | add) | money)), running: $running};
  # What of the cost in a line is from the time since then.
  def since($from): . as $line | if .since >= $from then .cost_usd else
      (.running | map(.[1] - ([.[0], $from] | max) | select(. > 0)) | add // 0) as $ran
      | ($line.usd.disk * (if .seconds_stopped > 0 then [((.ended // now) - $from - $ran) / .seconds_stopped, 0] | max else 0 end)) as $disk
      | [$ran * ($line.usd_per_hour // 0) / 3600 + $disk, .cost_usd] | min end;'
