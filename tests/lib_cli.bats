#!/usr/bin/env bats
# lib/cli.sh: which word was meant. (What it does for each command is in cmd_input.bats and cmd_autopod.bats.)

load test_helper
load lib_helper

# nearest WORD CANDIDATE... - prints what cli_nearest says
nearest() {
  lib cli "$@" <<<'
cli_nearest "$@"
printf "%s\n" "$CLI_NEAREST"'
}

@test "a letter wrong, missing, too many or swapped, in lower or upper case" {
  local word
  for word in --jsob --josn --jso --jsonn --JSON -json; do
    assert_equal "$(nearest "$word" --all --json --yes)" --json "$word"
  done
  assert_equal "$(nearest --max_cots --max-price --max-cost --timeout)" --max-cost
}

@test "a beginning; several that are as near; one that is nearer" {
  assert_equal "$(nearest --time --no-tunnel --timeout)" --timeout
  assert_equal "$(nearest st start stop ssh ls)" 'start or stop'
  assert_equal "$(nearest stat start stop ssh)" start
  assert_equal "$(nearest --dry --dry-run --debug --dry-run)" --dry-run # named twice, said once
}

@test "nothing is near: another word, one letter, none at all, no candidates" {
  local word
  for word in frobnicate -x x '' - -- ; do
    assert_equal "$(nearest "$word" -q -v --json --all ls)" '' "$word"
  done
  assert_equal "$(nearest ls)" ''
}

@test "words of any length and kind are harmless" {
  assert_equal "$(nearest "$(printf 'x%.0s' $(seq 20000))" --json ls)" ''
  assert_equal "$(nearest $'--js\non' --json)" --json
  assert_equal "$(nearest '--js.n' --json)" --json
  assert_equal "$(nearest '.*\&$(touch pwned)' --json)" ''
  refute_exists pwned
}

# options WORD... - prints what a command with --json[=VALUE], --name VALUE and arguments makes of the words
options() {
  run --separate-stderr lib cli "$@" <<'SH'
on_option() {
  case $1 in
    --json | -j) cli_optional && echo "json ($CLI_VALUE)" ;;
    --name) cli_value && echo "name ($CLI_VALUE)" ;;
    *) return 1 ;;
  esac
}
on_argument() { echo "argument ($1)"; }
cli_start on_option on_argument "$@"
SH
}

@test "an option with an optional value takes only an attached one" {
  options --json final --json=final --name --json a -j b
  assert_status 0
  assert_equal "$output" $'json ()\nargument (final)\njson (final)\nname (--json)\nargument (a)\njson ()\nargument (b)'
  options --json
  assert_equal "$output" 'json ()'
  options --json --name=x=y --json='a b'
  assert_equal "$output" $'json ()\nname (x=y)\njson (a b)'
  options --json=
  assert_status 2
  assert_contains '--json needs a value' "$stderr"
  options --quiet=1
  assert_status 2
  assert_contains '--quiet takes no value' "$stderr"
}
