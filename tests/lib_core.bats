#!/usr/bin/env bats
# lib/core.sh: errors, the cleanup stack, signals.

load test_helper
load lib_helper

@test "core_fail tells what and what to do, remembers both, and returns the code" {
  run lib_both core <<'SH'
status=0
core_fail "$EX_UPLOAD" "the upload broke off" "try again" || status=$?
echo "$status|$CORE_ERROR_CODE|$CORE_ERROR|$CORE_HINT"
core_fail "$EX_COST" "no hint here" || status=$?
echo "$status|$CORE_ERROR_CODE|$CORE_ERROR|$CORE_HINT"
core_forget_error
echo "$CORE_ERROR_CODE|$CORE_ERROR|$CORE_HINT"
SH
  assert_status 0
  assert_equal "$output" "prog: error: the upload broke off
prog: hint: try again
6|6|the upload broke off|try again
prog: error: no hint here
11|11|no hint here|
0||"
}

@test "what core_fail says goes to stderr" {
  run --separate-stderr lib core <<<'core_fail 7 "no"'
  assert_status 7
  assert_equal "$output" ''
  assert_equal "${stderr-}" 'prog: error: no'
}

@test "core_die ends the program, and the cleanup sees it" {
  run lib_both core <<'SH'
core_on_exit echo cleaned
core_trap
core_die "$EX_WORKFLOW" "it failed"
echo "not reached"
SH
  assert_status 8
  assert_equal "$output" $'prog: error: it failed\ncleaned'
}

@test "the exit codes are those of the documentation" {
  run lib_both core <<'SH'
echo $EX_FAIL $EX_USAGE $EX_MISSING $EX_POD $EX_TUNNEL $EX_UPLOAD $EX_REFUSED $EX_WORKFLOW \
  $EX_DOWNLOAD $EX_TIME $EX_COST $EX_POD_LEFT
SH
  assert_equal "$output" '1 2 3 4 5 6 7 8 9 10 11 12'
}

@test "core_need names the first tool that is missing" {
  run lib_both core <<<'core_need sh ls && echo there; core_need ls no-such-tool other || exit'
  assert_status 3
  assert_contains 'there'
  assert_contains 'no-such-tool is not installed'
  assert_contains 'hint:'
  refute_contains 'other'
}

