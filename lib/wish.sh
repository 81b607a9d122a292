# shellcheck shell=bash
# wish.sh - making a pod in such a way that none is ever made unseen: its name is on disk before the call, its id right
# after, and an answer that says nothing for certain is settled by looking for the name.

[ -z "${_AUTOPOD_WISH_SH:-}" ] || return 0 # @guard
_AUTOPOD_WISH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/pod.sh"

PROVIDER_WHY=''                 # why a provider made no pod, see there
_WISH_NAME='' _WISH_PROVIDER='' # the name of a pod that is being made, and where

# wish_make PROVIDER SPEC PURPOSE LIMITS - makes a pod as SPEC (JSON, see the providers) says and loads it; its name
# and its LIMITS (JSON: max_cost_usd, minutes) are on disk before the call, its id right after. On failure
# PROVIDER_WHY says why. EX_POD, EX_MISSING; EX_POD_LEFT when nobody can say whether there is one.
wish_make() {
  local made=$CORE_TMP/made.json status=0 name
  pod_provider "$1" && state_installation && os_random_hex 4 || return
  os_utc_compact
  name=autopod-${3:+${3//[!A-Za-z0-9_-]/-}-}$OS_UTC-$OS_HEX PROVIDER_WHY=''
  os_now
  os_process_start "$$" || return
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" --arg provider "$1" --argjson at "$OS_NOW" \
    --arg maker "$$-$OS_START" --argjson limits "$4" \
    '.intents[$name] = {provider: $provider, at: $at, maker: $maker, limits: $limits}' || return
  _WISH_NAME=$name _WISH_PROVIDER=$1
  "provider_$1_create" "$(jq -c --arg name "$_WISH_NAME" --arg us "$STATE_INSTALLATION" \
    '.name = $name | .env.AUTOPOD_INSTALLATION = $us' <<<"$2")" >"$made" || status=$?
  case $status:$PROVIDER_WHY in
    0:*) ;;
    *:ambiguous | *:unanswered)
      _wish_reconcile "$1" && cp -- "$CORE_TMP/reconciled.json" "$made" && status=0 || status=$?
      if [ "$status:$PROVIDER_WHY" = 1:unanswered ]; then _wish_in_doubt || status=$?; fi
      if [ "$status" = 1 ]; then status=$EX_POD; fi
      ;;
  esac
  case $status in
    0) ;;
    "$EX_POD_LEFT") # the wish stays on disk: autopod-sweep looks for it
      _WISH_NAME=''
      return "$status"
      ;;
    *)
      _wish_forget "$_WISH_NAME"
      return "$status"
      ;;
  esac
  pod_load "$made" && state_lock "pod-$POD_ID" 0 && _wish_record "$made" "$2" || return # from here on wish_settle finds the pod
  _WISH_NAME=''
}

