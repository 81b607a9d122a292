# shellcheck shell=bash
# pod.sh - pods, whichever provider they are from: make, find, stop, end, and remember them in pods.json.

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
POD_ID='' POD_NAME='' POD_PROVIDER='' POD_STATUS='' POD_GPU='' POD_RATE='' POD_SSH_HOST='' POD_SSH_PORT='' POD_SSH_USER=''
POD_SSH_KEY='' POD_COMFY_PORT='' POD_SINCE=0

# pod_provider NAME - 0, or EX_USAGE when there is no such provider.
pod_provider() {
  case " $POD_PROVIDERS " in
    *" $1 "*) ;;
    *) core_fail "$EX_USAGE" "there is no provider \"$1\"" "known are: $POD_PROVIDERS" ;;
  esac
}

# pod_create PROVIDER SPEC - makes a pod as SPEC (JSON: name, gpu_type, gpu_count) says and loads it; its wish is on disk
# before the call, its id right after. EX_POD, EX_MISSING.
pod_create() {
  local name
  pod_provider "$1" && "provider_$1_check" && core_tmpdir || return
  os_utc_compact
  os_random_hex 4 || return
  name=autopod-$OS_UTC-$OS_HEX
  os_now
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" --arg provider "$1" --argjson at "$OS_NOW" \
    '.intents[$name] = {provider: $provider, at: $at}' || return
  "provider_$1_create" "$(jq -c --arg name "$name" '.name = $name' <<<"$2")" >"$CORE_TMP/pod.json" || {
    local status=$?
    state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" 'del(.intents[$name])' || :
    return "$status"
  }
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" --argjson at "$OS_NOW" \
    --slurpfile pod "$CORE_TMP/pod.json" \
    'del(.intents[$name]) | .pods[$pod[0].id] = {pod: $pod[0], since: $at}' || return
  pod_load "$(<"$CORE_TMP/pod.json")"
  POD_SINCE=$OS_NOW
}

# pod_load POD - takes a pod's JSON into POD_ID, POD_NAME, POD_PROVIDER, POD_STATUS, POD_GPU, POD_RATE, POD_SSH_HOST,
# POD_SSH_PORT, POD_SSH_USER, POD_SSH_KEY, POD_COMFY_PORT, POD_SINCE (epoch); EX_POD when it isn't a pod.
pod_load() {
  local fields shape='^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
  # The unit separator keeps empty fields apart, which blanks in IFS would not.
  fields=$(jq -r '[.id, .name, .provider, .status, (if .gpu_count > 1 then "\(.gpu_count) × \(.gpu)" else .gpu end),
    .cost_per_hr, .ssh.host, .ssh.port, .ssh.user, .ssh.key, (.comfy_port // 8188),
    (.created_at | fromdateiso8601? // 0)]
    | map(. // "" | tostring | gsub("[\u0000-\u001f]"; " ")) | join("\u001f")' <<<"$1" 2>/dev/null) || fields=''
  IFS=$'\x1f' read -r POD_ID POD_NAME POD_PROVIDER POD_STATUS POD_GPU POD_RATE POD_SSH_HOST POD_SSH_PORT \
    POD_SSH_USER POD_SSH_KEY POD_COMFY_PORT POD_SINCE <<<"$fields"
  [[ $POD_ID =~ $shape ]] || {
    POD_ID=''
    core_fail "$EX_POD" "the provider's answer is not a pod"
  }
}

# pod_list [PROVIDER] - prints every pod as the providers see it now, a line each; EX_MISSING, EX_USAGE.
pod_list() {
  local provider
  for provider in ${1:-$POD_PROVIDERS}; do
    pod_provider "$provider" && "provider_${provider}_list" || return
  done
}

# pod_refresh - asks the provider for the loaded pod again.
pod_refresh() {
  core_tmpdir || return
  "provider_${POD_PROVIDER}_get" "$POD_ID" >"$CORE_TMP/pod.json" && pod_load "$(<"$CORE_TMP/pod.json")"
}

# pod_find REF [PROVIDER] - loads the pod whose id or name begins with REF; with an empty REF the one that runs.
# EX_USAGE with the list when several could be meant; EX_POD when there is none; then POD_ID is empty.
pod_find() {
  local found count
  POD_ID=''
  core_tmpdir || return
  pod_list "${2:-}" >"$CORE_TMP/pods" || return
  found=$(jq -c --arg ref "$1" 'select(if $ref == "" then .status == "running" or .status == "creating"
    else (.id | startswith($ref)) or (.name | startswith($ref)) end)' "$CORE_TMP/pods")
  [ -n "$found" ] || { # the caller without a REF knows what to do without a pod
    [ -z "$1" ] || core_fail "$EX_POD" "there is no pod \"$1\"" "autopod-ls shows those there are"
    return "$EX_POD"
  }
  count=$(($(wc -l <<<"$found")))
  [ "$count" = 1 ] || core_fail "$EX_USAGE" "$count pods could be meant: $(jq -r '.id' <<<"$found" | paste -sd ' ' -)" \
    "name one of them (--pod ID, or the argument POD)" || return
  pod_load "$found"
}

# pod_stop - stops the loaded pod and reads its state back; EX_POD_LEFT when it could not be confirmed.
pod_stop() {
  core_tmpdir || return
  "provider_${POD_PROVIDER}_stop" "$POD_ID" >"$CORE_TMP/pod.json" && pod_load "$(<"$CORE_TMP/pod.json")" &&
    [ "$POD_STATUS" = stopped ] || pod_left
}

# pod_terminate - ends the loaded pod for good and forgets it; EX_POD_LEFT when it could not be confirmed.
pod_terminate() {
  "provider_${POD_PROVIDER}_terminate" "$POD_ID" || pod_left || return
  ssh_forget "$POD_ID"
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" 'del(.pods[$id])'
}

# pod_left - tells that the loaded pod may still run and what to do; EX_POD_LEFT.
pod_left() {
  core_fail "$EX_POD_LEFT" "pod $POD_ID may still be running and could not be stopped" \
    "look now: autopod-info $POD_ID; and end it: autopod-kill $POD_ID"
}

# pod_cost - sets BUDGET_COST to what the loaded pod has cost since it was made, by its price then.
pod_cost() {
  os_now
  budget_cost "$POD_RATE" $((OS_NOW - POD_SINCE))
}

# pod_price - sets POD_PRICE to the loaded pod's price in words.
pod_price() {
  POD_PRICE="\$$POD_RATE/h"
  budget_micro "${POD_RATE:-0}" && [ "$BUDGET_MICRO" -gt 0 ] || POD_PRICE=free
}
