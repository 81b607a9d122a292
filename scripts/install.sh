#!/usr/bin/env bash
#
# Usage: PREFIX=/usr/local DESTDIR= scripts/install.sh install|uninstall
#
# Builds the commands and their man pages, and puts them, the completions and
# the templates below $DESTDIR$PREFIX, or removes the same files. Nothing in the
# clone is written: `sudo make install` leaves no file of root behind.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
TO=${DESTDIR:-}${PREFIX:-/usr/local}
BUILD='' # where the builds and man/ are, once they are made

# plan - what goes where: MODE TAB SOURCE TAB TARGET, one file a line
plan() {
  local file name
  for file in "$ROOT"/bin/*; do
    name=${file##*/}
    printf '755\t%s\tbin/%s\n' "$BUILD/$name" "$name"
    # bash-completion loads the file that is named like the command.
    printf '644\t%s\tshare/bash-completion/completions/%s\n' \
      "$ROOT/completions/autopod.bash" "$name"
    printf '644\t%s\tshare/man/man1/%s.1\n' "$BUILD/man/$name.1" "$name"
  done
  printf '644\t%s\tshare/zsh/site-functions/_autopod\n' "$ROOT/completions/_autopod"
  for file in "$ROOT"/templates/*.json; do
    printf '644\t%s\tshare/autopod/templates/%s\n' "$file" "${file##*/}"
  done
}

main() {
  local mode source target
  case ${1:-} in install | uninstall) ;; *)
    printf 'usage: scripts/install.sh install|uninstall\n' >&2
    exit 2
    ;;
  esac
  umask 022 # root's may be 077, and then nobody else could run what it installed
  if [ "$1" = install ]; then
    trap 'rm -rf "$BUILD"' EXIT
    BUILD=$(mktemp -d "${TMPDIR:-/tmp}/autopod-install.XXXXXX")
    bash "$ROOT/scripts/dist.sh" "$BUILD"
    bash "$ROOT/scripts/man.sh" --all "$BUILD/man"
  fi
  while IFS=$'\t' read -r mode source target; do
    if [ "$1" = install ]; then
      mkdir -p "$TO/${target%/*}"
      install -m "$mode" "$source" "$TO/$target"
    else
      rm -f "$TO/$target"
    fi
  done < <(plan)
  [ "$1" = install ] || rmdir "$TO/share/autopod/templates" "$TO/share/autopod" 2>/dev/null || :
}

main "$@"
