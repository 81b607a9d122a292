#!/usr/bin/env bash
#
# Usage: scripts/setup.sh
#
# Finds what this machine lacks for the commands, the demo, the tests and the
# linters, installs it (apt-get or brew, as far as that goes without a
# question), and makes .venv. Says nothing when nothing is missing. What it may
# not install itself it names as a command to copy, and exits 3.
#
# It also brings runpodctl, by `go install` into .tools/bin or by brew. Only pods
# at RunPod need it, so without it there is a note and no failure; the next try
# is a day later.
#
#   SETUP_SECONDS   how long bringing runpodctl may take (300)

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
VENV=$ROOT/.venv
LOCK=$ROOT/.venv.lock
STAMP=$VENV/autopod-setup # what .venv was made from; written last, so half a .venv has none
# sshd and others stand where a plain user's PATH does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
EX_MISSING=3
TOOLS=$ROOT/.tools
TRIED=$TOOLS/runpodctl.tried # what there was to bring runpodctl by when that failed; good for a day
SETUP_SECONDS=${SETUP_SECONDS:-300}
PYTHON='' LOG='' LOCKED='' RUNNING=''

say() { printf 'setup: %s\n' "$*" >&2; }

# stop STATUS [WHY [COMMAND...]] - says why, and the commands to copy, and ends
stop() {
  local status=$1
  shift
  if [ $# -gt 0 ]; then
    say "$1"
    shift
  fi
  [ $# = 0 ] || printf '  %s\n' "$@" >&2
  exit "$status"
}

cleanup() {
  local group
  for group in $RUNNING; do kill -TERM -- "-$group" 2>/dev/null || :; done
  [ -z "$LOG" ] || rm -f "$LOG"
  [ -z "$LOCKED" ] || rm -rf "$LOCK"
}

# have TOOL - it is on PATH
have() { command -v "$1" >/dev/null 2>&1; }

# --- what is missing ------------------------------------------------------------------------------

# missing_tools - names of the needed programs that this machine lacks
missing_tools() {
  local tool
  for tool in jq curl ssh ssh-keygen scp sshd ps bats tmux; do
    have "$tool" || printf '%s\n' "$tool"
  done
  venv_ready || find_python || printf 'python3\n'
}

# bats_is_recent - bats 1.7 or newer (bats_require_minimum_version); Ubuntu 22.04 ships 1.2
bats_is_recent() {
  local version major minor
  version=$(bats --version) || return 1
  version=${version#Bats }
  major=${version%%.*} minor=${version#*.}
  minor=${minor%%.*}
  [ "$major" -gt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -ge 7 ]; }
}

# find_python - sets PYTHON to a Python of 3.9 or newer that can make a .venv with pip
find_python() {
  local name
  [ -z "$PYTHON" ] || return 0
  for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
    have "$name" || continue
    # The interpreter itself, since a shim in front of it (pyenv, asdf) costs some 50 ms a start.
    PYTHON=$("$name" -c '
import sys, ensurepip, venv
sys.exit(1) if sys.version_info < (3, 9) else print(sys.executable)' 2>/dev/null) && return 0
  done
  PYTHON=''
  return 1
}

# --- .venv ----------------------------------------------------------------------------------------

# requirements - the text that .venv has to match
requirements() { cat "$ROOT/requirements.txt" "$ROOT/requirements-dev.txt"; }

# venv_version - the Python in .venv, such as 3.11; fails when it does not start
venv_version() {
  "$VENV/bin/python3" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# venv_ready - .venv was made in full, from these requirements, by the Python that it still has
venv_ready() {
  local version
  [ -f "$STAMP" ] && version=$(venv_version) && have_stamp "$version"
}

# have_stamp VERSION - the stamp says what write_stamp would write now
have_stamp() { [ "$(cat "$STAMP")" = "$(stamp "$1")" ]; }

# stamp VERSION - what .venv is made from
stamp() {
  printf 'python %s\n' "$1"
  requirements
}

# lock - one setup at a time in this clone; waits for another one, takes over from a dead one
lock() {
  local owner waited=0
  [ -z "$LOCKED" ] || return 0
  until mkdir "$LOCK" 2>/dev/null; do
    [ -d "$LOCK" ] || stop 1 "can't write to $ROOT"
    owner=''
    read -r owner 2>/dev/null <"$LOCK/pid" || :
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
      # Renamed first, so that of two waiters only one removes it.
      if mv "$LOCK" "$LOCK.$$" 2>/dev/null; then rm -rf "$LOCK.$$"; fi
      continue
    fi
    [ "$waited" != 0 ] || say "waiting for another setup in this clone (process ${owner:-unknown})"
    waited=$((waited + 1))
    [ "$waited" -le 600 ] || stop 1 "still not done; if none runs: rm -rf '$LOCK'"
    sleep 1
  done
  LOCKED=1
  printf '%s\n' "$$" >"$LOCK/pid"
}

# run_logged WHAT CMD [ARG...] - runs CMD; shows the end of what it printed only when it fails
run_logged() {
  local what=$1
  shift
  [ -n "$LOG" ] || LOG=$(mktemp "${TMPDIR:-/tmp}/autopod-setup.XXXXXX") || stop 1 "no temporary file"
  if "$@" >"$LOG" 2>&1 </dev/null; then return 0; fi
  say "$what failed:"
  tail -n 15 "$LOG" | sed 's/^/  /' >&2
  return 1
}

# make_venv - makes or completes .venv
make_venv() {
  lock
  if venv_ready; then return 0; fi # the setup that we waited for did it
  find_python || stop "$EX_MISSING" "no Python of 3.9 or newer with venv and pip"
  say "making .venv from requirements-dev.txt (some 10 s; needs the network)"
  if [ -e "$VENV" ] && ! rm -rf "$VENV" 2>/dev/null; then
    stop 1 "can't replace $VENV (made by another user?); remove it and try again"
  fi
  run_logged "making .venv" "$PYTHON" -m venv "$VENV" || stop 1
  run_logged "installing requirements-dev.txt" \
    "$VENV/bin/python3" -m pip install --quiet --no-input --disable-pip-version-check \
    -r "$ROOT/requirements-dev.txt" ||
    stop 1 "try again when the network is back: make setup"
  stamp "$(venv_version)" >"$STAMP"
}

# --- programs -------------------------------------------------------------------------------------

# packages MANAGER TOOL... - the packages that bring TOOL..., each once
packages() {
  local manager=$1 tool name list=' '
  shift
  for tool in "$@"; do
    case $manager:$tool in
      apt-get:python3) name='python3 python3-venv' ;;
      apt-get:curl) name='curl ca-certificates' ;;
      apt-get:ssh | apt-get:ssh-keygen | apt-get:scp) name=openssh-client ;;
      apt-get:sshd) name=openssh-server ;;
      apt-get:ps) name=procps ;;
      brew:bats) name=bats-core ;;
      brew:python3) name=python ;;
      brew:ssh | brew:ssh-keygen | brew:scp | brew:sshd) name=openssh ;;
      *) name=$tool ;;
    esac
    case $list in *" $name "*) ;; *) list="$list$name " ;; esac
  done
  list=${list# }
  printf '%s\n' "${list% }"
}

