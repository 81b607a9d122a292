#!/usr/bin/env bash
#
# Usage: scripts/completions.sh [DIR]
#
# Writes the completions into DIR (default: completions/): autopod.bash and
# _autopod, from the header comments of bin/ (their --help) and the skeletons in
# scripts/completions/. Each changes in one step, and only when it differs.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
WORK=''

# providers - their names with | between them
providers() { sed -n "s/^POD_PROVIDERS='\(.*\)'$/\1/p" "$ROOT/lib/pod.sh" | tr ' ' '|'; }

main() {
  local dir=${1:-$ROOT/completions} file
  trap '[ -z "$WORK" ] || rm -rf "$WORK"' EXIT
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/autopod-completions.XXXXXX")
  awk -f "$ROOT/scripts/header.awk" "$ROOT"/bin/* >"$WORK/records"
  mkdir -p "$dir"
  for file in autopod.bash _autopod; do
    awk -f "$ROOT/scripts/completions.awk" -v providers="$(providers)" \
      "$WORK/records" "$ROOT/scripts/completions/$file" >"$WORK/$file"
    cmp -s "$WORK/$file" "$dir/$file" || {
      cp "$WORK/$file" "$dir/$file.new.$$"
      mv -f "$dir/$file.new.$$" "$dir/$file"
    }
  done
}

main "$@"
