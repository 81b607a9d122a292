# shellcheck shell=bash
# record.sh - what pods.json says of a pod, beside what its provider says.

[ -z "${_AUTOPOD_RECORD_SH:-}" ] || return 0 # @guard
_AUTOPOD_RECORD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/state.sh"

# What pods.json adds to a provider's pod: whether it is ours, the price at which it was made, and its record.
_RECORD_JOIN='
  def number: if type == "number" then . else null end;
  def object: if type == "object" then . else {} end;
  # An amount as Bash can read it: never 1e-05.
  def usd: number | if . == null then null elif . < 0.0001 then 0.0001 else . end;
  def limits: {max_cost_usd: (.max_cost_usd | usd), minutes: (.minutes | number | if . then floor else . end),
    unlimited: (.unlimited == true)};
  ($known[0] | object) as $all | ($all.pods | object)[.id] as $written | ($all.intents | object) as $intents
  | ($written | object) as $record
  | ($intents[.name // ""] | object) as $intent | (if $written == null then $intent else $record end | .limits | object) as $limits
  | .ours = (($written != null) or ($intents[.name // ""] != null) or (.owner != null and .owner == $us))
  | .maker = $intent.maker
  | .cost_per_hr = ([$record.price, .cost_per_hr, $intent.list_price] | map(number // 0 | select(. > 0)) | first // 0)
  # Not every runpodctl tells these.
  | reduce ("volume", "data_center", "cloud", "image", "created_at") as $key (.; .[$key] //= ($record.pod | object)[$key])
  | .known = (if $written == null then null else
      {since: ($record.since | number), from: ($record.from | number), ran: ($record.ran | number), rested: ($record.rested | number),
       state: $record.state, waiting: ($record.waiting == true), state_at: ($record.state_at | number), ending: $record.ending,
       limits: ($limits | limits)} end)
  | if $written == null and $intent.at then .wished = {at: ($intent.at | number), limits: ($limits | limits)} else . end'

# What the variables get from that. The unit separator keeps empty fields apart, which blanks in IFS would not.
RECORD_FIELDS='[.id, .name, .provider, .status, (if .gpu_count > 1 then "\(.gpu_count) × \(.gpu)" else .gpu end),
  .cost_per_hr, .stopped_usd_per_month, .ssh.host, .ssh.port, .ssh.user, .ssh.key, (.comfy_port // 8188),
  (.known.since // (.created_at | fromdateiso8601?) // 0), .reason, .image, .data_center, .cloud, .volume.id, .volume.mount,
  (if .ours then 1 else "" end), (.known // .wished | .limits.max_cost_usd, .limits.minutes,
  (if .limits.unlimited then 1 else "" end)), (.known.from // .known.since // .wished.at // (.created_at | fromdateiso8601?) // 0 | floor),
  (if (.known // {waiting: (.wished != null)}).waiting then 1 else "" end), .known.ending,
  (.known.ran // 0), (.known.rested // 0), .known.state, (.known.state_at // .known.since), .maker]
  | map(. // "" | tostring | gsub("[\u0000-\u001f]"; " ")) | join("\u001f")'

# record_jq FILE FILTER [JQ_ARG...] - prints what FILTER makes of the array of pods in FILE, joined with pods.json (without
# it when that is damaged, which is told); EX_FAIL when the pods make no sense.
record_jq() {
  local file=$1 filter=$2 known=$AUTOPOD_HOME/pods.json
  shift 2
  [ -s "$known" ] || known=/dev/null
  state_installation || return
  set -- -n "$@" --arg us "$STATE_INSTALLATION" "[inputs | $_RECORD_JOIN] | $filter" "$file"
  if jq --slurpfile known "$known" "$@" 2>/dev/null; then return 0; fi
  state_read "$AUTOPOD_HOME/pods.json" . >/dev/null || known='' # told
  if [ -z "$known" ] && jq --slurpfile known /dev/null "$@" 2>/dev/null; then return 0; fi
  core_fail "$EX_FAIL" "the provider's answer makes no sense" "is its tool damaged? --debug shows what is called"
}

# record_all FILTER - prints what FILTER makes of pods.json; in it `fields` makes of a pod, joined with its record, what
# RECORD_FIELDS is, and nothing of one that makes no sense. It needs no room on a disk. 1 when pods.json is damaged.
record_all() {
  core_quietly state_installation || :
  jq -r -n --slurpfile known "$AUTOPOD_HOME/pods.json" --arg us "$STATE_INSTALLATION" \
    "def joined: $_RECORD_JOIN; def fields: try (joined | $RECORD_FIELDS) catch \"\"; \$known[] | $1" 2>/dev/null
}

# record_change ID FILTER [JQ_ARG...] - the record of a pod becomes what FILTER makes of it; one that isn't there stays so.
# EX_FAIL.
record_change() {
  local id=$1 filter=$2
  shift 2
  # Not by |=: what has a `?` in it comes to nothing there, and the record would be gone (seen on jq 1.6).
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$id" "$@" \
    "if .pods[\$id] then .pods[\$id] = (.pods[\$id] | $filter) else . end"
}

# The pod runs anew since then: nothing that was to be done to it before counts.
_RECORD_ANEW='.from = $at | del(.ending, .ending_by, .orphan_at)'

# record_state ID running|stopped EPOCH RAN RESTED [ANEW] - a pod runs, or stands still, since then; it did so for that many
# seconds before. With ANEW its time begins anew. EX_FAIL.
record_state() {
  record_change "$1" ". + {state: \$state, state_at: \$at, ran: \$ran, rested: \$rested}${6:+ | $_RECORD_ANEW}" \
    --arg state "$2" --argjson at "$3" --argjson ran "$4" --argjson rested "$5"
}

# record_anew ID EPOCH - a pod's time begins anew then. EX_FAIL.
record_anew() { record_change "$1" "$_RECORD_ANEW" --argjson at "$2"; }

# record_not_after ID EPOCH - no time of a pod is later than that: when it was written down, a clock was fast. EX_FAIL.
record_not_after() {
  record_change "$1" 'reduce ("since", "from", "state_at") as $key (.; if (.[$key] | type) == "number" and .[$key] > $at
    then .[$key] = $at else . end)' --argjson at "$2"
}

# record_limits MAX_COST MINUTES UNLIMITED - prints limits as they stand in a record; any may be empty.
record_limits() {
  jq -n -c --arg cost "$1" --arg minutes "$2" --arg unlimited "$3" '
    {max_cost_usd: ($cost | tonumber? // null), minutes: ($minutes | tonumber? // null)}
      + if $unlimited != "" then {unlimited: true} else {} end'
}

# record_find REF PROVIDER - prints ID and provider (\x1f between them) of the one pod there whose id or name begins with REF,
# of that provider unless it is empty; nothing when there are none or several. EX_FAIL.
record_find() {
  state_read "$AUTOPOD_HOME/pods.json" -r --arg ref "$1" --arg provider "$2" '
    .pods // {} | to_entries
    | map(select((.key | startswith($ref)) or (.value.pod.name // "" | startswith($ref)))
        | select($provider == "" or .value.provider == $provider))
    | if length == 1 then "\(.[0].key)\u001f\(.[0].value.provider)" else empty end'
}

# record_choose FILE REF FREE - prints the fields of each of the pods in FILE that are meant by REF, see pod_find; FREE is `free`
# or empty. EX_FAIL.
record_choose() {
  record_jq "$1" ". as \$all
    | (\$free == \"\" and all(\$all[]; (.ours and (.status == \"running\" or .status == \"creating\")) | not)) as \$any
    | \$all[] | select(
    if \$ref == \"\" then .ours and (.status == \"running\" or .status == \"creating\" or \$any) and (\$free == \"\" or .known.ending == null)
    elif any(\$all[]; .id == \$ref) then .id == \$ref
    else (.id | startswith(\$ref)) or (.name // \"\" | startswith(\$ref)) end) | $RECORD_FIELDS" -r --arg ref "$2" --arg free "$3"
}

# record_is_taken FIELDS - 0 when another run has made that pod for itself, or is about to write it down.
record_is_taken() {
  local maker=${1##*$'\x1f'}
  state_lock_is_foreign "pod-${1%%$'\x1f'*}" ||
    { [ -n "$maker" ] && [ "${maker%%-*}" != "$$" ] && os_same_process "${maker%%-*}" "${maker#*-}"; }
}
