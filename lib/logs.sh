# shellcheck shell=bash
# logs.sh - the log of a run, and those of ComfyUI and of the guard on a pod.

[ -z "${_AUTOPOD_LOGS_SH:-}" ] || return 0 # @guard
_AUTOPOD_LOGS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/guard.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/runs.sh"

LOGS_MAX_BYTES=$((32 << 20)) # of a server's answer
LOGS_PAUSE=0.3               # seconds between two looks at a file that is followed
LOGS_SERVER_PAUSE=2          # and at a server's answer
_LOGS_REMEMBERED=9999        # lines: more than a server keeps
_LOGS_NO_FILE=66             # helpers/pod_log.sh: the pod has none of the files
_LOGS_IS='autopod-log-is '   # and what it says of the one that it has

# What a terminal obeys: ESC [ … letter; ESC ] … BEL (or ESC \); ESC and one or a few characters more.
_LOGS_ESCAPE=$'\033(\\[[0-?]*[ -/]*[@-~]|\\][^\007\033]*(\007|\033\\\\)?|[ -/]+[0-~]|[^][]|$)'

# --- a run's --------------------------------------------------------------------------------------

# logs_run RUN LINES FOLLOW - prints the log of the run in that directory, or its last LINES; with FOLLOW also what is
# added, until the run ends. EX_FAIL when there is none.
logs_run() {
  local file=$1/log line ended='' waited='' part=''
  if [ -n "$3" ]; then
    until [ -f "$file" ] || _logs_run_ended "$1"; do core_sleep "$LOGS_PAUSE"; done
  fi
  [ -f "$file" ] || core_fail "$EX_FAIL" "the run ${1##*/} has no log" \
    "it may not have begun; ${UI_LOG:-autopod.log} has what all commands said" || return
  if [ -z "$3" ]; then
    if [ -n "$2" ]; then tail -n "$2" -- "$file"; else cat -- "$file"; fi
    return
  fi
  # Not tail -f: nothing of it would tell when all is said.
  _logs_seek "$file" "$2"
  while :; do
    # Asked first: what came before the end is still read.
    if _logs_run_ended "$1"; then
      [ -z "$waited" ] || core_sleep "$LOGS_PAUSE" # its last words come just after its result
      ended=1
    fi
    while IFS= read -r line <&4; do
      printf '%s\n' "$part$line"
      part=''
    done
    part=$part$line # a line that is being written
    [ -z "$ended" ] || break
    waited=1
    core_sleep "$LOGS_PAUSE"
  done
  exec 4<&-
  [ -z "$part" ] || printf '%s\n' "$part"
  [ "$RUNS_STATE" != left ] || ui_note "Nobody carries this run any more: autopod-attach ${1##*/} takes it up."
}

# _logs_seek FILE LINES - opens FILE as 4, at its last LINES (all of it when that is empty).
_logs_seek() {
  local count skip
  exec 4<"$1"
  [ -n "$2" ] || return 0
  count=$(wc -l <"$1")
  for ((skip = count - $2; skip > 0; skip--)); do read -r _ <&4 || return 0; done
}

# _logs_run_ended RUN - 0 when nobody is at work on it any more.
_logs_run_ended() {
  runs_state "$1"
  case $RUNS_STATE in running | waiting) return 1 ;; esac
}

# --- ComfyUI's ------------------------------------------------------------------------------------

# logs_pod LINES FOLLOW - prints the last LINES of the log of ComfyUI on the loaded pod, which it gets over ssh, else
# from ComfyUI itself; with FOLLOW also what is added, until the link ends. EX_POD, EX_TUNNEL, EX_FAIL.
logs_pod() {
  local status=0
  pod_refresh && pod_check_address || return
  core_tmpdir || return
  _logs_paths
  _logs_over_ssh "$1" "$2" || status=$?
  [ "$status" = "$_LOGS_NO_FILE" ] || return "$status"
  ui_detail "pod $POD_ID has none of ${LOGS_PATHS[*]}"
  _logs_from_comfy "$1" "$2"
}

