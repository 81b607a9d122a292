#!/usr/bin/env bats
# comfy-run at a terminal, as a person sees it and types at it: the picture of a job that runs, each key, and every way out.
# (What a test waits for stands on the screen; how long it takes is of no account.)
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper
load tmux_helper

setup() {
  need_tmux
  cmd_setup
  export LC_ALL=C.UTF-8 AUTOPOD_LOCAL_RATE=0.1
  png in.png
  # One output is there at once; the other one after a nap.
  cat >templates/nap.json <<'JSON'
{
  "1": { "class_type": "LoadImage", "inputs": { "image": "{input.image}" } },
  "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "early-{job_id}" } },
  "3": { "class_type": "Sleep", "_meta": { "title": "Nap" },
    "inputs": { "image": ["1", 0], "seconds": "{input.seconds|600}", "steps": 4000, "seed": "{input.seed|1}" } },
  "4": { "class_type": "SaveImage", "inputs": { "images": ["3", 0], "filename_prefix": "late-{job_id}" } }
}
JSON
}

teardown() {
  tmux_stop
  wait_until 20 nobody_runs || : # who was hung up on ends what it made
  "$AUTOPOD_BIN/autopod-kill" -q --all >/dev/null 2>&1 || :
  cmd_teardown
}

# nobody_runs - 0 when no comfy-run of this test is left
nobody_runs() { ! left_processes | grep -qF "$AUTOPOD_BIN/comfy-run"; }

# nap ID [INPUTS_JSON [MORE_JSON]] - writes ./ID.json: a job that sleeps
nap() { job "$1" nap "$(jq -nc --argjson more "${2:-"{}"}" '{image: "in.png"} * $more')" "${3:-"{}"}"; }

# connect - a pod that is there before; sets POD
connect() { POD=$("$AUTOPOD_BIN/autopod-connect" -q --json 3>&- | jq -r .id); }

# at COLUMNS ARG... - starts comfy-run in a terminal of that width, whose settings before that are noted
at() {
  local columns=$1
  shift
  rm -f before
  tmux_start "$columns" 24 sh -c 'stty -g >before && exec "$@"' sh "$AUTOPOD_BIN/comfy-run" "$@"
}

# shows REGEX - 0 when that stands on the screen; a line of it is between two \n
shows() { [[ $'\n'$(tmux_screen)$'\n' =~ $1 ]]; }

# hidden REGEX - fails when that stands on the screen
hidden() { ! shows "$1" || { _complain "should not be there: $1" 'on the screen:' "$(tmux_screen)" && return 1; }; }

# wait_shows REGEX [SECONDS] - until that stands on the screen
wait_shows() {
  wait_until "${2:-30}" shows "$1" || {
    _complain "no match: $1" 'on the screen:' "$(tmux_screen)"
    return 1
  }
}

# running - the job at hand runs, and keys are read
running() { wait_shows $'\n. Running .*Nap \(.*\n  o open GUI ' 60; }

# ended STATUS - comfy-run has ended so, and the terminal is as it was before: settings, cursor, line breaks, no block
ended() {
  assert_equal "$(tmux_status 60)" "$1" 'exit status' || { tmux_screen >&2 && return 1; }
  wait_until 5 settings_are "$(<before)" || return
  assert_equal "$(tmux_do display-message -p '#{cursor_flag} #{wrap_flag} #{cursor_x}')" '1 1 0' 'cursor, line breaks, column' || return
  hidden $'\n[^✓✗o!][ !] ?(Running|Waiting) |\n  Cost |open GUI'
}

# settings_are WORD - the terminal's settings are these, as stty -g has them
settings_are() { [ "$(stty -g <"$(tmux_tty)")" = "$1" ]; }

# rows REGEX - prints how many rows of the screen match
rows() { tmux_screen | grep -Ec "$1"; }

# a_result FILTER - prints what jq's FILTER makes of the only run's result
a_result() { jq -r "$1" "$(the_run)/result.json"; }

# early_is_here ID - what the cancelled job had finished is here, and nothing else
early_is_here() {
  assert_equal "$(ls outputs)" "early-$1_00001_.png" 'outputs' &&
    assert_equal "$(a_result '[.outputs[].path | sub(".*/"; "")] | join(" ")')" "early-$1_00001_.png" 'outputs in result.json'
}

