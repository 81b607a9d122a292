#!/usr/bin/env bash
#
# Usage: scripts/check-house.sh [TREE]
#
# Checks that the sources of TREE (default: this repo) keep the rules of
# CONTRIBUTING.md that no linter knows: who may include whom, who may call
# which program, how functions are named, described and how long they are.
# Prints `FILE:LINE: what is wrong` a line; exit status 1 when there is any.

set -euo pipefail
export LC_ALL=C

HERE=$(cd -P "${BASH_SOURCE[0]%/*}" && pwd -P)

main() {
  local file files
  files=()
  cd "${1:-$HERE/..}"
  for file in lib/*.sh lib/*/*.sh bin/* helpers/*.py; do
    [ ! -f "$file" ] || files[${#files[@]}]=$file
  done
  [ "${#files[@]}" -gt 0 ] || {
    printf 'check-house: no sources in %s\n' "$PWD" >&2
    exit 2
  }
  awk -f "$HERE/check-house.awk" "${files[@]}"
}

main "$@"
