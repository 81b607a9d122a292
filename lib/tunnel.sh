# shellcheck shell=bash
# tunnel.sh - one `ssh -L` process a pod, remembered in tunnels.json. A recorded pid is trusted only as the very
# process that we started, and a tunnel only when ComfyUI answers through it.

[ -z "${_AUTOPOD_TUNNEL_SH:-}" ] || return 0 # @guard
_AUTOPOD_TUNNEL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/pod.sh"

TUNNEL_PORTS_TRIED=50   # how far above AUTOPOD_PORT a free port is looked for
TUNNEL_LOGIN_SECONDS=20 # for one try of ssh to log in and bind the port
TUNNEL_URL='' TUNNEL_PORT='' TUNNEL_OPENED=''

# tunnel_ensure - makes sure that ComfyUI of the loaded pod answers at TUNNEL_URL: reuses the tunnel that there is, or
# opens one and waits for a booting pod, AUTOPOD_BOOT_TIMEOUT seconds at most. TUNNEL_OPENED is set when it is new.
# Two at once make one tunnel. EX_TUNNEL, EX_POD.
tunnel_ensure() {
  local status=0 lock=tunnel-$POD_ID
  TUNNEL_OPENED=''
  tunnel_find && _tunnel_answers 1 && return
  state_lock "$lock" "$AUTOPOD_BOOT_TIMEOUT" ||
    core_fail "$EX_TUNNEL" "another autopod has been opening the tunnel to $POD_ID for too long" || return
  if ! { tunnel_find && _tunnel_answers 1; }; then # nobody opened it while we waited
    tunnel_close
    _tunnel_open_and_wait || status=$?
  fi
  state_unlock "$lock"
  return "$status"
}

# tunnel_find - sets TUNNEL_URL and TUNNEL_PORT from the record of the loaded pod; 1 when no process of ours stands behind it.
tunnel_find() {
  local record pid start
  TUNNEL_URL=''
  [ -s "$AUTOPOD_HOME/tunnels.json" ] || return 1
  record=$(state_read "$AUTOPOD_HOME/tunnels.json" -r --arg pod "$POD_ID" \
    '.[$pod] // empty | "\(.pid) \(.start) \(.port)"') || return
  read -r pid start TUNNEL_PORT <<<"$record"
  os_same_process "${pid:-}" "${start:-}" || return 1
  TUNNEL_URL=http://127.0.0.1:$TUNNEL_PORT
}

# tunnel_close - ends the loaded pod's tunnel, if the recorded process is still that one, and forgets it.
tunnel_close() {
  local record pid start _port
  [ -s "$AUTOPOD_HOME/tunnels.json" ] || return 0
  record=$(state_read "$AUTOPOD_HOME/tunnels.json" -r --arg pod "$POD_ID" \
    '.[$pod] // empty | "\(.pid) \(.start) \(.port)"') || return
  [ -n "$record" ] || return 0
  read -r pid start _port <<<"$record"
  os_end_process "$pid" "$start" 2 || ui_warn "the tunnel process $pid did not end"
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" 'del(.[$pod])'
}

# _tunnel_open_and_wait - opens a tunnel to a pod that may still be booting, and waits until ComfyUI answers.
_tunnel_open_and_wait() {
  os_now
  local deadline=$((OS_NOW + AUTOPOD_BOOT_TIMEOUT)) began=$OS_NOW
  while ! _tunnel_try; do
    case $SSH_REASON in
      denied | hostkey | local)
        _tunnel_explain
        return
        ;;
    esac
    _tunnel_keep_waiting "$deadline" "$began" "waiting for ssh" || return
  done
  until _tunnel_answers 1; do
    os_same_process "$OS_PID" "$_TUNNEL_START" ||
      core_fail "$EX_TUNNEL" "the tunnel to $POD_ID closed while ComfyUI was starting" "run the same command again" ||
      return
    _tunnel_keep_waiting "$deadline" "$began" "waiting for ComfyUI to start" || return
  done
}

# _tunnel_keep_waiting DEADLINE BEGAN TEXT - half a second's wait; EX_POD when the pod has failed, EX_TUNNEL past the deadline.
_tunnel_keep_waiting() {
  pod_refresh || return
  case $POD_STATUS in
    failed | stopped | terminated)
      core_fail "$EX_POD" "pod $POD_ID is $POD_STATUS: it did not come up" "autopod-info $POD_ID says more"
      return
      ;;
  esac
  os_now
  [ "$OS_NOW" -lt "$1" ] || {
    _tunnel_explain
    return
  }
  ui_progress "$3, $((OS_NOW - $2))s"
  core_sleep 0.5
}