# browser - a stand-in for it: what it was asked to open stands in ./opened
browser() {
  local name
  export DISPLAY=:9
  for name in xdg-open open; do stub "$name" <<<"printf '%s\n' \"\$*\" >>\"$PWD/opened\""; done
}

@test "the picture of a run, at 80, 40 and 120 columns; s stops the pod, what was finished is here" {
  local screen line
  nap one '{}' '{"pod_config": {"max_cost_usd": 5}}'
  at 80 one.json
  running
  screen=$(tmux_screen)
  assert_matches $'^✓ Pod       local-[0-9a-f]+, CPU, \\$0\.10/h, made for this run  +ready in [0-9]+s\n' "$screen"
  assert_matches $'\n✓ Tunnel    localhost:[0-9]+ → local-[0-9a-f]+:[0-9]+, ComfyUI [0-9.]+\n' "$screen"
  assert_matches $'\n✓ Upload    1 file, [0-9]+ B\n✓ Submit    prompt [0-9a-f-]{36}\n' "$screen"
  assert_matches $'\n[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] Running   \[█+░+\] [0-9]{2} %  Nap \([0-9]+/4000\)   [0-9]+s\n' "$screen"
  assert_matches $'\n  Cost      \\$0\.01 so far, limit \\$5\.00\n' "$screen"
  assert_matches $'\n  o open GUI  l log  s stop pod  k kill pod  q leave  Ctrl\+C cancel and stop$' "$screen"
  assert_contains $'\033[32m✓' "$(tmux_do capture-pane -p -e)"
  tmux_resize 40 24
  wait_shows $'\n. Running   [0-9]{2} %  Nap \([0-9]+/4000\)  [0-9]+s\n  Cost      \$0\.01 so far, limit \$5\.00\n  o open GUI  l log  s stop pod\n  k kill pod  q leave\n  Ctrl\+C cancel and stop\n'
  assert_equal "$(rows 'Running|Cost|open GUI|Ctrl')" 4 'rows of the block, and of what was there before'
  tmux_resize 120 24
  wait_shows $'\n. Running   \[█+░+\] [0-9]{2} %  Nap \([0-9]+/4000\)   [0-9]+s\n  Cost .*\n  o open GUI   l log   s stop pod   k kill pod   q leave it running   Ctrl\+C cancel and stop\n'
  assert_equal "$(rows 'Running|Cost|open GUI|Ctrl')" 3 'rows of the block, and of what was there before'
  assert_equal "$(tmux_all | grep -Ec '^✓ (Pod|Tunnel|Upload|Submit) ')" 4 'steps that are still there'
  tmux_keys s
  ended 130
  screen=$(tmux_all)
  assert_contains 'The job was cancelled on the server.' "$screen"
  assert_matches $'\n✗ Running   cancelled\n✓ Download  1 file that it had finished\n' "$screen"
  assert_contains 'comfy-run: error: the job was cancelled' "$screen"
  assert_matches 'Pod local-[0-9a-f]+ is stopped' "$screen"
  assert_contains "autopod-kill $(the_pod)" "$screen"
  early_is_here one
  assert_equal "$(a_result '"\(.status) \(.exit_code)"')" 'cancelled 130'
  assert_equal "$(pod_field "$(the_pod)" .status)" stopped
}

