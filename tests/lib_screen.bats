#!/usr/bin/env bats
# lib/screen.sh: what stands on a terminal, read there as a person does (tmux), and how wide texts are.

load test_helper
load lib_helper
load tmux_helper

setup() {
  autopod_setup
  export LC_ALL=C.UTF-8
}

teardown() {
  : >end
  tmux_stop
  autopod_teardown
}

# on_screen COLUMNS ROWS - runs the program on stdin in a terminal; `step FILE` in it waits for the test's `go FILE`
on_screen() {
  need_tmux
  program prog screen <<<"screen_init
core_trap
step() { until [ -e \"\$1\" ]; do sleep 0.05; done; }
$(cat)"
  tmux_start "$1" "$2" bash prog
}

go() { : >"$1"; }

# resized COLUMNS ROWS - the terminal has that size, and the program can know it
resized() {
  tmux_resize "$1" "$2"
  wait_until 5 _has_size "$2 $1"
  sleep 0.4 # tmux passes on no more than four sizes a second
}

_has_size() { [ "$(stty size <"$(tmux_tty)")" = "$1" ]; }

# --- lines and the block --------------------------------------------------------------------------

@test "lines stay, and the block below them is redrawn in place, grows, shrinks and goes" {
  on_screen 80 24 <<'SH'
screen_line first
screen_show one two three
step shrink
screen_show 'one, again' two
step speak
screen_line second
step again
screen_show one two three four
step clear
screen_clear
step end
SH
  tmux_wait three 5
  assert_equal "$(tmux_screen)" $'first\none\ntwo\nthree'
  go shrink
  tmux_wait again 5
  assert_equal "$(tmux_screen)" $'first\none, again\ntwo'
  go speak
  tmux_wait second 5
  assert_equal "$(tmux_screen)" $'first\nsecond'
  go again
  tmux_wait four 5
  assert_equal "$(tmux_screen)" $'first\nsecond\none\ntwo\nthree\nfour'
  go clear
  tmux_gone four 5
  assert_equal "$(tmux_screen)" $'first\nsecond'
  go end
  assert_equal "$(tmux_status 5)" 0
}

@test "lines are cut to the width, and a block that is too high to what has room" {
  on_screen 40 5 <<'SH'
screen_line first
screen_show "1 $(printf '%0100d' 0)" '2 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字' 3 4 5 6 7
step again
screen_show 1 2 3 4 5 6 7
screen_show 'one' 2 3 4 5 6 7
step end
SH
  tmux_wait 4 5
  assert_equal "$(tmux_screen)" "1 $(printf '%037d' 0)"$'\n2 漢字漢字漢字漢字漢字漢字漢字漢字漢字\n3\n4'
  go again
  tmux_wait one 5
  assert_equal "$(tmux_screen)" $'one\n2\n3\n4'
  go end
  assert_equal "$(tmux_status 5)" 0
}

@test "nothing of the old block stays after a resize, narrower or wider, and nothing above it goes" {
  local columns
  on_screen 100 20 <<'SH'
for ((i = 0; i < 3; i++)); do screen_line "line $i, $(printf '%040d' 0)"; done
for columns in 100 60 110 40 200 35 101; do
  step "$columns"
  ! screen_due || screen_show "width $columns $(printf '%0250d' 0)" "short" "long $(printf '%080d' 0)" "end $columns"
done
step end
screen_clear
screen_line gone
SH
  for columns in 100 60 110 40 200; do
    resized "$columns" 20
    go "$columns"
    tmux_wait "end $columns" 5
    assert_equal "$(tmux_screen | grep -c 'width')" 1 "blocks at $columns columns"
    assert_equal "$(tmux_all | grep -c 'line [012],')" 3 "lines above at $columns columns"
    assert_equal "$(tmux_screen | tail -n 4 | sed 's/ 0*$//')" "width $columns"$'\nshort\nlong\n'"end $columns"
  done
  resized 50 20
  go 35
  tmux_wait 'end 35' 5
  resized 30 20
  go 101
  tmux_wait 'end 101' 5
  go end
  tmux_wait gone 5
  refute_contains width "$(tmux_screen)"
  assert_equal "$(tmux_screen | tail -n 1)" gone
}

@test "a subshell that speaks leaves the block where its owner finds it" {
  on_screen 80 24 <<'SH'
screen_show one two
(screen_line 'from a subshell')
step next
screen_show three two
screen_line end
SH
  tmux_wait 'from a' 5
  assert_equal "$(tmux_screen)" $'from a subshell\none\ntwo'
  go next
  tmux_wait end 5
  assert_equal "$(tmux_screen)" $'from a subshell\nend'
  assert_equal "$(tmux_status 5)" 0
}

@test "every way out wipes the block, before the cleanup speaks" {
  local how
  for how in 'kill -INT $$' 'kill -TERM $$' 'kill -HUP $$' false 'exit 3'; do
    on_screen 80 24 <<SH
bye() { printf 'bye\n' >&2; screen_show 'in the cleanup' 'of $how'; }
core_on_exit bye
screen_line first
screen_show one two three
$how
sleep 5
SH
    tmux_status 10 >status
    refute_contains one "$(tmux_screen)"
    refute_contains cleanup "$(tmux_screen)"
    assert_matches ^first "$(tmux_screen)"
    assert_matches bye\$ "$(tmux_screen)"
    tmux_stop
  done
  assert_equal "$(<status)" 3
}

@test "kill -9 leaves the cursor below the block" {
  on_screen 80 24 <<'SH'
screen_show one two three
kill -9 $$
SH
  assert_equal "$(tmux_status 5)" 137
  assert_equal "$(tmux_do display-message -p '#{cursor_x},#{cursor_y}')" 0,3
}

@test "in the background nothing is drawn; in front again, it is, below what was written meanwhile" {
  need_tmux
  program prog screen <<'SH'
screen_init
core_trap
until [ -e end ]; do
  ! screen_due || screen_show one two "three $((i = ${i:-0} + 1))"
  sleep 0.05
  : >drawing
done
SH
  tmux_start 80 24 env PS1='$ ' bash --norc -i
  tmux_keys 'bash prog' Enter
  tmux_wait three 5
  tmux_keys C-z
  tmux_wait Stopped 5
  tmux_keys 'printf "\033[H\033[2J"; bg; true' Enter
  tmux_gone three 5
  rm -f drawing
  wait_until 10 test -e drawing
  tmux_keys 'echo hal""lo' Enter
  tmux_wait $'\nhallo' 5
  refute_contains three "$(tmux_screen)"
  tmux_keys 'fg' Enter
  tmux_wait three 5
  assert_matches $'hallo\n\\$ fg\nbash prog\none\ntwo\nthree [0-9]+$' "$(tmux_screen)"
  go end
}

@test "a program started in the background, a dumb terminal and no terminal: lines, and no block" {
  need_tmux
  program prog screen <<'SH'
screen_init
! screen_due || screen_show a block
screen_show 'a block' b
screen_line "stays ${SCREEN_TERMINAL:-none}"
SH
  run bash prog
  assert_equal "$output" 'stays none'
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" env TERM=dumb bash prog
  assert_equal "${output%$'\r'}" 'stays none'
  tmux_start 80 24 env PS1='$ ' bash --norc -i
  tmux_keys 'bash prog & wait' Enter
  tmux_wait 'stays none' 5
  refute_contains block "$(tmux_screen)"
}

# --- how often ------------------------------------------------------------------------------------

# frames - sets FRAMES to how many times the program on stdin draws
frames() {
  program prog screen <<<"screen_init
$(cat)"
  TERM=xterm "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" bash prog >sent 2>&1
  FRAMES=$(($(grep -o 'frame' sent | wc -l)))
}

@test "the block is drawn once in a tenth of a second, and at once after a line or a resize" {
  frames <<'SH'
os_tenth() { OS_TENTH=$tenth; }
tenth=1
! screen_due || screen_show frame
! screen_due || screen_show frame
! screen_due || screen_show frame
tenth=2
! screen_due || screen_show frame
screen_line line
! screen_due || screen_show frame
! screen_due || screen_show frame
screen_due || screen_show frame
stty cols 50 <&2
CORE_REDRAW=resized
! screen_due || screen_show frame
! screen_due || screen_show frame
SH
  assert_equal "$FRAMES" 5
}

@test "a shell without fractions of a second draws ten times in each" {
  frames <<'SH'
os_tenth() { OS_TENTH=''; }
unset SECONDS # from here on a plain variable
for SECONDS in 1 2; do
  for ((i = 0; i < 15; i++)); do ! screen_due || screen_show frame; done
done
SH
  assert_equal "$FRAMES" 20
}

@test "the size is asked once a second, unless the terminal tells of a change" {
  frames <<'SH'
os_columns() { OS_COLUMNS=80 OS_ROWS=24; echo asked >>asked; }
unset SECONDS
for SECONDS in 1 2; do
  for ((i = 0; i < 15; i++)); do screen_show frame; done
done
CORE_REDRAW=resized
screen_show frame
screen_show frame
SH
  assert_equal "$FRAMES" 32
  assert_equal "$(($(wc -l <asked)))" 3
}

# --- how wide -------------------------------------------------------------------------------------

widths() {
  cat <<'SH'
for text in '' abc 'é' '→ ✓ █' '漢字' '🎉' 'ａ' '한글' $'e\xcc\x81' 'a漢b' 'Ж' 'ñ'; do
  screen_width "$text"
  printf '%s ' "$SCREEN_WIDTH"
done
for columns in 0 1 2 3 4 5; do
  screen_cut 'a漢é字b' "$columns"
  printf '[%s %s]' "$SCREEN_TEXT" "$SCREEN_WIDTH"
done
screen_cut '→→→→' 2
echo "$SCREEN_TEXT"
SH
}

@test "widths: letters, marks, accents, and what takes two columns" {
  local text wanted='0 3 1 5 4 2 2 4 1 4 1 1 [ 0][a 1][a 1][a漢 3][a漢é 4][a漢é 4]→→'
  text=$(widths)
  run lib_both screen <<<"$text"
  assert_equal "$output" "$wanted"
  # Where the locale is named but not installed, Bash counts bytes.
  LC_ALL=xx_XX.UTF-8 run lib screen <<<"$text"
  assert_equal "${output##*$'\n'}" "$wanted"
  # Bash 3.2 tells the first byte of a character, as a number that may be negative.
  run lib_both screen <<SH
printf() {
  if [ "\$1" = -v ] && [ "\$3" = %d ]; then
    local LC_ALL=C
    builtin printf -v "\$2" %d "\$4"
    ((\$2 = \$2 > 127 ? \$2 - 256 : \$2))
  else
    builtin printf "\$@"
  fi
}
$text
SH
  assert_equal "$output" "$wanted"
}

@test "SCREEN_UTF8 follows the locale's name" {
  local locale
  for locale in C POSIX ''; do
    LC_ALL=$locale LC_CTYPE='' LANG='' run lib screen <<<'screen_init; echo "utf8=$SCREEN_UTF8"'
    assert_equal "$output" utf8= "$locale"
  done
  LC_ALL='' LC_CTYPE='' LANG=C.UTF-8 run lib screen <<<'screen_init; echo "utf8=$SCREEN_UTF8"'
  assert_equal "$output" utf8=1
  LC_ALL=C.utf8 LANG=C run lib screen <<<'screen_init; echo "utf8=$SCREEN_UTF8"'
  assert_equal "$output" utf8=1
}
