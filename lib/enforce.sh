# shellcheck shell=bash
# enforce.sh - what is due: pods whose limits are used up, that were to be ended and were not, or that nobody claims any
# more are stopped. It goes by pods.json alone, and asks nobody while nothing is due. For the watcher, and for cron.

[ -z "${_AUTOPOD_ENFORCE_SH:-}" ] || return 0 # @guard
_AUTOPOD_ENFORCE_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/record.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"
. "$AUTOPOD_LIB/survey.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/later.sh"
. "$AUTOPOD_LIB/idle.sh"

ENFORCE_AFTER=2     # seconds after its deadline that a pod is given to whoever stops it himself
ENFORCE_LOOK=3600   # seconds between two looks at a pod that may have been ended elsewhere
ENFORCE_PATIENCE=60 # seconds, besides AUTOPOD_STOP_GRACE, that somebody who is ending a pod is given while he lives
ENFORCE_RUNS=10     # seconds between two looks at all runs, for one that claims a pod
ENFORCE_SILENCE=10  # seconds until a ComfyUI that is silent is asked again
ENFORCE_SOON=40     # seconds before a deadline in which nothing is begun that may take long
ENFORCE_PODS=()     # what pods.json says: the pods that cost or were to be ended, ID PROVIDER ENDING ENDING_BY DUE WAITING ORPHAN_AT
ENFORCE_WISHES=()   # ACCOUNT, and those that may be being made, NAME PROVIDER AT MAKER; `-` stands for what there isn't
ENFORCE_DAMAGED=''  # set when it makes no sense: then what it said before counts

_ENFORCE_TEXT=''       # the file as it was read last
_ENFORCE_RECORDS=()    # what pod_take wants of each pod
_ENFORCE_DEADLINE=0    # the next one of a pod
_ENFORCE_SEEN=$'\n'    # the pods of another key, or of nobody knows which, that our key shows,
_ENFORCE_FOREIGN=$'\n' # and those, and wishes, that it does not
_ENFORCE_VERB='' _ENFORCE_KEY='' _ENFORCE_WHY='' _ENFORCE_PICKED=''

