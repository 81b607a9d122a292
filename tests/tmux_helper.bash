# shellcheck shell=bash
# tmux_helper.bash - for tests that look at a terminal as a person does: runs a command in a tmux of its own, types,
# resizes, and reads what stands there.
#
#   setup() { autopod_setup; need_tmux; }      teardown() { tmux_stop; autopod_teardown; }

# need_tmux - skips the test where there is no tmux
need_tmux() { command -v tmux >/dev/null 2>&1 || skip 'no tmux (make setup brings it)'; }

# tmux_do WORD... - a command for this test's own server
tmux_do() { tmux -u -S "$BATS_TEST_TMPDIR/t$TMUX_SERVER" "$@" 3>&-; }

TMUX_SERVER=0 # one after another, since a server takes its time to end

# tmux_start COLUMNS ROWS CMD... - runs CMD with the test's environment in a terminal of that size. When it has ended, a
# shell without job control keeps the terminal as it is.
tmux_start() {
  local columns=$1 rows=$2
  shift 2
  TMUX_SERVER=$((TMUX_SERVER + 1))
  rm -f "$BATS_TEST_TMPDIR/t.status" "$BATS_TEST_TMPDIR/t.pid"
  printf 'set -g %s\n' 'status off' 'default-terminal xterm' 'escape-time 0' >"$BATS_TEST_TMPDIR/t.conf"
  tmux_do -f "$BATS_TEST_TMPDIR/t.conf" new-session -d -x "$columns" -y "$rows" -c "$PWD" env TERM=xterm bash -c '
    trap : INT TERM QUIT
    exec 3>&2 2>/dev/null
    bash -c "echo \$\$ >\"\$0.pid\"; exec \"\$@\"" "$0" "$@" 2>&3 3>&- || status=$?
    echo "${status:-0}" >"$0.status"
    while [ -t 0 ]; do sleep 0.2; done' "$BATS_TEST_TMPDIR/t" "$@"
}

# tmux_screen - prints what stands there, without the empty lines at its end
tmux_screen() {
  local text
  text=$(tmux_do capture-pane -p | sed -E 's/ +$//')
  printf '%s\n' "$text"
}

# tmux_all - prints also what has gone over its upper edge
tmux_all() { tmux_do capture-pane -p -S - | sed -E 's/ +$//'; }

# tmux_keys KEY... - types: text, or a name such as Enter, Up, C-c
tmux_keys() { tmux_do send-keys "$@"; }

# tmux_resize COLUMNS ROWS
tmux_resize() { tmux_do resize-window -x "$1" -y "$2"; }

# tmux_wait TEXT SECONDS - until TEXT stands there
tmux_wait() {
  wait_until "$2" _tmux_shows "$1" || {
    _complain 'the screen:' "$(tmux_screen)"
    return 1
  }
}

_tmux_shows() { case $(tmux_screen) in *"$1"*) ;; *) return 1 ;; esac }

# tmux_gone TEXT SECONDS - until TEXT no longer stands there
tmux_gone() {
  wait_until "$2" _tmux_hides "$1" || {
    _complain 'the screen:' "$(tmux_screen)"
    return 1
  }
}

_tmux_hides() { ! _tmux_shows "$1"; }

# tmux_status SECONDS - waits for the command's end and prints its exit status, 128+n after signal n
tmux_status() {
  wait_until "$1" has_line "$BATS_TEST_TMPDIR/t.status" || {
    _complain 'the screen:' "$(tmux_screen)"
    return 1
  }
  cat "$BATS_TEST_TMPDIR/t.status"
}

# tmux_pid - prints the command's process id
tmux_pid() {
  wait_until 5 has_line "$BATS_TEST_TMPDIR/t.pid"
  cat "$BATS_TEST_TMPDIR/t.pid"
}

# tmux_tty - prints the terminal's device
tmux_tty() { tmux_do display-message -p '#{pane_tty}'; }

# tmux_stop - ends the server, if there is one, with what runs in it
tmux_stop() {
  [ ! -S "$BATS_TEST_TMPDIR/t$TMUX_SERVER" ] || tmux_do kill-server 2>/dev/null || :
}