# apt_prefix - prints what goes before apt-get: nothing for root, sudo for others; 1: neither
apt_prefix() {
  if [ "$(id -u)" = 0 ]; then
    return 0
  elif have sudo && sudo -n true 2>/dev/null; then
    printf 'sudo -n\n'
  elif have sudo && [ -t 0 ] && [ -t 2 ]; then
    printf 'sudo\n'
  else
    return 1
  fi
}

# install_apt PACKAGE... - 0 when they are in
install_apt() {
  local prefix
  prefix=$(apt_prefix) || return 1
  say "installing by apt-get: $*"
  case $prefix in sudo) sudo -v || return 1 ;; esac # the one question, only on a terminal
  # Lists may be absent (fresh images) or old; without the network the ones at hand may do.
  # shellcheck disable=SC2086 # a prefix of several words, or none
  run_logged "apt-get update" $prefix env DEBIAN_FRONTEND=noninteractive \
    apt-get update -q || :
  # shellcheck disable=SC2086
  run_logged "apt-get install" $prefix env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=60 "$@" || return 1
  case " $* " in
    *' openssh-server '*)
      [ ! -d /run/systemd/system ] || say "openssh-server also started the system's ssh service;" \
        "if you don't want it (autopod doesn't need it): sudo systemctl disable --now ssh"
      ;;
  esac
}

# brew_install PACKAGE... - brew, without its questions and without an update of itself
brew_install() { env HOMEBREW_NO_AUTO_UPDATE=1 NONINTERACTIVE=1 brew install "$@"; }

# install_brew PACKAGE... - 0 when they are in
install_brew() {
  say "installing by brew: $*"
  run_logged "brew install" brew_install "$@"
}

