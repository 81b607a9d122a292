#!/usr/bin/env bash
#
# Usage: scripts/lint.sh [--fix]
#
# Runs shellcheck and shfmt over every shell file, ruff over every Python file
# and mypy over helpers/. Prints the findings; exit status 1 when there are any.
#
#   --fix   let shfmt and ruff rewrite the files instead, and stop there

set -uo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
VENV=$ROOT/.venv/bin
SHFMT=("$VENV/shfmt" -i 2 -ci -ln bash)
STATUS=0

# existing PATH... - those that exist, one a line (a pattern without a match stays as it is)
existing() {
  local path
  for path in "$@"; do
    [ ! -e "$path" ] || printf '%s\n' "$path"
  done
}

# shell_files - every Bash file but bats tests, which only shellcheck reads
shell_files() {
  existing bin/* lib/*.sh lib/*/*.sh scripts/*.sh tests/*.bash tests/*/*.sh tests/*/*.bash \
    .ci/run completions/*.bash bench/*.sh
}

# python_files - folders and files that hold Python
python_files() { existing helpers tests tests/doubles/runpodctl bench; }

# check WHAT CMD [ARG...] - runs CMD; a failure is remembered, and the next check still runs
check() {
  local what=$1
  shift
  if "$@"; then
    printf 'ok    %s\n' "$what"
  else
    printf 'FAIL  %s\n' "$what"
    STATUS=1
  fi
}

main() {
  local file shell bats python
  shell=() bats=() python=()
  cd "$ROOT" || exit
  while IFS= read -r file; do shell[${#shell[@]}]=$file; done < <(shell_files)
  while IFS= read -r file; do bats[${#bats[@]}]=$file; done < <(existing tests/*.bats)
  while IFS= read -r file; do python[${#python[@]}]=$file; done < <(python_files)
  if [ "${1:-}" = --fix ]; then
    "${SHFMT[@]}" -w "${shell[@]}" || exit
    "$VENV/ruff" format --config scripts/ruff.toml "${python[@]}" || exit
    "$VENV/ruff" check --config scripts/ruff.toml --fix --quiet "${python[@]}"
    exit
  fi
  check "shellcheck (${#shell[@]} files)" "$VENV/shellcheck" "${shell[@]}"
  check "shellcheck (${#bats[@]} bats files)" "$VENV/shellcheck" --shell=bats "${bats[@]}"
  check shfmt "${SHFMT[@]}" -d "${shell[@]}"
  check 'ruff check' "$VENV/ruff" check --config scripts/ruff.toml --quiet "${python[@]}"
  check 'ruff format' "$VENV/ruff" format --config scripts/ruff.toml --quiet --diff "${python[@]}"
  # One at a time: helpers are programs of their own, and two may name the same things.
  for file in helpers/*.py; do
    check "mypy $file" "$VENV/python3" -m mypy --strict --no-error-summary "$file"
  done
  exit "$STATUS"
}

main "$@"
