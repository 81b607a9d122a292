#!/usr/bin/env bats
# lib/ui.sh: what people read, on a terminal and elsewhere, and the log.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

ESC=$'\033'

setup() {
  autopod_setup
  export LC_ALL=C
}

# ui - runs the program on stdin; $output has what it says on stderr, and nothing else
ui() {
  local text
  text=$(cat)
  run --separate-stderr lib ui <<SH
ui_init
$text
SH
  assert_equal "$output" '' 'what went to stdout' || return
  output=${stderr-}
}

# on_terminal COLUMNS - runs the program on stdin in a terminal; $output has what stands there
on_terminal() {
  local text
  text=$(cat)
  program prog ui <<SH
ui_init
core_trap
$text
SH
  run bash -c 'export TERM=xterm; set -o pipefail
    "$AUTOPOD_PYTHON" "$0/tests/doubles/terminal.py" sh -c "stty cols $1; exec bash prog" >sent 2>&1
    echo "$?" >code; "$AUTOPOD_PYTHON" "$0/tests/doubles/screen.py" "$1" <sent' "$ROOT" "$1"
  assert_status 0
}

talk() {
  cat <<'SH'
ui_step Upload
ui_progress "a file" 1 2
ui_done "2 files"
ui_step Running
ui_failed "error"
ui_note "a note"
ui_warn "a warning"
core_fail 1 "an error" "a hint" || :
ui_detail "a detail"
ui_debug curl -q "a b"
SH
}

# --- colours and marks ----------------------------------------------------------------------------

@test "without a terminal: plain lines, ASCII marks, no escape codes" {
  local text
  text=$(talk)
  LC_ALL=C ui <<<"$text"
  assert_equal "$output" 'ok Upload    2 files
!! Running   error
a note
prog: warning: a warning
prog: error: an error
  a hint'
  LC_ALL=en_US.UTF-8 TERM=xterm ui <<<"$text"
  refute_contains "$ESC"
  assert_contains '✓ Upload    2 files'
  assert_contains '✗ Running   error'
}

@test "a locale without more gets no arrow and no cross of ours either" {
  LC_ALL=C ui <<<'ui_note "2 × A40 → local"'
  assert_equal "$output" '2 x A40 -> local'
  LC_ALL=C.UTF-8 ui <<<'ui_note "2 × A40 → local"'
  assert_equal "$output" '2 × A40 → local'
}

@test "colours: CLICOLOR_FORCE wins, then NO_COLOR, then the terminal" {
  local text='core_fail 1 "an error" || :'
  CLICOLOR_FORCE=1 ui <<<"$text"
  assert_contains "${ESC}[31mprog: error:${ESC}[0m an error"
  CLICOLOR_FORCE=1 NO_COLOR=1 ui <<<"$text"
  assert_contains "${ESC}[31m"
  CLICOLOR_FORCE=0 ui <<<"$text"
  refute_contains "$ESC"
  on_terminal 80 <<<"$text"
  assert_contains "${ESC}[31m" "$(<sent)"
  NO_COLOR=1 on_terminal 80 <<<"$text"
  refute_contains "${ESC}[31m" "$(<sent)"
  NO_COLOR='' on_terminal 80 <<<"$text"
  assert_contains "${ESC}[31m" "$(<sent)"
}

@test "a dumb terminal gets plain lines" {
  program prog ui <<<"ui_init
$(talk)"
  run bash -c 'TERM=dumb "$AUTOPOD_PYTHON" "$0/tests/doubles/terminal.py" bash prog' "$ROOT"
  refute_contains "$ESC"
  assert_contains '2 files'
}

# --- how much is said -----------------------------------------------------------------------------

@test "quiet: only warnings, errors and what to do" {
  local text
  text=$(talk)
  AUTOPOD_QUIET=1 ui <<<"$text"
  assert_equal "$output" 'prog: warning: a warning
prog: error: an error
  a hint'
}

