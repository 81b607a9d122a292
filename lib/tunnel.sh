# shellcheck shell=bash
# tunnel.sh - one `ssh -L` process a pod, remembered in tunnels.json. A recorded pid is trusted only
# as the very process that we started, and a tunnel only when ComfyUI answers through it.

[ -z "${_AUTOPOD_TUNNEL_SH:-}" ] || return 0 # @guard
_AUTOPOD_TUNNEL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/budget.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/comfy.sh"

TUNNEL_PORTS_TRIED=50   # how far above AUTOPOD_PORT a free port is looked for
TUNNEL_LOGIN_SECONDS=20 # for one try of ssh to log in and bind the port
TUNNEL_URL='' TUNNEL_PORT='' TUNNEL_PID='' TUNNEL_OPENED=''

# tunnel_ensure SECONDS - makes sure that ComfyUI of the loaded pod answers at TUNNEL_URL: reuses
# the tunnel that there is, or opens one, and waits for a booting pod (at most SECONDS).
# TUNNEL_OPENED is set when it is new. Two at once make one tunnel. EX_TUNNEL, EX_POD.
tunnel_ensure() {
  local seconds=$1 lock=tunnel-$POD_ID status=0
  TUNNEL_OPENED='' SSH_REASON=''
  core_tmpdir && _tunnel_load || return
  if tunnel_find && comfy_answers "$TUNNEL_URL"; then return; fi
  state_lock "$lock" "$seconds" ||
    core_fail "$EX_TUNNEL" "another autopod has been opening the tunnel to $POD_ID for $seconds s" \
      "look at autopod-info $POD_ID" ||
    return
  os_now
  _TUNNEL_BEGAN=$OS_NOW _TUNNEL_DEADLINE=$((OS_NOW + seconds))
  _tunnel_open && _tunnel_await || status=$?
  state_unlock "$lock"
  return "$status"
}

# tunnel_find - sets TUNNEL_URL, TUNNEL_PORT and TUNNEL_PID from the record of the loaded pod; 1 when no
# open tunnel of ours stands behind it.
tunnel_find() {
  TUNNEL_URL=''
  _tunnel_load && os_same_process "$TUNNEL_PID" "$_TUNNEL_START" && _tunnel_is_open || return 1
  TUNNEL_URL=http://127.0.0.1:$TUNNEL_PORT
}

# tunnel_close - ends the loaded pod's tunnel, if the recorded process is still that one, and forgets it.
tunnel_close() {
  TUNNEL_URL=''
  _tunnel_load || return
  [ -n "$TUNNEL_PID" ] || return 0
  os_end_process "$TUNNEL_PID" "$_TUNNEL_START" 2 || ui_warn "the tunnel process $TUNNEL_PID did not end"
  # Only this record: somebody may have opened another tunnel while we waited for the process.
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" --argjson pid "$TUNNEL_PID" \
    'if .[$pod].pid == $pid then del(.[$pod]) else . end'
}

# _tunnel_load - sets TUNNEL_PID (empty: none), _TUNNEL_START and TUNNEL_PORT from the record; EX_FAIL when
# tunnels.json is damaged.
_tunnel_load() {
  local record file=$AUTOPOD_HOME/tunnels.json
  local shape="\"$POD_ID\":\\{\"pid\":([0-9]+),\"start\":\"([^\"]+)\",\"port\":([0-9]+),"
  TUNNEL_PID='' _TUNNEL_START='' TUNNEL_PORT=''
  [ -e "$file" ] || return 0
  if [[ $(<"$file") =~ $shape ]]; then # as _tunnel_record writes it; jq takes 20 ms to say the same
    TUNNEL_PID=${BASH_REMATCH[1]} _TUNNEL_START=${BASH_REMATCH[2]} TUNNEL_PORT=${BASH_REMATCH[3]}
  else
    state_read "$file" -r --arg pod "$POD_ID" '.[$pod] // empty | "\(.pid) \(.start) \(.port)"' \
      >"$CORE_TMP/tunnel" || return
    read -r TUNNEL_PID _TUNNEL_START TUNNEL_PORT <"$CORE_TMP/tunnel" || :
  fi
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

# _tunnel_open - opens the tunnel, waiting for the ssh of a booting pod. One whose process lives is
# kept: its ComfyUI may just be busy, and ssh ends by itself when its link is dead. EX_TUNNEL,
# EX_POD.
_tunnel_open() {
  if tunnel_find; then return; fi
  tunnel_close && pod_refresh || return
  while ! _tunnel_try; do
    case $SSH_REASON in
      denied | hostkey | local)
        _tunnel_explain
        return
        ;;
    esac
    case $SSH_REASON in
      booting) _tunnel_keep_waiting "waiting for its ssh address" ;;
      refused) _tunnel_keep_waiting "waiting for its sshd to start" ;;
      stranger) _tunnel_keep_waiting "waiting for its new address" ;;
      *) _tunnel_keep_waiting "waiting for its ssh to answer" ;;
    esac || return
  done
}

# _tunnel_await - waits until ComfyUI answers through the open tunnel; EX_TUNNEL, EX_POD.
_tunnel_await() {
  until comfy_answers "$TUNNEL_URL"; do
    os_same_process "$TUNNEL_PID" "$_TUNNEL_START" ||
      core_fail "$EX_TUNNEL" "the tunnel to $POD_ID has closed" \
        "run the same command again" || return
    _tunnel_keep_waiting "waiting for ComfyUI to start" || return
  done
}

