# shellcheck shell=bash
# pod.sh - pods, whichever provider they are from: find, start, stop, end, and remember them in pods.json.

[ -z "${_AUTOPOD_POD_SH:-}" ] || return 0 # @guard
_AUTOPOD_POD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/record.sh"
. "$AUTOPOD_LIB/ledger.sh"
. "$AUTOPOD_LIB/providers/local.sh"
. "$AUTOPOD_LIB/providers/runpod.sh"

POD_PROVIDERS='local runpod'
POD_PACE=0.3               # seconds between two looks at a pod that boots; RunPod is far, and its pods take longer
POD_YOUNG=${POD_YOUNG:-60} # seconds in which a pod that was made must have got around
POD_HOLDS=60               # seconds that a stop must have held, for a pod that runs again to have been started
POD_NOTED=''               # a function that is called when it is on disk that a pod is started, or wished for
_POD_SEEN=''               # the id of the pod that its provider knew when it was asked last
# The loaded pod (see pod_load); empty while there is none. Times are epochs; POD_SINCE is when its bill began.
POD_ID='' POD_NAME='' POD_PROVIDER='' POD_STATUS='' POD_GPU='' POD_RATE='' POD_MONTHLY=''
POD_SSH_HOST='' POD_SSH_PORT='' POD_SSH_USER='' POD_SSH_KEY='' POD_COMFY_PORT='' POD_SINCE=0 POD_REASON=''
POD_IMAGE='' POD_DATA_CENTER='' POD_CLOUD='' POD_VOLUME_ID='' POD_VOLUME_MOUNT='' POD_OURS=''
# Its limits: dollars in all, minutes from POD_FROM on, whether it has expressly no limit of time; whether it waits to be
# handed over, and what somebody began to do to it (stop or terminate) without an end.
POD_LIMIT='' POD_MINUTES='' POD_UNLIMITED='' POD_FROM=0 POD_WAITING='' POD_ENDING=''
# When these are used up, see pod_deadline.
POD_DEADLINE='' POD_DEADLINE_CODE='' POD_WARN_AT='' POD_CANCEL_AT='' POD_BILL=''
_POD_RAN=0 _POD_RESTED=0 _POD_STATE='' _POD_STATE_AT='' # its record: seconds it ran and stood still before _POD_STATE_AT

# pod_provider NAME - 0, or EX_USAGE when there is no such provider.
pod_provider() {
  case " $POD_PROVIDERS " in
    *" $1 "*) ;;
    *) core_fail "$EX_USAGE" "there is no provider \"$1\"" "known are: $POD_PROVIDERS" ;;
  esac
}

# pod_providers_in_use - prints those that may have pods of ours: the one that is set, those of pods.json, and those
# that are configured.
pod_providers_in_use() {
  local provider known=''
  [ ! -s "$AUTOPOD_HOME/pods.json" ] || known=$(<"$AUTOPOD_HOME/pods.json")
  for provider in $POD_PROVIDERS; do
    case $known in *"\"provider\":\"$provider\""*) ;; *)
      [ "$provider" = "${AUTOPOD_PROVIDER:-}" ] || "provider_${provider}_configured" || continue
      ;;
    esac
    printf '%s\n' "$provider"
  done
}

# --- knowing them ---

# pod_load FILE [now] - takes a pod's JSON into the POD_* variables, and notes what is new, see _pod_observe; EX_POD when it
# isn't a pod.
pod_load() {
  local fields
  fields=$(record_jq "$1" ".[] | $RECORD_FIELDS" -r) || return
  pod_take "$fields" && _pod_observe "${2:-}"
}

# pod_take FIELDS - a line of RECORD_FIELDS becomes the POD_* variables, and nothing is noted; EX_POD when it isn't one.
pod_take() {
  local shape='^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
  IFS=$'\x1f' read -r POD_ID POD_NAME POD_PROVIDER POD_STATUS POD_GPU POD_RATE POD_MONTHLY POD_SSH_HOST \
    POD_SSH_PORT POD_SSH_USER POD_SSH_KEY POD_COMFY_PORT POD_SINCE POD_REASON POD_IMAGE POD_DATA_CENTER POD_CLOUD \
    POD_VOLUME_ID POD_VOLUME_MOUNT POD_OURS POD_LIMIT POD_MINUTES POD_UNLIMITED POD_FROM \
    POD_WAITING POD_ENDING _POD_RAN _POD_RESTED _POD_STATE _POD_STATE_AT _ < <(printf '%s\n' "$1") # <<< may need room on a disk
  if [ "$POD_PROVIDER" = local ]; then POD_PACE=0.3; else POD_PACE=1; fi
  [[ $POD_ID =~ $shape ]] || {
    POD_ID=''
    core_fail "$EX_POD" "the provider's answer is not a pod"
  }
}