@test "the cleanup stack runs last in, first out, each step with its own words" {
  run lib_both core <<'SH'
show() { printf '<%s>' "$@"; echo; }
core_on_exit show first
core_on_exit show 'a b' '*' '$(echo run)' "it's" '' $'two\nlines' '`x`' '\'
core_on_exit show last
core_trap
SH
  assert_status 0
  assert_equal "$output" "<last>
<a b><*><\$(echo run)><it's><><two
lines><\`x\`><\\>
<first>"
}

@test "a failing step stops no other one and does not change the status" {
  run lib_both core <<'SH'
core_on_exit echo second
core_on_exit false
core_on_exit no_such_command
core_on_exit echo first
core_trap
exit 7
SH
  assert_status 7
  assert_contains first
  assert_contains second
}

@test "each step runs once, whoever leaves" {
  run lib_both core <<'SH'
core_on_exit echo once
core_trap
(exit 3) || :
echo "$(exit 4)" >/dev/null
SH
  assert_status 0
  assert_equal "$output" once
}

@test "a cleanup step that knows a graver exit code wins" {
  run lib_both core <<'SH'
worse() { CORE_STATUS=$EX_POD_LEFT; }
core_on_exit worse
core_trap
exit 9
SH
  assert_status 12
}

@test "errexit and an unbound variable clean up too" {
  run lib core <<<'core_on_exit echo cleaned; core_trap; false; echo "not reached"'
  assert_status 1
  assert_equal "$output" cleaned
  run lib core <<<'core_on_exit echo cleaned; core_trap; echo "$no_such_variable"'
  [ "$status" != 0 ]
  assert_contains cleaned
  assert_contains 'unbound variable'
}

@test "the temporary directory is private, made once, and gone afterwards" {
  run lib 'core os' <<'SH'
core_trap
core_tmpdir
first=$CORE_TMP
core_tmpdir
[ "$first" = "$CORE_TMP" ]
case $CORE_TMP in "$TMPDIR"/*) ;; *) exit 9 ;; esac
touch "$CORE_TMP/a file"
os_mode "$CORE_TMP"
SH
  assert_status 0
  assert_equal "$output" 700
  assert_equal "$(ls -A "$TMPDIR")" ''
}

@test "a temporary directory that can't be made is told" {
  TMPDIR=$PWD/none run lib core <<<'core_tmpdir || exit; echo "not reached"'
  assert_status 1
  assert_contains "can't make a temporary directory in $PWD/none"
}

@test "core_wait passes words, stdin and status on" {
  run lib_both core <<'SH'
core_wait printf '<%s>' 'a  b' '' '*'
echo
printf 'text' | core_wait cat
echo
status=0
core_wait sh -c 'exit 5' || status=$?
echo "$status"
core_wait no_such_command 2>/dev/null || echo "$?"
SH
  assert_equal "$output" $'<a  b><><*>\ntext\n5\n127'
}

@test "core_wait and core_sleep work without a standard input" {
  program prog core <<<'core_wait printf ran; SECONDS=0; core_sleep 1; [ "$SECONDS" -ge 1 ] && echo " and slept"'
  run bash prog <&-
  assert_status 0
  assert_equal "$output" 'ran and slept'
}

# --- signals --------------------------------------------------------------------------------------

@test "INT, TERM and HUP clean up, and the parent sees a death by that signal" {
  local name
  program prog core <<'SH'
core_on_exit touch cleaned
core_trap
core_tmpdir
touch ready
core_sleep 60
SH
  for name in INT TERM HUP; do
    rm -f ready cleaned
    run signalled "$name" ready bash prog
    assert_status 0
    assert_equal "$output" "signal $name"
    [ -e cleaned ]
    assert_equal "$(ls -A "$TMPDIR")" ''
  done
}

@test "a signal is acted on at once, and the child at hand ends too" {
  program prog core <<'SH'
core_trap
core_wait sh -c 'echo $$ >child; touch ready; exec sleep 300'
SH
  # The 20 seconds that it is given to end are far from 300.
  run signalled TERM ready bash prog
  assert_equal "$output" 'signal TERM'
  wait_until 5 eval "! kill -0 $(<child) 2>/dev/null"
}

@test "the cleanup knows which signal it was" {
  program prog core <<'SH'
say() { echo "${CORE_SIGNAL:-none}" >said; }
core_on_exit say
core_trap
touch ready
[ $# -gt 0 ] || core_sleep 60
SH
  run signalled HUP ready bash prog
  assert_equal "$(<said)" HUP
  bash prog now
  assert_equal "$(<said)" none
}

@test "a graver exit code wins over the signal" {
  program prog core <<'SH'
worse() { CORE_STATUS=$EX_POD_LEFT; }
core_on_exit worse
core_trap
touch ready
core_sleep 60
SH
  run signalled INT ready bash prog
  assert_equal "$output" 'exit 12'
}

@test "a second Ctrl+C ends at once and says what is left" {
  program prog core <<'SH'
core_on_exit touch finished
core_on_exit core_sleep 60
CORE_LEFT='pod x may still be running'
core_trap
core_tmpdir
touch ready
core_sleep 60
SH
  run signalled ^INT+2,^INT ready bash prog
  assert_status 0
  assert_matches '(signal INT|exit 130)$'
  assert_contains 'pod x may still be running'
  refute_exists finished
  assert_equal "$(ls -A "$TMPDIR")" ''
}

@test "one Ctrl+C during the cleanup of a program that ended by itself is only told" {
  program prog core <<'SH'
slow() { touch ready; core_sleep 1; touch finished; }
core_on_exit slow
core_trap
exit 7
SH
  run signalled ^INT ready bash prog
  assert_contains 'cleaning up'
  [ -e finished ]
}

@test "a Ctrl+C that arrives twice, from the terminal and from a wrapper, is one" {
  program prog core <<'SH'
slow() { sleep 0.3 && touch finished; }
core_on_exit slow
core_trap
touch ready
core_sleep 60
SH
  run signalled ^INT+0.05,INT ready bash prog
  assert_equal "$output" 'signal INT'
  [ -e finished ]
}

@test "a TERM that is sent twice, as timeout(1) does, does not stop the cleanup" {
  local i
  program prog core <<'SH'
slow() { sleep 0.3 && touch finished; }
core_on_exit slow
CORE_LEFT='pod x may still be running'
core_trap
touch ready
core_sleep 60
SH
  for i in 1 2 3 4 5; do
    rm -f ready finished
    run signalled TERM+0.00$i,TERM ready bash prog
    assert_equal "$output" 'signal TERM'
    [ -e finished ]
  done
}

@test "a hang-up during the cleanup does not stop it" {
  program prog core <<'SH'
slow() { sleep 1 && touch finished; }
core_on_exit slow
core_trap
touch ready
core_sleep 60
SH
  run signalled INT+0.3,HUP ready bash prog
  assert_equal "$output" 'signal INT'
  [ -e finished ]
}

@test "under nohup a hang-up does nothing" {
  program prog core <<'SH'
core_trap
touch ready
core_sleep 1
touch 'done'
SH
  run signalled HUP ready sh -c 'trap "" HUP; exec bash prog'
  assert_equal "$output" 'exit 0'
  [ -e 'done' ]
}

@test "a signal in the middle of a read of lines: the cleanup splits words as ever" {
  program prog core <<'SH'
list='a b c'
step() {
  # shellcheck disable=SC2086 # splitting is meant
  set -- $list
  echo "$#" >words
}
core_on_exit step
core_trap
mkfifo pipe
exec 5<>pipe
touch ready
IFS= read -r -u 5 line
SH
  run signalled TERM ready bash prog
  assert_equal "$output" 'signal TERM'
  assert_equal "$(<words)" 3
}

@test "who forgets to make the temporary directory fails, and writes nowhere" {
  run lib core <<<': >"$CORE_TMP/x"'
  assert_status 1
  assert_contains '/x: Not a directory' "$output"
}