# enforce_once - one pass over what pods.json says: pods whose limits are used up, or that were to be ended, are stopped;
# pods whose making was not brought to its end are looked for; and then those that nobody claims any more are. Sets
# LATER_NEXT. EX_POD_LEFT when one of them could not be; EX_FAIL when pods.json is damaged.
enforce_once() {
  local i status=0
  core_tmpdir || return
  later_begin
  _enforce_due || status=$EX_POD_LEFT
  for ((i = 0; i < ${#ENFORCE_WISHES[@]}; i++)); do
    # shellcheck disable=SC2086 # words
    _enforce_wish ${ENFORCE_WISHES[i]} || status=$EX_POD_LEFT
  done
  [ "${#ENFORCE_WISHES[@]}" = 0 ] || _enforce_due || status=$EX_POD_LEFT
  for ((i = 0; i < ${#ENFORCE_PODS[@]}; i++)); do
    # shellcheck disable=SC2086
    _enforce_rest "${_ENFORCE_RECORDS[i]}" ${ENFORCE_PODS[i]} || status=$EX_POD_LEFT
  done
  [ -z "$ENFORCE_DAMAGED" ] || [ "$status" != 0 ] || status=$EX_FAIL
  return "$status"
}

# enforce_is_needed - 0 while there is a pod that our key can stop, or may be; or nobody can say.
enforce_is_needed() {
  local entry
  [ -z "$ENFORCE_DAMAGED" ] || return 0
  for entry in ${ENFORCE_PODS[@]+"${ENFORCE_PODS[@]}"} ${ENFORCE_WISHES[@]+"${ENFORCE_WISHES[@]}"}; do
    case $_ENFORCE_FOREIGN in *$'\n'"${entry%% *}"$'\n'*) ;; *) return 0 ;; esac
  done
  return 1
}

# What there is to be watched, a line each, from pods.json; the last line says that all of it was read.
_ENFORCE_PLAN='
  def word: if type == "string" and test("^[A-Za-z0-9][A-Za-z0-9._-]*$") then . else "-" end;
  def number: if type == "number" then floor | tostring else "-" end;
  if type != "object" then error else . end
  | (.intents | objects | to_entries[] | .key as $name | .value | objects
      | "wish \($name | word) \(.provider | word) \(.at | numbers | floor) \(.maker | word)"),
    (.pods | objects | to_entries[] | .key as $id | .value | objects | select(.state != "stopped" or .ending != null)
      | "pod \($id | word) \(.provider | word) \(.ending | word) \(.ending_by | word) \(if .waiting == true then 1 else "-" end) " +
        "\(.orphan_at | number) \(.account | word) " +
        (((.pod | objects) // {}) + {id: $id, provider, status: (if .state == "stopped" then "stopped" else "running" end)} | fields)),
    "end"'

# enforce_read - takes in pods.json, if it has changed. While it is damaged, or gone, what was known holds on.
enforce_read() {
  local text='' kind id provider ending by waiting orphan account record due pods=() records=() wishes=() ids=''
  { IFS= read -r -d '' text <"$AUTOPOD_HOME/pods.json"; } 2>/dev/null || :
  [ -e "$AUTOPOD_HOME/pods.json" ] || return 0
  if [ -n "$text" ] && [ "$text" = "$_ENFORCE_TEXT" ]; then
    ENFORCE_DAMAGED=''
    return 0
  fi
  kind=''
  while read -r kind id provider ending by waiting orphan account record; do
    [ "$kind" != end ] || break
    [ "$id" != - ] && core_quietly pod_provider "$provider" || continue
    ids="$ids$id "
    case $kind in
      wish) wishes[${#wishes[@]}]="$id $provider $ending $by" ;;
      pod)
        due=''
        core_quietly pod_take "$record" && core_quietly pod_deadline && due=$POD_DEADLINE
        pods[${#pods[@]}]="$id $provider $ending $by ${due:--} $waiting $orphan $account"
        records[${#records[@]}]=$record
        ;;
    esac
  done < <(record_all "$_ENFORCE_PLAN") # not a text at hand: for that, older shells need room on a disk
  [ "$kind" = end ] || {
    [ -n "$ENFORCE_DAMAGED" ] || ui_warn "$AUTOPOD_HOME/pods.json is damaged; what it said before counts"
    ENFORCE_DAMAGED=1
    return 0
  }
  _ENFORCE_TEXT=$text ENFORCE_DAMAGED='' ENFORCE_PODS=(${pods[@]+"${pods[@]}"})
  _ENFORCE_RECORDS=(${records[@]+"${records[@]}"}) ENFORCE_WISHES=(${wishes[@]+"${wishes[@]}"})
  later_keep "$ids"
}

# _enforce_wish NAME PROVIDER AT MAKER - somebody wanted to make a pod by that name. While he lives it is his; what he was
# kept from writing down is written down. EX_POD_LEFT when nobody can say whether it was made.
_enforce_wish() {
  local status=0 until
  until=$(($3 + SURVEY_YOUNG))
  if os_same_process "${4%%-*}" "${4#*-}" && [ "$OS_NOW" -lt "$until" ]; then return 0; fi
  later_may "$1:wish" || return 0
  core_quietly wish_recover "$1" "$2" "$until" || status=$?
  os_now
  case $status in
    0) ui_log info "the wish $1 is settled, for its maker is gone" ;;
    1) later_put_off "$1:wish" ;; # it may come up late
    "$EX_POD")
      _enforce_note_foreign "$1"
      later_put_off "$1:wish" "$ENFORCE_LOOK"
      return "$EX_POD_LEFT"
      ;;
    *)
      later_put_off "$1:wish"
      ui_warn "nobody can say whether the pod $1 was made: $CORE_ERROR"
      return "$EX_POD_LEFT"
      ;;
  esac
}

# _enforce_due - ends the pods that are due: first those that it was not tried on yet, and at most one of the others, since
# that may take a while, and more may be due by then. EX_POD_LEFT.
_enforce_due() {
  local status=0
  while _enforce_pick; do
    # shellcheck disable=SC2086 # words
    _enforce_try $_ENFORCE_PICKED || status=$EX_POD_LEFT
    case $_ENFORCE_PICKED in *' 0 '*) ;; *) break ;; esac
  done
  return "$status"
}

# _enforce_pick - of the pods that are due, and don't have to wait, the one with the fewest tries: _ENFORCE_PICKED gets
# INDEX VERB KEY TRIES WHY; 1 when there is none. Sets _ENFORCE_DEADLINE.
_enforce_pick() {
  local i least=''
  enforce_read
  _ENFORCE_DEADLINE=$((OS_NOW + ENFORCE_LOOK))
  for ((i = 0; i < ${#ENFORCE_PODS[@]}; i++)); do
    # shellcheck disable=SC2086
    _enforce_is_due ${ENFORCE_PODS[i]} && later_may "$_ENFORCE_KEY" || continue
    [ -z "$least" ] || [ "$LATER_TRIES" -lt "$least" ] || continue
    least=$LATER_TRIES _ENFORCE_PICKED="$i $_ENFORCE_VERB $_ENFORCE_KEY $least $_ENFORCE_WHY"
  done
  [ -n "$least" ]
}

# _enforce_is_due ID PROVIDER ENDING ENDING_BY DUE ... - 0 when that pod is to be ended now: how, and why.
_enforce_is_due() {
  local at=-1
  POD_ID=$1 POD_PROVIDER=$2 _ENFORCE_KEY=$1:$5 _ENFORCE_VERB=stop
  [ "$5" = - ] || at=$(($5 + ENFORCE_AFTER))
  if [ "$3" != - ] && ! _enforce_is_at_it "$4"; then
    _ENFORCE_VERB=$3 _ENFORCE_WHY='it was to be ended, and that was not confirmed'
  elif [ "$at" != -1 ] && [ "$OS_NOW" -ge "$at" ]; then
    _ENFORCE_WHY='its limits are used up'
  else
    [ "$at" = -1 ] || later_next "$at"
    [ "$at" = -1 ] || [ "$at" -ge "$_ENFORCE_DEADLINE" ] || _ENFORCE_DEADLINE=$at
    return 1
  fi
}

# _enforce_try INDEX VERB KEY TRIES WHY... - ends that pod of ENFORCE_PODS. EX_POD_LEFT.
_enforce_try() {
  local i=$1 verb=$2 key=$3
  shift 4
  # shellcheck disable=SC2086 # words
  if _enforce_is_foreign ${ENFORCE_PODS[i]}; then
    later_put_off "$key" "$ENFORCE_LOOK"
    return "$EX_POD_LEFT"
  fi
  POD_ID=${ENFORCE_PODS[i]%% *}
  _enforce_end "$verb" "${_ENFORCE_RECORDS[i]}" "$*" "$key"
}

# _enforce_rest RECORD ID PROVIDER ENDING ENDING_BY DUE WAITING ORPHAN_AT ACCOUNT - what else there is about a pod: does
# anybody claim it, and is it still there? EX_POD_LEFT.
_enforce_rest() {
  local record=$1
  shift
  ! _enforce_is_due "$@" || return 0
  # One of another key takes a look, and those take time.
  if ! _enforce_is_ours "$@" && { ! _enforce_is_quiet || _enforce_is_foreign "$@"; }; then return 0; fi
  POD_ID=$1 POD_PROVIDER=$2
  if [ "$3$6" = -1 ] && later_may "$1:left" && _enforce_is_left "$record" "$7"; then
    _enforce_end stop "$record" 'nobody claims it any more' "$1:left"
    return
  fi
  ! _enforce_is_quiet || _enforce_glance "$record"
}

# _enforce_is_quiet - 0 unless a pod is due soon.
_enforce_is_quiet() {
  os_now
  [ $((_ENFORCE_DEADLINE - OS_NOW)) -gt "$ENFORCE_SOON" ]
}

# _enforce_is_ours ID PROVIDER ENDING ENDING_BY DUE WAITING ORPHAN_AT ACCOUNT - 0 when it is known that this pod is of the
# account that our key is for.
_enforce_is_ours() {
  wish_account "$2"
  [ "$2" = local ] || { [ -n "$WISH_ACCOUNT" ] && [ "$8" = "$WISH_ACCOUNT" ]; } ||
    case $_ENFORCE_SEEN in *$'\n'"$1"$'\n'*) ;; *) return 1 ;; esac
}

# _enforce_is_foreign ID PROVIDER ENDING ENDING_BY DUE WAITING ORPHAN_AT ACCOUNT - 0 when our key does not show that pod, and
# it was made with another one, or nobody knows with which: "not found" says nothing about it then.
_enforce_is_foreign() {
  local status=0
  ! _enforce_is_ours "$@" || return 1
  POD_ID=$1 POD_PROVIDER=$2
  if later_may "$1:key"; then
    later_put_off "$1:key" "$ENFORCE_LOOK"
    core_quietly "provider_$2_get" "$1" >/dev/null || status=$?
    os_now
    case $status:$WISH_ACCOUNT in
      0:*)
        _ENFORCE_SEEN=$_ENFORCE_SEEN$1$'\n' _ENFORCE_FOREIGN=${_ENFORCE_FOREIGN/$'\n'"$1"$'\n'/$'\n'}
        [ -z "$WISH_ACCOUNT" ] || core_quietly record_change "$1" '.account = $account' --arg account "$WISH_ACCOUNT" || :
        return 1
        ;;
      "$EX_POD":* | *:) _enforce_note_foreign "$1" ;;
      *) later_drop "$1:key" && later_put_off "$1:key" "$ENFORCE_PATIENCE" ;; # nobody can say
    esac
  fi
  case $_ENFORCE_FOREIGN in *$'\n'"$1"$'\n'*) ;; *) return 1 ;; esac
}

# _enforce_note_foreign ID - our key does not show that pod, or wish; that is told once.
_enforce_note_foreign() {
  case $_ENFORCE_FOREIGN in *$'\n'"$1"$'\n'*) return 0 ;; esac
  _ENFORCE_FOREIGN=$_ENFORCE_FOREIGN$1$'\n'
  survey_warn_foreign "$1"
}