# _pod_observe [now] - notes in its record that the loaded pod runs or stands still now, if that is new: a stopped pod costs
# something else (`now`: it was stopped by our order, and just now; else see ledger_stopped). A failed one may come back,
# and nobody says that it costs nothing. The time of one that somebody else has started begins anew, if it really stood
# still: a stop that does not hold changes nothing.
_pod_observe() {
  local state=running seconds at anew=''
  case $POD_STATUS in stopped | terminated) state=stopped ;; esac
  [ -n "$_POD_STATE" ] && [ "$_POD_STATE" != "$state" ] || return 0
  os_now && at=$OS_NOW
  [ "$state" != stopped ] || { ledger_stopped "$_POD_STATE_AT" "${1:-}" && at=$LEDGER_UNTIL; }
  seconds=$((at - _POD_STATE_AT))
  if [ "$state" = stopped ]; then
    _POD_RAN=$((_POD_RAN + seconds))
  else
    _POD_RESTED=$((_POD_RESTED + seconds))
    [ "$seconds" -lt "$POD_HOLDS" ] || POD_FROM=$at POD_ENDING='' anew=1
  fi
  _POD_STATE=$state _POD_STATE_AT=$at
  record_state "$POD_ID" "$state" "$at" "$_POD_RAN" "$_POD_RESTED" "$anew" || :
}

# pod_list [PROVIDER] - prints every pod as the providers see it now, joined with what we know, a line each. When a
# provider can't be asked, the others are printed all the same. EX_MISSING, EX_USAGE, EX_TUNNEL.
pod_list() {
  local status=0
  core_tmpdir || return
  _pod_lists "${1:-}" || status=$?
  record_jq "$CORE_TMP/listed" '.[]' -c || return
  return "$status"
}

# _pod_lists PROVIDER - asks it, or all that are in use, for their pods: $CORE_TMP/listed. EX_MISSING, EX_USAGE, EX_TUNNEL.
_pod_lists() {
  local provider providers=$1 status=0
  : >"$CORE_TMP/listed"
  if [ -n "$providers" ]; then pod_provider "$providers" || return; else providers=$(pod_providers_in_use); fi
  for provider in $providers; do
    "provider_${provider}_list" >"$CORE_TMP/list" || {
      status=$?
      continue
    }
    cat -- "$CORE_TMP/list" >>"$CORE_TMP/listed"
  done
  return "$status"
}

# pod_each FILE FUNCTION - loads one pod after another from FILE (lines of pod_list) and calls FUNCTION for it; the
# gravest of their codes.
pod_each() {
  local line code status=0
  while IFS= read -r line <&4; do # a function may want to ask at the terminal
    code=0
    printf '%s\n' "$line" >"$CORE_TMP/pod.json"
    { pod_load "$CORE_TMP/pod.json" && "$2"; } || code=$?
    [ "$code" -le "$status" ] || status=$code
  done 4<"$1"
  return "$status"
}

# pod_json - prints the loaded pod as its provider sees it now, joined with what we know.
pod_json() {
  "provider_${POD_PROVIDER}_get" "$POD_ID" >"$CORE_TMP/pod.json" && record_jq "$CORE_TMP/pod.json" '.[]' -c
}

# pod_refresh - asks the provider for the loaded pod again; EX_POD when there is none any more, EX_TUNNEL.
pod_refresh() {
  local status=0
  "provider_${POD_PROVIDER}_get" "$POD_ID" >"$CORE_TMP/pod.json" || status=$?
  if [ "$status" = "$EX_POD" ] && _pod_may_come; then return 0; fi
  [ "$status" = 0 ] || return "$status"
  _POD_SEEN=$POD_ID
  pod_load "$CORE_TMP/pod.json"
}

# _pod_may_come - 0 when the loaded pod was made so short a time ago that "not found" says nothing yet: it has to get
# around there, and nobody has seen it.
_pod_may_come() {
  os_now
  [ "$POD_PROVIDER" != local ] && [ "$_POD_SEEN" != "$POD_ID" ] && [ "$((OS_NOW - POD_SINCE))" -lt "$POD_YOUNG" ]
}

