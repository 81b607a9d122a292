# shellcheck shell=bash
# rent.sh - a pod for a wish: which GPUs, data centers and clouds come into question, in which order and at
# what price; then one after another, until one is ready.

[ -z "${_AUTOPOD_RENT_SH:-}" ] || return 0 # @guard
_AUTOPOD_RENT_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/ledger.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"
. "$AUTOPOD_LIB/cap.sh"
. "$AUTOPOD_LIB/tunnel.sh"

RENT_BOOTS=3               # how many pods that do not become ready are paid for before we give up
_RENT_LINES=()             # the candidates, in the order to try
_RENT_GPU='' _RENT_NAME='' # the candidate at hand: the provider's id of the GPU, and its name for people
_RENT_PLACE='' _RENT_CLOUD='' _RENT_PRICE='' _RENT_LABEL=''
_RENT_AGREED=0 # the price, in micro-dollars, that was agreed to
_RENT_TRIED='' # what was tried in vain, for people
_RENT_POD=''   # the pod that was made, in words
RENT_NOTE=''   # what shall be said about the pod beside its price

# rent_wish JSON - prints the wish (the keys of pod_config), what it leaves open filled in from the settings.
rent_wish() {
  local gpu=$AUTOPOD_GPU
  [ "$AUTOPOD_PROVIDER" != local ] || gpu='' # it goes by any name that is said, else by its own
  jq -c --arg gpu "$gpu" --arg cloud "$AUTOPOD_CLOUD" --arg datacenter "$AUTOPOD_DATACENTER" \
    --arg volume "$AUTOPOD_VOLUME_ID" --arg mount "$AUTOPOD_VOLUME_MOUNT" --arg image "$AUTOPOD_IMAGE" \
    --arg template "$AUTOPOD_TEMPLATE" --argjson disk "$AUTOPOD_DISK_GB" --arg max "$AUTOPOD_MAX_PRICE" '
    with_entries(select(.value != null and .value != "")) as $said
    | {gpu_type: $gpu, gpu_count: 1, cloud: $cloud, datacenter: $datacenter, volume_id: $volume, volume_mount: $mount,
       image: $image, template: (if $said.image then "" else $template end), disk_gb: $disk,
       max_price_usd_per_hour: ($max | tonumber? // null)} + $said
    | with_entries(select(.value != null and .value != ""))' <<<"$1"
}

# rent_plan PROVIDER WISH - works out the candidates, by asking what there is now; makes nothing. EX_USAGE, EX_POD,
# EX_MISSING, EX_TUNNEL.
rent_plan() {
  local line plan=$CORE_TMP/candidates
  core_tmpdir && pod_provider "$1" && "provider_$1_check" || return
  printf '%s\n' "$2" >"$CORE_TMP/wish.json"
  core_quietly "provider_$1_gpus" >"$CORE_TMP/gpus" || {
    # Names can be resolved without it; a key that is not accepted can't be helped.
    [ "$CORE_ERROR_CODE" != "$EX_MISSING" ] || core_fail "$EX_MISSING" "$CORE_ERROR" "$CORE_HINT" || return
    ui_detail "$CORE_ERROR" # that neither stock nor prices are known is told below
    : >"$CORE_TMP/gpus"
  }
  : >"$CORE_TMP/volumes"
  case $2 in *'"volume_id"'*) "provider_$1_volumes" >"$CORE_TMP/volumes" || return ;; esac
  helper_run candidates --wish "$CORE_TMP/wish.json" --gpus "$CORE_TMP/gpus" --volumes "$CORE_TMP/volumes" >"$plan" || return
  _RENT_LINES=()
  while IFS= read -r line; do
    case $line in
      warning$'\t'*) ui_warn "${line#*$'\t'}" ;;
      *) _RENT_LINES[${#_RENT_LINES[@]}]=${line#*$'\t'} ;;
    esac
  done <"$plan"
}

# rent_show [JSON] - prints the candidates of rent_plan: a table, or with JSON set one array.
rent_show() {
  local line row='%-3s %-26s %-12s %-10s %-10s %s\n' number=0
  if [ -n "${1:-}" ]; then
    printf '%s\n' "${_RENT_LINES[@]}" | jq -R -n -c '[inputs | split("\t") | map(if . == "" then null else . end)
      | {gpu_id: .[0], gpu: .[1], data_center: .[2], cloud: .[3], cost_per_hr: (.[4] | tonumber? // null), stock: .[5],
         memory_gb: (.[6] | tonumber? // null)}]'
    return
  fi
  # shellcheck disable=SC2059 # the format is ours
  printf "$row" '' GPU 'DATA CENTER' CLOUD PRICE STOCK
  for line in "${_RENT_LINES[@]}"; do
    number=$((number + 1))
    _rent_take "$line"
    # shellcheck disable=SC2059
    printf "$row" "$number" "$_RENT_NAME" "${_RENT_PLACE:-any}" "$_RENT_CLOUD" "${_RENT_PRICE:+\$$_RENT_PRICE/h}" \
      "${_RENT_STOCK:-unknown}"
  done
}

# rent_pod PROVIDER WISH PURPOSE LIMITS READY - makes the first pod of the plan that can be had and becomes ready, which
# the function READY waits for; it is loaded then. EX_POD, EX_USAGE, EX_MISSING, EX_TUNNEL, EX_COST, EX_POD_LEFT.
rent_pod() {
  local line status boots=0 todo='name other GPUs (--gpu, gpu_type) or data centers, or try later; autopod-gpus shows the stock'
  _RENT_TRIED='' _RENT_AGREED=0
  cap_daily "$1" '' && rent_plan "$1" "$2" && _rent_can_pay "$1" "$4" || return
  for line in "${_RENT_LINES[@]}"; do
    [ "$boots" = 0 ] || ui_step Pod
    _rent_take "$line"
    _rent_agree "$_RENT_PRICE" || return
    _rent_ask "$@" || {
      status=$?
      [ "$status:$PROVIDER_WHY" != "$EX_POD:capacity" ] || continue
      return "$status"
    }
    _rent_check_price "$2" && _rent_check_known || return
    _rent_tell
    ui_change "$_RENT_POD"
    [ "$POD_PRICE" != 'price unknown' ] || ui_warn "nobody says what this pod costs: no cost limit can hold"
    status=0
    core_quietly "$5" || status=$?
    [ "$status" != 0 ] || {
      ledger_ready "$TUNNEL_OPENED_AT"
      os_now
      ui_duration $((OS_NOW - POD_SINCE))
      ui_done "$_RENT_POD" "ready in $UI_TIME"
      return 0
    }
    _rent_give_back "$status" || return
    boots=$((boots + 1)) todo="allow more time (AUTOPOD_BOOT_TIMEOUT is $AUTOPOD_BOOT_TIMEOUT s), or name other GPUs or data centers"
    [ "$boots" -lt "$RENT_BOOTS" ] || break
  done
  core_fail "$EX_POD" "no pod could be had: $_RENT_TRIED" "$todo"
}

# _rent_tell - sets _RENT_POD to the pod that was made, in words.
_rent_tell() {
  pod_price
  _RENT_POD="$POD_ID, $POD_GPU, $POD_PRICE${POD_DATA_CENTER:+, $POD_DATA_CENTER}${RENT_NOTE:+, $RENT_NOTE}"
}

# _rent_make PROVIDER WISH PURPOSE LIMITS - makes the candidate at hand, with what AUTOPOD_MAX_DAILY_COST leaves it. Nobody
# else works that out at the same time: until its limits are on disk they could not be taken into account.
_rent_make() {
  local limits=$4
  PROVIDER_WHY=''
  if [ -n "$AUTOPOD_MAX_DAILY_COST" ]; then
    cap_daily "$1" "$(jq -r '.max_cost_usd // empty' <<<"$4")" &&
      limits=$(jq -c --arg cost "$CAP_COST" '.max_cost_usd = ($cost | tonumber? // null)' <<<"$4") || return
  fi
  wish_make "$1" "$(_rent_spec "$2")" "$3" "$limits"
}

# _rent_ask PROVIDER WISH PURPOSE LIMITS - asks for the candidate at hand; once more when something failed there and no
# pod was certainly made by it. EX_POD (with PROVIDER_WHY, and quietly, for lack of capacity), EX_MISSING, EX_COST,
# EX_POD_LEFT.
_rent_ask() {
  local try status
  ui_progress "asking for $_RENT_LABEL"
  for try in 1 2; do
    status=0
    core_quietly cap_locked _rent_make "$@" || status=$?
    [ "$status:$PROVIDER_WHY:$try" = "$EX_POD:ambiguous:1" ] || break
    ui_note "No pod was made ($CORE_ERROR): asking once more."
  done
  case $status:$PROVIDER_WHY in
    0:*) ;;
    "$EX_POD":capacity)
      ui_note "No pod with $_RENT_LABEL: $CORE_ERROR"
      _RENT_TRIED="$_RENT_TRIED${_RENT_TRIED:+; }$_RENT_LABEL"
      return "$status"
      ;;
    *:ambiguous) core_fail "$status" "$CORE_ERROR" "$CORE_HINT; autopod-sweep finds a pod that came up late" ;;
    *) core_fail "$status" "$CORE_ERROR" "$CORE_HINT" ;;
  esac
}

