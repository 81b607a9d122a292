#!/usr/bin/env bash
#
# Usage: bench/limits.sh [options]
#
# Breaks everything that would end a pod at its limit, one thing after another
# (tests/cmd_money.bats, tests/cmd_money_runpod.bats), and measures how long each
# pod lived beyond it. Prints a Markdown table, and writes it into README.md.
#
#   --keep       leave README.md as it is
#   -h, --help   print this help
#
# Exit codes: 0 measured, 1 a pod was not stopped or a test failed (README.md is
# left as it is then), 2 usage.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
BEGIN='<!-- measured by make bench ARGS=--limits -->' END='<!-- end of what was measured -->'
KEEP='' WORK=''

# die CODE TEXT
die() {
  printf 'bench: error: %s\n' "$2" >&2
  exit "$1"
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --keep) KEEP=1 ;;
      -h | --help) sed -n -e '1,2d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
      *) die 2 "unknown option: $1 (--help lists them)" ;;
    esac
    shift
  done
}

# table FILE - prints the rows of FILE (WHAT, LEFT, SECONDS, LIMIT, with tabs between) as Markdown
table() {
  awk -F '\t' -v on="autopod $(<"$ROOT/VERSION"), $(uname -sm), $(getconf _NPROCESSORS_ONLN) CPUs" '
    { rows = rows sprintf("| %s | %s | %s |\n", $1, $2, $3) }
    !least || $4 < least { least = $4 }
    $4 > most && $4 < 100 { most = $4 } # the others have one that is far away
    END {
      printf "%s; limits of %s to %s s; the guard on the pod looks every 2 s.\n\n", on, least, most
      printf "| what happens | what is left to stop the pod | seconds beyond its limit |\n"
      printf "| --- | --- | ---: |\n%s", rows
    }' "$1"
}

# write TABLE - puts the file TABLE between the two marks in README.md
write() {
  awk -v begin="$BEGIN" -v end="$END" -v table="$1" '
    $0 == end { inside = 0 }
    !inside
    $0 == begin {
      inside = found = 1
      print ""
      while ((getline line < table) > 0) print line
      print ""
    }
    END { exit !found || inside }' "$ROOT/README.md" >"$WORK/README.md" ||
    die 1 "README.md lacks the lines between which the table goes"
  cat "$WORK/README.md" >"$ROOT/README.md"
}

main() {
  local status=0
  parse "$@"
  trap '[ -z "$WORK" ] || rm -rf -- "$WORK"' EXIT
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/autopod-bench.XXXXXX") || die 1 'no room for a directory'
  export MONEY_TABLE=$WORK/rows
  : >"$MONEY_TABLE"
  bash "$ROOT/scripts/test.sh" -j 1 "$ROOT/tests/cmd_money.bats" "$ROOT/tests/cmd_money_runpod.bats" >&2 || status=1
  table "$MONEY_TABLE" | tee "$WORK/table"
  [ "$status" = 0 ] || die 1 'a pod was not stopped, or a test failed: see above'
  [ -n "$KEEP" ] || write "$WORK/table"
}

main "$@"
exit
