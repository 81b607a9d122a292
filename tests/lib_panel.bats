#!/usr/bin/env bats
# lib/panel.sh: what is seen of a job while it runs, at every width, and without a terminal.

load test_helper
load lib_helper
load tmux_helper

setup() {
  autopod_setup
  export LC_ALL=C.UTF-8
}

teardown() {
  tmux_stop
  autopod_teardown
}

# the_job - sets what is known of a job in the middle
the_job() {
  cat <<'SH'
PANEL_STATE=running PANEL_PERCENT=48 PANEL_TITLE=KSampler PANEL_VALUE=12 PANEL_MAX=25 PANEL_SECONDS=72 PANEL_LEFT=80
PANEL_COST=0.0213 PANEL_ESTIMATE=0.0450 PANEL_LIMIT=5 PANEL_KEYS=1
SH
}

# panel COLUMNS - what the program on stdin draws on a terminal of that width, each panel on its own
panel() {
  run lib_both panel <<SH
ui_init
SCREEN_TERMINAL=1 SCREEN_COLUMNS=$1
ui_spin
ui_spin
screen_due() { return 0; }
screen_show() { printf '%s\n' "\$@"; }
$(the_job)
$(cat)
SH
  assert_status 0
}

# fits COLUMNS - no line of the output is wider, with one column left free
fits() {
  local line
  while IFS= read -r line; do
    [ "${#line}" -lt "$1" ] || { _complain "too wide for $1 columns: $line" && return 1; }
  done <<<"$output"
}

# --- the picture ----------------------------------------------------------------------------------

@test "with room enough: state, money and keys, in full" {
  panel 100 <<<panel_draw
  assert_equal "$output" '⠹ Running   [████████░░░░░░░░] 48 %  KSampler (12/25)   1m 12s, about 1m 20s left
  Cost      $0.03 so far, about $0.05 for this job, limit $5.00
  o open GUI   l log   s stop pod   k kill pod   q leave it running   Ctrl+C cancel and stop'
}

@test "on 80 columns it is whole" {
  panel 80 <<<panel_draw
  assert_equal "$output" '⠹ Running   [█████░░░░░] 48 %  KSampler (12/25)  1m 12s, about 1m 20s left
  Cost      $0.03 so far, about $0.05 for this job, limit $5.00
  o open GUI  l log  s stop pod  k kill pod  q leave  Ctrl+C cancel and stop'
  fits 80
}

@test "on 40 columns it says the same in fewer words" {
  panel 40 <<<panel_draw
  assert_equal "$output" '⠹ Running   48 %  KSampler  1m 12s
  Cost      $0.03, limit $5.00
  o open GUI  l log  s stop pod
  k kill pod  q leave
  Ctrl+C cancel and stop'
  fits 40
}

@test "at every width from 40 to 200: no line too wide, and the state, the money and each key are there" {
  local columns key
  for columns in 40 41 50 55 60 66 72 79 80 81 92 93 100 120 200; do
    panel "$columns" <<<"PANEL_TITLE='A node with a title of its own' PANEL_VALUE=1200 PANEL_MAX=2500
      PANEL_SECONDS=36000 PANEL_LEFT=72000 PANEL_COST=123.4 PANEL_ESTIMATE=1234.5 PANEL_LIMIT=5000
      panel_draw"
    fits "$columns"
    assert_contains ' 48 %'
    assert_contains '10h 00m'
    assert_contains '$123.40'
    assert_contains 'limit $5000.00'
    for key in 'o open GUI' 'l log' 's stop pod' 'k kill pod' 'q leave' 'Ctrl+C cancel and stop'; do
      assert_contains "$key"
    done
  done
  assert_contains '20h 00m left'
}

@test "without UTF-8: ASCII marks, bars and dots" {
  LC_ALL=C panel 100 <<<panel_draw
  assert_equal "${lines[0]}" '-  Running   [########--------] 48 %  KSampler (12/25)   1m 12s, about 1m 20s left'
  assert_equal "${lines[1]}" '   Cost      $0.03 so far, about $0.05 for this job, limit $5.00'
  LC_ALL=C panel 60 <<<'PANEL_TITLE="A node with a long title → x"; panel_draw'
  assert_equal "$(LC_ALL=C tr -d '[:print:]\n' <<<"$output")" ''
  assert_contains '...'
}