# _rent_take LINE - a candidate of the plan becomes the _RENT_* variables.
_rent_take() {
  IFS=$'\x1f' read -r _RENT_GPU _RENT_NAME _RENT_PLACE _RENT_CLOUD _RENT_PRICE _RENT_STOCK _ <<<"${1//$'\t'/$'\x1f'}"
  _RENT_LABEL="$_RENT_NAME${_RENT_PLACE:+ in $_RENT_PLACE}"
  [ "$_RENT_CLOUD" != community ] || _RENT_LABEL="$_RENT_LABEL, community cloud"
}

# _rent_spec WISH - prints what the provider gets for the candidate at hand.
_rent_spec() {
  jq -c --arg id "$_RENT_GPU" --arg name "$_RENT_NAME" --arg place "$_RENT_PLACE" --arg cloud "$_RENT_CLOUD" --arg price "$_RENT_PRICE" '
    {gpu_id: $id, list_price: ($price | tonumber? // null), gpu_name: $name, gpu_count, data_center: $place, cloud: $cloud, image, template, disk_gb, env: {},
     volume: (if .volume_id then {id: .volume_id, mount: .volume_mount} else null end)}' <<<"$1"
}

# _rent_can_pay PROVIDER LIMITS - asks whether the account is in order before anything is made, and says how far its
# balance goes. EX_MISSING, EX_TUNNEL; EX_POD when there is nothing left on it.
_rent_can_pay() {
  local balance
  "provider_$1_preflight" >"$CORE_TMP/preflight" || return
  balance=$(jq -r '.balance // empty' "$CORE_TMP/preflight")
  [ -n "$balance" ] || return 0
  case $balance in 0 | -*)
    core_fail "$EX_POD" "the balance of the account is \$$balance" "add credit at console.runpod.io/user/billing"
    return
    ;;
  esac
  _rent_take "${_RENT_LINES[0]}"
  budget_seconds "$balance" "$_RENT_PRICE"
  [ -n "$BUDGET_SECONDS" ] || return 0
  budget_ceiling "$_RENT_PRICE" "$(jq -r '.max_cost_usd // empty' <<<"$2")" "$(jq -r '.minutes // empty' <<<"$2")"
  if [ -n "$BUDGET_CEILING" ] && budget_less "$balance" "$BUDGET_CEILING"; then
    ui_duration "$BUDGET_SECONDS"
    budget_dollars "$balance"
    balance=$BUDGET_DOLLARS
    budget_dollars "$BUDGET_CEILING"
    ui_warn "the balance of $balance lasts for $UI_TIME of this pod: less than its limit, $BUDGET_DOLLARS"
  fi
}

