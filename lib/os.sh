# shellcheck shell=bash
# os.sh - one function for each thing that GNU, BSD or the bash versions disagree on.

[ -z "${_AUTOPOD_OS_SH:-}" ] || return 0 # @guard
_AUTOPOD_OS_SH=1                         # @guard

# --- time: results in variables, since a fork for each log line would be felt ---

# os_now - sets OS_NOW to the seconds since 1970.
os_now() {
  OS_NOW=${EPOCHSECONDS:-} # portable: empty before bash 5
  [ -n "$OS_NOW" ] || OS_NOW=$(date +%s)
}

# os_now_ms - sets OS_MS to the milliseconds since 1970 (whole seconds before bash 5).
os_now_ms() {
  local real=${EPOCHREALTIME:-} # portable: empty before bash 5; the decimal mark follows the locale
  if [ -n "$real" ]; then
    real=${real//[!0-9]/}
    OS_MS=${real%???}
  else
    OS_MS=$(date +%s)000
  fi
}

# os_tenth - sets OS_TENTH to the tenths of a second since 1970; empty where that would be a fork (before bash 5).
os_tenth() {
  local real=${EPOCHREALTIME:-} # portable: empty before bash 5
  real=${real//[!0-9]/}
  OS_TENTH=${real%?????}
}

# os_utc - sets OS_UTC to now, as 2026-01-31T23:59:59Z.
os_utc() {
  if [ "${BASH_VERSINFO[0]}" -ge 5 ]; then
    TZ=UTC printf -v OS_UTC '%(%Y-%m-%dT%H:%M:%SZ)T' -1 # portable: bash 5 only, else below
  else
    OS_UTC=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  fi
}

# os_midnight - sets OS_MIDNIGHT to when the day began here, in seconds since 1970; 1 when the system does not say.
os_midnight() {
  local day
  day=$(date +%Y-%m-%d) || return
  OS_MIDNIGHT=$(date -d "$day 00:00:00" +%s 2>/dev/null || date -j -f '%Y-%m-%d %H:%M:%S' "$day 00:00:00" +%s)
}

# os_utc_compact - sets OS_UTC to now as 20260131T235959Z, for file names.
os_utc_compact() {
  os_utc
  OS_UTC=${OS_UTC//[-:]/}
}

# --- files ---

# os_size FILE - prints its length in bytes; 1 when there is none.
os_size() { stat -L -c %s -- "$1" 2>/dev/null || stat -L -f %z -- "$1" 2>/dev/null; }

# os_mode FILE - prints its permissions in octal, as 600; 1 when there is none.
os_mode() { stat -L -c %a -- "$1" 2>/dev/null || stat -L -f %Lp -- "$1" 2>/dev/null; }

# os_sha256 FILE - prints the sum in hex; 1 when the file can't be read.
os_sha256() {
  local out
  if command -v sha256sum >/dev/null 2>&1; then
    out=$(sha256sum <"$1") || return 1
  elif command -v shasum >/dev/null 2>&1; then
    out=$(shasum -a 256 <"$1") || return 1
  else
    out=$(openssl dgst -sha256 <"$1") || return 1
    out=${out##* }
  fi
  printf '%s\n' "${out%% *}"
}

# os_head_hex FILE - sets OS_HEX to the first 16 bytes in hex, in lower case.
os_head_hex() {
  OS_HEX=$(od -An -v -tx1 -N16 <"$1") || return
  OS_HEX=${OS_HEX//[!0-9a-f]/}
}

# os_base64 - prints stdin in base64, on one line.
os_base64() {
  if command -v base64 >/dev/null 2>&1; then base64; else openssl base64; fi | tr -d '\r\n'
}

# os_move_new FROM TO - renames, but never over an existing file: 1 when TO exists. A hard link
# fails on an existing name in one step; file systems without hard links get the test and the
# rename.
os_move_new() {
  if [ -d "$2" ]; then return 1; fi # both would move into it
  if ln -- "$1" "$2" 2>/dev/null; then
    rm -f -- "$1"
  else
    [ ! -e "$2" ] && [ ! -L "$2" ] && mv -- "$1" "$2"
  fi
}

# os_random_hex DIGITS - sets OS_HEX to that many random hex digits (up to 64).
os_random_hex() {
  OS_HEX=$(od -An -v -tx1 -N32 </dev/urandom) || return
  OS_HEX=${OS_HEX//[!0-9a-f]/}
  OS_HEX=${OS_HEX:0:$1}
}

# os_uuid - sets OS_UUID to a random UUID in lower case; 1 when the system has no source of them.
os_uuid() {
  if ! { read -r OS_UUID </proc/sys/kernel/random/uuid; } 2>/dev/null; then
    OS_UUID=$(uuidgen | LC_ALL=C tr '[:upper:]' '[:lower:]') || return 1 # macOS
  fi
}

# --- processes ---

# os_spawn LOG CMD [ARG...] - starts CMD with our stdin so that it outlives this program and its
# terminal; sets OS_PID. A process group of its own keeps the terminal's Ctrl+C away, nohup its hang-up;
# a caller's open files (a lock, a test runner's pipe) stay his own.
os_spawn() {
  local log=$1
  shift
  set -m
  nohup "$@" <&0 >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
  OS_PID=$!
  set +m
  disown "$OS_PID" 2>/dev/null || :
}

# os_process_start PID - sets OS_START to a word that no later process with the same number has; 1
# when there is none.
os_process_start() {
  local stat boot=''
  OS_START=''
  case $1 in '' | *[!0-9]*) return 1 ;; esac
  if [ -r /proc/self/stat ]; then
    { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    read -r boot </proc/sys/kernel/random/boot_id 2>/dev/null || :
    stat=${stat##*) } # the name in parentheses may hold blanks; what follows starts with field 3, the state
    # shellcheck disable=SC2086 # splitting is meant: numbers and one letter
    set -- $stat
    if [ "${1:-Z}" = Z ] || [ $# -lt 20 ]; then return 1; fi
    OS_START=${boot%%-*}.${20}
  else
    stat=$(TZ=UTC LC_ALL=C ps -o stat= -o lstart= -p "$1" 2>/dev/null) || return 1
    read -r boot stat <<<"$stat" # the state, which may have flags behind it; the start
    case $boot in '' | Z*) return 1 ;; esac
    OS_START=${stat//[!A-Za-z0-9]/}
  fi
}

# os_same_process PID START - 0 when that very process still runs.
os_same_process() {
  [ -n "${2:-}" ] && os_process_start "${1:-}" && [ "$OS_START" = "$2" ]
}

# os_process_command PID - sets OS_COMMAND to the process's command line, a blank between the words; 1 when it has none.
os_process_command() {
  local word
  OS_COMMAND=''
  case $1 in '' | *[!0-9]*) return 1 ;; esac
  if [ -r /proc/self/cmdline ]; then
    while IFS= read -r -d '' word || [ -n "$word" ]; do
      OS_COMMAND="$OS_COMMAND${OS_COMMAND:+ }$word"
    done 2>/dev/null <"/proc/$1/cmdline" || return 1
  else
    OS_COMMAND=$(LC_ALL=C ps -ww -o args= -p "$1" 2>/dev/null) || return 1
  fi
  [ -n "$OS_COMMAND" ]
}

# os_end_process PID START [SECONDS] - ends that very process, at first politely; 0 when it is gone.
os_end_process() {
  local left=$((${3:-5} * 10))
  os_same_process "$1" "$2" || return 0
  kill "$1" 2>/dev/null || :
  while os_same_process "$1" "$2"; do
    [ "$left" -gt 0 ] || {
      kill -9 "$1" 2>/dev/null || :
      sleep 0.2
      ! os_same_process "$1" "$2"
      return
    }
    left=$((left - 1))
    sleep 0.1 || : # Ctrl+C ends a sleep, but says nothing about the process
  done
  return 0
}

# os_read FD SECONDS - sets OS_LINE to the next line of the open pipe FD (read and write), for which it waits at most
# SECONDS, which may have a fraction; 1 when none came. Not by `read -t`: bash 3.2 has no fractions there, and a signal in
# the middle of one can crash Bash 5.2 (exit 134) or end it by its own alarm (142): seen in 1 of 40 tries.
os_read() {
  local ticker
  OS_LINE=''
  # An empty line ends the wait, also when a signal that goes to all of us ends the sleep.
  {
    trap '' HUP TERM
    sleep "$2" || :
    printf '\n' >&"$1"
  } </dev/null >/dev/null 2>&1 3>&- 8>&- 9>&- &
  ticker=$!
  disown "$ticker" 2>/dev/null || : # or Bash tells that it was killed
  IFS= read -r -u "$1" OS_LINE || :
  # By force: a child that Bash has just forked takes TERM for its parent's, and begins with the parent's cleanup.
  [ -n "$OS_LINE" ] && kill -s KILL "$ticker" 2>/dev/null
}

# os_read_keys - sets OS_LINE to what is typed within a tenth of a second, on the terminal that is standard input.
os_read_keys() {
  local seconds=0.1 text=''
  [ "${BASH_VERSINFO[0]}" -ge 4 ] || seconds=2 # only whole ones; but a terminal set to `min 0 time 1` ends it itself
  # Bash keeps what it has read of a terminal beyond a newline, and gives it to whatever is read next, even from a file.
  while IFS= read -r -t "$seconds" OS_LINE; do text=$text$OS_LINE$'\n'; done
  OS_LINE=$text$OS_LINE
}

# os_columns - sets OS_COLUMNS and OS_ROWS to the size of the terminal on stderr; 80 and 24 when it doesn't say.
os_columns() {
  local size
  size=$(stty size <&2 2>/dev/null) || size=''
  OS_ROWS=${size%% *} OS_COLUMNS=${size##* }
  case $OS_COLUMNS in '' | 0 | *[!0-9]*) OS_COLUMNS=80 ;; esac
  case $OS_ROWS in '' | 0 | *[!0-9]*) OS_ROWS=24 ;; esac
}

# os_in_foreground - 0 when this program is the one in front of its terminal: others may neither read there nor set it.
os_in_foreground() {
  local stat
  if [ -r /proc/self/stat ]; then
    { IFS= read -r stat <"/proc/$$/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086 # splitting is meant: numbers and one letter
    set -- ${stat##*) }
    stat="${3:-} ${6:-}"
  else
    stat=$(ps -o pgid= -o tpgid= -p "$$" 2>/dev/null) || return 1
  fi
  # Its process group, and that in front; no positive number where the terminal isn't the one that controls it.
  # shellcheck disable=SC2086
  set -- $stat
  [ "${1:-}" = "${2:-0}" ] || [ "${2:-0}" -le 0 ]
}

# os_open_url URL - shows URL in the browser of whoever sits here; 1 when there is none, or nobody sees this machine's
# screen (ssh, cron, a container). Whether the browser liked it is not waited for.
os_open_url() {
  local tool=xdg-open
  case ${OSTYPE:-} in
    darwin*)
      tool=open
      [ -z "${SSH_CONNECTION:-}" ] || return 1
      ;;
    *) [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || return 1 ;; # else it would take a browser for text, here
  esac
  command -v "$tool" >/dev/null 2>&1 || return 1
  os_spawn /dev/null "$tool" "$1" </dev/null
}

# os_port_free PORT - 0 when nothing listens there on 127.0.0.1.
os_port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# os_port_user PORT - sets OS_USER to who listens at that port of this machine, as "python3 (pid 123)"; empty when
# nobody does, or the system does not tell (a process of another user).
os_port_user() {
  local said='' line pid='' name=''
  local shape='users:\(\("([^"]*)",pid=([0-9]+)'
  OS_USER=''
  if command -v lsof >/dev/null 2>&1; then
    said=$(lsof -nPw -iTCP:"$1" -sTCP:LISTEN -Fpc 2>/dev/null </dev/null) || :
    while IFS= read -r line; do
      case $line in p*) pid=${pid:-${line#p}} ;; c*) name=${name:-${line#c}} ;; esac
    done <<<"$said"
  fi
  if [ -z "$pid" ] && said=$(ss -ltnp "sport = :$1" 2>/dev/null) && [[ $said =~ $shape ]]; then
    name=${BASH_REMATCH[1]} pid=${BASH_REMATCH[2]}
  fi
  if [ -z "$pid" ] && _os_port_inode "$1"; then
    # shellcheck disable=SC2012 # names of sockets; not every find knows -lname
    pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v socket="socket:[$OS_INODE]" '
      /^\/proc\// { split($0, path, "/") } $NF == socket && !found++ { print path[3] }') || :
    { IFS= read -r name <"/proc/$pid/comm"; } 2>/dev/null || name='a program'
  fi
  [ -z "$pid" ] || OS_USER="${name:-a program} (pid $pid)"
}

# _os_port_inode PORT - sets OS_INODE to Linux' number of the socket that listens there; 1 when there is none.
_os_port_inode() {
  local hex
  printf -v hex '%04X' "$1"
  OS_INODE=$(awk -v port=":$hex\$" '$2 ~ port && $4 == "0A" { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null) || :
  [ -n "$OS_INODE" ]
}

# os_random_port - sets OS_PORT to a free loopback port; 1 when twenty tries found none.
os_random_port() {
  local try
  for ((try = 0; try < 20; try++)); do
    OS_PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 12000)) # below the ephemeral ports of both systems
    os_port_free "$OS_PORT" && return 0
  done
  return 1
}

# os_sshd - prints the path of OpenSSH's server; 1 when there is none. sshd wants to be started by
# its full path, and users' PATH often leaves out the sbin directories.
os_sshd() {
  local dir
  for dir in /usr/sbin /usr/local/sbin /opt/homebrew/sbin /sbin; do
    [ ! -x "$dir/sshd" ] || {
      printf '%s\n' "$dir/sshd"
      return 0
    }
  done
  return 1
}

# os_root_is_locked - 0 for a root whose password is locked (Ubuntu): sshd lets him in by PAM only.
os_root_is_locked() {
  [ "$(id -u)" = 0 ] && grep -q '^root:!' /etc/shadow 2>/dev/null
}

# os_install_hint NAME - prints how NAME (sshd, jq, …) is installed on this system.
os_install_hint() {
  local package=$1
  case ${OSTYPE:-} in
    darwin*)
      case $1 in
        ssh | sshd | ssh-keygen) package=openssh ;;
      esac
      printf 'brew install %s\n' "$package"
      ;;
    *)
      case $1 in
        sshd) package=openssh-server ;;
        ssh | ssh-keygen) package=openssh-client ;;
      esac
      printf 'apt-get install %s (or the like of it on your system)\n' "$package"
      ;;
  esac
}

# os_version TOOL - prints what the program says its version is, as "curl 7.88.1"; 1 when it does not run.
os_version() {
  local flag=--version text
  [ "$1" != ssh ] || flag=-V
  text=$("$1" "$flag" 2>&1 </dev/null) || return 1
  text=${text%%$'\n'*}
  text=${text%%,*}
  printf '%s\n' "${text%% (*}"
}

# os_free DIR - prints how many bytes are free on its disk; 1 when nobody knows. (Before the percentage, since the
# name of a disk may have blanks.)
os_free() {
  local kilobytes shape='^[0-9]+$'
  kilobytes=$(LC_ALL=C df -Pk "$1" 2>/dev/null | sed -nE '2s/^.*[[:space:]]([0-9]+)[[:space:]]+[0-9]+%[[:space:]].*$/\1/p')
  [[ $kilobytes =~ $shape ]] && printf '%s\n' $((kilobytes * 1024))
}

# os_privsep_dir - root's sshd wants this directory; Debian makes it only when its own service
# starts.
os_privsep_dir() {
  [ "$(id -u)" != 0 ] || case ${OSTYPE:-} in
    linux*) [ -d /run/sshd ] || mkdir -m 755 /run/sshd ;;
  esac
}