# install_tools TOOL... - installs what is missing, or says how and ends with EX_MISSING
install_tools() {
  local list sudo='sudo '
  if have apt-get; then
    list=$(packages apt-get "$@")
    # shellcheck disable=SC2086 # package names
    if install_apt $list; then return 0; fi
    [ "$(id -u)" != 0 ] || sudo=''
    stop "$EX_MISSING" "missing: $*; to install:" \
      "${sudo}apt-get update" "${sudo}apt-get install -y --no-install-recommends $list"
  elif have brew; then
    list=$(packages brew "$@")
    # shellcheck disable=SC2086
    if install_brew $list; then return 0; fi
    stop "$EX_MISSING" "missing: $*; to install:" "brew install $list"
  fi
  stop "$EX_MISSING" "missing: $*; install it with your system's package manager, then: make setup"
}

# check_bats - ends when bats is too old: no package manager here has a newer one
check_bats() {
  bats_is_recent || stop "$EX_MISSING" "$(bats --version) is too old; for 1.7 or newer:" \
    "npm install -g bats"
}

# --- runpodctl ------------------------------------------------------------------------------------

# within SECONDS CMD [ARG...] - runs CMD; when time is up, ends it with all that it started
within() {
  local limit=$1 job alarm status=0
  shift
  set -m # each gets a process group, which can be ended as a whole
  "$@" &
  job=$!
  {
    sleep "$limit"
    printf 'not done after %s s\n' "$limit"
    kill -TERM -- "-$job"
    sleep 5
    kill -KILL -- "-$job"
  } &
  alarm=$!
  set +m
  RUNNING="$job $alarm"
  wait "$job" 2>/dev/null || status=$?
  RUNNING=$alarm
  kill -TERM -- "-$alarm" 2>/dev/null || :
  wait "$alarm" 2>/dev/null || :
  RUNNING=''
  return "$status"
}

# have_runpodctl - it is on PATH or was brought earlier
have_runpodctl() { have runpodctl || [ -x "$TOOLS/bin/runpodctl" ]; }

# bringers - what can bring runpodctl here, in the order to try
bringers() {
  local tool
  for tool in go brew; do
    have "$tool" || continue
    printf '%s\n' "$tool"
  done
}

# tried_lately - it failed in the last 24 hours, and there is nothing new to try it with
tried_lately() {
  [ -n "$(find "$TRIED" -mtime -1 2>/dev/null)" ] && [ "$(cat "$TRIED")" = "$(bringers)" ]
}

# go_install_runpodctl - builds it; main has the newest API, which not every release has
go_install_runpodctl() {
  local version
  for version in main latest; do
    if env GOBIN="$TOOLS/bin" CGO_ENABLED=0 go install "github.com/runpod/runpodctl@$version"; then
      return 0
    fi
  done
  return 1
}

# bring_runpodctl_by go|brew - 0 when it is there
bring_runpodctl_by() {
  say "bringing runpodctl by $1 (up to $SETUP_SECONDS s; needs the network)"
  case $1 in
    go) run_logged "go install" within "$SETUP_SECONDS" go_install_runpodctl ;;
    brew) run_logged "brew install" within "$SETUP_SECONDS" brew_install runpod/runpodctl/runpodctl ;;
  esac && have_runpodctl
}

# bring_runpodctl - does that, or notes how to; never a failure
bring_runpodctl() {
  local tool
  if have_runpodctl || tried_lately; then return 0; fi
  [ -w "$ROOT" ] || return 0 # somebody else's clone; it was said to them
  lock
  if have_runpodctl || tried_lately; then return 0; fi # the setup that we waited for did it
  for tool in $(bringers); do
    if bring_runpodctl_by "$tool"; then return 0; fi
  done
  say "no runpodctl, which pods at RunPod need (nothing else does). RunPod's installer:"
  printf '  %s\n' 'wget -qO- cli.runpod.net | sudo bash' >&2
  if { mkdir -p "$TOOLS" && bringers >"$TRIED"; } 2>/dev/null; then
    say "setup tries again in a day; sooner: rm '$TRIED'; make setup"
  fi
}

main() {
  local missing tool
  case $SETUP_SECONDS in '' | *[!0-9]* | 0*) stop 2 "SETUP_SECONDS must be a whole number above 0" ;; esac
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  missing=()
  while IFS= read -r tool; do
    missing[${#missing[@]}]=$tool
  done < <(missing_tools)
  [ "${#missing[@]}" = 0 ] || install_tools "${missing[@]}"
  if ! venv_ready; then
    check_bats
    make_venv
  fi
  bring_runpodctl
}

main "$@"