# pod_find REF [PROVIDER [free]] - loads the pod whose id or name begins with REF; with an empty REF the one of ours
# that runs, or when none does, the only one there is (`free`: only one that runs, and is neither about to
# go nor made by another run for itself, since it goes away with it).
# EX_USAGE with the list when several could be meant; EX_POD when there is none; then POD_ID is empty.
pod_find() {
  local line found=0 ids='' listed=0
  POD_ID=''
  core_tmpdir || return
  core_quietly _pod_lists "${2:-}" || listed=$?
  core_quietly record_choose "$CORE_TMP/listed" "$1" "${3:-}" >"$CORE_TMP/found" ||
    core_fail "$EX_FAIL" "$CORE_ERROR" "$CORE_HINT" || return
  while IFS= read -r line; do
    if [ -z "$1" ] && [ -n "${3:-}" ] && record_is_taken "$line"; then continue; fi
    found=$((found + 1)) ids="$ids ${line%%$'\x1f'*}"
    [ "$found" -gt 1 ] || pod_take "$line" || return
  done <"$CORE_TMP/found"
  case $found:$listed in
    1:*) _pod_observe ;;
    0:0) # without a REF the caller knows what to do without a pod
      ! _pod_find_hidden "$1" "${2:-}" || return 0
      [ -z "$1" ] ||
        core_fail "$EX_POD" "there is no pod \"$1\"" "autopod-ls shows those there are" || return
      return "$EX_POD"
      ;;
    0:*) core_fail "$listed" "$CORE_ERROR" "$CORE_HINT" ;; # it may be where nobody could be asked
    *)
      POD_ID=''
      core_fail "$EX_USAGE" "$found pods could be meant:$ids" \
        "name one of them (--pod ID, or the argument POD)"
      ;;
  esac
}

# pod_pick REF - as pod_find, for a command that is about one pod: it also tells when none runs.
pod_pick() {
  local status=0
  pod_find "$1" || status=$?
  [ "$status" != "$EX_POD" ] || [ -n "$1" ] ||
    core_fail "$EX_POD" "no pod of this installation runs" "autopod-ls shows all, also stopped ones" || :
  return "$status"
}

# pod_check_address - 0 when the loaded pod can be reached by ssh; EX_POD, with what to do.
pod_check_address() {
  local what="pod $POD_ID is $POD_STATUS${POD_REASON:+: $POD_REASON}" todo
  case $POD_STATUS in
    running | creating)
      [ -z "$POD_SSH_PORT" ] || return 0
      what="pod $POD_ID has no ssh address yet" todo="booting takes minutes; autopod-info $POD_ID shows when it has one"
      ;;
    stopped) todo="start it again: autopod-start $POD_ID" ;;
    *) todo="make another one: autopod-connect; autopod-ls shows those there are" ;;
  esac
  core_fail "$EX_POD" "$what" "$todo"
}

# _pod_find_hidden REF PROVIDER - loads the one pod of pods.json that REF names when its provider has it, though its
# list leaves it out; 1 otherwise.
_pod_find_hidden() {
  local id provider
  [ -n "$1" ] || return 1
  IFS=$'\x1f' read -r id provider < <(record_find "$1" "$2") || return 1
  core_quietly pod_provider "$provider" && core_quietly "provider_${provider}_get" "$id" >"$CORE_TMP/pod.json" &&
    pod_load "$CORE_TMP/pod.json"
}

# pod_find_anyhow REF - as pod_find, for a pod that is to be stopped: when nobody can be asked for the list, one of
# pods.json is taken as it was written down, since there are more ways to stop it than that one.
pod_find_anyhow() {
  local status=0
  if core_quietly pod_find "$1"; then return 0; else status=$?; fi
  [ -n "$1" ] || [ "$status" != "$EX_POD" ] || return "$status"
  case $status in
    "$EX_MISSING" | "$EX_TUNNEL")
      if pod_recall "$1"; then
        ui_warn "$CORE_ERROR"
        return
      fi
      ;;
  esac
  core_fail "$status" "$CORE_ERROR" "$CORE_HINT"
}

# pod_recall ID - loads a pod from pods.json, as it was when it was made, without asking anybody; 1 when it is not there.
pod_recall() {
  local fields
  state_read "$AUTOPOD_HOME/pods.json" -c --arg id "$1" '.pods[$id].pod // empty' >"$CORE_TMP/pod.json" &&
    [ -s "$CORE_TMP/pod.json" ] && fields=$(core_quietly record_jq "$CORE_TMP/pod.json" ".[] | $RECORD_FIELDS" -r) &&
    core_quietly pod_take "$fields"
}

