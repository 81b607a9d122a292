#!/usr/bin/env bats
# lib/keys.sh: keys that are pressed while something else goes on, and the terminal's settings after every way out.

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

# keys_program - a program that reads keys until it is told to end: what came stands in `keys`, `again` takes a line as
# everybody does
keys_program() {
  program prog keys <<'SH'
core_trap
mkfifo feed
exec 6<>feed
keys_start 6 || echo none >keys
echo "$$" >pid
until [ -e end ]; do
  if os_read 6 1; then echo "${OS_LINE/$'\t'/ }" >>keys; fi
  [ ! -e ask ] || {
    keys_stop
    IFS= read -r line
    echo "line $line" >>keys
    rm ask
    keys_start 6
  }
  [ ! -e how ] || eval "$(<how)"
done
SH
}

# settings - the terminal's, as one word
settings() { stty -g <"$(tmux_tty)"; }

# set_for_keys - the terminal is set for them
set_for_keys() { stty -a <"$(tmux_tty)" | grep -q -e '-icanon'; }

keys() { tr '\n' ',' <keys; }

# came TEXT - these keys came, with a comma behind each
came() { [ -e keys ] && [ "$(keys)" = "$1" ]; }

# press KEY - until it came: what comes together with other text is not taken for a key
press() { wait_until 10 _press "$1"; }

_press() {
  tmux_keys "$1"
  sleep 0.4
  grep -q -F -e "key $1" keys
}

# wait_keys TEXT - until these keys came
wait_keys() { wait_until 5 came "$1" || assert_equal "$(keys)" "$1"; }

# start_keys - runs the program in a terminal with a shell that has no job control; BEFORE has its settings
start_keys() {
  need_tmux
  keys_program
  rm -f keys pid before feed
  tmux_start 80 24 sh -c 'stty -g >before; exec bash prog'
  wait_until 10 has_line pid
  wait_until 5 set_for_keys
  BEFORE=$(<before)
}

@test "each key is an event, at once; arrows, accents, control characters and pasted text are none" {
  local key
  start_keys
  tmux_keys l
  wait_keys 'key l,'
  for key in Up F1 F5 Home Escape; do
    tmux_keys "$key"
    sleep 0.2
  done
  tmux_keys -l 'é漢'
  tmux_keys C-d Tab Enter
  press '?'
  wait_until 5 eval 'grep -q "key ?" keys'
  tmux_keys o k q ' '
  wait_until 5 eval 'grep -q "key  " keys'
  tmux_keys -l $'stop\nall\nof\nthis\nnow'
  sleep 0.4
  tmux_do set-buffer $'skip\nall\nof\nthis'
  tmux_do paste-buffer
  press x
  assert_matches '^key l,(key \?,)+key o,key k,key q,key  ,(key x,)+$' "$(keys)"
  assert_equal "$(tmux_screen)" '' 'what the keys left on the screen'
  : >end
  assert_equal "$(tmux_status 5)" 0
  assert_equal "$(settings)" "$BEFORE"
}

@test "what was typed before anybody offered keys is none" {
  need_tmux
  program prog keys <<'SH'
core_trap
mkfifo feed
exec 6<>feed
: >ready
until [ -e typed ]; do sleep 0.05; done
keys_start 6
: >offered
until [ -e end ]; do
  if os_read 6 1; then echo "${OS_LINE/$'\t'/ }" >>keys; fi
done
SH
  tmux_start 80 24 bash prog
  wait_until 10 test -e ready
  tmux_keys sk Enter q
  tmux_wait q 5
  : >typed
  wait_until 5 test -e offered
  tmux_keys l
  wait_keys 'key l,'
}

@test "keys_stop: a line is read as ever, and then keys again" {
  start_keys
  : >ask
  wait_until 5 eval '[ "$(settings)" = "$BEFORE" ]'
  tmux_keys 'a line' Enter
  wait_keys 'line a line,'
  wait_until 5 set_for_keys
  tmux_keys x
  wait_keys 'line a line,key x,'
  : >end
  assert_equal "$(tmux_status 5)" 0
  assert_equal "$(settings)" "$BEFORE"
}

@test "the terminal is as before after every way out, and nobody is left to read it" {
  local how
  for how in 'exit 3' false 'kill -TERM $$' 'kill -HUP $$' 'kill -INT $$' 'kill -9 $$'; do
    start_keys
    printf '%s\n' "$how" >how
    tmux_status 10 >status
    wait_until 5 eval '[ "$(settings)" = "$BEFORE" ]'
    refute_contains prog "$(left_processes | grep -v -e tmux -e trap)"
    rm how
    tmux_stop
  done
  assert_equal "$(<status)" 137
}

@test "Ctrl+C ends the program as ever" {
  start_keys
  tmux_keys C-c
  assert_equal "$(tmux_status 5)" 130
  assert_equal "$(settings)" "$BEFORE"
}

