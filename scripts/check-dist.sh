#!/usr/bin/env bash
#
# Usage: scripts/check-dist.sh
#        scripts/check-dist.sh --structure FILE...
#
# Builds the commands twice (the same bytes?), looks at how the builds are made,
# and runs the command tests (tests/cmd_*.bats) against them from a directory
# that has nothing of the repo in it but the tests and the example jobs.
#
#   --structure   only look at how these builds are made

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
WORK='' FAULTS=0

fault() {
  printf 'check-dist: %s\n' "$*" >&2
  FAULTS=$((FAULTS + 1))
}

# outside_assets FILE - its text without the embedded Python and templates
outside_assets() {
  # Within an asset each quote stands as '\'' (see bundle.sh), so a line that ends in one alone is its last.
  awk -v quote="'" '/^_autopod_asset_[A-Za-z0-9_]*\(\) \{$/ { asset = 1 }
    !asset
    substr($0, length($0)) == quote && substr($0, length($0) - 3) != quote "\\" quote quote { asset = 0 }' "$1"
}

# structure FILE - each thing that a build must not have, or must have once
structure() {
  local file=$1 name=${1##*/} found
  found=$(outside_assets "$file" | grep -nE '^[[:space:]]*(source|\.)[[:space:]]|AUTOPOD_LIB' || :)
  [ -z "$found" ] || fault "$name: an include is left: $found"
  found=$(grep -E '^# --- [a-z]+/' "$file" | sort | uniq -d)
  [ -z "$found" ] || fault "$name: is in it twice: $found"
  found=$(outside_assets "$file" | grep -oE '^[A-Za-z_][A-Za-z0-9_]*\(\)' | sort | uniq -d)
  [ -z "$found" ] || fault "$name: is defined twice: $found"
  found=$(grep -nF -e "$ROOT/" -e "${WORK:-$ROOT}/" "$file" || :)
  [ -z "$found" ] || fault "$name: names a path of the builder: $found"
  bash -n "$file" || fault "$name: does not parse"
  [ "$(tail -n 1 "$file")" = 'main "$@"; exit' ] ||
    fault "$name: does not end in the line: main \"\$@\"; exit"
  truncated "$file"
}

# truncated FILE - a copy that was cut off anywhere must do nothing. Of programs it finds sed alone, which --help needs:
# a name of ours that is cut in the middle may be that of a program.
truncated() {
  local file=$1 size cut said=0 step tools
  tools=$(mktemp -d "${TMPDIR:-/tmp}/autopod-dist.XXXXXX")
  ln -s "$(type -P sed)" "$tools/sed"
  size=$(($(sed '$d' "$file" | wc -c)))
  step=$((size / 40 + 1))
  for ((cut = step; cut < size; cut += step)); do
    said=$(head -c "$cut" "$file" | PATH=$tools "$BASH" -s -- --help 2>/dev/null | wc -c) || :
    [ "$((said))" = 0 ] || fault "${file##*/}: cut after $cut bytes, it still runs"
  done
  rm -rf "$tools"
}

# same_bytes DIR DIR - both hold the same files
same_bytes() {
  diff -r "$1" "$2" >/dev/null || fault "two builds differ: $(diff -rq "$1" "$2")"
}

# stage DIR - a place with the builds, the tests, the example jobs and what events are held against, and nothing else
stage() {
  local file
  mkdir -p "$1/tests" "$1/empty"
  cp -R "$WORK/one" "$1/dist"
  cp -R "$ROOT/jobs" "$1/jobs"
  cp "$ROOT/events.schema.json" "$1/"
  for file in "$ROOT"/tests/*; do
    case $file in *.bats) ;; *) cp -R "$file" "$1/tests/" ;; esac
  done
  cp "$ROOT"/tests/cmd_*.bats "$1/tests/"
  # The Python with what the simulator needs; seen from there, it is there.
  ln -s "$ROOT/.venv" "$1/.venv"
}

main() {
  local file status=0
  trap '[ -z "$WORK" ] || rm -rf "$WORK"' EXIT
  if [ "${1:-}" = --structure ]; then
    shift
    for file in "$@"; do structure "$file"; done
    [ "$FAULTS" = 0 ]
    return
  fi
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/autopod-dist.XXXXXX")
  bash "$ROOT/scripts/dist.sh" "$WORK/one"
  # From elsewhere, in another locale and time zone: the bytes depend on the sources alone.
  (cd / && umask 077 && LC_ALL=C.UTF-8 TZ=Asia/Tokyo bash "$ROOT/scripts/dist.sh" "$WORK/two")
  same_bytes "$WORK/one" "$WORK/two"
  for file in "$WORK"/one/*; do
    [ "${file##*/}" = SHA256SUMS ] || structure "$file"
  done
  stage "$WORK/stage"
  cd "$WORK/stage/empty"
  # DOUBLES_TREE: the stand-ins' own pods are made by the tree; what is tested does not see it.
  env -u PWD -u OLDPWD AUTOPOD_BIN="$WORK/stage/dist" DOUBLES_TREE="$ROOT" \
    bash "$ROOT/scripts/test.sh" "$WORK"/stage/tests/cmd_*.bats || status=$?
  [ "$FAULTS" = 0 ] || exit 1
  exit "$status"
}

main "$@"