# _tunnel_try - one try to open the tunnel, on the first free port from AUTOPOD_PORT on; 1 with SSH_REASON when it did not open.
_tunnel_try() {
  local port log=$AUTOPOD_HOME/logs/tunnel-$POD_ID.log
  SSH_REASON=booting SSH_SAID=''
  [ -n "$POD_SSH_HOST" ] && [ -n "$POD_SSH_PORT" ] || return 1
  for ((port = AUTOPOD_PORT; port < AUTOPOD_PORT + TUNNEL_PORTS_TRIED && port < 65536; port++)); do
    os_port_free "$port" || continue
    : >"$log"
    ssh_tunnel "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" \
      "$port" "$POD_COMFY_PORT" "$log"
    if _tunnel_login "$log"; then
      _tunnel_record "$port"
      return
    fi
    ssh_reason "$log"
    [ "$SSH_REASON" = port ] || return 1 # taken by somebody in this very moment: the next one
  done
  SSH_REASON=local SSH_SAID="no free port from $AUTOPOD_PORT to $((port - 1))"
  return 1
}

# _tunnel_login LOG - waits until ssh says that the tunnel is open; 1 when it ended or took too long.
_tunnel_login() {
  local left=$((TUNNEL_LOGIN_SECONDS * 20)) line
  os_process_start "$OS_PID" || return 1
  _TUNNEL_START=$OS_START
  while [ "$left" -gt 0 ]; do
    while IFS= read -r line; do
      [ "$line" != "$SSH_READY" ] || return 0
    done <"$1"
    os_same_process "$OS_PID" "$_TUNNEL_START" || return 1
    left=$((left - 1))
    core_sleep 0.05
  done
  os_end_process "$OS_PID" "$_TUNNEL_START" 1
  return 1
}

# _tunnel_record PORT - writes down the tunnel that was just opened.
_tunnel_record() {
  TUNNEL_PORT=$1 TUNNEL_URL=http://127.0.0.1:$1 TUNNEL_OPENED=1
  [ "$1" = "$AUTOPOD_PORT" ] || ui_note "local port $AUTOPOD_PORT is taken by another program: using $1 for pod $POD_ID"
  os_utc
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" --argjson pid "$OS_PID" --arg start "$_TUNNEL_START" \
    --argjson port "$1" --argjson remote "$POD_COMFY_PORT" --arg at "$OS_UTC" \
    --arg address "$POD_SSH_USER@$POD_SSH_HOST:$POD_SSH_PORT" \
    '.[$pod] = {pid: $pid, start: $start, port: $port, remote_port: $remote, since: $at, address: $address}'
}

# _tunnel_answers TRIES - 0 when ComfyUI answers GET /system_stats at TUNNEL_URL.
_tunnel_answers() {
  core_tmpdir || return
  HTTP_TRIES=$1 http_get "$TUNNEL_URL/system_stats" "$CORE_TMP/system_stats" --max-time 10 &&
    [ "$HTTP_STATUS" = 200 ] && LC_ALL=C grep -q '"comfyui_version"' "$CORE_TMP/system_stats"
}

# _tunnel_explain - tells why there is no tunnel, by SSH_REASON; EX_TUNNEL.
_tunnel_explain() {
  local who="$POD_SSH_USER@$POD_SSH_HOST port $POD_SSH_PORT" what='' todo=''
  case $SSH_REASON in
    denied)
      what="$who does not accept our ssh key"
      todo="set AUTOPOD_SSH_KEY to the private key whose public half the pod knows"
      ;;
    hostkey)
      what="$who shows another host key than before"
      todo="if the pod was made anew, remove $AUTOPOD_HOME/known_hosts.d/$POD_ID"
      ;;
    refused) what="nothing listens at $who: its sshd does not run (yet)" ;;
    timeout) what="$who does not answer: no public address, or a firewall" ;;
    booting) what="pod $POD_ID got no ssh address within ${AUTOPOD_BOOT_TIMEOUT}s" ;;
    *) what="no tunnel to $who: ${SSH_SAID:-ssh said nothing}" ;;
  esac
  [ -n "$TUNNEL_URL" ] && what="the tunnel to $POD_ID is open, but ComfyUI did not answer within ${AUTOPOD_BOOT_TIMEOUT}s"
  core_fail "$EX_TUNNEL" "$what" "${todo:-ssh said: ${SSH_SAID:-nothing}; autopod-info $POD_ID shows the pod}"
}
