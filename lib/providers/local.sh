# shellcheck shell=bash
# local.sh - pods on this machine: a real sshd on loopback and a ComfyUI beside it, in a directory
# of their own. Everything after "a pod with an ssh address" is the same road that a rented pod
# takes.

[ -z "${_AUTOPOD_PROVIDERS_LOCAL_SH:-}" ] || return 0 # @guard
_AUTOPOD_PROVIDERS_LOCAL_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"

# A pod's directory holds: pod.json (what it is), processes (NAME PID START PORT, a line each), the
# ssh keys, sshd_config, comfyui/ (input, output, temp), sshd.log, comfyui.log, and ram/, which a stop empties.

# provider_local_check - 0, or one line of reason on stderr and EX_MISSING.
provider_local_check() {
  os_sshd >/dev/null ||
    core_fail "$EX_MISSING" "the local provider needs sshd, which is not installed" \
      "run: $(os_install_hint sshd)" || return
  core_need jq ssh ssh-keygen || return
  if [ -n "${AUTOPOD_LOCAL_COMFYUI:-}" ]; then
    [ -f "$AUTOPOD_LOCAL_COMFYUI/main.py" ] ||
      core_fail "$EX_MISSING" "AUTOPOD_LOCAL_COMFYUI is $AUTOPOD_LOCAL_COMFYUI, but there is no main.py in it" \
        "set it to a checkout of ComfyUI"
    return
  fi
  _local_python || return
  "$_LOCAL_PYTHON" -c 'import importlib.util as u, sys
sys.exit(not (u.find_spec("aiohttp") and u.find_spec("PIL")))' 2>/dev/null || # importing takes a quarter second
    core_fail "$EX_MISSING" "the ComfyUI simulator needs the Python packages aiohttp and Pillow" \
      "let AUTOPOD_PYTHON name one that has them: 'make setup' in a clone makes .venv/bin/python3"
}

# provider_local_create SPEC - makes a pod as the JSON SPEC wants it (name, gpu_name, gpu_count);
# prints the pod.
provider_local_create() {
  local dir
  os_random_hex 8 || return
  dir=$AUTOPOD_HOME/local/local-$OS_HEX
  mkdir -p -- "$dir/comfyui" ||
    core_fail "$EX_POD" "can't make $dir" "is the disk full?" || return
  os_process_start "$$" && printf '%s %s\n' "$$" "$OS_START" >"$dir/maker" || return
  _local_describe "${dir##*/}" "$1" | state_save "$dir/pod.json" || return
  ssh_make_key "$dir/host_key" "autopod pod ${dir##*/}" || return
  ssh_make_key "$dir/client_key" "autopod ${dir##*/}" || return
  _local_boot "$dir" || {
    provider_local_terminate "${dir##*/}" >/dev/null
    return "$EX_POD"
  }
  provider_local_get "${dir##*/}"
}

# provider_local_get ID - prints the pod; EX_POD when there is none.
provider_local_get() {
  _local_dir "$1" || return
  _local_print "$_LOCAL_DIR"
}

