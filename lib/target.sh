# shellcheck shell=bash
# target.sh - where jobs run: a pod that is there, one that is made for them, or a server that the user named (see
# remote.sh). What becomes of it afterwards is for release.sh.

[ -z "${_AUTOPOD_TARGET_SH:-}" ] || return 0 # @guard
_AUTOPOD_TARGET_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/record.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"
. "$AUTOPOD_LIB/cap.sh"
. "$AUTOPOD_LIB/rent.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/remote.sh"
. "$AUTOPOD_LIB/guards.sh"
. "$AUTOPOD_LIB/limits.sh"

# What the user asked for.
TARGET_WISH_URL=''       # --url, or RUNPOD_POD_URL
TARGET_WISH_PROXY=''     # --proxy
TARGET_WISH_POD=''       # --pod
TARGET_WISH_NO_TUNNEL='' # --no-tunnel
TARGET_WISH_AFTER=''     # --after: terminate, stop or keep

_TARGET_FROM='' # what named the server, unless that was --url

_TARGET_TRY_SECONDS=20 # for one try to bring a lost link back

TARGET_URL=''           # where ComfyUI answers, once the target is open
TARGET_MADE=''          # set when the pod was made for this call
TARGET_AFTER=''         # no more jobs, and the pod, whoever made it: stop or kill; close: as ever
TARGET_PAUSE=core_sleep # what waits between two tries to bring a lost link back; 1 from it ends that
_TARGET_FOUND_TUNNEL='' # set when there was a tunnel before this call, even if it had to be opened anew
TARGET_OWN_TUNNEL=''    # set when the tunnel was opened by this call
_TARGET_RECORD=''       # the file that names the pod of the run at hand
TARGET_RUNS=()          # the runs that this call has had on its pod
_TARGET_ADOPTED=''      # set when the pod is that of a run that is resumed
_TARGET_USED=''         # the pods that this call says it uses

# target_check_wishes - what can't be, or can't go together, before anything is done; EX_USAGE.
target_check_wishes() {
  local wish count=0 what='--url, --proxy and --no-tunnel name no pod of this call'
  for wish in "$TARGET_WISH_URL" "$TARGET_WISH_PROXY$TARGET_WISH_POD" "$TARGET_WISH_NO_TUNNEL"; do
    [ -z "$wish" ] || count=$((count + 1))
  done
  [ "$count" -le 1 ] ||
    core_fail "$EX_USAGE" "only one of --pod, --url, --proxy and --no-tunnel can be given (but --proxy goes with --pod)" || return
  if [ -z "$TARGET_WISH_URL" ] && remote_setting "$TARGET_WISH_PROXY" "${TARGET_WISH_POD:+--pod}${TARGET_WISH_NO_TUNNEL:+--no-tunnel}"; then
    TARGET_WISH_URL=$RUNPOD_POD_URL TARGET_WISH_PROXY='' _TARGET_FROM=RUNPOD_POD_URL
    what='RUNPOD_POD_URL names a server, and no pod'
  fi
  ! target_is_server || [ -z "$TARGET_WISH_AFTER$GUARDS_REQUIRED" ] ||
    core_fail "$EX_USAGE" "--after and --require-guard are about pods; $what" || return
  remote_check "${_TARGET_FROM:---url}" "$TARGET_WISH_URL" "${TARGET_WISH_PROXY:+--proxy}${TARGET_WISH_NO_TUNNEL:+--no-tunnel}" || return
  TARGET_WISH_URL=$REMOTE_URL
  pod_provider "$AUTOPOD_PROVIDER"
}

# target_is_server - 0 when a server is asked for instead of a pod.
target_is_server() { [ -n "$TARGET_WISH_URL$TARGET_WISH_PROXY$TARGET_WISH_NO_TUNNEL" ]; }

