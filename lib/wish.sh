# shellcheck shell=bash
# wish.sh - making a pod in such a way that none is ever made unseen: its name is on disk before the call, its id right
# after, and an answer that says nothing for certain is settled by looking for the name.

[ -z "${_AUTOPOD_WISH_SH:-}" ] || return 0 # @guard
_AUTOPOD_WISH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/runpodctl.sh"
. "$AUTOPOD_LIB/pod.sh"

PROVIDER_WHY=''                 # why a provider made no pod, see there
WISH_ACCOUNT=''                 # see wish_account
_WISH_NAME='' _WISH_PROVIDER='' # the name of a pod that is being made, and where
_WISH_ACCOUNT=''                # the word for our RunPod key

# wish_account PROVIDER - sets WISH_ACCOUNT to a word that tells our account there from others, by its key, and says nothing
# about it; empty where there are no accounts, or no key. A provider says "not found" of a pod that another key has made.
wish_account() {
  WISH_ACCOUNT=''
  [ "$1" = runpod ] || return 0
  [ -n "$_WISH_ACCOUNT" ] || ! runpodctl_key || _WISH_ACCOUNT=$(os_sha256 <(printf 'autopod %s' "$RUNPOD_API_KEY")) || :
  _WISH_ACCOUNT=${_WISH_ACCOUNT:0:12}
  WISH_ACCOUNT=$_WISH_ACCOUNT
}

