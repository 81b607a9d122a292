#!/usr/bin/env bats
# helpers/load_dotenv.py: a .env file as NUL-ended records that a shell reads without evaluating.

load test_helper

# dotenv [ARG...] - runs the helper; $output has | in place of NUL
dotenv() {
  run --separate-stderr bash -c 'set -o pipefail; "$AUTOPOD_PYTHON" -I "$0" "$@" | tr "\0" "|"' \
    "$ROOT/helpers/load_dotenv.py" "$@"
}

@test "names and values, as python-dotenv reads them" {
  cat >.env <<'E'
# a comment
AUTOPOD_A=plain
export AUTOPOD_B=exported   # comment
AUTOPOD_C="quoted # no comment\tand a tab"
AUTOPOD_D='single $HOME `id` "x"'
AUTOPOD_E=
AUTOPOD_F
AUTOPOD_G = spaced
AUTOPOD_A=the last one counts
AUTOPOD_H=${AUTOPOD_G}!
E
  dotenv .env
  assert_status 0
  assert_equal "$stderr" ""
  assert_equal "$output" "AUTOPOD_A=the last one counts|AUTOPOD_B=exported|AUTOPOD_C=quoted # no comment	and a tab|\
AUTOPOD_D=single \$HOME \`id\` \"x\"|AUTOPOD_E=|AUTOPOD_G=spaced|AUTOPOD_H=spaced!|"
}

@test "a shell takes the records in as they are: nothing is run, nothing is lost" {
  cat >.env <<'E'
AUTOPOD_RUN=$(touch pwned)
AUTOPOD_TICK='`touch pwned`'
AUTOPOD_LINES="one
two\nthree"
AUTOPOD_QUOTES='a"b;c&d|e\f'
AUTOPOD_UTF8=ünï 日本
E
  "$AUTOPOD_PYTHON" -I "$ROOT/helpers/load_dotenv.py" .env >records
  local record
  local -a seen=()
  while IFS= read -r -d '' record; do seen[${#seen[@]}]=$record; done <records
  assert_equal "${#seen[@]}" 5
  # shellcheck disable=SC2016
  assert_equal "${seen[0]}" 'AUTOPOD_RUN=$(touch pwned)'
  assert_equal "${seen[1]}" 'AUTOPOD_TICK=`touch pwned`'
  assert_equal "${seen[2]}" $'AUTOPOD_LINES=one\ntwo\nthree'
  assert_equal "${seen[3]}" 'AUTOPOD_QUOTES=a"b;c&d|e\f'
  assert_equal "${seen[4]}" 'AUTOPOD_UTF8=ünï 日本'
  refute_exists pwned
}

@test "--prefix: only names that start with one of them" {
  printf '%s\n' AUTOPOD_A=1 RUNPOD_B=2 PATH=/tmp/evil AUTOPODX=3 LD_PRELOAD=x xAUTOPOD_C=4 >.env
  dotenv .env --prefix AUTOPOD_ --prefix RUNPOD_
  assert_status 0
  assert_equal "$output" 'AUTOPOD_A=1|RUNPOD_B=2|'
}

@test "only names that a shell can hold" {
  printf '%s\n' 'A-B=1' 'A.B=2' '1A=3' "'A B'=4" 'Ä=5' "'A\$(id)'=6" '_OK1=7' >.env
  dotenv .env
  assert_status 0
  assert_equal "$output" '_OK1=7|'
}

@test "a line that is no assignment is told by its number, never by its content" {
  printf '%s\n' AUTOPOD_A=1 'AUTOPOD_KEY = "secret-without-end' AUTOPOD_B=2 >.env
  dotenv .env
  assert_status 0
  assert_equal "$output" 'AUTOPOD_A=1|AUTOPOD_B=2|'
  assert_equal "$stderr" '.env: line 2 is not NAME=value: skipped'
}

@test "a file that can't be used is exit 2 and one line" {
  dotenv gone.env
  assert_status 2
  assert_equal "$stderr" 'gone.env: cannot be read: No such file or directory'
  mkdir dir
  dotenv dir
  assert_status 2
  assert_equal "$stderr" 'dir: cannot be read: Is a directory'
  printf 'A=\xff' >.env
  dotenv .env
  assert_status 2
  assert_equal "$stderr" '.env: is not UTF-8 text'
  printf 'A=\0b' >.env
  dotenv .env
  assert_status 2
  assert_equal "$stderr" '.env: holds a NUL byte: not a .env file'
}

@test "without python-dotenv: exit 3, and how to get it" {
  printf 'AUTOPOD_A=1\n' >.env
  # -S leaves out site-packages, where python-dotenv is
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/load_dotenv.py" .env
  assert_status 3
  assert_equal "$output" ''
  assert_contains 'needs python-dotenv: pip install python-dotenv, or let AUTOPOD_PYTHON' "$stderr"
}

@test "the environment fills in names that the file does not have; --help explains" {
  printf 'AUTOPOD_DIR=${AUTOPOD_TEST_BASE}/x\n' >.env
  AUTOPOD_TEST_BASE=/base dotenv .env
  assert_equal "$output" 'AUTOPOD_DIR=/base/x|'
  dotenv --help
  assert_status 0
  assert_contains --prefix
}
