#!/usr/bin/env bash
#
# Usage: scripts/bundle.sh bin/TOOL > dist/TOOL
#
# Writes TOOL with its libraries, Python helpers and templates inside it.
#
# The block between the two `autopod bootstrap` markers of TOOL is replaced:
#   . "$AUTOPOD_LIB/x.sh"   lib/x.sh, its own dependencies first, each file once
#   # @asset PATH           a function that prints PATH; PATH may be a glob
# Everything else of TOOL is kept as it is; its header comment stays first,
# since --help prints it. The last line becomes `main "$@"; exit`: Bash reads a
# script bit by bit, so a copy that was cut off does nothing, and one that is
# replaced while it runs never goes on in the middle of the new one.
# The bytes depend on nothing but the sources.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
LIBS=' '
ASSETS=''

die() {
  printf 'bundle: %s\n' "$*" >&2
  exit 1
}

# include_name LINE - sets NAME to x.sh when LINE is `. "$AUTOPOD_LIB/x.sh"`, else fails
include_name() {
  # shellcheck disable=SC2016 # the text itself is what a library says
  case $1 in
    '. "$AUTOPOD_LIB/'*'.sh"') NAME=${1#*/} NAME=${NAME%\"} ;;
    *) return 1 ;;
  esac
}

# emit_lib NAME - prints lib/NAME after the files it includes, unless that was done
emit_lib() {
  local name=$1 file=$ROOT/lib/$1 line
  case $LIBS in *" $name "*) return 0 ;; esac
  LIBS="$LIBS$name "
  [ -f "$file" ] || die "no lib/$name"
  while IFS= read -r line; do
    if include_name "$line"; then emit_lib "$NAME"; fi
  done <"$file"
  printf '# --- lib/%s\n' "$name"
  while IFS= read -r line || [ -n "$line" ]; do
    if include_name "$line"; then continue; fi
    case $line in
      '#!'* | '# shellcheck shell='* | '# shellcheck source='* | *'# @guard') ;;
      'source '* | '. '*) die "lib/$name: only . \"\$AUTOPOD_LIB/x.sh\" can be bundled: $line" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <"$file"
}

# emit_asset PATH - prints a function that prints PATH, unless that was done. Its text is a quoted word: a here-document
# would need a process to be read, for each of some forty files at each start.
emit_asset() {
  local path=$1
  case " $ASSETS " in *" $path "*) return 0 ;; esac
  [ -f "$ROOT/$path" ] || die "no asset $path"
  case $path in *[!A-Za-z0-9._/-]*) die "$path: letters, digits, . _ - / only" ;; esac
  ASSETS="$ASSETS${ASSETS:+ }$path"
  printf "# --- %s\n_autopod_asset_%s() {\n  printf '%%s' '" "$path" "${path//[!A-Za-z0-9]/_}"
  sed "s/'/'\\\\''/g" "$ROOT/$path"
  printf "'\n}\n"
}

# emit_assets PATTERN - emit_asset for each file that PATTERN names, in byte order
emit_assets() {
  local pattern=$1 file found=0
  case $pattern in
    *[*?[]*) ;;
    *)
      emit_asset "$pattern"
      return 0
      ;;
  esac
  while IFS= read -r file; do
    found=1
    emit_asset "$file"
  done < <(cd "$ROOT" && compgen -G "$pattern" | sort)
  [ "$found" = 1 ] || die "no asset matches $pattern"
}

# bootstrap_line LINE - the bundle's part for one line of the bootstrap block
bootstrap_line() {
  if include_name "$1"; then
    emit_lib "$NAME"
    return 0
  fi
  case $1 in
    '# @asset '*) emit_assets "${1#'# @asset '}" ;;
  esac
}

main() {
  [ $# -eq 1 ] && [ -f "$1" ] || die "usage: bundle.sh bin/TOOL"
  local line inside=0 blocks=0 last=0 version
  read -r version <"$ROOT/VERSION"
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      '# >>> autopod bootstrap'*)
        inside=1 blocks=$((blocks + 1))
        printf '# Built from autopod %s by scripts/bundle.sh. Do not edit.\n' "$version"
        printf 'AUTOPOD_BUNDLED=1\n'
        # shellcheck disable=SC2016 # piped into bash it has no name of its own
        printf 'case ${0##*/} in bash | sh) AUTOPOD_PROG=%s ;; esac\n' "${1##*/}"
        ;;
      '# <<< autopod bootstrap'*)
        inside=0
        printf "_AUTOPOD_ASSETS='%s'\n" "$ASSETS"
        ;;
      'main "$@"' | 'main "$@"; exit' | exit) last=1 ;;
      "AUTOPOD_VERSION='@VERSION@'") printf "AUTOPOD_VERSION='%s'\n" "$version" ;;
      *)
        if [ "$inside" = 1 ]; then
          bootstrap_line "$line"
        else
          printf '%s\n' "$line"
        fi
        ;;
    esac
  done <"$1"
  [ "$blocks" = 1 ] && [ "$inside" = 0 ] || die "$1: needs exactly one bootstrap block"
  [ "$last" = 1 ] || die "$1: its last line is not main \"\$@\""
  printf 'main "$@"; exit\n'
}

main "$@"