# provider_local_list - prints every pod, a line each.
provider_local_list() {
  local dir
  for dir in "$AUTOPOD_HOME"/local/*/; do
    [ ! -s "$dir/pod.json" ] || _local_print "${dir%/}"
  done
}

# provider_local_start ID - starts a stopped pod again, at new ports as a rented one; prints the
# pod, also one that runs already; EX_POD.
provider_local_start() {
  local pod
  _local_dir "$1" || return
  pod=$(_local_print "$_LOCAL_DIR")
  case $pod in *'"status":"running"'*)
    printf '%s\n' "$pod"
    return
    ;;
  esac
  provider_local_check || return
  _local_end "$_LOCAL_DIR" && _local_boot "$_LOCAL_DIR" && provider_local_get "$1"
}

# provider_local_stop ID - ends exactly the processes that it started, keeps the directory; prints
# the pod; EX_POD_LEFT.
provider_local_stop() {
  _local_dir "$1" || return
  _local_end "$_LOCAL_DIR" && provider_local_get "$1"
}

# provider_local_terminate ID - the same, and removes the directory; EX_POD_LEFT when a process did
# not end.
provider_local_terminate() {
  _local_dir "$1" || return
  _local_end "$_LOCAL_DIR" && rm -rf -- "$_LOCAL_DIR"
}

# provider_local_configured - 0: there is nothing to be configured.
provider_local_configured() { :; }

# provider_local_settling - prints no pauses: the directory of a pod whose making was interrupted is there from the
# first moment on, or never.
provider_local_settling() { :; }

# provider_local_preflight - prints what the account says; a machine of one's own has none.
provider_local_preflight() { provider_local_check && printf '{}\n'; }

# provider_local_doctor - prints what works and what does not, `ok|warn|bad TAB what TAB what to do` a line. Who makes
# his pods elsewhere can do without local ones.
provider_local_doctor() {
  local state=warn count
  [ "$AUTOPOD_PROVIDER" != local ] || state=bad
  if core_quietly provider_local_check; then
    printf 'ok\tlocal pods can be made: %s, %s\n' "$(os_sshd)" "${AUTOPOD_LOCAL_COMFYUI:-with the simulator of ComfyUI}"
  else
    printf '%s\tno local pod can be made: %s\t%s\n' "$state" "$CORE_ERROR" "$CORE_HINT"
  fi
  count=$(provider_local_list | grep -c '"status":"running"') || :
  [ "$count" = 0 ] || printf 'ok\tlocal pods that run now: %s\n' "$count"
}

# provider_local_gpus - prints the one kind of "GPU" that there is; it goes by any name.
provider_local_gpus() {
  jq -n -c --arg rate "${AUTOPOD_LOCAL_RATE:-0}" '{id: "CPU", name: "CPU", memory_gb: 0, pretends: true,
    price: {secure: ($rate | tonumber), community: null}, clouds: ["secure"], stock: "High", available: true, data_centers: null}'
}

# provider_local_volumes - prints the network volumes: none.
provider_local_volumes() { :; }

# provider_local_proxy_url ID - prints where its ComfyUI can be reached past the tunnel; EX_POD when it does not run.
provider_local_proxy_url() {
  local port
  _local_dir "$1" || return
  port=$(_local_print "$_LOCAL_DIR" | jq -r 'select(.status == "running") | .comfy_port // ""')
  [ -n "$port" ] || core_fail "$EX_POD" "pod $1 does not run" "start it: autopod-start $1" || return
  printf 'http://127.0.0.1:%s\n' "$port"
}

# provider_local_billing FROM TO - 1: nobody sends a bill for this machine.
provider_local_billing() { return 1; }

# provider_local_self_stop_script ID - prints POSIX sh that ends the pod's processes from inside it.
provider_local_self_stop_script() {
  local quote="'" escaped="'\\''"
  _local_dir "$1" || return
  printf "dir='%s'\n" "${_LOCAL_DIR//$quote/$escaped}" # %q may need Bash to read it
  helper_asset helpers/self_stop_local.sh
}

# _local_dir ID - sets _LOCAL_DIR; EX_POD when there is no such pod.
_local_dir() {
  local shape='^local-[0-9a-f]{8}$'
  _LOCAL_DIR=$AUTOPOD_HOME/local/$1
  [[ $1 =~ $shape ]] && [ -s "$_LOCAL_DIR/pod.json" ] ||
    core_fail "$EX_POD" "there is no local pod \"$1\"" "autopod-ls shows those there are"
}

# _local_describe ID SPEC - prints what doesn't change: the pod's object, and on a second line its ssh object.
_local_describe() {
  local image=simulator
  [ -z "${AUTOPOD_LOCAL_COMFYUI:-}" ] || image=$(cd -- "$AUTOPOD_LOCAL_COMFYUI" >/dev/null && pwd)
  os_utc
  jq -c --arg id "$1" --arg at "$OS_UTC" --arg user "$(id -un)" --arg rate "${AUTOPOD_LOCAL_RATE:-0}" \
    --arg key "$AUTOPOD_HOME/local/$1/client_key" --arg image "$image" '
    {id: $id, name, provider: "local", gpu: (.gpu_name // "CPU"), gpu_count: (.gpu_count // 1),
     cost_per_hr: ($rate | tonumber), created_at: $at, image: $image, volume: null, data_center: null, cloud: null,
     owner: .env.AUTOPOD_INSTALLATION, stopped_usd_per_month: 0},
    {host: "127.0.0.1", user: $user, key: $key}' <<<"$2"
}

# _local_print DIR - prints the pod as it is now: what pod.json says, with what changes put behind it (it is
# our own, an object a line). comfy_port is what stands for "the pod's 8188"; a failed one has a reason.
_local_print() {
  local name pid start port pod ssh alive=0 all=0 sshd_port='' comfyui_port=null status=stopped reason=null
  { IFS= read -r pod && IFS= read -r ssh; } <"$1/pod.json" || return 0
  while read -r name pid start port; do
    all=$((all + 1))
    if os_same_process "$pid" "$start"; then alive=$((alive + 1)); else reason="\"$(_local_reason "$1" "$name")\""; fi
    printf -v "${name}_port" '%s' "$port"
  done 2>/dev/null <"$1/processes" || :
  case $alive in
    0) # half made: by somebody who is at it, or who died over it
      { read -r pid start <"$1/maker"; } 2>/dev/null || :
      [ "$all" != 0 ] || ! os_same_process "${pid:-}" "${start:-}" || status=creating
      ;;
    "$all") status=running ;;
    *) status=failed ;;
  esac
  if [ "$status" = running ]; then ssh="${ssh%\}},\"port\":$sshd_port}"; else ssh=null; fi
  [ "$status" = failed ] || reason=null
  printf '%s,"status":"%s","ssh":%s,"comfy_port":%s,"reason":%s}\n' "${pod%\}}" "$status" "$ssh" "$comfyui_port" "$reason"
}

# _local_reason DIR NAME - prints the last words of a process that ended, fit for a JSON string.
_local_reason() {
  local words
  words=$(tail -n 1 "$1/$2.log" 2>/dev/null)
  words=${words//[\"\\[:cntrl:]]/ }
  printf '%s ended: %s' "$2" "${words:0:200}"
}

# _local_boot DIR - starts sshd and ComfyUI; EX_POD.
_local_boot() {
  rm -rf -- "$1/processes" "$1/ram"
  mkdir -m 700 -- "$1/ram" || core_fail "$EX_POD" "can't make $1/ram" "is the disk full?" || return
  _local_sshd "$1" && _local_comfyui "$1"
}

# _local_record DIR NAME PORT - notes the process that was just spawned.
_local_record() {
  os_process_start "$OS_PID" ||
    core_fail "$EX_POD" "$2 ended at once: $(tail -n 1 "$1/$2.log")" "the whole log: $1/$2.log" || return
  printf '%s %s %s %s\n' "$2" "$OS_PID" "$OS_START" "$3" >>"$1/processes"
}

# _local_sshd DIR - starts the pod's sshd on a free loopback port.
_local_sshd() {
  local pam=no
  os_privsep_dir && os_random_port || core_fail "$EX_POD" "no free port for sshd" || return
  ! os_root_is_locked || pam=yes
  cp -- "$1/client_key.pub" "$1/authorized_keys"
  cat >"$1/sshd_config" <<CONFIG
ListenAddress 127.0.0.1
Port $OS_PORT
HostKey "$1/host_key"
AuthorizedKeysFile "${1//%/%%}/authorized_keys"
PidFile none
# The directory is private (0700); the parents may be anything, as a temporary directory's are.
StrictModes no
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM $pam
X11Forwarding no
AllowAgentForwarding no
AllowTcpForwarding local
Subsystem sftp internal-sftp
PrintMotd no
# SHLVL: or bash would read the user's ~/.bashrc first, slow as it may be, also for a command.
SetEnv AUTOPOD_POD_ID=${1##*/} SHLVL=1 "AUTOPOD_GUARD_DIR=$1/ram"
CONFIG
  os_spawn "$1/sshd.log" "$(os_sshd)" -D -e -f "$1/sshd_config" </dev/null
  _local_record "$1" sshd "$OS_PORT" &&
    ssh_know "${1##*/}" 127.0.0.1 "$OS_PORT" "$1/host_key.pub"
}

