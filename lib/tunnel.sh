# shellcheck shell=bash
# tunnel.sh - one `ssh -L` process a pod, remembered in tunnels.json. A recorded pid is trusted only
# as the very process that we started, and a tunnel only when ComfyUI answers through it.

[ -z "${_AUTOPOD_TUNNEL_SH:-}" ] || return 0 # @guard
_AUTOPOD_TUNNEL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/screen.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/guard.sh"
. "$AUTOPOD_LIB/comfy.sh"

TUNNEL_PORTS_TRIED=50   # how far above AUTOPOD_PORT a free port is looked for
TUNNEL_LOGIN_SECONDS=20 # for one try of ssh to log in and bind the port
TUNNEL_GRACE=20         # for a pod that worked and has failed: somebody, or something, may bring it back
TUNNEL_WISH_PORT=''     # --port: this local port, or none
# What waits; another one shows for itself what goes on. What is asked before each pause. 1 from either ends the waiting.
TUNNEL_PAUSE=core_sleep TUNNEL_WHILE=true
# The tunnel of the loaded pod, as it was found or opened last; TUNNEL_KEEP: it was asked for by itself (tunnels_keep);
# TUNNEL_OPENED_AT: when ssh was started for it (milliseconds since 1970), if that was here.
TUNNEL_URL='' TUNNEL_PORT='' TUNNEL_PID='' TUNNEL_SINCE='' TUNNEL_ADDRESS='' TUNNEL_OPENED='' TUNNEL_KEEP='' TUNNEL_OPENED_AT=''
# In jq: which records make sense. What else stands in tunnels.json is as good as nothing.
TUNNEL_VALID='def valid: type == "object" and ([.pid, .port, .remote_port // 1] | all(type == "number" and . > 0 and . == floor))
  and .port < 65536 and (.start | type == "string" and test("^[A-Za-z0-9.]+$"));'
_TUNNEL_START='' _TUNNEL_REMOTE='' _TUNNEL_STRANGER='' _TUNNEL_FORMER='' _TUNNEL_USER='' _TUNNEL_KEPT=''
_TUNNEL_WORKED='' _TUNNEL_FAILED_AT='' # the pod whose ComfyUI has answered us, and since when its provider says that it has failed

# tunnel_ensure SECONDS - makes sure that ComfyUI of the loaded pod answers at TUNNEL_URL: reuses
# the tunnel that there is, or opens one, and waits for a booting pod (at most SECONDS).
# TUNNEL_OPENED is set when it is new. Two at once make one tunnel. EX_TUNNEL, EX_POD.
tunnel_ensure() {
  local seconds=$1 lock=tunnel-$POD_ID status=0
  TUNNEL_OPENED='' SSH_REASON=''
  core_tmpdir && _tunnel_load || return
  os_now
  _TUNNEL_BEGAN=$OS_NOW _TUNNEL_DEADLINE=$((OS_NOW + seconds))
  if tunnel_find && _tunnel_is_wished; then
    ! _tunnel_answers || return 0
    os_now
    seconds=$((_TUNNEL_DEADLINE - OS_NOW > 5 ? _TUNNEL_DEADLINE - OS_NOW : 5))
  fi
  state_lock "$lock" "$seconds" ||
    core_fail "$EX_TUNNEL" "another autopod has been opening the tunnel to $POD_ID for $seconds s" \
      "look at autopod-info $POD_ID" ||
    return
  os_now
  _TUNNEL_DEADLINE=$((OS_NOW + seconds))
  _tunnel_bring || status=$?
  [ "$TUNNEL_PAUSE" != core_sleep ] || screen_clear # what comes next may be for stdout, on the same terminal
  [ "$status" != "$EX_POD" ] || _tunnel_drop || :   # it ends with its pod
  state_unlock "$lock"
  return "$status"
}