@test "titles in other scripts are measured as they stand" {
  panel 80 <<<'PANEL_TITLE=画像を生成するノードの名前はとても長い; panel_draw'
  assert_matches '^. Running .*48 %  画像.*… \(12/25\)  1m 12s' "${lines[0]}"
}

# --- what is not known ----------------------------------------------------------------------------

@test "what is not known is left out" {
  panel 100 <<'SH'
panel_reset
PANEL_STATE=running
panel_draw
PANEL_SECONDS=5
panel_draw
PANEL_TITLE='Save Image'
panel_draw
PANEL_PERCENT=100 PANEL_VALUE=25 PANEL_MAX=25
panel_draw
PANEL_COST=0 PANEL_KEYS=attached
panel_draw
SH
  assert_equal "$output" '⠹ Running
⠸ Running   5s
⠼ Running   Save Image   5s
⠴ Running   [████████████████] 100 %  Save Image (25/25)   5s
⠦ Running   [████████████████] 100 %  Save Image (25/25)   5s
  Cost      $0.00 so far
  o open GUI   l log   q leave   Ctrl+C leaves too'
}

@test "waiting in the queue, and a text instead of the node" {
  panel 100 <<'SH'
PANEL_STATE=pending PANEL_POSITION=3 PANEL_COST='' PANEL_KEYS=''
panel_draw
PANEL_STATE='reconnecting, 12s'
panel_draw
PANEL_PERCENT=''
panel_draw
SCREEN_COLUMNS=40 PANEL_STATE=pending
panel_draw
SH
  assert_equal "$output" "⠹ Waiting   at position 3 of the server's queue   1m 12s
⠸ Running   [████████░░░░░░░░] 48 %  reconnecting, 12s
⠼ Running   reconnecting, 12s
⠴ Waiting   position 3   1m 12s"
}

# --- questions, help, the log ---------------------------------------------------------------------

@test "a question stands in place of the keys, and is as long as it needs to be" {
  panel 60 <<'SH'
PANEL_QUESTION='Nothing has happened for 5 minutes, which cost $0.04 so far. * Kill the pod (k), wait (w) or open the GUI (o)?'
panel_draw
SH
  refute_contains 'stop pod'
  assert_equal "$(tail -n 2 <<<"$output")" '  Nothing has happened for 5 minutes, which cost $0.04 so
  far. * Kill the pod (k), wait (w) or open the GUI (o)?'
  fits 60
}

@test "help has a line for each key, also of those who only look on" {
  local key
  panel 80 <<<'PANEL_HELP=1; panel_draw'
  for key in o l s k q '\?' 'Ctrl\+C'; do assert_matches $'\n'"  $key +[a-z]{2}"; done
  fits 80
  panel 80 <<<'PANEL_HELP=1 PANEL_KEYS=attached; panel_draw'
  for key in o l q '\?' 'Ctrl\+C'; do assert_matches $'\n'"  $key +[a-z]{2}"; done
  refute_contains 'the pod'
}

@test "the last six lines of the log, without what could move the cursor" {
  for ((i = 1; i <= 9; i++)); do printf 'line %d \033[2J\t.\n' "$i"; done >log
  panel 80 <<<'PANEL_LOG=log; panel_draw; PANEL_LOG=nowhere; panel_draw'
  assert_equal "$(grep -c 'line [0-9]' <<<"$output")" 6
  panel 80 <<<'PANEL_LOG=log; unset SECONDS; for SECONDS in 1 2; do panel_draw; done'
  assert_equal "$(grep -c 'line [0-9]' <<<"$output")" 12
  refute_contains 'line 3'
  assert_contains $'\n  line 4  [2J .\n'
  assert_contains $'\n  line 9  [2J .'
  refute_contains $'\033'
}

