# shellcheck shell=bash
# pod.sh - pods, whichever provider they are from: make, find, stop, end, and remember them in
# pods.json.

[ -z "${_AUTOPOD_POD_SH:-}" ] || return 0 # @guard
_AUTOPOD_POD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/providers/local.sh"

POD_PROVIDERS='local'
# The loaded pod (see pod_load); empty while there is none.
POD_ID='' POD_NAME='' POD_PROVIDER='' POD_STATUS='' POD_GPU='' POD_RATE=''
POD_SSH_HOST='' POD_SSH_PORT='' POD_SSH_USER='' POD_SSH_KEY='' POD_COMFY_PORT='' POD_SINCE=0 POD_REASON=''
_POD_WISH='' # the name of a pod that is being made

# pod_provider NAME - 0, or EX_USAGE when there is no such provider.
pod_provider() {
  case " $POD_PROVIDERS " in
    *" $1 "*) ;;
    *) core_fail "$EX_USAGE" "there is no provider \"$1\"" "known are: $POD_PROVIDERS" ;;
  esac
}

# pod_create PROVIDER SPEC - makes a pod as SPEC (JSON: gpu_type, gpu_count) says and loads it; its
# name is on disk before the call, its id right after. EX_POD, EX_MISSING.
pod_create() {
  local made status=0
  core_tmpdir || return
  made=$CORE_TMP/made.json
  pod_provider "$1" && "provider_$1_check" || return
  os_utc_compact
  os_random_hex 4 || return
  _POD_WISH=autopod-$OS_UTC-$OS_HEX _POD_WISH_PROVIDER=$1
  os_now
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$_POD_WISH" --arg provider "$1" --argjson at "$OS_NOW" \
    '.intents[$name] = {provider: $provider, at: $at}' || return
  "provider_$1_create" "$(jq -c --arg name "$_POD_WISH" '.name = $name' <<<"$2")" >"$made" || status=$?
  [ "$status" = 0 ] || {
    state_update "$AUTOPOD_HOME/pods.json" --arg name "$_POD_WISH" 'del(.intents[$name])' || :
    _POD_WISH=''
    return "$status"
  }
  pod_load "$made" && state_lock "pod-$POD_ID" 0 || return # from here on a failure leaves the wish, by which pod_settle finds the pod
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$_POD_WISH" --argjson at "$OS_NOW" --slurpfile pod "$made" \
    'del(.intents[$name]) | .pods[$pod[0].id] = {pod: $pod[0], since: $at}' || return
  _POD_WISH=''
}

# pod_settle - after a pod_create that did not come to its end: loads the pod that the provider may have
# made all the same, known by its name; 1 when there is none.
pod_settle() {
  local wish=$_POD_WISH found=0
  [ -n "$wish" ] || return 1
  _POD_WISH=''
  core_quietly pod_find "$wish" "$_POD_WISH_PROVIDER" || found=1
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$wish" 'del(.intents[$name])' || :
  return "$found"
}

# pod_load FILE - takes a pod's JSON into the POD_* variables; EX_POD when it isn't a pod.
pod_load() {
  local fields
  fields=$(jq -r "$_POD_FIELDS" "$1" 2>/dev/null) || fields=''
  _pod_take "$fields"
}

