# shellcheck shell=bash
# target.sh - where jobs run: a pod that is there, one that is made for them, or a URL that the user
# named; and what becomes of it afterwards. The rule: what this call made goes away, what was there
# before stays.

[ -z "${_AUTOPOD_TARGET_SH:-}" ] || return 0 # @guard
_AUTOPOD_TARGET_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/runs.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"
. "$AUTOPOD_LIB/rent.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"

# What the user asked for.
TARGET_WISH_URL=''       # --url
TARGET_WISH_POD=''       # --pod
TARGET_WISH_NO_TUNNEL='' # --no-tunnel

_TARGET_TRY_SECONDS=20 # for one try to bring a lost link back

TARGET_URL=''           # where ComfyUI answers, once the target is open
TARGET_MADE=''          # set when the pod was made for this call
TARGET_AFTER=''         # what the user wants to become of the pod, whoever made it: stop or kill; close: as ever, but now
TARGET_PAUSE=core_sleep # what waits between two tries to bring a lost link back; 1 from it ends that
_TARGET_FOUND_TUNNEL='' # set when there was a tunnel before this call, even if it had to be opened anew
_TARGET_OWN_TUNNEL=''   # set when the tunnel was opened by this call
_TARGET_RECORD=''       # the file that names the pod of the run at hand
_TARGET_RUNS=()         # the runs that this call has had on its pod

# target_check_wishes - what can't be, or can't go together, before anything is done; EX_USAGE.
target_check_wishes() {
  local wish count=0 shape='^https?://[^@?#[:space:]"\\]+$'
  for wish in "$TARGET_WISH_URL" "$TARGET_WISH_POD" "$TARGET_WISH_NO_TUNNEL"; do
    [ -z "$wish" ] || count=$((count + 1))
  done
  [ "$count" -le 1 ] ||
    core_fail "$EX_USAGE" "only one of --pod, --url and --no-tunnel can be given" || return
  [ -z "$TARGET_WISH_URL" ] || {
    case $TARGET_WISH_URL in *://*) ;; *) TARGET_WISH_URL=http://$TARGET_WISH_URL ;; esac
    while [ "$TARGET_WISH_URL" != "${TARGET_WISH_URL%/}" ]; do TARGET_WISH_URL=${TARGET_WISH_URL%/}; done
    case $TARGET_WISH_URL in *@*)
      core_fail "$EX_USAGE" "--url: a name or password in the address would end up in logs" "leave it out"
      return
      ;;
    esac
    [[ $TARGET_WISH_URL =~ $shape ]] ||
      core_fail "$EX_USAGE" "--url: \"$TARGET_WISH_URL\" is not the address of a web server" \
        "like http://127.0.0.1:8188" || return
  }
  pod_provider "$AUTOPOD_PROVIDER"
}

# target_wishes - prints what was asked for, as lines that target_take_wishes reads back when the
# run is resumed.
target_wishes() {
  local no_tunnel=$TARGET_WISH_NO_TUNNEL
  printf 'wish_provider\t%s\n' "$AUTOPOD_PROVIDER"
  [ -z "$TARGET_WISH_URL" ] || printf 'wish_url\t%s\n' "$TARGET_WISH_URL"
  [ -z "$TARGET_WISH_POD" ] || printf 'wish_pod\t%s\n' "${TARGET_WISH_POD//[[:cntrl:]]/}"
  [ -z "$no_tunnel" ] || printf 'wish_no_tunnel\t1\n'
}

# target_take_wishes FILE - what the run was asked for when it began, unless something else is asked
# for now.
target_take_wishes() {
  local tag text
  [ -z "$TARGET_WISH_URL$TARGET_WISH_POD$TARGET_WISH_NO_TUNNEL" ] || return 0
  while IFS=$'\t' read -r tag text; do
    case $tag in
      wish_provider) AUTOPOD_PROVIDER=$text ;;
      wish_url) TARGET_WISH_URL=$text ;;
      wish_pod) TARGET_WISH_POD=$text ;;
      wish_no_tunnel) TARGET_WISH_NO_TUNNEL=$text ;;
    esac
  done <"$1"
}

# target_open JOB RECORD - opens the target, if it isn't; a pod that has to be made is made as
# pod_config of JOB (job.json) says, and RECORD (a file) names it at once. EX_POD, EX_TUNNEL,
# EX_USAGE, EX_MISSING.
target_open() {
  if [ -z "$TARGET_URL" ]; then
    if [ -n "$TARGET_WISH_URL$TARGET_WISH_NO_TUNNEL" ]; then
      _target_server "${TARGET_WISH_URL:-http://127.0.0.1:$AUTOPOD_PORT}"
      return
    fi
    _target_pod "$1" "$2"
  else # from the job before: the link may have gone meanwhile
    # shellcheck disable=SC2119
    comfy_answers "$TARGET_URL" || target_recover || return
    [ -z "$POD_ID" ] || _target_record "$2"
  fi
}

