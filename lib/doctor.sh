# shellcheck shell=bash
# doctor.sh - looks for what would not work. A finding is ok, warn (works, but look at it) or bad (does not work), and
# says what to do. Some can be put right here; ~/.ssh, ~/.runpod, the account and pods are never touched.

[ -z "${_AUTOPOD_DOCTOR_SH:-}" ] || return 0 # @guard
_AUTOPOD_DOCTOR_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/config.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnels.sh"
. "$AUTOPOD_LIB/enforce.sh"
. "$AUTOPOD_LIB/watcher.sh"

DOCTOR_FIX=''   # set: what can be put right is
DOCTOR_QUIET='' # set: findings are kept in DOCTOR_JSON, not shown
DOCTOR_BAD=0 DOCTOR_WARNINGS=0
DOCTOR_JSON=''          # the findings as members of a JSON array, made without jq: it may be what is missing
_DOCTOR_HOME=${HOME:-}  # as it came to us: config_load fills in what cron leaves out
_DOCTOR_ROOM=1000000000 # bytes that should be free for state, logs and runs

_DOCTOR_OWN_KEY='leave AUTOPOD_SSH_KEY out, and autopod makes a key of its own'

# --- findings ---

# doctor_found STATE CHECK TEXT [WHAT_TO_DO] - one finding: counted, shown and kept.
doctor_found() {
  local text todo
  ui_log "$1" "$2: $3"
  ui_clean "$3"
  text=$UI_TEXT
  ui_clean "${4:-}"
  todo=$UI_TEXT
  case $1 in
    warn) DOCTOR_WARNINGS=$((DOCTOR_WARNINGS + 1)) ;;
    bad) DOCTOR_BAD=$((DOCTOR_BAD + 1)) ;;
  esac
  _doctor_keep "$1" "$2" "$text" "$todo"
  [ -z "$DOCTOR_QUIET" ] || return 0
  [ "$1" != ok ] || [ -z "${AUTOPOD_QUIET:-}" ] || return 0
  ui_mark "$1"
  printf '%s %-10s %s\n' "$UI_MARK" "$2" "$text"
  [ -z "$todo" ] || printf '%*s %s\n' "$((${#UI_MARK} + 11))" '' "$todo"
}