# _local_python - sets _LOCAL_PYTHON to the interpreter for ComfyUI; EX_MISSING.
_local_python() {
  _LOCAL_PYTHON=${AUTOPOD_LOCAL_PYTHON:-}
  [ -z "$_LOCAL_PYTHON" ] || return 0
  helper_python || return
  _LOCAL_PYTHON=$HELPER_PYTHON
}

# _local_comfyui DIR - starts ComfyUI (a checkout, or the simulator) on a free loopback port. It may
# take its time to answer: who opens the tunnel waits for that.
_local_comfyui() {
  local program folders extra
  _local_python && os_random_port || core_fail "$EX_POD" "no free port for ComfyUI" || return
  IFS=' ' read -r -a extra <<<"${AUTOPOD_LOCAL_COMFYUI_ARGS:-}"
  mkdir -p -- "$1/comfyui/input" "$1/comfyui/output" "$1/comfyui/temp" "$1/comfyui/user"
  if [ -n "${AUTOPOD_LOCAL_COMFYUI:-}" ]; then # its models and custom nodes stay where they are
    program=$(cd -- "$AUTOPOD_LOCAL_COMFYUI" >/dev/null && pwd)/main.py
    folders=(--input-directory "$1/comfyui/input" --output-directory "$1/comfyui/output"
      --temp-directory "$1/comfyui" --user-directory "$1/comfyui/user" --disable-auto-launch)
  else
    program=$1/comfyui_sim.py folders=(--base-directory "$1/comfyui")
    helper_asset helpers/comfyui_sim.py >"$program" || return
  fi
  os_spawn "$1/comfyui.log" "$_LOCAL_PYTHON" "$program" --cpu --listen 127.0.0.1 --port "$OS_PORT" \
    "${folders[@]}" ${extra[@]+"${extra[@]}"} </dev/null
  _local_record "$1" comfyui "$OS_PORT"
}

# _local_end DIR - ends exactly the processes that were started for the pod, and what guards it, as the end of a container
# would; EX_POD_LEFT.
_local_end() {
  local name pid start _port left=''
  while read -r name pid start _port; do
    os_end_process "$pid" "$start" || left="$left $name ($pid)"
  done 2>/dev/null <"$1/processes" || :
  while read -r pid name; do
    # (The last part of its path: ps may show other letters than those of ASCII in its own way.)
    case $name in *"/${1##*/}/ram/autopod-guard."*/guard.sh\ *) ;; *) continue ;; esac
    os_process_start "$pid" || continue
    os_end_process "$pid" "$OS_START" || left="$left guard ($pid)"
  done < <(ps -A -ww -o pid= -o args=)
  [ -z "$left" ] || core_fail "$EX_POD_LEFT" "could not end$left of pod ${1##*/}" \
    "end them by hand: kill -9 PID"
}