# _enforce_is_at_it PID-START - 0 while somebody else who lives is just ending the pod at hand. He is given a while: he may
# be bringing home what is done before that.
_enforce_is_at_it() {
  [ "${1%%-*}" != "$$" ] && os_same_process "${1%%-*}" "${1#*-}" || return 1
  later_is_new "$POD_ID:$1" $((AUTOPOD_STOP_GRACE + ENFORCE_PATIENCE)) || ! later_may "$POD_ID:$1"
}

# _enforce_end stop|terminate RECORD WHY KEY - stops the pod at hand, or ends it for good, and looks whether that is so;
# EX_POD_LEFT.
_enforce_end() {
  local status=0 id=$POD_ID provider=$POD_PROVIDER
  ui_log info "pod $id: $3"
  # As it was written down, not as it is: what it says may be old, and is not to be written down anew.
  core_quietly pod_take "$2" || POD_ID=$id
  POD_PROVIDER=$provider
  if [ "$1" = terminate ]; then pod_terminate || status=$?; else pod_stop || status=$?; fi
  os_now
  [ "$status" = 0 ] || {
    later_put_off "$4"
    return "$EX_POD_LEFT"
  }
  core_quietly tunnel_close || :
  if [ "$1" = stop ] && [ "$POD_STATUS" != stopped ] && ! survey_gone "$id" "$provider"; then
    _enforce_note_foreign "$id"
    later_put_off "$4" "$ENFORCE_LOOK"
    return "$EX_POD_LEFT"
  fi
  ui_log info "pod $id: $1 done"
  later_put_off "$4" 60 # should pods.json say even then that it runs, it is looked at again
}

