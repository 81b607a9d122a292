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