# wish_make PROVIDER SPEC PURPOSE LIMITS - makes a pod as SPEC (JSON, see the providers) says and loads it; its name
# and its LIMITS (JSON: max_cost_usd, minutes) are on disk before the call, its id right after. On failure
# PROVIDER_WHY says why. EX_POD, EX_MISSING; EX_POD_LEFT when nobody can say whether there is one.
wish_make() {
  local made status=0 name
  core_tmpdir && made=$CORE_TMP/made.json || return
  pod_provider "$1" && state_installation && os_random_hex 4 || return
  os_utc_compact
  name=autopod-${3:+${3//[!A-Za-z0-9_-]/-}-}$OS_UTC-$OS_HEX PROVIDER_WHY=''
  os_now
  os_process_start "$$" || return
  wish_account "$1"
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" --arg account "$WISH_ACCOUNT" --arg provider "$1" --argjson at "$OS_NOW" \
    --arg maker "$$-$OS_START" --argjson limits "$4" --argjson spec "$2" '
    .intents[$name] = {provider: $provider, at: $at, maker: $maker, limits: $limits, list_price: $spec.list_price}
      + if $account == "" then {} else {account: $account} end' || return
  [ -z "$POD_NOTED" ] || "$POD_NOTED"
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
  pod_load "$made" && state_lock "pod-$POD_ID" 0 && _wish_record "$made" || return # up to here wish_settle finds the pod
  _WISH_NAME=''
}

# _wish_record FILE - the pod that was made is written down, with its price of now: later answers may say 0. If this one
# does, the price that was listed counts. Its time begins with the order: nobody knows how long the answer was on its way.
_wish_record() {
  os_now
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$_WISH_NAME" --argjson at "$OS_NOW" --slurpfile pod "$1" '
    (.intents[$name] // .pods[$pod[0].id]) as $wish | ($wish.at // $wish.since // $at) as $at | del(.intents[$name])
    | .pods[$pod[0].id] = {pod: $pod[0], provider: $pod[0].provider, since: $at, limits: ($wish.limits // {}),
        price: (if $pod[0].cost_per_hr > 0 then $pod[0].cost_per_hr else $wish.list_price // 0 end),
        ran: 0, rested: 0, state: "running", state_at: $at, waiting: true}
        + ($wish // {} | {account, ending, ending_by} | with_entries(select(.value != null)))' || return
  pod_load "$1"
}

# wish_granted - the loaded pod has become ready and was handed over: from here on its limits claim it.
wish_granted() {
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" 'del(.pods[$id].waiting, .pods[$id].orphan_at)'
}

# wish_adopt FILE - writes down the pod in FILE (pod_json) if it is ours by its stamp and nothing on disk says so: a
# pods.json was lost, or its maker died at the wrong moment. Its limits are those of the wish; without one its time begins
# now, which is told: nobody knows what was said of it, and it is not stopped for having been looked at. What one that
# stands still has cost nobody knows either.
wish_adopt() {
  local id
  id=$(state_read "$AUTOPOD_HOME/pods.json" -r --slurpfile pod "$1" '$pod[0] as $pod
    | select($pod.ours and $pod.status != "stopped" and .pods[$pod.id] == null and .intents[$pod.name // ""] == null) | $pod.id')
  os_now
  wish_account "$(jq -r '.provider' "$1")"
  state_update "$AUTOPOD_HOME/pods.json" --arg account "$WISH_ACCOUNT" --slurpfile pod "$1" --argjson at "$OS_NOW" '$pod[0] as $pod
    | if $pod.ours and .pods[$pod.id] == null then
        ($pod.created_at | fromdateiso8601? // now | floor) as $since
        | .intents[$pod.name // ""] as $wish
        | .pods[$pod.id] = {pod: ($pod | del(.ours, .known, .maker, .wished)), provider: $pod.provider, since: $since, price: $pod.cost_per_hr,
            limits: ($wish.limits // {}), ran: 0, rested: 0}
          + (if $pod.status == "stopped" then {state: "stopped", state_at: $at} else {state: "running", state_at: $since} end)
          + (if $account == "" then {} else {account: $account} end)
          + if $wish then {waiting: true} + ($wish | {ending, ending_by} | with_entries(select(.value != null))) else {from: $at} end
      else . end' || return
  [ -n "$id" ] || return 0
  budget_hours "$AUTOPOD_MAX_LIFETIME"
  ui_note "Pod $id bears our stamp, but nothing was on record about it: it may run for $BUDGET_HOURS from now on (autopod-extend)."
}

# wish_keep - the loaded pod is to go on for a while: what has our stamp and is not on disk is written down, so that its limits
# can be. EX_POD, EX_TUNNEL, EX_FAIL.
wish_keep() {
  pod_is_ours || return 0
  pod_json >"$CORE_TMP/keep" && wish_adopt "$CORE_TMP/keep" && pod_load "$CORE_TMP/keep"
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
# same, known by its name, so that it can be ended; 1 when there is none. When nobody can say, CORE_STATUS is EX_POD_LEFT.
# Should we not come to the end of that either, the watcher ends it.
wish_settle() {
  local found=0 name=$_WISH_NAME
  [ -n "$name" ] || return 1
  os_process_start "$$" || OS_START=''
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" --arg by "$$-$OS_START" \
    'if .intents[$name] then .intents[$name] += {ending: "terminate", ending_by: $by} else . end' || :
  _wish_reconcile "$_WISH_PROVIDER" || found=$?
  if [ "$found" = 1 ] && [ -n "$("provider_${_WISH_PROVIDER}_settling")" ]; then _wish_in_doubt || found=$?; fi
  case $found in
    0)
      pod_load "$CORE_TMP/reconciled.json" || return
      _wish_record "$CORE_TMP/reconciled.json" || :
      ;;
    "$EX_POD_LEFT")
      _WISH_NAME='' CORE_STATUS=$found
      return 1
      ;;
    *) _wish_forget "$name" ;;
  esac
  _WISH_NAME=''
  return "$found"
}

# wish_is_foreign NAME - 0 when the wish of that name was made with another key than ours.
wish_is_foreign() {
  local provider='' account=''
  IFS=' ' read -r provider account < <(state_read "$AUTOPOD_HOME/pods.json" -r --arg name "$1" \
    '.intents[$name] | objects | "\(.provider) \(.account // "")"') || :
  wish_account "$provider"
  [ -n "$account" ] && [ "$account" != "$WISH_ACCOUNT" ]
}

# wish_recover NAME PROVIDER UNTIL - settles the wish of a maker who is gone: a pod by that name is written down as he
# would have, and the wish is taken off; 1 when there is none yet, and there may be one until then (epoch). EX_POD when our
# key shows none, and he had another one: the wish stays. EX_FAIL, EX_TUNNEL, EX_MISSING.
wish_recover() {
  local status=0
  "provider_$2_list" >"$CORE_TMP/recover" || status=$?
  case $status in 0) ;; 1) return "$EX_TUNNEL" ;; *) return "$status" ;; esac
  jq -c --arg name "$1" 'select(.name == $name and (.id | test("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")))' \
    "$CORE_TMP/recover" >"$CORE_TMP/recovered" || return "$EX_TUNNEL"
  if [ ! -s "$CORE_TMP/recovered" ] && wish_is_foreign "$1"; then return "$EX_POD"; fi
  os_now
  wish_account "$2"
  [ -s "$CORE_TMP/recovered" ] || [ "$OS_NOW" -ge "$3" ] || [ -z "$("provider_$2_settling")" ] || return 1
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$1" --arg account "$WISH_ACCOUNT" --argjson at "$OS_NOW" \
    --slurpfile pods "$CORE_TMP/recovered" '
    .intents[$name] as $wish | if $wish == null then . else del(.intents[$name])
      | reduce $pods[] as $pod (.; .pods[$pod.id] //= {pod: $pod, provider: $pod.provider, since: $wish.at, limits: $wish.limits,
          price: (if $pod.cost_per_hr > 0 then $pod.cost_per_hr else $wish.list_price // 0 end),
          ran: 0, rested: 0, state: (if $pod.status == "stopped" then "stopped" else "running" end),
          state_at: (if $pod.status == "stopped" then $at else $wish.at end), waiting: true}
          + (if $account == "" then {} else {account: $account} end)
          + ($wish | {ending, ending_by} | with_entries(select(.value != null)))) end' || return "$EX_TUNNEL"
}

# _wish_forget NAME - takes the wish off the disk: it came true elsewhere, or to nothing.
_wish_forget() {
  _WISH_NAME=''
  state_update "$AUTOPOD_HOME/pods.json" --arg name "$1" 'del(.intents[$name])' || :
}