# _doctor_keep STATE CHECK TEXT WHAT_TO_DO - adds the finding to DOCTOR_JSON; control characters are gone by now.
_doctor_keep() {
  local text=${3//\\/\\\\} todo=${4//\\/\\\\}
  text=${text//\"/\\\"} todo=${todo//\"/\\\"}
  DOCTOR_JSON="$DOCTOR_JSON${DOCTOR_JSON:+,}"$'\n'
  DOCTOR_JSON="$DOCTOR_JSON  {\"check\":\"$2\",\"state\":\"$1\",\"text\":\"$text\",\"todo\":\"$todo\"}"
}

# _doctor_mend STATE CHECK TEXT HOW CMD [ARG...] - a finding that CMD puts right; HOW says how, for people.
_doctor_mend() {
  if [ -n "$DOCTOR_FIX" ] && core_quietly "${@:5}" 2>/dev/null; then
    doctor_found ok "$2" "$3; put right: $4"
    return
  fi
  doctor_found "$1" "$2" "$3" "$AUTOPOD_PROG --fix does it: $4"
}

# --- this machine ---

# doctor_machine - the tools, and what they stand on.
doctor_machine() {
  doctor_found ok bash "bash ${BASH_VERSION%%(*}"
  _doctor_tool curl 7.55 "neither a pod nor RunPod can be talked to"
  _doctor_tool jq 1.6 "no command works without it"
  _doctor_tool ssh 7.6 "there are no tunnels to pods"
  _doctor_keygen
  _doctor_python
  _doctor_home_variable
  core_quietly core_tmpdir || doctor_found bad TMPDIR "$CORE_ERROR" "set TMPDIR to a directory with room"
}

# _doctor_tool NAME LEAST WHAT_STOPS - is it there, does it run, is it new enough?
_doctor_tool() {
  local version shape='([0-9]+)\.([0-9]+)' have
  command -v "$1" >/dev/null 2>&1 || {
    doctor_found bad "$1" "$1 is not installed: $3" "run: $(os_install_hint "$1")"
    return
  }
  version=$(os_version "$1") || {
    doctor_found bad "$1" "$(command -v "$1") does not run: $3" "install it anew: $(os_install_hint "$1")"
    return
  }
  if [[ $version =~ $shape ]]; then
    have=$((10#${BASH_REMATCH[1]} * 1000 + 10#${BASH_REMATCH[2]}))
    [ "$have" -ge $((${2%.*} * 1000 + ${2#*.})) ] || {
      doctor_found bad "$1" "$version is too old: $3" "it must be $2 or newer: $(os_install_hint "$1")"
      return
    }
  fi
  doctor_found ok "$1" "$version"
}

# _doctor_keygen - it does not tell its version; it comes with ssh.
_doctor_keygen() {
  local path
  if path=$(command -v ssh-keygen); then
    doctor_found ok ssh-keygen "$path"
  else
    doctor_found bad ssh-keygen "ssh-keygen is not installed: no key for a pod can be made" \
      "run: $(os_install_hint ssh-keygen)"
  fi
}

# _doctor_python - the one that the helpers run on, and what it needs for a .env.
_doctor_python() {
  local version status=0
  core_quietly helper_python || {
    doctor_found bad python "$CORE_ERROR: no job can be run" "$CORE_HINT"
    return
  }
  version=$("$HELPER_PYTHON" -c 'import sys
print("%d.%d.%d" % sys.version_info[:3])
sys.exit(sys.version_info < (3, 9))' 2>/dev/null) || status=$?
  if [ -z "$version" ]; then
    doctor_found bad python "$HELPER_PYTHON does not run: no job can be run" \
      "set AUTOPOD_PYTHON to a Python 3.9 or newer"
  elif [ "$status" != 0 ]; then
    doctor_found bad python "Python $version at $HELPER_PYTHON is too old" "set AUTOPOD_PYTHON to a Python 3.9 or newer"
  else
    doctor_found ok python "Python $version at $HELPER_PYTHON"
    [ ! -f .env ] || _doctor_dotenv
  fi
}

# _doctor_dotenv
_doctor_dotenv() {
  if "$HELPER_PYTHON" -c 'from importlib.util import find_spec
raise SystemExit(not find_spec("dotenv"))' 2>/dev/null; then
    doctor_found ok dotenv "python-dotenv is there for ./.env"
  else
    doctor_found bad dotenv "./.env can't be read: $HELPER_PYTHON lacks python-dotenv" \
      "pip install python-dotenv, or let AUTOPOD_PYTHON name a Python that has it"
  fi
}

# _doctor_home_variable - HOME: runpodctl can't do without, and autopod's own directory goes by it.
_doctor_home_variable() {
  if [ -z "$_DOCTOR_HOME" ]; then
    doctor_found warn HOME "HOME is not set: ~ is taken for $HOME" \
      "set it, in a crontab as a line of its own: HOME=/home/you"
  elif [ ! -d "$_DOCTOR_HOME" ]; then
    doctor_found bad HOME "HOME is $_DOCTOR_HOME, which is no directory" "set HOME to yours"
  elif [ ! -w "$_DOCTOR_HOME" ]; then
    doctor_found warn HOME "HOME is $_DOCTOR_HOME, where nothing can be written" \
      "set AUTOPOD_HOME to a directory of yours"
  else
    doctor_found ok HOME "$_DOCTOR_HOME"
  fi
}

# --- what autopod keeps ---

# doctor_home - AUTOPOD_HOME and what is in it.
doctor_home() {
  _doctor_directory || return 0
  _doctor_room
  _doctor_secret "$AUTOPOD_HOME/config.json" '"runpod_api_key"[[:space:]]*:[[:space:]]*"[^"]'
  _doctor_secret .env '^[[:space:]]*(export[[:space:]]+)?RUNPOD_API_KEY=.'
  _doctor_locks
  command -v jq >/dev/null 2>&1 || return 0 # that it is missing was told
  _doctor_whole config.json "put it right by hand, or move it away; README says what can be in it" || :
  _doctor_whole pods.json "move it away; autopod-ls still shows what runs, but limits are forgotten" || :
  ! _doctor_whole tunnels.json "move it away: the next run opens a new tunnel" || _doctor_tunnels
}

# _doctor_directory - 0 when there is one that can be written to.
_doctor_directory() {
  local mode
  if [ ! -d "$AUTOPOD_HOME" ]; then
    doctor_found bad state "$AUTOPOD_HOME can't be made" "set AUTOPOD_HOME to a directory of yours"
    return 1
  elif [ ! -w "$AUTOPOD_HOME" ] || [ ! -x "$AUTOPOD_HOME" ]; then
    _doctor_mend bad state "nothing can be written to $AUTOPOD_HOME" "chmod 700 $AUTOPOD_HOME" _doctor_make_home
    [ -w "$AUTOPOD_HOME" ] && [ -x "$AUTOPOD_HOME" ]
    return
  fi
  mode=$(os_mode "$AUTOPOD_HOME")
  case $mode in
    *00) doctor_found ok state "$AUTOPOD_HOME" ;;
    *)
      _doctor_mend warn state "others can look into $AUTOPOD_HOME (mode $mode), where keys and runs are" \
        "chmod 700 $AUTOPOD_HOME" chmod 700 "$AUTOPOD_HOME"
      ;;
  esac
}

# _doctor_make_home - makes it writable, with the directories that are missing.
_doctor_make_home() {
  chmod 700 "$AUTOPOD_HOME" && mkdir -p -- "$AUTOPOD_HOME/logs" "$AUTOPOD_HOME/runs" "$AUTOPOD_HOME/locks" \
    "$AUTOPOD_HOME/known_hosts.d"
}

# _doctor_room - how much is free on its disk.
_doctor_room() {
  local bytes
  bytes=$(os_free "$AUTOPOD_HOME") || return 0
  ui_size "$bytes"
  if [ "$bytes" -lt "$_DOCTOR_ROOM" ]; then
    doctor_found warn disk "only $UI_SIZE are free where $AUTOPOD_HOME is" \
      "make room, or set AUTOPOD_HOME to another disk"
  else
    doctor_found ok disk "$UI_SIZE are free"
  fi
}

# _doctor_whole NAME WHAT_TO_DO - 0 when that state file is there, and is what was written.
_doctor_whole() {
  local file=$AUTOPOD_HOME/$1
  [ -e "$file" ] || return 1
  if jq -es 'length == 1 and (.[0] | type) == "object"' "$file" >/dev/null 2>&1; then
    doctor_found ok files "$1 is whole"
  else
    doctor_found bad files "$file is damaged: it isn't one JSON object" "$2"
    return 1
  fi
}

# _doctor_secret FILE REGEX - a file that holds a key is for nobody else to read.
_doctor_secret() {
  local mode
  [ -f "$1" ] && LC_ALL=C grep -Eq -- "$2" "$1" 2>/dev/null || return 0
  mode=$(os_mode "$1")
  case $mode in
    *00) doctor_found ok secrets "$1 holds the key, and only you can read it" ;;
    *)
      _doctor_mend warn secrets "$1 holds the key, and others can read it (mode $mode)" "chmod 600 $1" \
        chmod 600 "$1"
      ;;
  esac
}

# _doctor_locks - locks whose owner died. The next who wants one takes it over, so they only puzzle who looks.
_doctor_locks() {
  local lock owner dead=()
  for lock in "$AUTOPOD_HOME"/locks/*; do
    [ -L "$lock" ] || continue
    owner=$(readlink "$lock") || continue
    os_same_process "${owner%%-*}" "${owner#*-}" || dead[${#dead[@]}]=${lock##*/}
  done
  [ "${#dead[@]}" -gt 0 ] || return 0
  ui_count "${#dead[@]}" 'lock is' 'locks are'
  _doctor_mend warn locks "$UI_COUNT left by a process that is gone: ${dead[*]}" "remove them" \
    _doctor_unlock "${dead[@]}"
}

# _doctor_unlock NAME... - by taking the lock over, which does nothing to one that somebody has got meanwhile.
_doctor_unlock() {
  local name
  for name; do
    state_lock "$name" 0 || return
    state_unlock "$name"
  done
}

# _doctor_tunnels - recorded tunnels whose ssh process is gone.
_doctor_tunnels() {
  local pod pid start dead=()
  core_quietly core_tmpdir || return 0 # was told
  jq -r 'to_entries[] | [.key, .value.pid, .value.start] | map(tostring | gsub("[[:space:]]"; "")) | join(" ")' \
    "$AUTOPOD_HOME/tunnels.json" >"$CORE_TMP/doctor.tunnels" 2>/dev/null || return 0
  while read -r pod pid start; do
    os_same_process "$pid" "$start" || dead[${#dead[@]}]=$pod
  done <"$CORE_TMP/doctor.tunnels"
  [ "${#dead[@]}" -gt 0 ] || return 0
  ui_count "${#dead[@]}" 'tunnel is' 'tunnels are'
  _doctor_mend warn tunnels "$UI_COUNT written down, but closed: ${dead[*]}" \
    "forget them (a run opens a new one by itself)" tunnels_prune
}

# doctor_watcher - is there somebody to stop the pods that cost?
doctor_watcher() {
  local provider=''
  core_quietly core_tmpdir || return 0 # was told
  core_quietly enforce_read
  case " ${ENFORCE_PODS[*]-} " in *' runpod '*) provider=runpod ;; esac
  ui_count $((${#ENFORCE_PODS[@]} + ${#ENFORCE_WISHES[@]})) 'pod that costs' 'pods that cost'
  if watcher_covers ${provider:+"$provider"}; then
    doctor_found ok watcher "process $WATCHER_PID watches over $UI_COUNT"
  elif [ -n "$WATCHER_PID" ]; then
    doctor_found warn watcher "process $WATCHER_PID watches over $UI_COUNT, but not with the RunPod key that is set here" \
      "if they are pods of this account, end it: kill $WATCHER_PID; and start it anew: autopod-doctor --fix"
  elif [ "${UI_COUNT%% *}" = 0 ]; then
    doctor_found ok watcher "none, and no pod that costs: the next one starts it"
  else
    _doctor_mend warn watcher "nothing on this machine watches over $UI_COUNT" "start the watcher" watcher_ensure
  fi
}

# --- settings, keys, providers ---

# doctor_settings - those in force that are not the default; and does the provider exist?
doctor_settings() {
  config_changed
  doctor_found ok settings "${CONFIG_CHANGED:-all as they come}"
  core_quietly pod_provider "$AUTOPOD_PROVIDER" ||
    doctor_found bad settings "AUTOPOD_PROVIDER: $CORE_ERROR" "$CORE_HINT"
}

# doctor_ssh_key - the private key for rented pods.
doctor_ssh_key() {
  local key
  ssh_key_path
  key=$SSH_KEY
  if [ -f "$key" ]; then
    ! _doctor_private "$key" || _doctor_passphrase "$key"
  elif [ -n "$AUTOPOD_SSH_KEY" ]; then
    doctor_found bad 'ssh key' "AUTOPOD_SSH_KEY is $key, but there is no such file" "$_DOCTOR_OWN_KEY"
  elif [ -n "$DOCTOR_FIX" ] && core_quietly ssh_own_key; then
    doctor_found ok 'ssh key' "$key: made"
  else
    doctor_found ok 'ssh key' "none yet: autopod makes one of its own with the first pod"
  fi
}

# _doctor_private KEY - 0 when only its owner can read it, which ssh insists on. A key that was given to us is left as
# it is.
_doctor_private() {
  local mode text how="chmod 600 $1"
  mode=$(os_mode "$1")
  text="others can read $1 (mode $mode), so ssh does not use it"
  case $mode:$AUTOPOD_SSH_KEY in
    *00:*) return 0 ;;
    *:) _doctor_mend bad 'ssh key' "$text" "$how" chmod 600 "$1" ;;
    *) doctor_found bad 'ssh key' "$text" "run: $how" ;;
  esac
  mode=$(os_mode "$1")
  case $mode in *00) ;; *) return 1 ;; esac
}

# _doctor_passphrase KEY - nobody is there to type one.
_doctor_passphrase() {
  core_quietly core_tmpdir || return 0 # was told
  # Under a name that has no public half beside it, which would be taken instead.
  ln -sf -- "$1" "$CORE_TMP/doctor.key"
  if core_quietly ssh_public_key "$CORE_TMP/doctor.key" >/dev/null; then
    doctor_found ok 'ssh key' "$1"
  elif [ -f "$1.pub" ]; then
    doctor_found warn 'ssh key' "$1 has a passphrase: it works only while ssh-agent holds it, and not from cron" \
      "$_DOCTOR_OWN_KEY"
  else
    doctor_found bad 'ssh key' "$1 has a passphrase, or is no private key" "$_DOCTOR_OWN_KEY"
  fi
}

# doctor_provider NAME - what the provider itself finds.
doctor_provider() {
  local state text todo
  core_quietly core_tmpdir || return 0 # was told
  "provider_$1_doctor" >"$CORE_TMP/doctor.$1" || :
  while IFS=$'\t' read -r state text todo; do
    doctor_found "$state" "$1" "$text" "$todo"
  done <"$CORE_TMP/doctor.$1"
}