# tunnel_find - sets TUNNEL_URL, TUNNEL_PORT and TUNNEL_PID from the record of the loaded pod; 1 when no
# open tunnel of ours stands behind it.
tunnel_find() {
  TUNNEL_URL=''
  _tunnel_load && tunnel_is_ours && _tunnel_is_open || return 1
  TUNNEL_URL=http://127.0.0.1:$TUNNEL_PORT
}

# tunnel_is_up - 0 while the ssh process of the tunnel that was found or opened last lives.
tunnel_is_up() { os_same_process "$TUNNEL_PID" "$_TUNNEL_START"; }

# tunnel_prune - forgets the loaded pod's tunnel when its process is gone (unless somebody is just opening it).
tunnel_prune() {
  _tunnel_load || return
  [ -z "$TUNNEL_PID" ] || tunnel_is_ours || state_lock_is_foreign "tunnel-$POD_ID" || _tunnel_forget
}

# tunnel_close - ends the loaded pod's tunnel, if the recorded process is still that one, and forgets it.
tunnel_close() {
  _tunnel_drop || return
  _TUNNEL_KEPT=''
  # With the port that a browser may be at: who closes it on purpose wants no more of it.
  ! _tunnel_is_pod || [ ! -s "$AUTOPOD_HOME/logs/tunnel-$POD_ID.log" ] ||
    { : >"$AUTOPOD_HOME/logs/tunnel-$POD_ID.log"; } 2>/dev/null || :
}

# --- the record ---

# _tunnel_is_pod - 0 when POD_ID can be a pod's id: it becomes a part of file names.
_tunnel_is_pod() { [[ $POD_ID =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$ ]]; }

# _tunnel_load - sets TUNNEL_PID (empty: none), TUNNEL_PORT and the others from the record; EX_FAIL when
# tunnels.json is damaged.
_tunnel_load() {
  local record file=$AUTOPOD_HOME/tunnels.json word='"([A-Za-z0-9.:@_-]*)"' shape
  shape="\"$POD_ID\":\\{\"pid\":([0-9]+),\"start\":$word,\"port\":([0-9]+),\"remote_port\":([0-9]+),\"since\":$word"
  shape="$shape,\"address\":$word(,\"keep\":true)?\\}"
  TUNNEL_PID='' _TUNNEL_START='' TUNNEL_PORT='' _TUNNEL_REMOTE='' TUNNEL_SINCE='' TUNNEL_ADDRESS='' TUNNEL_KEEP=''
  [ -e "$file" ] && _tunnel_is_pod || return 0
  if [[ $(<"$file") =~ $shape ]]; then # as _tunnel_record writes it; jq takes 20 ms to say the same
    TUNNEL_PID=${BASH_REMATCH[1]} _TUNNEL_START=${BASH_REMATCH[2]} TUNNEL_PORT=${BASH_REMATCH[3]}
    _TUNNEL_REMOTE=${BASH_REMATCH[4]} TUNNEL_SINCE=${BASH_REMATCH[5]} TUNNEL_ADDRESS=${BASH_REMATCH[6]}
    TUNNEL_KEEP=${BASH_REMATCH[7]}
  else
    record=$(state_read "$file" -r --arg pod "$POD_ID" "$TUNNEL_VALID"' .[$pod] | select(valid)
      | [.pid, .start, .port, .remote_port // "", .since // "", .address // "", .keep // ""]
      | map(tostring | gsub("[[:cntrl:]]"; " ")) | join("\u001f")') || return
    IFS=$'\x1f' read -r TUNNEL_PID _TUNNEL_START TUNNEL_PORT _TUNNEL_REMOTE TUNNEL_SINCE TUNNEL_ADDRESS TUNNEL_KEEP \
      <<<"$record"
  fi
}

# tunnel_is_ours - 0 when the recorded process runs, and is the ssh that we started: a number is given out again, and
# where starts are told in seconds only, even within the same one.
tunnel_is_ours() {
  tunnel_is_up && os_process_command "$TUNNEL_PID" &&
    [[ $OS_COMMAND == *"/known_hosts.d/$POD_ID\" "*" -L 127.0.0.1:$TUNNEL_PORT:127.0.0.1:"* ]]
}

# _tunnel_is_open - 0 when the ssh process of the record has bound its port (it is recorded before that; if we are
# killed then, the port may become anybody's) and it is our pod at the other end; _TUNNEL_STRANGER is set when it is
# another one: for a while after a start RunPod tells the address from before, which others may have by now.
_tunnel_is_open() {
  local line bound=1
  _TUNNEL_STRANGER=''
  while IFS= read -r line; do
    case $line in
      "$SSH_READY") bound=0 ;;
      "$SSH_POD$POD_ID") return "$bound" ;;
      "$SSH_POD"*) _TUNNEL_STRANGER=${line#"$SSH_POD"}x ;; # x: it may say nothing at all
    esac
  done 2>/dev/null <"$AUTOPOD_HOME/logs/tunnel-$POD_ID.log"
  return 1
}