# _wish_record FILE SPEC - the pod that was made is written down, with its price of now: later answers may say 0. If
# this one does, the price that was listed counts.
_wish_record() {
  os_now
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$_WISH_NAME" --argjson at "$OS_NOW" --slurpfile pod "$1" --argjson spec "$2" '
    .intents[$name].limits as $limits | del(.intents[$name])
    | .pods[$pod[0].id] = {pod: $pod[0], provider: $pod[0].provider, since: $at, limits: $limits,
        price: (if $pod[0].cost_per_hr > 0 then $pod[0].cost_per_hr else $spec.list_price // 0 end),
        ran: 0, rested: 0, state: "running", state_at: $at, waiting: true}' || return
  pod_load "$1"
}

# wish_granted - the loaded pod has become ready and was handed over: from here on its limits claim it.
wish_granted() {
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" 'del(.pods[$id].waiting)'
}

# wish_adopt FILE - writes down the pod in FILE (pod_json) if it is ours by its stamp and nothing on disk says so: a
# pods.json was lost, or its maker died at the wrong moment. It has no limits then.
wish_adopt() {
  state_update "$AUTOPOD_HOME/pods.json" --slurpfile pod "$1" '$pod[0] as $pod
    | if $pod.ours and .pods[$pod.id] == null then
        ($pod.created_at | fromdateiso8601? // now | floor) as $since
        | .pods[$pod.id] = {pod: ($pod | del(.ours, .known, .maker)), provider: $pod.provider, since: $since, price: $pod.cost_per_hr,
            limits: {}, ran: 0, rested: 0, state: "running", state_at: $since}
      else . end'
}

# _wish_reconcile PROVIDER - after an answer that says nothing for certain: is there a pod by the name of our wish?
# It is in reconciled.json then; 1 when there certainly is none; EX_POD_LEFT when nobody can say.
_wish_reconcile() {
  local pause
  ui_progress "the answer got lost: looking whether the pod was made"
  for pause in 0 $("provider_$1_settling"); do
    [ "$pause" = 0 ] || core_sleep "$pause"
    core_quietly "provider_$1_list" >"$CORE_TMP/reconcile" || {
      core_fail "$EX_POD_LEFT" "a pod $_WISH_NAME may have been made, and its provider does not say" \
        "look at autopod-ls in a minute; autopod-sweep ends what was left behind"
      return
    }
    jq -c --arg name "$_WISH_NAME" 'select(.name == $name)' "$CORE_TMP/reconcile" >"$CORE_TMP/reconciled"
    [ -s "$CORE_TMP/reconciled" ] || continue
    _wish_end_twins "$CORE_TMP/reconciled"
    return
  done
  return 1
}

# _wish_in_doubt - tells that the pod that was wished for may still come up: who asked got no answer, or did not wait
# for it, and nobody knows how long the provider is at it. Its name stays on disk. EX_POD_LEFT.
_wish_in_doubt() {
  core_fail "$EX_POD_LEFT" "nobody can say yet whether the pod $_WISH_NAME was made" \
    "look in a minute or two: autopod-sweep --yes finds it and stops it, autopod-ls shows it"
}

# _wish_end_twins FILE - the first of the pods in FILE is the one that was wished for: reconciled.json. Others
# of its name (somebody on the way sent the order twice) are ended; when that fails, all of them: EX_POD_LEFT.
_wish_end_twins() {
  local line lines=() left=''
  while IFS= read -r line; do lines[${#lines[@]}]=$line; done <"$1"
  for line in ${lines[@]+"${lines[@]:1}"} "${lines[0]}"; do
    printf '%s\n' "$line" >"$CORE_TMP/reconciled.json"
    core_quietly pod_load "$CORE_TMP/reconciled.json" ||
      core_fail "$EX_POD_LEFT" "a pod $_WISH_NAME was made, but what is told about it makes no sense" \
        "look at autopod-ls, or at the provider's console" || return
    [ "$line" = "${lines[0]}" ] && [ -z "$left" ] || core_quietly pod_terminate || left="$left $POD_ID"
  done
  POD_ID=''
  [ -z "$left" ] || core_fail "$EX_POD_LEFT" \
    "${#lines[@]} pods $_WISH_NAME were made by one order; these may still be running and could not be stopped:$left" \
    "look now: autopod-ls; and end them: autopod-kill$left"
}

# wish_settle - after a wish_make that did not come to its end: loads the pod that the provider may have made all the
# same, known by its name; 1 when there is none. When nobody can say, CORE_STATUS is EX_POD_LEFT.
wish_settle() {
  local found=0 name=$_WISH_NAME
  [ -n "$name" ] || return 1
  _wish_reconcile "$_WISH_PROVIDER" || found=$?
  if [ "$found" = 1 ] && [ -n "$("provider_${_WISH_PROVIDER}_settling")" ]; then _wish_in_doubt || found=$?; fi
  _WISH_NAME=''
  case $found in
    0) pod_load "$CORE_TMP/reconciled.json" || return ;;
    "$EX_POD_LEFT")
      CORE_STATUS=$found
      return 1
      ;;
  esac
  _wish_forget "$name"
  return "$found"
}

# _wish_forget NAME - takes the wish off the disk: it came true elsewhere, or to nothing.
_wish_forget() {
  _WISH_NAME=''
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$1" 'del(.intents[$name])' || :
}