# _rent_agree USD_PER_HOUR - 0 when a pod of that price needs no question, or the answer is yes; EX_USAGE, EX_FAIL. What
# was agreed to once holds for the candidates after it that cost no more.
_rent_agree() {
  local limit
  budget_micro "$AUTOPOD_ASK_ABOVE"
  limit=$BUDGET_MICRO
  [ "$_RENT_AGREED" -le "$limit" ] || limit=$_RENT_AGREED
  budget_micro "${1:-0}" && [ "$BUDGET_MICRO" -gt "$limit" ] || return 0
  limit=$BUDGET_MICRO
  budget_rate "$1"
  ui_confirm "a pod with $_RENT_LABEL costs $BUDGET_RATE. Make it?" || return
  _RENT_AGREED=$limit
}

# _rent_check_price WISH - the pod that was made has its real price now: one that is dearer than was agreed to is ended
# at once. EX_POD, EX_POD_LEFT.
_rent_check_price() {
  local max rate id=$POD_ID
  max=$(jq -r '.max_price_usd_per_hour // empty' <<<"$1")
  if [ -n "$max" ] && [ "$POD_PROVIDER" != local ] && ! budget_less 0 "$POD_RATE"; then
    _rent_end || return
    core_fail "$EX_POD" "nobody says what pod $id costs, and it may cost \$$max an hour at most: it was ended at once" \
      "leave the maximum price out, or try later"
    return
  elif ! budget_less "$max" "$POD_RATE"; then
    max=$AUTOPOD_ASK_ABOVE
    [ -z "$UI_YES" ] && budget_less "$max" "$POD_RATE" && [ "$BUDGET_MICRO" -gt "$_RENT_AGREED" ] || return 0
  fi
  pod_price
  rate=$POD_PRICE
  _rent_end || return
  budget_rate "$max"
  core_fail "$EX_POD" "pod $id costs $rate, not what was listed and more than $BUDGET_RATE: it was ended at once" \
    "name another GPU, or allow that price (--yes, and a higher --max-price if there is one)"
}