# _tunnel_is_wished - 0 when the recorded tunnel leads from the port that is wished to the one where ComfyUI is.
_tunnel_is_wished() {
  [ "${TUNNEL_WISH_PORT:-$TUNNEL_PORT}" = "$TUNNEL_PORT" ] && [ "${_TUNNEL_REMOTE:-$POD_COMFY_PORT}" = "$POD_COMFY_PORT" ]
}

# _tunnel_is_astray - 0 when the open tunnel was made before the pod got the address that it has now.
_tunnel_is_astray() {
  [ -z "$TUNNEL_OPENED" ] && [ -n "$POD_SSH_PORT" ] && [ "$TUNNEL_ADDRESS" != "$POD_SSH_USER@$POD_SSH_HOST:$POD_SSH_PORT" ]
}

# _tunnel_drop - ends the recorded process, if it is ours, and removes the record.
_tunnel_drop() {
  TUNNEL_URL=''
  _tunnel_load || return
  [ -n "$TUNNEL_PID" ] || return 0
  if tunnel_is_ours && ! os_end_process "$TUNNEL_PID" "$_TUNNEL_START" 2; then
    ui_warn "the tunnel process $TUNNEL_PID did not end"
  fi
  _tunnel_forget
}

# _tunnel_forget - removes the record that was loaded, and only that one: somebody may have opened another tunnel
# meanwhile.
_tunnel_forget() {
  # What is opened in its place is kept as well.
  [ -z "$TUNNEL_KEEP" ] || _TUNNEL_KEPT=$POD_ID
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" --argjson pid "$TUNNEL_PID" \
    'if .[$pod].pid == $pid then del(.[$pod]) else . end'
}

# _tunnel_record PORT - writes the ssh process down that was just started, before it has even logged
# in: so nothing that happens to us leaves one that nobody knows. When that fails, the process is
# ended; EX_FAIL.
_tunnel_record() {
  os_process_start "$OS_PID" || OS_START=gone # it ended at once: its log says why
  os_utc && os_now_ms
  TUNNEL_PID=$OS_PID _TUNNEL_START=$OS_START TUNNEL_SINCE=$OS_UTC TUNNEL_OPENED_AT=$OS_MS
  TUNNEL_ADDRESS=$POD_SSH_USER@$POD_SSH_HOST:$POD_SSH_PORT
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" --argjson pid "$TUNNEL_PID" \
    --arg start "$_TUNNEL_START" --argjson port "$1" --argjson remote "$POD_COMFY_PORT" --arg at "$TUNNEL_SINCE" --arg address "$TUNNEL_ADDRESS" \
    --arg kept "$_TUNNEL_KEPT" '.[$pod] = {pid: $pid, start: $start, port: $port, remote_port: $remote, since: $at,
      address: $address} + if $kept == $pod then {keep: true} else {} end' || {
    os_end_process "$TUNNEL_PID" "$_TUNNEL_START" 1
    return "$EX_FAIL"
  }
  TUNNEL_PORT=$1 _TUNNEL_REMOTE=$POD_COMFY_PORT
}

# --- opening it ---