# --- what becomes of them ---

# pod_start - starts the loaded pod again after a stop; its address and host key are new, and the time that it may run
# begins anew: on disk before it is started, for the watcher. When nobody can say whether it was started, it stays so
# there, as one that is to be stopped: EX_POD_LEFT. EX_POD, EX_FAIL.
pod_start() {
  local was=$POD_STATUS status=0
  os_now
  POD_STATUS=creating
  _pod_observe
  record_anew "$POD_ID" "$OS_NOW" && "${POD_NOTED:-:}" &&
    "provider_${POD_PROVIDER}_start" "$POD_ID" >"$CORE_TMP/pod.json" || status=$?
  [ "$status" != 0 ] || pod_load "$CORE_TMP/pod.json" || return
  [ "$status" = 0 ] || POD_STATUS=$was
  [ "$status" != "$EX_POD_LEFT" ] || { pod_begin_end stop && pod_left; } || return
  _pod_observe now
  return "$status"
}

# pod_stop - stops the loaded pod and reads its state back; EX_POD_LEFT when it could not be confirmed.
pod_stop() {
  pod_begin_end stop
  core_quietly "provider_${POD_PROVIDER}_stop" "$POD_ID" >"$CORE_TMP/pod.json" &&
    pod_load "$CORE_TMP/pod.json" now && [ "$POD_STATUS" = stopped ] || _pod_is_gone || pod_left || return
  record_change "$POD_ID" 'del(.ending, .ending_by)' || :
}

# pod_terminate - ends the loaded pod for good and forgets it; EX_POD_LEFT when it could not be
# confirmed.
pod_terminate() {
  pod_begin_end terminate
  until core_quietly "provider_${POD_PROVIDER}_terminate" "$POD_ID"; do
    _pod_is_gone || pod_left || return
    _pod_may_come || break
    core_sleep "$POD_PACE"
  done
  ssh_forget "$POD_ID"
  rm -f -- "$AUTOPOD_HOME/logs/tunnel-$POD_ID.log"
  state_unlock "pod-$POD_ID"
  state_unlock "tunnel-$POD_ID" # somebody may have been killed while opening it
  ledger_close
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" 'del(.pods[$id])'
}

# _pod_is_gone - 0 when the provider knows no such pod: somebody else has ended it.
_pod_is_gone() {
  local status=0 why=$CORE_ERROR todo=$CORE_HINT
  core_quietly "provider_${POD_PROVIDER}_get" "$POD_ID" >/dev/null || status=$?
  CORE_ERROR=$why CORE_HINT=$todo
  [ "$status" = "$EX_POD" ]
}

# pod_begin_end WHAT - notes that the loaded pod is about to be stopped or terminated, and by whom: should that not come to
# its end, the watcher goes on with it.
pod_begin_end() {
  os_process_start "$$" || OS_START=''
  record_change "$POD_ID" '. + {ending: $what, ending_by: $by}' --arg what "$1" --arg by "$$-$OS_START" || :
}

# pod_left - tells that the loaded pod may still run and what to do, with a bell for who looks away; EX_POD_LEFT. The
# watcher goes on trying.
pod_left() {
  [ ! -t 2 ] || printf '\a' >&2
  core_fail "$EX_POD_LEFT" "pod $POD_ID may still be running and could not be stopped${CORE_ERROR:+: $CORE_ERROR}" \
    "look now: autopod-info $POD_ID; and end it: autopod-kill $POD_ID${CORE_HINT:+; or $CORE_HINT}"
}

# pod_cost - sets BUDGET_COST to what the loaded pod has cost since it was made, by its price then; POD_SECONDS to how
# long it ran.
pod_cost() {
  local rested=$_POD_RESTED
  os_now
  case $_POD_STATE in
    running) POD_SECONDS=$((_POD_RAN + OS_NOW - _POD_STATE_AT)) ;;
    stopped) POD_SECONDS=$_POD_RAN rested=$((rested + OS_NOW - _POD_STATE_AT)) ;;
    *) POD_SECONDS=$((OS_NOW - POD_SINCE)) ;;
  esac
  budget_pod "$POD_RATE" $((POD_SECONDS + 1)) "$POD_MONTHLY" "$rested" # both ends were cut to the second
}