# target_wishes - prints what was asked for, as lines that target_take_wishes reads back when the
# run is resumed.
target_wishes() {
  local no_tunnel=$TARGET_WISH_NO_TUNNEL
  printf 'wish_provider\t%s\n' "$AUTOPOD_PROVIDER"
  [ -z "$TARGET_WISH_URL" ] || printf 'wish_url\t%s\n' "$TARGET_WISH_URL"
  [ -z "$TARGET_WISH_PROXY" ] || printf 'wish_proxy\t1\n'
  printf '%s' "$REMOTE_FILES"
  [ -z "$TARGET_WISH_POD" ] || printf 'wish_pod\t%s\n' "${TARGET_WISH_POD//[[:cntrl:]]/}"
  [ -z "$no_tunnel" ] || printf 'wish_no_tunnel\t1\n'
  [ -z "$TARGET_WISH_AFTER" ] || printf 'wish_after\t%s\n' "$TARGET_WISH_AFTER"
  [ -z "$GUARDS_REQUIRED" ] || printf 'wish_require_guard\t1\n'
}

# target_take_wishes FILE - what the run was asked for when it began, unless something else is asked
# for now.
target_take_wishes() {
  local tag text
  ! target_is_server && [ -z "$TARGET_WISH_POD" ] || return 0
  while IFS=$'\t' read -r tag text; do
    case $tag in
      wish_after) TARGET_WISH_AFTER=${TARGET_WISH_AFTER:-$text} ;;
      wish_require_guard) GUARDS_REQUIRED=1 ;;
      wish_provider) AUTOPOD_PROVIDER=$text ;;
      wish_url) TARGET_WISH_URL=$text ;;
      wish_pod) TARGET_WISH_POD=$text ;;
      wish_proxy) TARGET_WISH_PROXY=$text ;;
      wish_header_file) REMOTE_HEADER_FILE=${REMOTE_HEADER_FILE:-$text} ;;
      wish_auth_file) REMOTE_AUTH_FILE=${REMOTE_AUTH_FILE:-$text} ;;
      wish_no_tunnel) TARGET_WISH_NO_TUNNEL=$text ;;
    esac
  done <"$1"
  [ -z "$TARGET_WISH_PROXY" ] || ! remote_before "${1%/*}" || TARGET_WISH_URL=$REMOTE_URL TARGET_WISH_PROXY='' _TARGET_FROM=--proxy
}

# target_open JOB RECORD - opens the target, if it isn't; a pod that has to be made is made as
# pod_config of JOB (job.json) says, and RECORD (a file) names it at once. EX_POD, EX_TUNNEL,
# EX_USAGE, EX_MISSING.
target_open() {
  if [ -z "$TARGET_URL" ]; then
    if target_is_server; then
      _target_server
      return
    fi
    _target_pod "$1" "$2"
  else # from the job before: the link may have gone meanwhile
    comfy_answers "$TARGET_URL" || target_recover || return
    [ -z "$POD_ID" ] || _target_record "$2"
  fi
}

# target_reconnect SECONDS - makes sure that the target answers (again) at TARGET_URL; EX_TUNNEL, EX_POD; EX_TIME, EX_COST
# at a limit.
target_reconnect() {
  if [ -n "$POD_ID" ]; then
    TUNNEL_WHILE=limits_last core_quietly tunnel_ensure "$1" || limits_instead $? || return
    [ -z "$TUNNEL_OPENED" ] || [ -n "$_TARGET_FOUND_TUNNEL" ] || TARGET_OWN_TUNNEL=1
    TARGET_URL=$TUNNEL_URL
  else
    core_quietly comfy_check "$TARGET_URL" || limits_instead $?
  fi
}