# _tunnel_bring - opens the tunnel unless it is open, and waits until ComfyUI answers through it. One whose process
# lives is kept: its ComfyUI may just be busy, and ssh ends by itself when its link is dead. But when the pod has
# another address by now, it leads nowhere. EX_TUNNEL, EX_POD.
_tunnel_bring() {
  if tunnel_find; then _tunnel_refresh || return; fi
  while :; do
    if tunnel_find && _tunnel_is_astray; then _tunnel_drop || return; fi
    _tunnel_open || return
    ! _tunnel_answers || return 0
    _tunnel_keep_waiting "waiting for ComfyUI to start" || return
  done
}

# _tunnel_answers - 0 when ComfyUI answers through the tunnel, within the time that is left.
_tunnel_answers() {
  local left
  os_now
  left=$((_TUNNEL_DEADLINE - OS_NOW))
  left=$((left < 2 ? 2 : left > 15 ? 15 : left))
  [ "$TUNNEL_PAUSE" = core_sleep ] || [ "$left" -le 5 ] || left=5 # meanwhile nothing is shown, and no key obeyed
  comfy_answers "$TUNNEL_URL" "$left" || return 1
  _TUNNEL_WORKED=$POD_ID _TUNNEL_FAILED_AT=''
}

# _tunnel_open - opens the tunnel unless it is open, waiting for the ssh of a booting pod. EX_TUNNEL, EX_POD.
_tunnel_open() {
  if tunnel_find; then
    ! _tunnel_is_wished || return 0
    [ -z "$TUNNEL_WISH_PORT" ] || [ "$TUNNEL_WISH_PORT" = "$TUNNEL_PORT" ] || os_port_free "$TUNNEL_WISH_PORT" ||
      SSH_REASON=taken _tunnel_explain || return
  fi
  _tunnel_former
  _tunnel_drop && _tunnel_refresh || return
  while ! _tunnel_try; do
    case $SSH_REASON in
      denied | hostkey | local | taken) _tunnel_explain ;;
      booting) _tunnel_keep_waiting "waiting for its ssh address" ;;
      refused) _tunnel_keep_waiting "waiting for its sshd to start" ;;
      stranger) _tunnel_keep_waiting "waiting for its new address" ;;
      *) _tunnel_keep_waiting "waiting for its ssh to answer" ;;
    esac || return
  done
}

# _tunnel_former - sets _TUNNEL_FORMER to the local port of the pod's tunnel before, if it had one that nobody closed:
# a browser may still be at it.
_tunnel_former() {
  local log=$AUTOPOD_HOME/logs/tunnel-$POD_ID.log
  _TUNNEL_FORMER=$TUNNEL_PORT
  [ -n "$_TUNNEL_FORMER" ] || [ ! -f "$log" ] || { IFS= read -r _TUNNEL_FORMER <"$log"; } 2>/dev/null || :
  _TUNNEL_FORMER=${_TUNNEL_FORMER#"$SSH_LOCAL"}
  case $_TUNNEL_FORMER in *[!0-9]* | ??????*) _TUNNEL_FORMER='' ;; esac
  [ "${_TUNNEL_FORMER:-1}" -lt 65536 ] || _TUNNEL_FORMER=''
}

# _tunnel_refresh - asks for the pod anew: its address changes with every start. When nobody can be asked, the one that
# is known may do; so it may for a while when the pod has failed after it worked. EX_POD, EX_TUNNEL.
_tunnel_refresh() {
  local host=$POD_SSH_HOST port=$POD_SSH_PORT user=$POD_SSH_USER key=$POD_SSH_KEY status=0
  core_quietly pod_refresh || status=$?
  case $status in
    0)
      [ "$POD_STATUS:$POD_SSH_PORT" = failed: ] || return 0
      POD_SSH_HOST=$host POD_SSH_PORT=$port POD_SSH_USER=$user POD_SSH_KEY=$key
      ;;
    "$EX_TUNNEL")
      [ -n "$port" ] || core_fail "$status" "$CORE_ERROR" "$CORE_HINT" || return
      core_forget_error
      ;;
    *) core_fail "$status" "$CORE_ERROR" "$CORE_HINT" ;;
  esac
}