# pod_deadline - sets when the limits of the loaded pod are used up by its record: POD_DEADLINE, POD_DEADLINE_CODE,
# POD_WARN_AT, POD_CANCEL_AT and POD_BILL, see budget_deadline. Empty for pods that aren't ours, or don't run. One whose
# record says nothing about time has AUTOPOD_MAX_LIFETIME.
pod_deadline() {
  local BUDGET_COST ran=$_POD_RAN
  POD_DEADLINE='' POD_DEADLINE_CODE='' POD_WARN_AT='' POD_CANCEL_AT='' POD_BILL=''
  if [ -n "$POD_UNLIMITED" ]; then _POD_MINUTES=''; else _POD_MINUTES=${POD_MINUTES:-$AUTOPOD_MAX_LIFETIME}; fi
  [ -n "$POD_OURS" ] && [ "$POD_FROM" != 0 ] || return 0
  case $POD_STATUS in stopped | terminated) return 0 ;; esac
  _pod_not_ahead
  [ -z "$_POD_STATE_AT" ] || ran=$((ran + POD_FROM - _POD_STATE_AT)) # what it ran before POD_FROM
  budget_pod "$POD_RATE" "$ran" "$POD_MONTHLY" "$_POD_RESTED"
  budget_deadline "$POD_FROM" "$POD_RATE" "$BUDGET_COST" "$POD_LIMIT" "$_POD_MINUTES"
  budget_disk "$POD_MONTHLY" "$POD_FROM"
  POD_DEADLINE=$BUDGET_DEADLINE POD_DEADLINE_CODE=$BUDGET_CODE POD_BILL=$BUDGET_BILL \
    POD_WARN_AT=$BUDGET_WARN_AT POD_CANCEL_AT=$BUDGET_CANCEL_AT
}

# _pod_not_ahead - the loaded pod can't run since a time that is yet to come: a clock that was fast has been put right. It
# counts from now on, in its record too.
_pod_not_ahead() {
  os_now
  [ "$POD_FROM" -gt "$OS_NOW" ] || return 0
  POD_FROM=$OS_NOW
  [ -z "$_POD_STATE_AT" ] || [ "$_POD_STATE_AT" -le "$OS_NOW" ] || _POD_STATE_AT=$OS_NOW
  record_not_after "$POD_ID" "$OS_NOW" || :
}

# pod_limits_text - sets POD_LIMITS to the limits of the loaded pod in words, as "$5.00 or 12:30 h, whichever is first;
# latest possible bill $5.02".
pod_limits_text() {
  pod_deadline
  pod_price
  budget_limits "$POD_LIMIT" "$_POD_MINUTES" "$POD_BILL" "$POD_PRICE"
  POD_LIMITS=$BUDGET_LIMITS
}

# pod_set_limits MAX_COST MINUTES UNLIMITED [FROM] - the limits of the loaded pod are these from here on: dollars in all, minutes
# since FROM (epoch; as it was) and whether it has expressly no limit of time; any may be empty. EX_FAIL.
pod_set_limits() {
  local from=${4:-$POD_FROM}
  record_change "$POD_ID" '. + {from: $from, limits: $limits}' --argjson from "$from" \
    --argjson limits "$(record_limits "$1" "$2" "$3")" || return
  POD_LIMIT=$1 POD_MINUTES=$2 POD_UNLIMITED=$3 POD_FROM=$from
}

# pod_up - sets POD_UP to the seconds since the loaded pod was started last; empty when nobody knows.
pod_up() {
  local at=${_POD_STATE_AT:-$POD_SINCE}
  os_now
  POD_UP=$((OS_NOW > at ? OS_NOW - at : 0))
  [ "$at" != 0 ] || POD_UP=''
}

# pod_price - sets POD_PRICE to the loaded pod's price in words.
pod_price() {
  budget_rate "$POD_RATE"
  POD_PRICE=${BUDGET_RATE:-free}
  [ "$POD_PROVIDER" = local ] || [ -n "$BUDGET_RATE" ] || POD_PRICE='price unknown'
}

# pod_is_priced - 0 when it can be said what the loaded pod has cost. RunPod tells the price of pods that run; of those
# that stand still only we know it, if we made them. When a pod was made not every runpodctl tells in its list.
pod_is_priced() { [ "$POD_PROVIDER" = local ] || { [ "$POD_SINCE" != 0 ] && budget_less 0 "$POD_RATE"; }; }

# pod_is_ours - 0 when the loaded pod is of this installation; the provider is asked again when nothing on disk says
# so, since lists do not tell the stamp.
pod_is_ours() {
  [ -n "$POD_OURS" ] || core_quietly pod_refresh || :
  [ -n "$POD_OURS" ]
}