# target_reconnect SECONDS - makes sure that the target answers (again) at TARGET_URL; EX_TUNNEL,
# EX_POD.
target_reconnect() {
  if [ -n "$POD_ID" ]; then
    tunnel_ensure "$1" || return
    [ -z "$TUNNEL_OPENED" ] || [ -n "$_TARGET_FOUND_TUNNEL" ] || _TARGET_OWN_TUNNEL=1
    TARGET_URL=$TUNNEL_URL
  else
    comfy_check "$TARGET_URL"
  fi
}

# target_recover [DEADLINE] - the server does not answer: brings the link back, or waits for it, for
# AUTOPOD_RECONNECT_TIMEOUT seconds at most, or until DEADLINE (epoch), or until TARGET_PAUSE has enough: then 0 too, the
# caller sees why. EX_TUNNEL, EX_POD.
# shellcheck disable=SC2120 # most callers have no deadline
target_recover() {
  local began limit pause=1 what="the link to ComfyUI is lost (${HTTP_ERROR:-HTTP $HTTP_STATUS})"
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
    [ -z "${1:-}" ] || [ "$OS_NOW" -lt "$1" ] || return 0
    [ "$OS_NOW" -lt "$limit" ] || {
      core_fail "$EX_TUNNEL" "ComfyUI could not be reached again within $AUTOPOD_RECONNECT_TIMEOUT s: $CORE_ERROR" \
        "the job may have gone on: comfy-run --resume picks it up"
      return
    }
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

# _target_server URL - uses a ComfyUI that answers there already.
_target_server() {
  ui_step Server
  comfy_check "$1" || return
  TARGET_URL=$1
  ui_done "$1, ComfyUI $COMFY_VERSION"
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
  case $POD_STATUS in
    running | creating) ;;
    *)
      core_fail "$EX_POD" "pod $POD_ID is $POD_STATUS${POD_REASON:+: $POD_REASON}" \
        "start it: autopod-start $POD_ID; or leave --pod out to get a new one"
      return
      ;;
  esac
  pod_price
  ui_done "$POD_ID, $POD_GPU, $POD_PRICE${POD_DATA_CENTER:+, $POD_DATA_CENTER}"
  ui_step Tunnel
  tunnel_find || :
  [ -z "$TUNNEL_PID" ] || _TARGET_FOUND_TUNNEL=1
  _target_ready && _target_tell
}

# _target_ready - the pod that is loaded is ours to use: writes it down, and opens its tunnel; EX_TUNNEL, EX_POD.
_target_ready() {
  [ -z "$TARGET_MADE" ] || CORE_LEFT="pod $POD_ID may still be running; end it: autopod-kill $POD_ID"
  _target_record "$_TARGET_RECORD"
  target_reconnect "$AUTOPOD_BOOT_TIMEOUT"
}

# _target_tell - says where the pod is and what answers at the other end of its tunnel.
_target_tell() {
  ui_done "localhost:$TUNNEL_PORT → $POD_ID:$POD_COMFY_PORT, ComfyUI $COMFY_VERSION"
  os_now
  events_emit pod_ready pod s "$POD_ID" provider s "$POD_PROVIDER" gpu s "$POD_GPU" usd_per_hour n "$POD_RATE" \
    made b "$TARGET_MADE" seconds n $((OS_NOW - POD_SINCE))
  events_emit tunnel_open url s "$TARGET_URL" port n "$TUNNEL_PORT" pod s "$POD_ID"
}

# _target_make JOB - makes a pod, which is ours to end, and nobody else's to use; EX_POD, EX_MISSING, EX_USAGE,
# EX_TUNNEL. (Its limits of time are those of the runs on it.)
_target_make() {
  local status=0 wish
  ui_progress "making one"
  core_on_exit _target_settle
  TARGET_MADE=1 RENT_NOTE='made for this run'
  wish=$(rent_wish "$(jq -c '.pod_config' "$1")") || return
  rent_pod "$AUTOPOD_PROVIDER" "$wish" "$(jq -r '.job_id | .[0:40]' "$1")" \
    "$(jq -c '{max_cost_usd: .pod_config.max_cost_usd}' "$1")" _target_ready || status=$?
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
  read -r id made < <(jq -r '"\(.id) \(if .made_for_this_run then 1 else "" end)"' "$1")
  core_quietly pod_find "$id" "$AUTOPOD_PROVIDER" || {
    ui_note "Its pod $id is gone: the job starts anew."
    TARGET_WISH_POD=''
    return 1
  }
  TARGET_WISH_POD=$id TARGET_MADE=$made
  [ -z "$made" ] || state_lock "pod-$id" 0 || :
  case $POD_STATUS in
    running | creating) ;;
    *) pod_start ;;
  esac
}