@test "the terminal is found also by a signal that comes while something else is read" {
  need_tmux
  program prog keys <<'SH'
core_trap
mkfifo feed
exec 6<>feed
keys_start 6
: >offered
while :; do IFS= read -r -t 5 line <&6 || :; done
SH
  tmux_start 80 24 sh -c 'stty -g >before; exec bash prog'
  wait_until 10 test -e offered
  tmux_keys C-c
  assert_equal "$(tmux_status 10)" 130
  assert_equal "$(settings)" "$(<before)"
}

@test "a shell that has taken the terminal back after kill -9 keeps its own settings" {
  need_tmux
  keys_program
  tmux_start 80 24 env PS1='$ ' bash --norc -i
  tmux_keys 'bash prog' Enter
  wait_until 10 has_line pid
  wait_until 5 set_for_keys
  kill -9 "$(<pid)"
  tmux_wait Killed 5
  wait_until 5 eval '! left_processes | grep -q "[b]ash prog"'
  tmux_keys 'echo hal""lo' Enter
  tmux_wait $'\nhallo' 5
  assert_equal "$(tmux_screen | grep -c 'echo hal')" 1
}

@test "a stopped program leaves the keys to the shell, also in the background, and takes them again in front" {
  need_tmux
  keys_program
  tmux_start 80 24 env PS1='$ ' bash --norc -i
  tmux_keys 'bash prog' Enter
  wait_until 10 has_line pid
  wait_until 5 set_for_keys
  tmux_keys a
  wait_keys 'key a,'
  tmux_keys C-z
  tmux_wait Stopped 5
  tmux_keys 'echo one""two' Enter
  tmux_wait onetwo 5
  tmux_keys 'bg' Enter
  tmux_wait 'bash prog &' 5
  tmux_keys 'echo three""four' Enter
  tmux_wait threefour 5
  sleep 2 # some rounds of the reader
  tmux_keys 'echo five""six' Enter
  tmux_wait fivesix 5
  assert_equal "$(keys)" 'key a,'
  tmux_keys 'fg' Enter
  wait_until 10 eval 'stty -a <"$(tmux_tty)" | grep -q "min = 0"'
  tmux_keys b
  wait_keys 'key a,key b,'
  : >end
  tmux_keys '' # the shell is back
  wait_until 5 eval '! left_processes | grep -q "[b]ash prog"'
  tmux_keys 'echo seven""eight' Enter
  tmux_wait seveneight 5
}

@test "piped input is never eaten, and there are no keys then" {
  need_tmux
  program prog keys <<'SH'
core_trap
exec 6>keys
keys_start 6 || echo none
sleep 0.5
cat
SH
  tmux_start 80 24 sh -c 'printf "one\ntwo\n" | bash prog'
  assert_equal "$(tmux_status 10)" 0
  assert_equal "$(tmux_screen)" $'none\none\ntwo'
  run bash prog </dev/null
  assert_equal "$output" none
}

@test "no keys with -q, on a dumb terminal, without one to write to, or in the background" {
  need_tmux
  program prog keys <<'SH'
core_trap
exec 6>keys
keys_start 6 2>/dev/null && echo keys >>said || echo none >>said
SH
  program quiet keys <<<'core_trap; AUTOPOD_QUIET=1; keys_start 1 || echo none >>said'
  program twice keys <<<'core_trap; exec 6>keys; keys_start 6; keys_start 6; keys_stop; keys_stop; echo stopped >>said'
  tmux_start 80 24 sh -c 'bash quiet; TERM=dumb bash prog; bash prog 2>/dev/null; bash prog & wait; bash twice'
  assert_equal "$(tmux_status 10)" 0
  # A shell without job control leaves what it starts in the background in front, but without the terminal as input.
  assert_equal "$(tr '\n' ' ' <said)" 'none none none none stopped '
  tmux_stop
  rm said
  tmux_start 80 24 env PS1='$ ' bash --norc -i
  tmux_keys 'bash prog & wait' Enter
  wait_until 5 test -s said
  assert_equal "$(<said)" none
}

@test "the reader holds no file of ours open but its own" {
  need_tmux
  program prog keys <<'SH'
core_trap
mkfifo feed pipe
exec 6<>feed
(cat <pipe >/dev/null; echo closed >closed) 6>&- &
exec 5>pipe
keys_start 6
exec 5>&-
echo "$$" >pid
until [ -e end ]; do sleep 0.05; done
SH
  tmux_start 80 24 bash prog
  wait_until 5 test -s closed
  : >end
  assert_equal "$(tmux_status 5)" 0
}

@test "keys that nobody read at the end of a job are not for the next one" {
  run lib feed <<'SH'
helper_python() { return 1; } # as without a WebSocket client
feed_start
printf 'key\ts\nkey\tk\n' >&6
feed_watch url client prompt workflow timings new
feed_next 0.1 || echo "nothing left"
printf 'key\tq\n' >&6
feed_next 5 && echo "$FEED_EVENT $FEED_TEXT"
SH
  assert_equal "$output" $'nothing left\nkey q'
}