# _enforce_is_left RECORD ORPHAN_AT - 0 when nobody has claimed the pod at hand, which was not handed over, for
# AUTOPOD_GUARD_GRACE seconds, and its ComfyUI has nothing to do. Since when is written down: watchers come and go.
_enforce_is_left() {
  local since=$2 due
  if _enforce_is_claimed "$since"; then
    [ "$since" = - ] || _enforce_note_left null
    return 1
  fi
  [ "$since" != - ] || {
    ui_log info "pod $POD_ID: nobody claims it; if that lasts, it is stopped in $AUTOPOD_GUARD_GRACE seconds"
    since=$OS_NOW
    _enforce_note_left "$since"
  }
  due=$((since + AUTOPOD_GUARD_GRACE))
  later_next "$due"
  [ "$OS_NOW" -ge "$due" ] && ! _enforce_is_busy "$1" $((due + AUTOPOD_GUARD_GRACE))
}

# _enforce_is_claimed ORPHAN_AT - 0 when a process that lives has the pod at hand, or a run on it.
_enforce_is_claimed() {
  ! state_lock_is_foreign "pod-$POD_ID" || return 0
  # A look at all runs costs more: only now and then, and before it counts.
  if [ "$1" = - ] || [ "$OS_NOW" -lt $(($1 + AUTOPOD_GUARD_GRACE)) ]; then
    later_may "$POD_ID:runs" || { [ "$1" = - ] && return; }
  fi
  later_put_off "$POD_ID:runs" "$ENFORCE_RUNS"
  runs_in_use "$POD_ID"
}