# _tunnel_keep_waiting TEXT - a short wait; EX_POD when the pod has failed, EX_TUNNEL past
# the deadline.
_tunnel_keep_waiting() {
  _tunnel_refresh || return
  _tunnel_is_hopeful ||
    core_fail "$EX_POD" "pod $POD_ID is $POD_STATUS${POD_REASON:+: $POD_REASON}" || return
  [ "$OS_NOW" -lt "$_TUNNEL_DEADLINE" ] || _tunnel_explain || return
  if [ "$TUNNEL_PAUSE" = core_sleep ]; then
    ui_duration $((OS_NOW - _TUNNEL_BEGAN))
    pod_cost
    budget_show "$BUDGET_COST"
    ui_progress "$1, $UI_TIME${BUDGET_TEXT:+, $BUDGET_TEXT so far}"
  fi
  "$TUNNEL_WHILE" && "$TUNNEL_PAUSE" "$POD_PACE" || core_fail "$EX_TUNNEL" "nobody waits for the tunnel to $POD_ID any more"
}

# _tunnel_is_hopeful - 0 when the pod may yet get ready. One that has worked is given a while to come back.
_tunnel_is_hopeful() {
  os_now
  case $POD_STATUS in
    stopped | terminated) return 1 ;;
    failed)
      [ "$_TUNNEL_WORKED" = "$POD_ID" ] || return 1
      [ -n "$_TUNNEL_FAILED_AT" ] || _TUNNEL_FAILED_AT=$OS_NOW
      [ $((OS_NOW - _TUNNEL_FAILED_AT)) -lt "$TUNNEL_GRACE" ]
      ;;
    *) _TUNNEL_FAILED_AT='' ;;
  esac
}

# _tunnel_try - one try to open the tunnel: on TUNNEL_WISH_PORT, else on the port that it had before, else on the first
# free one from AUTOPOD_PORT on; 1 with SSH_REASON when it did not open.
_tunnel_try() {
  local port i tried=$TUNNEL_PORTS_TRIED
  SSH_REASON=booting SSH_SAID=''
  [ -n "$POD_SSH_HOST" ] && [ -n "$POD_SSH_PORT" ] || return 1
  [ -z "$TUNNEL_WISH_PORT" ] || tried=0
  for ((i = -1; i < tried; i++)); do
    port=$((AUTOPOD_PORT + i))
    [ "$i" -ge 0 ] || port=${TUNNEL_WISH_PORT:-$_TUNNEL_FORMER}
    [ -n "$port" ] && [ "$port" -lt 65536 ] && os_port_free "$port" || continue
    _tunnel_start "$port" || { SSH_REASON='local' SSH_SAID=$CORE_ERROR && return 1; }
    SSH_REASON=''
    ! _tunnel_login || return 0
    ssh_reason "$AUTOPOD_HOME/logs/tunnel-$POD_ID.log"
    [ -z "$_TUNNEL_STRANGER" ] || SSH_REASON=stranger SSH_SAID="its RUNPOD_POD_ID is \"${_TUNNEL_STRANGER%x}\""
    _tunnel_drop
    [ "$SSH_REASON" = port ] || return 1 # taken by somebody in this very moment: the next one
  done
  SSH_REASON='local' SSH_SAID="no free port from $AUTOPOD_PORT to $port"
  [ -z "$TUNNEL_WISH_PORT" ] || SSH_REASON=taken SSH_SAID="ssh may not listen at port $port: below 1024 that takes root"
  ! os_port_free "$port" || SSH_REASON='local'
  return 1
}

