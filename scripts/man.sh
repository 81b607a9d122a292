#!/usr/bin/env bash
#
# Usage: scripts/man.sh COMMAND
#        scripts/man.sh --all DIR
#
# Prints the man page of a command of bin/, made from its header comment (its
# --help), or writes those of all into DIR, as COMMAND.1.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)

# page COMMAND RECORDS - prints its page
page() {
  local version
  read -r version <"$ROOT/VERSION"
  awk -f "$ROOT/scripts/man.awk" -v command="$1" -v version="$version" <<<"$2"
}

main() {
  local records file name
  case $#:${1:-} in
    2:--all) ;;
    1:*[!a-z-]* | 1:-*) set -- ;;
    1:*) [ -f "$ROOT/bin/$1" ] || set -- ;;
    *) set -- ;;
  esac
  [ $# -gt 0 ] || {
    printf 'usage: scripts/man.sh COMMAND, or scripts/man.sh --all DIR\n' >&2
    exit 2
  }
  records=$(awk -f "$ROOT/scripts/header.awk" "$ROOT"/bin/*)
  if [ "$1" != --all ]; then
    page "$1" "$records"
    return
  fi
  mkdir -p "$2"
  for file in "$ROOT"/bin/*; do
    name=${file##*/}
    page "$name" "$records" >"$2/$name.1"
  done
}

main "$@"