# _tunnel_keep_waiting TEXT - a short wait; EX_POD when the pod has failed, EX_TUNNEL past
# the deadline.
_tunnel_keep_waiting() {
  pod_refresh || return
  case $POD_STATUS in
    failed | stopped | terminated)
      core_fail "$EX_POD" "pod $POD_ID is $POD_STATUS${POD_REASON:+: $POD_REASON}"
      return
      ;;
  esac
  os_now
  [ "$OS_NOW" -lt "$_TUNNEL_DEADLINE" ] || {
    _tunnel_explain
    return
  }
  ui_duration $((OS_NOW - _TUNNEL_BEGAN))
  pod_cost
  budget_show "$BUDGET_COST"
  ui_progress "$1, $UI_TIME${BUDGET_TEXT:+, $BUDGET_TEXT so far}"
  core_sleep "$POD_PACE"
}

# _tunnel_try - one try to open the tunnel, on the first free port from AUTOPOD_PORT on; 1 with
# SSH_REASON when it did not open.
_tunnel_try() {
  local port log=$AUTOPOD_HOME/logs/tunnel-$POD_ID.log
  SSH_REASON=booting SSH_SAID=''
  [ -n "$POD_SSH_HOST" ] && [ -n "$POD_SSH_PORT" ] || return 1
  for ((port = AUTOPOD_PORT; port < AUTOPOD_PORT + TUNNEL_PORTS_TRIED && port < 65536; port++)); do
    os_port_free "$port" || continue
    : >"$log"
    ssh_tunnel "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" \
      "$port" "$POD_COMFY_PORT" "$log"
    _tunnel_record "$port" || {
      SSH_REASON='local' SSH_SAID=$CORE_ERROR
      return 1
    }
    ! _tunnel_login || return 0
    ssh_reason "$log"
    [ -z "$_TUNNEL_STRANGER" ] || SSH_REASON=stranger SSH_SAID="its RUNPOD_POD_ID is \"${_TUNNEL_STRANGER%x}\""
    tunnel_close
    [ "$SSH_REASON" = port ] || return 1 # taken by somebody in this very moment: the next one
  done
  SSH_REASON='local' SSH_SAID="no free port from $AUTOPOD_PORT to $((port - 1))"
  return 1
}

# _tunnel_record PORT - writes the ssh process down that was just started, before it has even logged
# in: so nothing that happens to us leaves one that nobody knows. When that fails, the process is
# ended; EX_FAIL.
_tunnel_record() {
  os_process_start "$OS_PID" || OS_START=gone # it ended at once: its log says why
  TUNNEL_PID=$OS_PID _TUNNEL_START=$OS_START
  os_utc
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" --argjson pid "$TUNNEL_PID" --arg start "$_TUNNEL_START" \
    --argjson port "$1" --argjson remote "$POD_COMFY_PORT" --arg at "$OS_UTC" \
    --arg address "$POD_SSH_USER@$POD_SSH_HOST:$POD_SSH_PORT" \
    '.[$pod] = {pid: $pid, start: $start, port: $port, remote_port: $remote, since: $at, address: $address}' || {
    os_end_process "$TUNNEL_PID" "$_TUNNEL_START" 1
    return "$EX_FAIL"
  }
  TUNNEL_PORT=$1
}

# _tunnel_login - waits until ssh says that the tunnel is open; 1 when it ended or took too long.
_tunnel_login() {
  local left=$((TUNNEL_LOGIN_SECONDS * 20))
  until _tunnel_is_open; do
    os_same_process "$TUNNEL_PID" "$_TUNNEL_START" || return 1
    [ "$left" -gt 0 ] && [ -z "$_TUNNEL_STRANGER" ] || return 1
    left=$((left - 1))
    core_sleep 0.05
  done
  TUNNEL_URL=http://127.0.0.1:$TUNNEL_PORT TUNNEL_OPENED=1
  [ "$TUNNEL_PORT" = "$AUTOPOD_PORT" ] ||
    ui_note "Local port $AUTOPOD_PORT is taken by another program: using $TUNNEL_PORT for pod $POD_ID."
}

# _tunnel_explain - tells why there is no tunnel, or none that ComfyUI answers through; EX_TUNNEL.
_tunnel_explain() {
  local who="$POD_SSH_USER@$POD_SSH_HOST port $POD_SSH_PORT"
  if [ -n "$TUNNEL_URL" ]; then
    core_fail "$EX_TUNNEL" "the tunnel to $POD_ID is open, but ComfyUI does not answer at its port $POD_COMFY_PORT" \
      "is it the port of this image (AUTOPOD_COMFY_PORT)? autopod-ssh $POD_ID lets you look"
    return
  fi
  case $SSH_REASON in
    booting)
      core_fail "$EX_TUNNEL" "pod $POD_ID got no public address for ssh (port 22) in time" \
        "its image may still be loading, or its host has none (community cloud): try another GPU or data center"
      ;;
    stranger)
      core_fail "$EX_TUNNEL" "what answers at $who does not say that it is pod $POD_ID: $SSH_SAID" \
        "RunPod may show an old address for a minute or two; if it lasts, end the pod: autopod-kill $POD_ID"
      ;;
    *) ssh_explain "$POD_ID" "$who" ;;
  esac
}