# _tunnel_start PORT - starts ssh, and writes it down; 1 when that is impossible (CORE_ERROR says why).
_tunnel_start() {
  local log=$AUTOPOD_HOME/logs/tunnel-$POD_ID.log
  { printf '%s%s\n' "$SSH_LOCAL" "$1" >"$log"; } 2>/dev/null ||
    core_quietly core_fail "$EX_FAIL" "can't write $log: is the disk full?" || return 1
  ssh_tunnel "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" \
    "$1" "$POD_COMFY_PORT" "$log" 2>/dev/null ||
    core_quietly core_fail "$EX_FAIL" "can't write to $CORE_TMP: is the disk full?" || return 1
  core_quietly _tunnel_record "$1"
}

# _tunnel_login - waits until ssh says that the tunnel is open; 1 when it ended or took too long.
_tunnel_login() {
  local until wanted=${TUNNEL_WISH_PORT:-${_TUNNEL_FORMER:-$AUTOPOD_PORT}}
  os_now
  until=$((OS_NOW + TUNNEL_LOGIN_SECONDS))
  until _tunnel_is_open; do
    tunnel_is_up || return 1
    os_now
    [ "$OS_NOW" -le "$until" ] && [ -z "$_TUNNEL_STRANGER" ] || return 1
    "$TUNNEL_WHILE" && "$TUNNEL_PAUSE" 0.05 || return 1
  done
  TUNNEL_URL=http://127.0.0.1:$TUNNEL_PORT TUNNEL_OPENED=1
  # Before ComfyUI has even started. Without a guard there is a tunnel all the same; who must tell looks at GUARD_STATE.
  guard_ensure || [ -z "$POD_OURS" ] || ui_detail "no guard on pod $POD_ID: $GUARD_WHY"
  [ "$TUNNEL_PORT" != "$wanted" ] || return 0
  _tunnel_port_user "$wanted"
  ui_note "Local port $wanted is taken by $_TUNNEL_USER: using $TUNNEL_PORT for pod $POD_ID."
}

# _tunnel_port_user PORT - sets _TUNNEL_USER to who has that local port, in words.
_tunnel_port_user() {
  local left='' shape="\"([A-Za-z0-9_-]+)\":\\{\"pid\":([0-9]+),\"start\":\"([^\"]*)\",\"port\":$1,"
  [ ! -e "$AUTOPOD_HOME/tunnels.json" ] || left=$(<"$AUTOPOD_HOME/tunnels.json")
  while [[ $left =~ $shape ]]; do
    left=${left#*"${BASH_REMATCH[0]}"}
    _TUNNEL_USER="the tunnel to ${BASH_REMATCH[1]}"
    ! os_same_process "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}" || return 0
  done
  os_port_user "$1"
  _TUNNEL_USER=${OS_USER:-another program}
}

# _tunnel_explain - tells why there is no tunnel, or none that ComfyUI answers through; EX_TUNNEL.
_tunnel_explain() {
  local what todo who="$POD_SSH_USER@$POD_SSH_HOST port $POD_SSH_PORT" reason=$SSH_REASON
  [ -z "$TUNNEL_URL" ] || [ "$reason" = taken ] || reason=silent
  case $reason in
    taken)
      _tunnel_port_user "$TUNNEL_WISH_PORT"
      what="local port $TUNNEL_WISH_PORT is taken by $_TUNNEL_USER"
      todo="choose another one; without --port the next free one is used"
      ;;
    silent)
      what="the tunnel to $POD_ID is open, but ComfyUI does not answer at its port $POD_COMFY_PORT"
      todo="is it the port of this image (AUTOPOD_COMFY_PORT)? autopod-ssh $POD_ID lets you look"
      ;;
    booting)
      what="pod $POD_ID got no public address for ssh (port 22) in time"
      todo="its image may still be loading, or its host has none (community cloud): try another GPU or data center"
      ;;
    stranger)
      what="what answers at $who does not say that it is pod $POD_ID: $SSH_SAID"
      todo="RunPod may show an old address for a minute or two; if it lasts, end the pod: autopod-kill $POD_ID"
      ;;
    *)
      ssh_explain "$POD_ID" "$who" "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}"
      return
      ;;
  esac
  core_fail "$EX_TUNNEL" "$what" "$todo"
}