# _rent_check_known - without a price no limit of cost can hold: a pod that has such a limit, and whose price nobody says, is
# ended at once. EX_POD, EX_POD_LEFT.
_rent_check_known() {
  local id=$POD_ID limit=$POD_LIMIT
  [ -n "$limit" ] && [ "$POD_PROVIDER" != local ] && ! budget_less 0 "$POD_RATE" || return 0
  _rent_end || return
  budget_dollars "$limit"
  core_fail "$EX_POD" "nobody says what pod $id costs, so that its limit of $BUDGET_DOLLARS could not hold: it was ended at once" \
    "try later, or leave limits of cost out (--max-cost, max_cost_usd, AUTOPOD_MAX_COST, AUTOPOD_MAX_DAILY_COST): limits of time hold"
}

# _rent_end - ends the pod at hand; when that fails it has been told, and is not tried again: EX_POD_LEFT.
_rent_end() {
  local status=0
  pod_terminate || status=$?
  POD_ID=''
  return "$status"
}

# _rent_give_back STATUS - ends a pod that did not become ready and tells what that cost; STATUS when it makes no sense
# to try another one, EX_POD_LEFT when it could not be ended.
_rent_give_back() {
  local id=$POD_ID why=$CORE_ERROR hint=$CORE_HINT
  ui_failed
  ui_note "Pod $id did not become ready: $why"
  tunnel_close
  pod_cost
  _rent_end || return
  budget_show "$BUDGET_COST"
  ui_note "Pod $id is terminated${BUDGET_TEXT:+; it cost $BUDGET_TEXT}."
  _RENT_TRIED="$_RENT_TRIED${_RENT_TRIED:+; }$_RENT_LABEL ($why)"
  if [ "$1" = "$EX_POD" ] && [ "$POD_STATUS" != failed ]; then # who did that would not want another one
    core_fail "$EX_POD" "somebody ended pod $id while it booted" "if that was not meant, run the same command again"
    return
  fi
  case $1:$SSH_REASON in
    "$EX_TUNNEL":denied | "$EX_TUNNEL":local | "$EX_TUNNEL":hostkey) ;; # the next one would be no better
    "$EX_TUNNEL":* | "$EX_POD":*) return 0 ;;
  esac
  core_fail "$1" "$why" "$hint"
}