@test "verbose tells details, debug also commands" {
  local text
  text=$(talk)
  AUTOPOD_VERBOSE=1 ui <<<"$text"
  assert_contains 'a detail'
  refute_contains 'curl'
  AUTOPOD_DEBUG=1 ui <<<"$text"
  assert_contains 'a detail'
  assert_contains '+ curl -q a b'
}

@test "progress without a terminal: a plain line now and then, news at once" {
  ui <<'SH'
ui_step Running
ui_progress "1 %"
ui_progress "2 %"
UI_LINE_EVERY=0
ui_progress "3 %"
UI_LINE_EVERY=20
ui_progress "4 %"
ui_change "news"
ui_done "done"
SH
  assert_equal "$output" $'Running: 3 %\nRunning: news\nok Running   done'
}

# --- what may not reach the terminal --------------------------------------------------------------

evil_talk() {
  cat <<'SH'
# The last one is a control sequence in a single character, U+009B.
evil=$'red \033[31m \033]0;title\a \r over \b\b back \t tab \n line \x7f \xc2\x9b31m end'
ui_log_open "$AUTOPOD_HOME/logs/log"
ui_step Download
ui_note "$evil"
ui_warn "$evil"
core_fail 1 "$evil" "$evil" || :
UI_LINE_EVERY=0
ui_progress "$evil"
ui_done "$evil"
AUTOPOD_DEBUG=1
ui_debug "$evil"
ui_detail "$evil"
SH
}

@test "control characters and escape sequences do not reach the terminal or the log" {
  local locale text
  text=$(evil_talk)
  for locale in C C.UTF-8; do
    LC_ALL=$locale ui <<<"$text"
    assert_equal "$(grep -c . <<<"$output")" 8 "lines in $locale"
    assert_equal "$(cat - "$AUTOPOD_HOME/logs/log" <<<"$output" |
      LC_ALL=C tr -cd '\0-\11\13-\37\177\233' | od -An -c)" ''
  done
}

