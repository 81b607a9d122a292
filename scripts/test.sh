#!/usr/bin/env bash
#
# Usage: scripts/test.sh [-j N] [-v] [FILE...]
#
# Runs bats files (default: all of tests/), N at a time, and ends with one line:
#   N passed, N failed, N skipped
# Exit status: 0 when all passed, 1 when one failed or none ran, 2 for a wrong
# argument, 3 when bats is missing, 128+n after signal n.
#
#   -j N   files at a time (default: twice the number of processors; they wait more than they compute)
#   -v     name every test, not only the failed and skipped ones

set -uo pipefail

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
WORK='' PASSED=0 FAILED=0 SKIPPED=0 VERBOSE=0 JOBS=''
FILES=() PIDS=()

die() { # STATUS MESSAGE
  printf 'test: %s\n' "$2" >&2
  exit "$1"
}

# parse ARG... - sets JOBS, VERBOSE and FILES
parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      -j)
        case ${2:-} in '' | *[!0-9]* | 0*) die 2 "-j needs a number above 0" ;; esac
        JOBS=$2
        shift
        ;;
      -v) VERBOSE=1 ;;
      -h | --help)
        sed -n -e '1,2d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        trap - EXIT
        exit 0
        ;;
      -*) die 2 "unknown option: $1" ;;
      *)
        [ -f "$1" ] || die 2 "no such file: $1"
        FILES[${#FILES[@]}]=$1
        ;;
    esac
    shift
  done
  [ "${#FILES[@]}" -gt 0 ] || FILES=("$ROOT"/tests/*.bats)
  [ -n "$JOBS" ] || JOBS=$(($(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) * 2))
}

# environment - what a test sees must not depend on who runs it
environment() {
  local name
  for name in ${!BATS_@} ${!AUTOPOD_TEST_@}; do
    [ "$name" = AUTOPOD_TEST_PATH ] || unset "$name"
  done
  export LC_ALL=C TZ=UTC
  unset LANGUAGE CDPATH GREP_OPTIONS BASH_ENV ENV POSIXLY_CORRECT
  # What make setup brought and this machine doesn't have of its own.
  PATH=$PATH:$ROOT/.tools/bin
  # make's own variables would reach every make that a test starts.
  unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
}

# start INDEX - runs one file in the background, as a process group that can be ended as a whole
start() {
  local file=${FILES[$1]} out=$WORK/$1
  set -m
  (
    status=0
    SECONDS=0
    bats --tap "$file" </dev/null >"$out.tap" 2>&1 || status=$?
    printf '%s %s\n' "$status" "$SECONDS" >"$out.done.tmp"
    mv "$out.done.tmp" "$out.done"
  ) &
  PIDS[$1]=$!
  set +m
}

# report INDEX - counts and shows one file's result
report() {
  local out=$WORK/$1 name=${FILES[$1]##*/} status=1 seconds=0 line
  local plan=-1 passed=0 failed=0 skipped=0 show=0
  [ ! -f "$out.done" ] || read -r status seconds <"$out.done"
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      '1..'*) plan=${line#1..} ;;
      'ok '*' # skip'*) skipped=$((skipped + 1)) show=1 ;;
      'ok '*) passed=$((passed + 1)) show=$VERBOSE ;;
      'not ok '*) failed=$((failed + 1)) show=1 ;;
      '#'*) ;;
      *) show=1 ;;
    esac
    case $line in 1..*) continue ;; esac
    [ "$show" = 0 ] || printf '    %s\n' "$line"
  done <"$out.tap"
  # A file that can't be read, or that ends before its plan, fails even if no test said so.
  if [ "$((passed + failed + skipped))" != "$plan" ] || { [ "$status" != 0 ] && [ "$failed" = 0 ]; }; then
    printf '    not ok - %s ended early: %s of %s tests, status %s\n' \
      "$name" "$((passed + failed + skipped))" "$plan" "$status"
    failed=$((failed + 1))
  fi
  printf '%-28s %4d passed %3d failed %3d skipped %5d s\n' \
    "$name" "$passed" "$failed" "$skipped" "$seconds"
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
}

# run_all - keeps JOBS files running until all are done
run_all() {
  local next=0 running=0 i
  while [ "$next" -lt "${#FILES[@]}" ] || [ "$running" -gt 0 ]; do
    while [ "$next" -lt "${#FILES[@]}" ] && [ "$running" -lt "$JOBS" ]; do
      start "$next"
      next=$((next + 1)) running=$((running + 1))
    done
    sleep 0.1
    for i in "${!PIDS[@]}"; do
      kill -0 "${PIDS[i]}" 2>/dev/null && continue
      wait "${PIDS[i]}" 2>/dev/null
      unset "PIDS[i]"
      running=$((running - 1))
      report "$i"
    done
  done
}

# end_all - ends the files that still run, with everything they started
end_all() {
  local pid
  for pid in "${PIDS[@]}"; do kill -TERM -- "-$pid" 2>/dev/null; done
  for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null; done
}

# summary - EXIT trap: whatever happened, the last line is the count
summary() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  [ "${#PIDS[@]}" = 0 ] || end_all
  [ -z "$WORK" ] || rm -rf "$WORK"
  if [ "$status" = 0 ] && [ "$((PASSED + SKIPPED))" = 0 ]; then
    printf 'no test ran\n'
    status=1
  fi
  [ "$FAILED" = 0 ] || [ "$status" != 0 ] || status=1
  printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  exit "$status"
}

main() {
  trap summary EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  parse "$@"
  environment
  command -v bats >/dev/null 2>&1 || die 3 "bats is not installed; run make setup"
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/autopod-test.XXXXXX") || die 1 "no temporary directory"
  run_all
}

main "$@"