# target_recover - the server does not answer: brings the link back, or waits for it, for AUTOPOD_RECONNECT_TIMEOUT seconds
# at most, or until TARGET_PAUSE has enough: then 0 too, the caller sees why. EX_TUNNEL, EX_POD; EX_TIME, EX_COST at a limit.
target_recover() {
  local began limit pause=1 what="the link to ComfyUI is lost (${HTTP_ERROR:-HTTP $HTTP_STATUS})"
  limits_check || return
  [ "$HTTP_CURL" != 0 ] || ! comfy_answers "$TARGET_URL" 5 || return 0 # it is there, but had no answer to that
  os_now
  began=$OS_NOW limit=$((OS_NOW + AUTOPOD_RECONNECT_TIMEOUT))
  case $HTTP_CURL in
    7) [ -z "$POD_ID" ] || what='the link to ComfyUI is lost (its tunnel has closed)' ;;
    28) what='ComfyUI does not answer' ;; # it may just be busy
  esac
  ui_warn "$what: reconnecting"
  [ "$TARGET_PAUSE" = core_sleep ] || "$TARGET_PAUSE" 0.1 || return 0 # what was wanted while we waited for the answer
  until TUNNEL_PAUSE=$TARGET_PAUSE core_quietly target_reconnect "$_TARGET_TRY_SECONDS"; do
    case $CORE_ERROR_CODE in "$EX_TUNNEL" | 0) ;; *)
      # Not the link: the pod itself has gone.
      core_fail "$CORE_ERROR_CODE" "$CORE_ERROR" "${CORE_HINT:-comfy-run --resume takes the job up again}"
      return
      ;;
    esac
    os_now
    [ "$OS_NOW" -lt "$limit" ] || {
      core_fail "$EX_TUNNEL" "ComfyUI could not be reached again within $AUTOPOD_RECONNECT_TIMEOUT s: $CORE_ERROR" \
        "the job may have gone on: comfy-run --resume picks it up"
      return
    }
    [ "$pause" -le "${LIMITS_LEFT:-$pause}" ] || pause=1
    "$TARGET_PAUSE" "$pause" || return 0
    [ "$pause" -ge 4 ] || pause=$((pause * 2))
  done
  core_forget_error
  os_now
  what=''
  if [ $((OS_NOW - began)) -ge 2 ]; then
    ui_duration $((OS_NOW - began))
    what=" after $UI_TIME"
  fi
  ui_note "The link is back$what."
}

# _target_server - uses the ComfyUI that the user named. EX_TUNNEL, EX_USAGE, EX_POD, EX_MISSING; EX_TIME, EX_COST.
_target_server() {
  ui_step Server
  if [ -n "$TARGET_WISH_PROXY" ]; then
    remote_proxy "$TARGET_WISH_POD" || return
    TARGET_WISH_URL=$REMOTE_URL TARGET_WISH_PROXY='' TARGET_WISH_POD='' _TARGET_FROM=--proxy
  fi
  remote_open "${TARGET_WISH_URL:-http://127.0.0.1:$AUTOPOD_PORT}" "${TARGET_WISH_NO_TUNNEL:+named}" || return
  TARGET_URL=$REMOTE_URL
  ui_done "$TARGET_URL, ComfyUI $COMFY_VERSION${_TARGET_FROM:+ ($_TARGET_FROM)}"
}

# _target_pod JOB RECORD - opens the pod that was asked for, else the one that runs, else one that it makes.
_target_pod() {
  local status=0
  _TARGET_RECORD=$2 _TARGET_FOUND_TUNNEL=''
  ui_step Pod
  pod_find "$TARGET_WISH_POD" "$AUTOPOD_PROVIDER" free || status=$?
  if [ "$status:$TARGET_WISH_POD" = "$EX_POD:" ]; then
    _target_make "$1"
    return
  elif [ "$status" != 0 ]; then
    return "$status"
  fi
  _target_claim || return
  case $POD_STATUS in
    running | creating) ;;
    *)
      [ -n "$TARGET_MADE" ] || { [ -n "$_TARGET_ADOPTED" ] && [ -n "$POD_OURS" ]; } ||
        core_fail "$EX_POD" "pod $POD_ID is $POD_STATUS${POD_REASON:+: $POD_REASON}" \
          "start it: autopod-start $POD_ID; or leave --pod out to get a new one" || return
      _target_start || return
      ;;
  esac
  pod_price
  ui_done "$POD_ID, $POD_GPU, $POD_PRICE${POD_DATA_CENTER:+, $POD_DATA_CENTER}"
  _target_may_end || return
  ui_step Tunnel
  tunnel_find || :
  [ -z "$TUNNEL_PID" ] || _TARGET_FOUND_TUNNEL=1
  _target_ready && _target_tell
}