@test "secrets are masked on the screen and in the log, wherever they stand" {
  ui <<'SH'
ui_log_open "$AUTOPOD_HOME/logs/log"
UI_SECRETS=('rpa_1*[x]&\' '' 'other')
ui_step Pod
ui_note 'key rpa_1*[x]&\ twice rpa_1*[x]&\, other'
core_fail 1 'bad key rpa_1*[x]&\' 'not other' || :
ui_done 'with rpa_1*[x]&\'
AUTOPOD_DEBUG=1
ui_debug curl -H 'rpa_1*[x]&\'
SH
  refute_contains rpa_1
  refute_contains other
  assert_contains 'key **** twice ****, ****'
  refute_contains rpa_1 "$(<"$AUTOPOD_HOME/logs/log")"
  refute_contains other "$(<"$AUTOPOD_HOME/logs/log")"
}

# --- the log --------------------------------------------------------------------------------------

@test "the log has a line for each thing said, with time, level and process" {
  local text
  text=$(talk)
  AUTOPOD_QUIET=1 ui <<<"ui_log_open \"\$AUTOPOD_HOME/logs/log\"
$text"
  while IFS= read -r line; do
    assert_matches '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z [a-z]+ +prog\[[0-9]+\] .' "$line"
  done <"$AUTOPOD_HOME/logs/log"
  assert_equal "$(sed -E 's/^[^ ]+ +([a-z]+) +[^ ]+ /\1: /' "$AUTOPOD_HOME/logs/log")" 'info: Upload ...
info: Upload: 2 files
info: Running ...
info: Running: failed
info: a note
warning: a warning
error: an error
hint: a hint
detail: a detail'
}

@test "a log that has grown too long is kept once more, and a new one begun" {
  mkdir -p "$AUTOPOD_HOME/logs"
  printf '%01000d\n' 1 >"$AUTOPOD_HOME/logs/log"
  printf 'older\n' >"$AUTOPOD_HOME/logs/log.1"
  ui <<'SH'
UI_LOG_MAX=1001
ui_log_open "$AUTOPOD_HOME/logs/log"
ui_note kept
UI_LOG_MAX=1000
ui_log_open "$AUTOPOD_HOME/logs/log"
ui_note new
SH
  assert_equal "$(($(wc -l <"$AUTOPOD_HOME/logs/log")))" 1
  assert_contains new "$(<"$AUTOPOD_HOME/logs/log")"
  assert_equal "$(($(wc -l <"$AUTOPOD_HOME/logs/log.1")))" 2
  assert_contains kept "$(<"$AUTOPOD_HOME/logs/log.1")"
}

@test "a log that can't be written stops nothing, and nobody hears of it" {
  : >file
  ui <<'SH'
ui_log_open "$PWD/file/logs/log"
ui_note one
ui_log_open /dev/full
ui_note two
SH
  assert_status 0
  assert_equal "$output" $'one\ntwo'
}

# --- a terminal -----------------------------------------------------------------------------------

@test "on a terminal the live line is redrawn in place, cut to its width, and replaced at the end" {
  on_terminal 80 <<'SH'
ui_step Upload
ui_progress "frame.png, 3.1 MB" 1 4
touch half
ui_progress "$(printf '%0200d' 0)" 3 4
ui_done "2 files"
ui_step Download
ui_progress "first"
ui_warn "in between"
ui_progress "second"
ui_done "1 file"
SH
  assert_equal "$output" 'ok Upload    2 files
prog: warning: in between
ok Download  1 file'
  on_terminal 80 <<'SH'
ui_step Upload
ui_progress "$(printf '%0200d' 0)" 3 4
SH
  # As it stood before the end of the program wiped it: one line, one column left free.
  assert_equal "$(tr '\r' '\n' <sent | sed -E "s/$ESC\\[[?0-9]*[A-Za-z]//g" | awk '{ print length }' | sort -n | tail -n 1)" 79
  assert_contains '  Upload    [############----]  75 % 000' "$(<sent)"
}

@test "a narrow terminal is not written over its edge" {
  on_terminal 40 <<'SH'
ui_step Upload
for ((i = 0; i < 3; i++)); do ui_progress "$(printf '%0200d' 0)" "$i" 4; done
ui_done "end"
SH
  assert_equal "$output" 'ok Upload    end'
}

@test "a program that ends by a signal leaves no live line behind" {
  on_terminal 80 <<'SH'
ui_step Upload
ui_progress "on its way"
kill -TERM "$$"
sleep 5
SH
  assert_equal "$output" ''
  assert_equal "$(<code)" 143
}

@test "strange widths are not believed" {
  local columns
  for columns in 0 abc -1 '' 1 99999; do
    COLUMNS=$columns on_terminal 80 <<<'ui_step Upload; ui_progress text; ui_done end'
    assert_equal "$output" 'ok Upload    end' "COLUMNS=$columns"
  done
}

@test "what is used before ui_init speaks too" {
  run lib_both ui <<'SH'
core_fail 1 "early" || :
ui_step Early
ui_progress text
ui_note "a note"
ui_done text
SH
  assert_status 0
  assert_contains 'prog: error: early'
  assert_contains 'a note'
}

@test "what stands at the right edge of a terminal, and elsewhere behind a comma" {
  local columns text='ui_step Pod; ui_done "k3j2 → RTX A40" "ready in 41 s"; ui_step Upload; ui_done "2 files" ""'
  export LC_ALL=C.UTF-8
  for columns in 80 60; do
    on_terminal "$columns" <<<"$text"
    assert_equal "${#lines[0]}" $((columns - 1))
    assert_matches '^✓ Pod       k3j2 → RTX A40 +ready in 41 s'$'\n''✓ Upload    2 files$'
  done
  on_terminal 200 <<<"$text"
  assert_equal "${#lines[0]}" 100
  on_terminal 40 <<<"$text"
  assert_contains '✓ Pod       k3j2 → RTX A40, ready in 41'
  ui <<<"$text"
  assert_equal "$output" $'✓ Pod       k3j2 → RTX A40, ready in 41 s\n✓ Upload    2 files'
}

@test "the log of a run has the same lines as the other one, for as long as it runs" {
  ui <<'SH'
ui_log_open "$AUTOPOD_HOME/logs/log"
ui_note before
ui_log_also "$PWD/run.log"
ui_secret 'a-secret-key'
ui_step Upload
ui_done 'with a-secret-key' 'in 2s'
ui_log_also ''
ui_note after
ui_log_also /dev/full
ui_note last
SH
  assert_equal "$(sed -E 's/^[^ ]+ +([a-z]+) +[^ ]+ /\1: /' run.log)" $'info: Upload ...\ninfo: Upload: with ****, in 2s'
  assert_equal "$(grep -c '' "$AUTOPOD_HOME/logs/log")" 5
  assert_contains "$(<run.log)" "$(<"$AUTOPOD_HOME/logs/log")"
  rm run.log
  ui <<<"ui_log_also \"\$PWD/run.log\"; ui_note 'only there'"
  assert_contains 'only there' "$(<run.log)"
}

@test "a block is drawn on a terminal, clean and with secrets masked; elsewhere and with -q it is not" {
  local text='ui_secret a-secret-key; ui_block "one $(printf "\033[2J")" "two a-secret-key"'
  on_terminal 80 <<<"$text"
  assert_contains 'one  [2J' "$(<sent)"
  assert_contains 'two ****' "$(<sent)"
  assert_equal "$output" ''
  AUTOPOD_QUIET=1 on_terminal 80 <<<"$text"
  assert_equal "$(<sent)" ''
  ui <<<"$text"
  assert_equal "$output" ''
}

@test "the wheel turns, in ASCII where the locale has no more" {
  local text='ui_init; for i in 1 2 3 4 5 6 7 8 9 10 11; do ui_spin; printf "%s," "$UI_SPIN"; done'
  LC_ALL=C run lib_both ui <<<"$text"
  assert_equal "$output" '| ,/ ,- ,\ ,| ,/ ,- ,\ ,| ,/ ,- ,'
  LC_ALL=C.UTF-8 run lib_both ui <<<"$text"
  assert_equal "$output" '⠋,⠙,⠹,⠸,⠼,⠴,⠦,⠧,⠇,⠏,⠋,'
}

# --- quantities -----------------------------------------------------------------------------------

@test "sizes, durations, counts and bars in words" {
  run lib_both ui <<'SH'
for n in 0 1 999 1000 1049 1050 999999 1000000 3145728 999999999 5000000000 1234567890123 5000000000000000; do
  ui_size "$n"
  printf '%s|' "$UI_SIZE"
done
echo
for n in 0 1 59 60 65 3599 3600 3661 86400 360000; do
  ui_duration "$n"
  printf '%s|' "$UI_TIME"
done
echo
ui_count 0 file; printf '%s|' "$UI_COUNT"
ui_count 1 file; printf '%s|' "$UI_COUNT"
ui_count 2 file; printf '%s|' "$UI_COUNT"
ui_count 2 entry entries; echo "$UI_COUNT"
for n in '0 0' '0 10' '1 10' '5 10' '999 1000' '10 10' '20 10' '4000000000 8000000000'; do
  ui_bar $n
  echo "$UI_BAR"
done
SH
  assert_status 0
  assert_equal "$output" '0 B|1 B|999 B|1.0 kB|1.0 kB|1.0 kB|999.9 kB|1.0 MB|3.1 MB|999.9 MB|5.0 GB|1.2 TB|5000.0 TB|
0s|1s|59s|1m 00s|1m 05s|59m 59s|1h 00m|1h 01m|24h 00m|100h 00m|
0 files|1 file|2 files|2 entries
[----------------]   0 %
[----------------]   0 %
[#---------------]  10 %
[########--------]  50 %
[###############-]  99 %
[################] 100 %
[################] 100 %
[########--------]  50 %'
}