# _logs_paths - sets LOGS_PATHS to the files that may be the log of ComfyUI, by what images do (the newest one counts).
# ComfyUI itself writes none; ComfyUI-Manager adds user/comfyui.log.
_logs_paths() {
  local folder
  LOGS_PATHS=()
  if [ "$POD_PROVIDER" = local ]; then
    LOGS_PATHS=("$AUTOPOD_HOME/local/$POD_ID/comfyui.log")
    return
  fi
  case $POD_IMAGE in
    *ai-dock/*) LOGS_PATHS=(/var/log/supervisor/comfyui.log) ;;
    *ashleykza/*) LOGS_PATHS=(/workspace/logs/comfyui.log) ;;
    *worker-comfyui*) LOGS_PATHS=(/comfyui/user/comfyui.log) ;;
    runpod/comfyui*) LOGS_PATHS=(/workspace/runpod-slim/ComfyUI/user/comfyui.log) ;;
    *) # one of one's own: wherever any of these has it
      LOGS_PATHS=(/workspace/logs/comfyui.log /workspace/comfyui.log /var/log/supervisor/comfyui.log
        /var/log/portal/comfyui.log /var/log/comfyui.log /workspace/runpod-slim/comfyui.log)
      for folder in /workspace/runpod-slim/ComfyUI /workspace/ComfyUI /comfyui /ComfyUI /opt/ComfyUI /root/ComfyUI; do
        LOGS_PATHS=("${LOGS_PATHS[@]}" "$folder/user/comfyui.log" "$folder/comfyui.log")
      done
      ;;
  esac
}

# logs_guard LINES - prints the last LINES of the log of the guard on the loaded pod. EX_POD, EX_TUNNEL, EX_FAIL.
logs_guard() {
  local line
  pod_refresh && pod_check_address && guard_log "$1" >"$CORE_TMP/guard.lines" || return
  while IFS= read -r line || [ -n "$line" ]; do logs_line "$line"; done <"$CORE_TMP/guard.lines"
}

# _logs_over_ssh LINES FOLLOW - EX_TUNNEL, _LOGS_NO_FILE.
_logs_over_ssh() {
  local job line status=0 script told=''
  script=$(helper_asset helpers/pod_log.sh) || return
  mkfifo -m 600 -- "$CORE_TMP/log.in" "$CORE_TMP/log.out" || return
  # Whatever becomes of us, it ends ssh: nobody else holds this end of its stdin.
  exec 6<>"$CORE_TMP/log.in"
  ssh_login "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" \
    sh -c "$script" autopod-logs "$1" "$2" "${LOGS_PATHS[@]}" <"$CORE_TMP/log.in" >"$CORE_TMP/log.out" 6>&- &
  job=$!
  exec 4<"$CORE_TMP/log.out"
  while IFS= read -r -n 4000 line <&4 || [ -n "$line" ]; do
    case $told$line in
      "$_LOGS_IS"*) told=1 && ui_detail "${line#"$_LOGS_IS"} on pod $POD_ID" ;;
      *) logs_line "$line" ;;
    esac
  done
  exec 4<&- 6>&-
  wait "$job" || status=$?
  return "$status"
}

# logs_line TEXT - prints TEXT as a line, with nothing in it that a terminal would obey, and of what was written over
# itself (bars) only the last.
logs_line() {
  local LC_ALL=C line=$1 text=''
  line=${line%$'\r'}
  line=${line##*$'\r'}
  while [[ $line =~ $_LOGS_ESCAPE ]]; do
    text=$text${line%%"${BASH_REMATCH[0]}"*}
    line=${line#*"${BASH_REMATCH[0]}"}
  done
  ui_clean "$text$line"
  printf '%s\n' "$UI_TEXT"
}

# _logs_from_comfy LINES FOLLOW - what ComfyUI itself remembers (its last 300 messages), through the tunnel. EX_TUNNEL,
# EX_POD, EX_FAIL.
_logs_from_comfy() {
  tunnel_ensure 20 || return
  logs_comfy_tail "$TUNNEL_URL" "$_LOGS_REMEMBERED" >"$CORE_TMP/log.old" ||
    core_fail "$EX_FAIL" "no log was found on pod $POD_ID, and its ComfyUI shows none" \
      "the container's own log is in RunPod's console; autopod-ssh $POD_ID lets you look" || return
  tail -n "$1" -- "$CORE_TMP/log.old"
  [ -n "$2" ] || return 0
  while core_sleep "$LOGS_SERVER_PAUSE" && logs_comfy_tail "$TUNNEL_URL" "$_LOGS_REMEMBERED" >"$CORE_TMP/log.new"; do
    _logs_added "$CORE_TMP/log.old" "$CORE_TMP/log.new"
    mv -f -- "$CORE_TMP/log.new" "$CORE_TMP/log.old"
  done
  core_fail "$EX_TUNNEL" "ComfyUI of pod $POD_ID does not answer any more" "comfy-status $POD_ID shows how it is"
}

# _logs_added OLD NEW - prints the lines that NEW has and OLD has not. Both are the end of the same log: OLD ends with
# what stands somewhere in NEW, and what is behind that is new.
_logs_added() {
  awk 'FILENAME == ARGV[1] { old[++n] = $0; next } { new[++m] = $0 }
    END {
      for (end = n ? m : 0; end > 0; end--) {
        for (i = 0; i < end && i < n && new[end - i] == old[n - i]; i++);
        if (i == end || i == n) break
      }
      for (i = end + 1; i <= m; i++) print new[i]
    }' "$1" "$2"
}

# logs_comfy_tail URL LINES - prints the last LINES of the log of the ComfyUI at URL, as it tells it itself, cleaned as
# logs_line does; 1 when it has none.
logs_comfy_tail() {
  local HTTP_JSON_MAX=$LOGS_MAX_BYTES HTTP_TRIES=1
  core_tmpdir || return 1
  http_get "$1/internal/logs" "$CORE_TMP/comfy.log" --max-time 15 && [ "$HTTP_STATUS" = 200 ] &&
    [ -s "$CORE_TMP/comfy.log" ] || return 1
  jq -r --argjson lines "$2" 'if type == "string" then split("\n") else error("no log") end
    | if .[-1] == "" then .[:-1] else . end | .[([length - $lines, 0] | max):][] | .[0:4000]
    | (rtrimstr("\r") | split("\r") | .[-1] // "") | split("\u001b") | .[0] + (.[1:]
      | map(sub("^(\\[[0-?]*[ -/]*[@-~]|\\][^\u0007]*(\u0007|$)|[ -/]+[0-~]|[^\\[\\]])"; "")) | join(""))
    | explode | map(if . < 32 or (. >= 127 and . < 160) then 32 else . end) | implode' "$CORE_TMP/comfy.log" 2>/dev/null
}