# _target_claim - the pod that was found is needed: what was begun to end it and was left, for it was made for this run, and
# since when nobody claims it, is forgotten. EX_POD when it is about to go; whoever ends it does so without us.
_target_claim() {
  local by known='' id=$POD_ID
  [ ! -s "$AUTOPOD_HOME/pods.json" ] || known=$(<"$AUTOPOD_HOME/pods.json")
  case $known in *'"ending"'* | *'"orphan_at"'*) ;; *) return 0 ;; esac
  by=$(state_read "$AUTOPOD_HOME/pods.json" -r --arg id "$POD_ID" '.pods[$id].ending_by // ""') || return
  if [ -n "$POD_ENDING" ]; then
    case $POD_STATUS:$TARGET_MADE in running: | creating:) ;; *)
      [ "${by%%-*}" != "$$" ] && os_same_process "${by%%-*}" "${by#*-}" || POD_ENDING=''
      ;;
    esac
  fi
  [ -z "$POD_ENDING" ] || {
    [ -z "$TARGET_MADE" ] || state_unlock "pod-$id"
    POD_ID='' TARGET_MADE=''
    core_fail "$EX_POD" "pod $id is about to go: somebody has begun to $POD_ENDING it" \
      "autopod-info $id shows when that is done"
    return
  }
  record_change "$POD_ID" 'del(.ending, .ending_by, .orphan_at)' || :
}

# _target_ready - the pod that is loaded is ours to use: writes it down, and opens its tunnel; EX_TUNNEL, EX_POD.
_target_ready() {
  [ -z "$TARGET_MADE" ] || CORE_LEFT="pod $POD_ID may still be running; end it: autopod-kill $POD_ID"
  [ -z "$TARGET_MADE" ] || limits_step boot
  _target_record "$_TARGET_RECORD"
  target_reconnect "$AUTOPOD_BOOT_TIMEOUT"
}

# _target_may_end - 0 when the pod, which was there before, may be ended as --after says, whoever made it. EX_USAGE,
# EX_FAIL.
_target_may_end() {
  case $TARGET_WISH_AFTER in stop | terminate) ;; *) return 0 ;; esac
  pod_is_ours || ui_confirm \
    "Pod $POD_ID ($POD_NAME) was not made by this installation. Go on, and $TARGET_WISH_AFTER it afterwards?" ||
    _target_refuse $?
}

# _target_refuse CODE - the pod at hand will not do for any job of this call, and is not kept for that; CODE.
_target_refuse() {
  TARGET_AFTER=close
  [ -z "$TARGET_MADE" ] || TARGET_WISH_AFTER=''
  return "$1"
}

# _target_tell - says where the pod is, what answers at the other end of its tunnel, what limits it and what guards it.
# EX_POD when it is not guarded as it has to be.
_target_tell() {
  local say=ui_note
  ui_done "localhost:$TUNNEL_PORT → $POD_ID:$POD_COMFY_PORT, ComfyUI $COMFY_VERSION"
  [ -n "$TARGET_MADE" ] || say=ui_detail
  guards_tell 1 "$say" || _target_refuse $? || return
  os_now
  events_emit pod_ready pod s "$POD_ID" provider s "$POD_PROVIDER" gpu s "$POD_GPU" usd_per_hour n "$POD_RATE" \
    made b "$TARGET_MADE" seconds n $((OS_NOW - POD_SINCE)) deadline n "$POD_DEADLINE" latest_bill_usd n "$POD_BILL" \
    guards j "$GUARDS_JSON"
  events_emit tunnel_open url s "$TARGET_URL" port n "$TUNNEL_PORT" pod s "$POD_ID"
}