# _enforce_note_left EPOCH|null - since when nobody claims the pod at hand.
_enforce_note_left() {
  core_quietly state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" --argjson at "$1" \
    'if .pods[$id] == null then . elif $at == null then del(.pods[$id].orphan_at) else .pods[$id].orphan_at = $at end' || :
}

# _enforce_is_busy RECORD UNTIL - 0 when the ComfyUI of the pod at hand has something to do, or its guard sees to that (until
# UNTIL). While it loads a model it may well be silent for once, or twice.
_enforce_is_busy() {
  local try
  later_may "$POD_ID:busy" || return 0
  for try in 1 2 3; do
    [ "$try" = 1 ] || core_sleep "$ENFORCE_SILENCE" || :
    idle_ask "$1" "$2"
    case $IDLE_QUEUE in
      *'"queue_running":[]'*'"queue_pending":[]'* | *'"queue_pending":[]'*'"queue_running":[]'*) return 1 ;;
      *'"queue_running":['*) return 0 ;;
    esac
    _enforce_is_quiet || return 0 # that one comes first
  done
  return 1
}

# _enforce_glance RECORD - once in a long while: is the pod at hand still there? It may have been ended elsewhere.
_enforce_glance() {
  local status=0 id=$POD_ID provider=$POD_PROVIDER
  # Not at first: it was just made, or we were.
  if later_is_new "$id:look" "$ENFORCE_LOOK" || ! later_may "$id:look"; then return 0; fi
  later_put_off "$id:look" "$ENFORCE_LOOK"
  core_quietly pod_take "$1" || return 0
  core_quietly pod_refresh || status=$?
  [ "$status" != "$EX_POD" ] || survey_gone "$id" "$provider" || :
}
