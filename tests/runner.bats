#!/usr/bin/env bats
# scripts/test.sh: a red test turns the suite red, and the last line is the count.

load test_helper

# suite NAME - writes a bats file from stdin; %test stands for @test, which bats would see here
suite() { sed 's/^%test/@test/' >"$1.bats"; }

@test "a failing test turns the suite red and is shown" {
  suite red <<'BATS'
%test "good" { true; }
%test "bad" { printf 'the reason\n'; false; }
BATS
  run "$ROOT/scripts/test.sh" red.bats
  assert_status 1
  assert_contains "not ok 2 bad"
  assert_contains "the reason"
  assert_equal "${lines[${#lines[@]} - 1]}" "1 passed, 1 failed, 0 skipped"
}

@test "passing and skipped tests are counted, over several files" {
  suite one <<'BATS'
%test "good" { true; }
%test "later" { skip "no time"; }
BATS
  suite two <<'BATS'
%test "good" { true; }
BATS
  run "$ROOT/scripts/test.sh" -j 2 one.bats two.bats
  assert_status 0
  assert_contains "no time"
  assert_equal "${lines[${#lines[@]} - 1]}" "2 passed, 0 failed, 1 skipped"
}

@test "a file that does not parse fails" {
  suite broken <<'BATS'
%test "good" { true; }
%test "bad" { if; }
BATS
  run "$ROOT/scripts/test.sh" broken.bats
  assert_status 1
  assert_matches "[1-9] failed"
}

@test "a file that ends before its last test fails" {
  suite early <<'BATS'
%test "good" { true; }
%test "ends all" { kill -KILL "$PPID"; }
%test "never runs" { true; }
BATS
  run "$ROOT/scripts/test.sh" early.bats
  assert_status 1
  assert_contains "ended early"
}

@test "no test at all is a failure" {
  suite empty </dev/null
  run "$ROOT/scripts/test.sh" empty.bats
  assert_status 1
  assert_equal "${lines[${#lines[@]} - 1]}" "0 passed, 0 failed, 0 skipped"
}

@test "a wrong argument is status 2, with the count all the same" {
  run "$ROOT/scripts/test.sh" nowhere.bats
  assert_status 2
  assert_contains "no such file: nowhere.bats"
  assert_equal "${lines[${#lines[@]} - 1]}" "0 passed, 0 failed, 0 skipped"
}

@test "a signal ends what runs, and the count comes all the same" {
  local runner
  suite slow <<BATS
%test "sleeps" { printf '%s\n' "\$\$" >"$PWD/pid"; sleep 300; }
BATS
  "$ROOT/scripts/test.sh" slow.bats >log 2>&1 &
  runner=$!
  wait_until 10 has_line pid
  kill -TERM "$runner"
  wait "$runner" || status=$?
  assert_equal "$status" 143
  assert_equal "$(tail -n 1 log)" '0 passed, 0 failed, 0 skipped'
  wait_until 5 bash -c '! kill -0 "$(cat pid)" 2>/dev/null'
}

@test "the helper fails a test that leaves a process behind, and ends it" {
  suite leaves <<BATS
load "$ROOT/tests/test_helper"
%test "forgets" { sleep 300 & disown; printf '%s\n' "\$!" >"$PWD/pid"; }
BATS
  run "$ROOT/scripts/test.sh" leaves.bats
  assert_status 1
  assert_contains "left processes behind"
  run kill -0 "$(cat pid)"
  assert_status 1
}

@test "the helper fails a test that touches the real home" {
  mkdir real
  suite touches <<BATS
load "$ROOT/tests/test_helper"
%test "writes" { mkdir "$PWD/real/.autopod"; }
BATS
  HOME=$PWD/real REAL_HOME='' run "$ROOT/scripts/test.sh" touches.bats
  assert_status 1
  assert_contains "touched the real home"
}

@test "the assertions fail when they should" {
  output=abc status=0 stderr=''
  run ! assert_status 1
  run ! assert_contains z abc
  run ! refute_contains b abc
  run ! assert_equal a b
  run ! assert_matches '^b' abc
  run ! assert_file "$PWD/none"
  run ! refute_exists "$PWD"
  run ! wait_until 0 false
}