# _target_record FILE - writes down which pod the run is on and whether it was made for it.
_target_record() {
  local made=false
  _TARGET_RUNS[${#_TARGET_RUNS[@]}]=${1%/*}
  [ -z "$TARGET_MADE" ] || made=true
  state_write "$1" "{\"id\":\"$POD_ID\",\"provider\":\"$POD_PROVIDER\",\"made_for_this_run\":$made}"
}

# target_leave RUN - the run goes on without us: pod and tunnel stay as they are. Says how to come back to it, and what it
# costs meanwhile.
target_leave() {
  ui_note "The job goes on without us."
  ui_note "  watch it:  autopod-attach $1"
  ui_note "  cancel it: autopod-cancel $1"
  [ -z "$POD_ID" ] || _target_set_free
}

# _target_set_free - the pod goes on without us: says what it costs. One that was made here has a limit of time from now
# on, since no run looks after it any more, and anybody may use it.
_target_set_free() {
  _target_bills
  [ -z "$TARGET_MADE" ] || {
    state_unlock "pod-$POD_ID"
    state_update "$AUTOPOD_HOME/pods.json" --arg id "$POD_ID" --argjson minutes "$AUTOPOD_MAX_LIFETIME" \
      'if .pods[$id] then .pods[$id].limits.minutes //= $minutes | del(.pods[$id].waiting) else . end' || :
    ui_note "  its limit: $AUTOPOD_MAX_LIFETIME minutes of AUTOPOD_MAX_LIFETIME; only autopod-sweep looks to it"
  }
  POD_ID='' TARGET_URL='' TARGET_MADE='' _TARGET_OWN_TUNNEL='' CORE_LEFT=''
}

# _target_bills - says what the pod that goes on costs, and how to end it.
_target_bills() {
  pod_price
  [ "$POD_PRICE" != free ] || POD_PRICE='costs nothing'
  ui_note "Pod $POD_ID runs on ($POD_PRICE)."
  ui_note "  end it:    autopod-kill $POD_ID"
}

# target_close RUN - closes what this call opened. The pod that it made is terminated; when RUN names a run that has left
# outputs on it, it is only stopped; when somebody else is on it by now, it goes on. What the user said (TARGET_AFTER) goes
# first. EX_POD_LEFT when that could not be confirmed.
target_close() {
  [ -n "$POD_ID" ] || return 0
  [ "$TARGET_AFTER" != close ] || TARGET_AFTER=''
  if [ -n "$TARGET_MADE" ] && [ -z "$TARGET_AFTER" ] &&
    { runs_in_use "$POD_ID" || runs_compute "$POD_ID" ${_TARGET_RUNS[@]+"${_TARGET_RUNS[@]}"}; }; then
    ui_note "Pod $POD_ID goes on: $RUNS_USER is still on it."
    _target_set_free
    return
  fi
  if [ -n "$TARGET_MADE$TARGET_AFTER" ]; then
    tunnel_close
  elif [ -n "$_TARGET_OWN_TUNNEL" ]; then
    tunnel_find || :
    [ -n "$TUNNEL_KEEP" ] || tunnel_close # else it was asked for by itself meanwhile
  fi
  TARGET_URL='' _TARGET_OWN_TUNNEL=''
  [ -n "$TARGET_MADE$TARGET_AFTER" ] || {
    [ -z "$CORE_SIGNAL" ] || _target_bills
    return 0
  }
  state_unlock "pod-$POD_ID"
  pod_cost
  case $TARGET_AFTER:$1 in
    : | kill:*)
      pod_terminate || return
      budget_show "$BUDGET_COST"
      ui_note "Pod $POD_ID is terminated${BUDGET_TEXT:+; it cost $BUDGET_TEXT}."
      ;;
    *) _target_stop "$1" || return ;;
  esac
  POD_ID='' TARGET_MADE='' TARGET_AFTER='' CORE_LEFT=''
}

# _target_stop RUN - stops the pod, and says why it is still there and what it costs; RUN has left outputs on it, if it
# is not empty. EX_POD_LEFT.
_target_stop() {
  pod_stop || return
  budget_dollars "$POD_MONTHLY"
  if [ -n "$1" ]; then
    ui_warn "pod $POD_ID is stopped, not terminated: outputs are still on it"
    ui_tell hint "comfy-run --resume $1 fetches them; autopod-kill $POD_ID ends it"
  else
    budget_less 0 "$POD_MONTHLY" || BUDGET_DOLLARS=''
    ui_note "Pod $POD_ID is stopped${BUDGET_DOLLARS:+; its disk costs $BUDGET_DOLLARS a month}."
    ui_note "  end it:    autopod-kill $POD_ID"
  fi
}
