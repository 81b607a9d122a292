#!/usr/bin/env bash
#
# Usage: scripts/dist.sh [DIR]
#
# Builds every command of bin/ into DIR (default: dist), with SHA256SUMS.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)

# sha256_list FILE... - lines as sha256sum prints them
sha256_list() {
  if command -v shasum >/dev/null 2>&1; then
    shasum -a 256 "$@"
  else
    sha256sum "$@" # portable: where Perl's shasum is missing (Alpine, slim images)
  fi
}

main() {
  local dir=${1:-$ROOT/dist} tool tools
  tools=()
  mkdir -p "$dir"
  rm -f "$dir/SHA256SUMS"
  for tool in "$ROOT"/bin/*; do
    tool=${tool##*/}
    bash "$ROOT/scripts/bundle.sh" "$ROOT/bin/$tool" >"$dir/$tool.tmp"
    bash -n "$dir/$tool.tmp"
    chmod 755 "$dir/$tool.tmp"
    mv -f "$dir/$tool.tmp" "$dir/$tool"
    tools[${#tools[@]}]=$tool
  done
  cd "$dir"
  sha256_list "${tools[@]}" >SHA256SUMS.tmp
  mv -f SHA256SUMS.tmp SHA256SUMS
}

main "$@"