@test "the next run of a template knows how long it takes, and what that costs; Ctrl+C ends the pod that was made" {
  local screen
  nap one '{"seconds": 1}'
  at 80 one.json
  ended 0
  screen=$(tmux_screen)
  assert_matches $'\n✓ Running   done in [0-9.]+ s on the server\n✓ Download  2 files, verified\n' "$screen"
  assert_matches $'\nDone in [0-9]+s, less than \\$0\.01\.\nPod local-[0-9a-f]+ is terminated; it cost less than \\$0\.01\.$' "$screen"
  assert_equal "$(ls outputs)" $'early-one_00001_.png\nlate-one_00001_.png'
  assert_no_pods
  tmux_stop
  rm -r outputs "$AUTOPOD_HOME"/runs/*
  nap two '{"seed": 2}' '{"pod_config": {"max_cost_usd": 5}}'
  at 80 two.json
  wait_shows $'\n. Running   \[[█░]+\] [ 0-9]{2} %  Nap \([0-9]+/4000\)  ? ?[0-9]+s, (about )?[0-9ms ]+ left\n  Cost      \$[0-9.]+ so far, about \$[0-9.]+ for this job, limit \$5\.00\n' 60
  tmux_keys C-c
  ended 130
  screen=$(tmux_all)
  assert_contains '✗ Running   interrupted' "$screen"
  assert_contains 'The job was cancelled on the server.' "$screen"
  assert_matches 'Pod local-[0-9a-f]+ is terminated; it cost ' "$screen"
  early_is_here two
  assert_equal "$(a_result '"\(.status) \(.exit_code)"')" 'interrupted 130'
  assert_no_pods
}

@test "keys: o opens the GUI, l the log, ? explains; others and arrows do nothing; k asks, n goes on, y ends the pod" {
  browser
  nap one
  at 80 one.json
  running
  tmux_keys '?'
  tmux_wait 'opens ComfyUI in the browser' 10
  tmux_keys '?'
  tmux_gone 'opens ComfyUI in the browser' 10
  tmux_keys l
  tmux_wait ' Submit: prompt ' 10
  tmux_keys Up Down Left Right F1 F5 Home x Z 7 ' ' Enter Tab
  tmux_keys l
  tmux_gone ' Submit: prompt ' 10
  tmux_keys o
  wait_until 10 test -s opened
  assert_equal "$(<opened)" "http://127.0.0.1:$AUTOPOD_PORT"
  tmux_keys k
  wait_shows $'\n  The job.s outputs are not here yet\. Kill pod local-[0-9a-f]+ all the same[?] y/n\n'
  hidden 'open GUI'
  tmux_keys n
  tmux_wait 'o open GUI' 10
  assert_equal "$(pod_field "$(the_pod)" .status)" running
  tmux_keys k
  tmux_wait 'y/n' 10
  tmux_keys y
  ended 130
  assert_matches 'Pod local-[0-9a-f]+ is terminated; it cost ' "$(tmux_screen)"
  early_is_here one
  assert_equal "$(a_result '"\(.status) \(.exit_code)"')" 'cancelled 130'
  assert_no_pods
}

@test "a browser that is not there: the address is said, above the block" {
  connect
  unset DISPLAY WAYLAND_DISPLAY
  export SSH_CONNECTION='1 2 3 4' # nobody sits in front of this machine
  nap one
  at 80 one.json
  running
  tmux_keys o
  wait_shows $'\nThe GUI is at http://127\.0\.0\.1:[0-9]+\n. Running '
  tmux_keys C-c
  ended 130
}

@test "q leaves job and pod; autopod-attach takes it up, and there is one execution" {
  local screen
  pod_job '{"seconds": 6}' # a server without a WebSocket
  rm -f before
  tmux_start 80 24 sh -c 'stty -g >before && exec "$0" --json one.json >events' "$AUTOPOD_BIN/comfy-run"
  wait_shows $'\n. Running   [0-9]+s\n  Cost .*\n  o open GUI ' 60
  tmux_keys q
  ended 1
  assert_events "$(<events)"
  assert_equal "$(event run_finished '"\(.status) \(.exit_code) \(.error): \(.hint)"' "$(<events)")" \
    "left 1 the job was left running on the server: autopod-attach $(basename "$(the_run)") takes it up"
  screen=$(tmux_screen)
  assert_contains '✓ Running   left on the server' "$screen"
  assert_contains "  watch it:  autopod-attach $(basename "$(the_run)")" "$screen"
  assert_contains "  cancel it: autopod-cancel $(basename "$(the_run)")" "$screen"
  assert_contains "Pod $(the_pod) runs on (\$0.10/h)." "$screen"
  assert_contains "  end it:    autopod-kill $(the_pod)" "$screen"
  assert_contains 'Limits: 1:20 h, no limit of cost; latest possible bill' "$screen"
  assert_contains 'Guards: watcher ✓' "$screen"
  refute_exists "$(the_run)/result.json"
  refute_exists outputs
  assert_equal "$(jq '.pods[].limits.minutes > 0' "$AUTOPOD_HOME/pods.json")" true 'a limit of time for a pod that nobody looks after'
  tmux_stop
  tmux_start 80 24 "$AUTOPOD_BIN/autopod-attach" one
  assert_equal "$(tmux_status 60)" 0
  assert_contains 'taking it up again' "$(tmux_screen)"
  assert_contains '✓ Download  1 file, verified' "$(tmux_screen)"
  assert_equal "$(a_result .status)" success
  assert_executions 1
  assert_no_pods # it had been made for the run
}

@test "autopod-attach has keys, too: it looks on, and takes up what was left; q leaves each time" {
  connect
  nap one
  start_command comfy-run one.json
  wait_until 30 eval 'the_run >/dev/null 2>&1'
  tmux_start 80 24 "$AUTOPOD_BIN/autopod-attach" one
  wait_shows $'\n. Running .*Nap \(.*\n  Cost .*\n  o open GUI   l log   q leave   Ctrl\+C leaves too\n' 60
  tmux_keys q
  assert_equal "$(tmux_status 20)" 0
  tmux_stop
  alive "$COMMAND_PID"
  kill_command KILL
  finish_command || :
  rm -f before
  tmux_start 80 24 sh -c 'stty -g >before && exec "$@"' sh "$AUTOPOD_BIN/autopod-attach" one
  running
  tmux_keys q
  ended 1
  assert_contains 'left on the server' "$(tmux_screen)"
  assert_contains 'autopod-attach one.' "$(tmux_screen)"
  tmux_stop
  tmux_start 80 24 sh -c 'stty -g >before && exec "$@"' sh "$AUTOPOD_BIN/autopod-attach" one
  running
  tmux_keys C-c
  ended 130
  early_is_here one
  assert_equal "$(curl -qsf "http://127.0.0.1:$AUTOPOD_PORT/history" | jq length)" 1 'prompts that the server ever had'
}

@test "a pod that was there before: Ctrl+C says what goes on costing money; TERM and kill -9 leave a terminal to work at" {
  local run
  connect
  nap one
  at 80 one.json
  running
  tmux_keys C-c
  ended 130
  assert_contains "Pod $POD runs on (\$0.10/h)." "$(tmux_screen)"
  assert_contains "autopod-kill $POD" "$(tmux_screen)"
  early_is_here one
  tmux_stop
  rm -r outputs "$AUTOPOD_HOME"/runs/*
  at 80 one.json
  running
  kill -TERM "$(tmux_pid)"
  ended 143
  assert_contains "Pod $POD runs on (\$0.10/h)." "$(tmux_screen)"
  early_is_here one
  tmux_stop
  rm -r "$AUTOPOD_HOME"/runs/*
  at 80 one.json
  running
  run=$(the_run)
  kill -9 "$(tmux_pid)"
  assert_equal "$(tmux_status 10)" 137
  wait_until 5 settings_are "$(<before)"
  assert_equal "$(tmux_do display-message -p '#{cursor_flag} #{wrap_flag}')" '1 1' 'cursor and line breaks'
  "$AUTOPOD_BIN/autopod-cancel" "$run"
}

@test "Ctrl+Z gives the shell its terminal back; fg goes on with the run, and its keys" {
  connect
  nap one
  tmux_start 80 24 env PS1='$ ' bash --norc -i
  tmux_keys 'comfy=$AUTOPOD_BIN/comfy-run; $comfy one.json' Enter
  running
  tmux_keys C-z
  tmux_wait Stopped 10
  tmux_keys 'clear; echo typed""here' Enter
  tmux_wait typedhere 10
  hidden 'open GUI'
  tmux_keys fg Enter
  running
  wait_shows $'^\ntypedhere\n[$] fg\n.*comfy one.json\n. Running ' # below what was written meanwhile
  tmux_keys '?'
  tmux_wait 'opens ComfyUI in the browser' 20
  tmux_keys q
  tmux_wait 'The job goes on without us.' 20
  tmux_wait $'autopod-kill local-' 10
  tmux_keys 'echo and""here' Enter
  wait_shows $'\n[$] echo and""here\nandhere\n'
  "$AUTOPOD_BIN/autopod-cancel" -q one
}

@test "two jobs: s and q end both, and say which one was not begun" {
  local key
  connect
  nap one
  nap two
  for key in q s; do
    at 80 one.json two.json
    running
    tmux_wait 'Job 1 of 2: one' 5
    tmux_keys "$key"
    if [ "$key" = q ]; then ended 1; else ended 130; fi
    assert_matches $'\nNot begun: two \(comfy-run --resume two\.[0-9TZ]+\.[0-9a-f]{4}\)\n' "$(tmux_all)"
    refute_contains 'Job 2 of 2' "$(tmux_all)"
    assert_equal "$(find "$AUTOPOD_HOME"/runs/two.* -name prompt.json)" ''
    [ "$key" = s ] || {
      tmux_stop
      "$AUTOPOD_BIN/autopod-cancel" -q one
      rm -r "$AUTOPOD_HOME"/runs/* outputs
    }
  done
  assert_equal "$(pod_field "$POD" .status)" stopped
}

@test "a server that is no pod: s and k say so; a job behind another one shows its place" {
  local prompt
  double_start '{"seconds": 600}'
  job one picture
  for prompt in a b; do
    curl -qsf --noproxy '*' -o answer --data-binary "{\"prompt_id\": \"$prompt\", \"prompt\": {}}" "$DOUBLE/prompt"
  done
  at 120 --url "$DOUBLE" one.json
  wait_shows $'\n. Waiting   at position 2 of the server.s queue   [0-9]+s\n  o open GUI ' 30
  tmux_keys s
  wait_shows "The server at $DOUBLE is no pod of autopod.s: there is nothing to stop\."
  tmux_keys k
  wait_shows "there is nothing to stop\..*there is nothing to stop\."
  hidden 'y/n'
  curl -qsf --noproxy '*' -o answer -d '{"prompt_id": "a"}' "$DOUBLE/interrupt"
  tmux_wait 'at position 1 of' 10
  tmux_resize 40 24
  wait_shows $'\n. Waiting   position 1   [0-9]+s\n'
  curl -qsf --noproxy '*' -o answer -d '{"prompt_id": "b"}' "$DOUBLE/interrupt"
  wait_shows $'\n. Running   [0-9]+s\n'
  hidden Cost
  tmux_keys q
  ended 1
  refute_contains 'Pod ' "$(tmux_screen)"
}

@test "ASCII without UTF-8, no colours with NO_COLOR, plain lines on a dumb terminal" {
  local screen
  connect
  nap one
  LC_ALL=C NO_COLOR=1 at 80 one.json
  wait_shows $'\n[|/\\-]  Running .*Nap \(' 60
  screen=$(tmux_do capture-pane -p -e)
  assert_matches $'ok Pod       local-' "$screen"
  assert_matches $'\n[|/\\-]  Running   \[#+-+\] [0-9]{2} %  Nap \([0-9]+/4000\)' "$screen"
  refute_contains $'\033' "$screen"
  assert_equal "$(LC_ALL=C tr -d '\000-\177' <<<"$screen")" '' 'bytes that are not ASCII'
  tmux_keys C-c
  ended 130
  tmux_stop
  tmux_start 80 24 env TERM=dumb "$AUTOPOD_BIN/comfy-run" --overwrite one.json
  wait_shows $'\nRunning: [0-9]+ %, [0-9]+s, less than \$0\.01\n' 60
  tmux_keys s l '?' # no keys here: they stay for whoever reads the terminal next
  tmux_keys C-c
  assert_equal "$(tmux_status 30)" 130
  refute_contains 'open GUI' "$(tmux_screen)"
  refute_contains 'stopped' "$(tmux_screen)"
  assert_equal "$(rows '^Running: ')" 1
}

@test "what is piped in belongs to the job or to whoever is next; there are no keys then" {
  connect
  job one picture
  job two picture
  nap long
  printf '%s\n' one.json two.json >list
  # The same loop as in any script: a command that ate its input would end it after the first turn.
  tmux_start 80 24 sh -c 'while read -r job; do "$0" "$job"; done <list; printf "y\ny\n" | { "$0" --overwrite two.json; cat >rest; }' \
    "$AUTOPOD_BIN/comfy-run"
  assert_equal "$(tmux_status 60)" 0
  assert_equal "$(ls outputs)" $'one_00001_.png\ntwo_00001_.png'
  assert_equal "$(<rest)" $'y\ny'
  tmux_stop
  tmux_start 80 24 sh -c '"$0" --job - <long.json' "$AUTOPOD_BIN/comfy-run"
  wait_shows $'\n. Running .*Nap \(' 60
  hidden 'open GUI'
  tmux_keys s k y
  tmux_keys C-c
  assert_equal "$(tmux_status 30)" 130
  assert_equal "$(pod_field "$POD" .status)" running
}

@test "what was typed before there were keys is no command" {
  local fifo=$BATS_TEST_TMPDIR/fifo
  mkfifo "$fifo"
  connect
  nap one
  tmux_start 80 24 sh -c 'read -r go <"$1"; exec "$0" one.json' "$AUTOPOD_BIN/comfy-run" "$fifo"
  tmux_keys s Enter k Enter y Enter q
  tmux_wait $'s\nk\ny\nq' 10
  echo go >"$fifo"
  running
  tmux_keys '?' # whatever was there before this has been looked at
  tmux_wait 'opens ComfyUI in the browser' 10
  tmux_keys C-c
  assert_equal "$(tmux_status 30)" 130
  assert_equal "$(pod_field "$POD" .status)" running
}

@test "a job that stands still: w waits, o shows the GUI and asks on, c cancels the job, k kills the pod" {
  local question='It stands still: w wait, o open GUI, c cancel the job, k kill the pod?'
  browser
  pod_job '{"seconds": 600}'
  export STALL_UNIT=1
  at 80 --stall-timeout 4 one.json
  tmux_wait "$question" 60
  assert_matches 'warning: the job has stood still for [0-9]+s \(no sign of work\); less than' "$(tmux_all)"
  tmux_keys o
  wait_until 10 test -s opened
  tmux_wait "$question" 10
  tmux_keys w
  tmux_gone "$question" 10
  tmux_wait "$question" 30 # it is asked again, and was not stopped
  tmux_keys w
  tmux_gone "$question" 10
  tmux_wait "$question" 30
  tmux_keys c
  ended 130
  assert_contains 'the job was cancelled' "$(tmux_all)"
  assert_no_pods
  tmux_stop
  at 80 --stall-timeout 4 one.json
  tmux_wait "$question" 60
  tmux_keys k
  tmux_wait 'Kill pod local-' 10
  tmux_keys y
  ended 130
  assert_contains 'is terminated' "$(tmux_screen)"
  assert_no_pods
}

@test "nobody answers the question: the pod is stopped at twice the time" {
  pod_job '{"seconds": 600}'
  connect
  export STALL_UNIT=1
  at 80 --stall-timeout 3 one.json
  tmux_wait 'It stands still: ' 60
  ended 8
  assert_contains 'error: given up: the job has stood still' "$(tmux_all)"
  assert_equal "$(pod_field "$POD" .status)" stopped
}

@test "without a terminal: a line for each step, one when the job runs, and nothing else; with -q nothing" {
  local line
  connect
  nap one '{"seconds": 3}'
  comfy_run one.json
  assert_status 0
  assert_equal "$output" ''
  line=$(sed -E -e 's/[0-9a-f]{8}-[0-9a-f-]{27}/ID/' -e 's/([0-9]+ %, )?[0-9]+s, less/Ns, less/' -e 's/[0-9]+s,/Ns,/' -e 's/in [0-9.]+ s/in N s/' <<<"$stderr")
  assert_equal "$line" "✓ Pod       $POD, CPU, \$0.10/h
✓ Tunnel    localhost:$AUTOPOD_PORT → $POD:$(pod_field "$POD" .comfy_port), ComfyUI 0.3.64
✓ Upload    1 file, $(($(wc -c <in.png))) B
✓ Submit    prompt ID
Running: Ns, less than \$0.01
✓ Running   done in N s on the server
✓ Download  2 files, verified
  $PWD/outputs/early-one_00001_.png  $(($(wc -c <outputs/early-one_00001_.png))) B
  $PWD/outputs/late-one_00001_.png  $(($(wc -c <outputs/late-one_00001_.png))) B
Done in Ns, less than \$0.01."
  comfy_run --quiet --overwrite one.json
  assert_status 0
  assert_equal "$output$stderr" ''
}