# --- on a real terminal ---------------------------------------------------------------------------

@test "live: redrawn in place, with and without the log, for another width, and gone at the end" {
  need_tmux
  printf 'a line of the log\n' >log
  program prog panel <<SH
ui_init
core_trap
at() { until [ -e "\$1" ]; do panel_draw; sleep 0.05; done; }
ui_step Upload
ui_done '2 files, 3.1 MB' 'in 2s'
ui_step Running
$(the_job)
at one
PANEL_VALUE=13 PANEL_PERCENT=52 PANEL_LOG=log
at two
PANEL_LOG='' PANEL_STATE='reconnecting, 3s'
at three
PANEL_STATE=running PANEL_HELP=1
at four
ui_done 'done in 2m 30s'
SH
  tmux_start 100 24 bash prog
  tmux_wait '(12/25)' 10
  assert_equal "$(tmux_screen | sed '2s/^./*/')" '✓ Upload    2 files, 3.1 MB                                                                   in 2s
* Running   [████████░░░░░░░░] 48 %  KSampler (12/25)   1m 12s, about 1m 20s left
  Cost      $0.03 so far, about $0.05 for this job, limit $5.00
  o open GUI   l log   s stop pod   k kill pod   q leave it running   Ctrl+C cancel and stop'
  : >one
  tmux_wait '(13/25)' 5
  assert_equal "$(tmux_screen | tail -n 1)" '  a line of the log'
  assert_equal "$(tmux_screen | grep -c Running)" 1
  : >two
  tmux_wait 'reconnecting, 3s' 5
  refute_contains 'of the log' "$(tmux_screen)"
  : >three
  tmux_wait 'hides this help' 5
  tmux_resize 40 24
  tmux_wait $'pod\n  k kill pod  q leave\n' 5
  : >four
  tmux_wait 'done in' 5
  assert_equal "$(tmux_screen)" '✓ Running   done in 2m 30s'
  assert_equal "$(tmux_status 5)" 0
}

@test "live: the wheel turns" {
  need_tmux
  program prog panel <<'SH'
ui_init
core_trap
PANEL_STATE=running
until [ -e end ]; do panel_draw; sleep 0.02; done
SH
  tmux_start 80 24 bash prog
  tmux_wait '⠹' 10
  tmux_wait '⠧' 10
  tmux_wait '⠋' 10
  : >end
  assert_equal "$(tmux_status 5)" 0
  assert_equal "$(tmux_screen)" ''
}

# --- without a terminal ---------------------------------------------------------------------------

@test "elsewhere: a line when the state changes, and one now and then" {
  run lib_both panel <<SH
ui_init
ui_step Running
$(the_job)
panel_draw
PANEL_SECONDS=73
panel_draw
UI_LINE_EVERY=0
PANEL_SECONDS=74 PANEL_PERCENT=49
panel_draw
UI_LINE_EVERY=20
PANEL_STATE=pending PANEL_POSITION=2
panel_draw
PANEL_POSITION=1
panel_draw
panel_draw
for ((i = 1; i < 15; i++)); do
  PANEL_STATE="reconnecting, \${i}s"
  panel_draw
done
panel_reset
PANEL_STATE=running PANEL_SECONDS=75 PANEL_COST=0.0001
panel_draw
panel_reset
PANEL_STATE=running
panel_draw
ui_done end
SH
  assert_equal "$output" "Running: 48 %, 1m 12s, about \$0.03
Running: 49 %, 1m 14s, about \$0.03
Running: waiting at position 2 of the server's queue, 1m 14s
Running: waiting at position 1 of the server's queue, 1m 14s
Running: reconnecting, 1s
Running: 1m 15s, less than \$0.01
✓ Running   end"
}

@test "with -q nothing is drawn or said" {
  run lib_both panel <<SH
AUTOPOD_QUIET=1
ui_init
$(the_job)
panel_draw
SCREEN_TERMINAL=1
panel_draw
SH
  assert_equal "$output" ''
}