# _target_make JOB - makes a pod, which is ours to end, and nobody else's to use; EX_POD, EX_MISSING, EX_USAGE,
# EX_TUNNEL. (Its limits of time are those of the runs on it.)
_target_make() {
  local status=0 wish limits
  guards_begin || _target_refuse $? || return
  ui_progress "making one"
  core_on_exit _target_settle
  TARGET_MADE=1 RENT_NOTE='made for this run'
  limits=$(limits_wish) && wish=$(rent_wish "$(jq -c '.pod_config' "$1")") || return
  rent_pod "$AUTOPOD_PROVIDER" "$wish" "$(jq -r '.job_id | .[0:40]' "$1")" \
    "$limits" _target_ready || status=$?
  [ "$status" = 0 ] || {
    _target_settle
    [ -n "$POD_ID" ] || TARGET_MADE=''
    return "$status"
  }
  ui_step Tunnel
  _target_tell
}

# _target_settle - a pod whose making did not come to its end is ended.
_target_settle() {
  wish_settle || return 0
  pod_terminate && ui_note "Pod $POD_ID had been made meanwhile: it is terminated." || CORE_STATUS=$?
  POD_ID=''
}

# target_adopt RECORD - for a run that is resumed: its pod is used again, and ended afterwards if
# that run had made it; 1 when that pod is gone.
target_adopt() {
  local id made
  _TARGET_ADOPTED=''
  read -r id made < <(jq -r '"\(.id) \(if .made_for_this_run then 1 else "" end)"' "$1")
  core_quietly pod_find "$id" "$AUTOPOD_PROVIDER" || {
    ui_note "Its pod $id is gone: the job starts anew."
    TARGET_WISH_POD=''
    return 1
  }
  TARGET_WISH_POD=$id TARGET_MADE=$made _TARGET_ADOPTED=1
  [ -z "$made" ] || state_lock "pod-$id" 0 || :
}

# _target_start - starts the pod of a run that is resumed; one that is dear only when somebody agrees, and not when it has
# cost its limit: it would be stopped again at once. One that stood still before does so afterwards. EX_COST, EX_POD,
# EX_USAGE, EX_FAIL.
_target_start() {
  guards_begin || _target_refuse $? || return
  pod_cost
  [ -z "$POD_LIMIT" ] || budget_less "$BUDGET_COST" "$POD_LIMIT" ||
    core_fail "$EX_COST" "pod $POD_ID has cost its limit of \$$POD_LIMIT" \
      "start it with more: autopod-start $POD_ID --max-cost USD; or end it: autopod-kill $POD_ID" || return
  if budget_less "$AUTOPOD_ASK_ABOVE" "${POD_RATE:-0}"; then
    pod_price
    ui_confirm "Pod $POD_ID costs $POD_PRICE. Start it again?" || _target_refuse $? || return
  fi
  [ "$POD_STATUS:$TARGET_MADE" != stopped: ] || TARGET_WISH_AFTER=${TARGET_WISH_AFTER:-stop}
  ui_progress "starting it again"
  cap_locked _target_start_capped
}

# _target_start_capped - starts it, if it may cost anything today; EX_COST, EX_POD, EX_POD_LEFT.
_target_start_capped() {
  cap_daily "$POD_PROVIDER" "$POD_LIMIT" "$BUDGET_COST" || return
  [ "$CAP_COST" = "$POD_LIMIT" ] || pod_set_limits "$CAP_COST" "$POD_MINUTES" "$POD_UNLIMITED" || return
  pod_start
}

# _target_record FILE - writes down which pod the run is on and whether it was made for it.
_target_record() {
  local made=false
  TARGET_RUNS[${#TARGET_RUNS[@]}]=${1%/*}
  [ -z "$TARGET_MADE" ] || made=true
  _target_use
  state_write "$1" "{\"id\":\"$POD_ID\",\"provider\":\"$POD_PROVIDER\",\"made_for_this_run\":$made}"
}

# _target_use - others see from here on that this call uses the loaded pod, between two of its jobs too.
_target_use() {
  case "$_TARGET_USED " in *" $POD_ID "*) return 0 ;; esac
  [ -n "$_TARGET_USED" ] || core_on_exit _target_let_go
  _TARGET_USED="$_TARGET_USED $POD_ID"
  state_lock "use-$POD_ID-$$" 0 || :
}

# _target_let_go - it uses none any more.
_target_let_go() {
  local id
  for id in $_TARGET_USED; do state_unlock "use-$id-$$"; done
  _TARGET_USED=''
}