# What the variables get from a pod's JSON. The unit separator keeps empty fields apart, which
# blanks in IFS would not.
_POD_FIELDS='[.id, .name, .provider, .status, (if .gpu_count > 1 then "\(.gpu_count) × \(.gpu)" else .gpu end),
  .cost_per_hr, .ssh.host, .ssh.port, .ssh.user, .ssh.key, (.comfy_port // 8188), (.created_at | fromdateiso8601? // 0), .reason]
  | map(. // "" | tostring | gsub("[\u0000-\u001f]"; " ")) | join("\u001f")'

# _pod_take FIELDS - a line of _POD_FIELDS becomes the POD_* variables (POD_SINCE is an epoch);
# EX_POD when it isn't one.
_pod_take() {
  local shape='^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
  IFS=$'\x1f' read -r POD_ID POD_NAME POD_PROVIDER POD_STATUS POD_GPU POD_RATE POD_SSH_HOST POD_SSH_PORT \
    POD_SSH_USER POD_SSH_KEY POD_COMFY_PORT POD_SINCE POD_REASON <<<"$1"
  [[ $POD_ID =~ $shape ]] || {
    POD_ID=''
    core_fail "$EX_POD" "the provider's answer is not a pod"
  }
}

# pod_list [PROVIDER] - prints every pod as the providers see it now, a line each; EX_MISSING, EX_USAGE.
pod_list() {
  local provider
  if [ -n "${1:-}" ]; then
    pod_provider "$1" && "provider_$1_list"
    return
  fi
  for provider in $POD_PROVIDERS; do
    "provider_${provider}_list" || return
  done
}

# pod_refresh - asks the provider for the loaded pod again.
pod_refresh() {
  "provider_${POD_PROVIDER}_get" "$POD_ID" >"$CORE_TMP/pod.json" && pod_load "$CORE_TMP/pod.json"
}

# pod_find REF [PROVIDER [free]] - loads the pod whose id or name begins with REF; with an empty REF the one
# that runs (`free`: one that another run has made for itself does not count, it goes away with it).
# EX_USAGE with the list when several could be meant; EX_POD when there is none; then POD_ID is empty.
pod_find() {
  local line found=0 ids=''
  POD_ID=''
  core_tmpdir && pod_list "${2:-}" >"$CORE_TMP/pods" || return
  jq -r --arg ref "$1" "select(if \$ref == \"\" then .status == \"running\" or .status == \"creating\"
    else (.id | startswith(\$ref)) or (.name | startswith(\$ref)) end) | $_POD_FIELDS" \
    "$CORE_TMP/pods" >"$CORE_TMP/found" 2>/dev/null ||
    core_fail "$EX_FAIL" "the list of pods makes no sense" "is the provider's tool damaged?" || return
  while IFS= read -r line; do
    if [ -z "$1" ] && [ -n "${3:-}" ] && state_lock_is_foreign "pod-${line%%$'\x1f'*}"; then continue; fi
    found=$((found + 1))
    ids="$ids ${line%%$'\x1f'*}"
    [ "$found" -gt 1 ] || _pod_take "$line" || return
  done <"$CORE_TMP/found"
  case $found in
    1) ;;
    0) # without a REF the caller knows what to do without a pod
      [ -z "$1" ] ||
        core_fail "$EX_POD" "there is no pod \"$1\"" "autopod-ls shows those there are" || return
      return "$EX_POD"
      ;;
    *)
      POD_ID=''
      core_fail "$EX_USAGE" "$found pods could be meant:$ids" \
        "name one of them (--pod ID, or the argument POD)"
      ;;
  esac
}

# pod_start - starts the loaded pod again after a stop; EX_POD.
pod_start() {
  "provider_${POD_PROVIDER}_start" "$POD_ID" >"$CORE_TMP/pod.json" && pod_load "$CORE_TMP/pod.json"
}

# pod_stop - stops the loaded pod and reads its state back; EX_POD_LEFT when it could not be confirmed.
pod_stop() {
  core_quietly "provider_${POD_PROVIDER}_stop" "$POD_ID" >"$CORE_TMP/pod.json" &&
    pod_load "$CORE_TMP/pod.json" && [ "$POD_STATUS" = stopped ] || _pod_is_gone || pod_left
}

# pod_terminate - ends the loaded pod for good and forgets it; EX_POD_LEFT when it could not be
# confirmed.
pod_terminate() {
  core_quietly "provider_${POD_PROVIDER}_terminate" "$POD_ID" || _pod_is_gone || pod_left || return
  ssh_forget "$POD_ID"
  rm -f -- "$AUTOPOD_HOME/logs/tunnel-$POD_ID.log"
  state_unlock "pod-$POD_ID"
  state_unlock "tunnel-$POD_ID" # somebody may have been killed while opening it
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" 'del(.pods[$id])'
}

# _pod_is_gone - 0 when the provider knows no such pod: somebody else has ended it.
_pod_is_gone() {
  local status=0 why=$CORE_ERROR todo=$CORE_HINT
  core_quietly "provider_${POD_PROVIDER}_get" "$POD_ID" >/dev/null || status=$?
  CORE_ERROR=$why CORE_HINT=$todo
  [ "$status" = "$EX_POD" ]
}

# pod_left - tells that the loaded pod may still run and what to do; EX_POD_LEFT.
pod_left() {
  core_fail "$EX_POD_LEFT" "pod $POD_ID may still be running and could not be stopped${CORE_ERROR:+: $CORE_ERROR}" \
    "look now: autopod-info $POD_ID; and end it: autopod-kill $POD_ID${CORE_HINT:+, or $CORE_HINT}"
}

# pod_cost - sets BUDGET_COST to what the loaded pod has cost since it was made, by its price then.
pod_cost() {
  os_now
  budget_cost "$POD_RATE" $((OS_NOW - POD_SINCE + 1)) # both ends were cut to the second
}

# pod_price - sets POD_PRICE to the loaded pod's price in words.
pod_price() {
  POD_PRICE="\$$POD_RATE/h"
  budget_micro "${POD_RATE:-0}" && [ "$BUDGET_MICRO" -gt 0 ] || POD_PRICE=free
}
