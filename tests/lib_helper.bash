# shellcheck shell=bash
# lib_helper.bash - for the tests of lib/: runs Bash programs that source modules as a command does.

# program FILE MODULE... - makes FILE a program with these modules; what it does is on stdin.
# LIB_OPTIONS replaces the commands' `set -euo pipefail`, LIB the library.
program() {
  local file=$1 module tree=${DOUBLES_TREE:-$ROOT} # beside the builds there is no library
  shift
  {
    printf '#!/usr/bin/env bash\n%s\n' "${LIB_OPTIONS-set -euo pipefail}"
    printf 'AUTOPOD_VERSION=test AUTOPOD_PROG=prog AUTOPOD_ROOT=%q AUTOPOD_LIB=%q\n' \
      "$tree" "${LIB:-$tree/lib}"
    for module in "$@"; do printf '. "$AUTOPOD_LIB/%s.sh"\n' "$module"; done
    cat
  } >"$file"
}

# lib 'MODULE...' [ARG...] - runs the program on stdin with these modules
lib() {
  local modules
  IFS=' ' read -r -a modules <<<"$1"
  shift
  program "$BATS_TEST_TMPDIR/program" "${modules[@]}"
  bash "$BATS_TEST_TMPDIR/program" "$@" </dev/null 3>&-
}

# lib_both 'MODULE...' [ARG...] - the same with `set -euo pipefail` and without; both must say the same
lib_both() {
  local text strict loose status=0
  text=$(cat)
  strict=$(lib "$@" <<<"$text" 2>&1) || status=$?
  loose=$(LIB_OPTIONS='' lib "$@" <<<"$text" 2>&1) || :
  printf '%s\n' "$strict"
  assert_equal "$loose" "$strict" 'what it says without set -euo pipefail' || return
  return "$status"
}

# make_home - the directories that config_load makes
make_home() {
  mkdir -p "$AUTOPOD_HOME/locks" "$AUTOPOD_HOME/logs" "$AUTOPOD_HOME/runs" "$AUTOPOD_HOME/known_hosts.d"
}

# old_lib - sets LIB to a copy of the library as a bash 3.2 on macOS runs it: no /proc, and none of
# the newer shell's variables and formats
old_lib() {
  local file
  LIB=$BATS_TEST_TMPDIR/oldlib
  mkdir "$LIB"
  cp -R "$ROOT/lib/." "$LIB/" # never a link to the real one
  for file in "$LIB"/*.sh; do
    sed -e 's|/proc/|/nowhere/proc/|g' -e 's/BASH_VERSINFO\[0\]/OLD_BASH/g' \
      -e 's/EPOCHSECONDS/OLD_SECONDS/g' -e 's/EPOCHREALTIME/OLD_REALTIME/g' "$file" >"$file.old" # portable: taken out
    mv "$file.old" "$file"
  done
  export LIB OLD_BASH=3
}

# signalled SIGNALS READY_FILE CMD... - sees tests/doubles/signalled.py
signalled() { "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/signalled.py" "$@" 3>&-; }

# make_pod - a local pod in $AUTOPOD_HOME, for setup_file and tests; where there can't be one (no
# sshd), $AUTOPOD_HOME/no-pod says why
make_pod() {
  local status=0
  mkdir -p "$HOME"
  make_home
  program "$AUTOPOD_HOME/program" config pod wish tunnel <<'SH'
ui_init
core_trap
config_load
wish_make local '{}' '' '{}'
SH
  bash "$AUTOPOD_HOME/program" >/dev/null 2>"$AUTOPOD_HOME/said" 3>&- || status=$?
  case $status in
    0) ;;
    3) mv "$AUTOPOD_HOME/said" "$AUTOPOD_HOME/no-pod" ;;
    *) cat "$AUTOPOD_HOME/said" >&2 && return 1 ;;
  esac
}

# need_pod - skips the test where local pods can't be (no sshd)
need_pod() {
  [ ! -f "$AUTOPOD_HOME/no-pod" ] || skip "$(head -n 1 "$AUTOPOD_HOME/no-pod")"
}

# pod_away - ends the pods in $AUTOPOD_HOME, and their tunnels
pod_away() {
  program "$AUTOPOD_HOME/program" config pod wish tunnel <<'SH'
ui_init
core_trap
config_load
for id in $(provider_local_list | jq -r .id); do
  POD_ID=$id
  tunnel_close
  provider_local_terminate "$id"
done
SH
  bash "$AUTOPOD_HOME/program" 3>&-
}
