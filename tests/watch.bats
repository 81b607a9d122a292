#!/usr/bin/env bats
# helpers/watch.py: what a ComfyUI says over its WebSocket becomes short lines, whatever goes wrong.

# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper

PROMPT=6c6ae7c8-5b5a-4a3e-9f0e-2d6c4f6f9e11
CLIENT=6f0f8f0e7d1b4bd2a3b5c7d9e1f20314

setup() {
  autopod_setup
  WATCHER_PID='' DOUBLE_PID='' SIM_PID=''
  mkfifo commands
  : >events
}

teardown() {
  local pid
  exec 6>&-
  for pid in $WATCHER_PID $DOUBLE_PID $SIM_PID; do
    kill -s KILL "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || :
  done
  autopod_teardown
}

# double [PORT] - starts a server that does what it is told: DOUBLE_PID, URL
double() {
  : >"$TMPDIR/double"
  "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/recorded_ws.py" --port "${1:-0}" >"$TMPDIR/double" 2>"$TMPDIR/double.err" 3>&- 6>&- &
  DOUBLE_PID=$!
  wait_until 10 grep -q ready "$TMPDIR/double" || { cat "$TMPDIR/double.err" >&2 && return 1; }
  URL=$(sed 's/.* //' "$TMPDIR/double")
}

# act JSON - tells the server what to do
act() { curl -sS -o "$TMPDIR/act" --data-binary "$1" "$URL/double"; }

# seen FILTER - what jq makes of what the server has seen
seen() { curl -sS "$URL/double" | jq -r "$1"; }

# seen_is FILTER WANTED
seen_is() { [ "$(seen "$1")" = "$2" ]; }

# watcher [OPTION...] - starts watch.py: events in the file events, complaints in complaints
watcher() {
  "$AUTOPOD_PYTHON" -B "$ROOT/helpers/watch.py" "$@" <commands >>events 2>complaints 3>&- &
  WATCHER_PID=$!
  exec 6>commands
  event '^ready$'
}

# say FIELD... - a command
say() { (IFS=$'\t' && printf '%s\n' "$*") >&6; }

# event REGEX - waits until it has been said
event() { wait_until 10 grep -q -E -e "$1" events; }

# count REGEX - how many lines were said
count() { grep -c -E -e "$1" events || :; }

# said_times REGEX N
said_times() { [ "$(count "$1")" = "$2" ]; }

# workflow NAME - the workflow of a recording, in a file of that name
workflow() { jq --arg name "$1" '.[$name].workflow' "$ROOT/tests/fixtures/comfyui/ws.json" >"$1.json"; }

# follow WORKFLOW_FILE [TIMINGS_FILE] - has the watcher follow PROMPT, and waits until it is connected
follow() {
  : >events
  say watch "$URL" "$CLIENT" "$PROMPT" "$1" "${2:-none}" new
  event '^open$'
}

# play NAME [MORE] - the server sends a recording to PROMPT's client
play() { act "{\"play\": \"$1\", \"prompt\": \"$PROMPT\", \"to\": \"$CLIENT\"${2:-}}"; }

# play_out NAME - the same until the watcher has heard the end of it: it may have been about to change its connection, for the
# silence before
play_out() {
  for _ in 1 2 3 4 5; do
    play "$1"
    wait_until 2 grep -q '^done$' events 2>/dev/null && return
  done
  event '^done$'
}

# send JSON... - the server sends messages to PROMPT's client
send() {
  local one
  for one in "$@"; do
    act "$(jq -n --arg text "$one" --arg to "$CLIENT" '{send: $text, to: $to}')"
  done
}

# about PROMPT_ID KIND FIELDS - a message about a prompt
about() { printf '{"type": "%s", "data": {"prompt_id": "%s"%s}}' "$2" "$1" "${3:+, $3}"; }

# said [KIND...] - all events of these kinds, in one line, fields separated by |
said() {
  (IFS='|' && grep -E "^($*)(	|\$)" events) | tr '\t' '|' | paste -s -d ' ' -
}

# last_progress - the last progress
last_progress() { grep '^progress' events | tail -n 1 | tr '\t' '|'; }

# progress_is WANTED
progress_is() { [ "$(last_progress)" = "progress|$1" ]; }

# progress_like WANTED - the same, but LEFT is any number of seconds
progress_like() { progress_is "${1%%LEFT*}$(last_progress | cut -d '|' -f 3 | grep -x '[0-9][0-9]*')${1#*LEFT}"; }

# finish - ends stdin, and wants the watcher to end well, without complaints
finish() {
  exec 6>&-
  local status=0
  wait_until 2 watcher_ended
  wait "$WATCHER_PID" || status=$?
  WATCHER_PID=''
  assert_equal "$status $(<complaints)" '0 '
}

watcher_ended() { ! kill -0 "$WATCHER_PID" 2>/dev/null; }

# --- recordings -----------------------------------------------------------------------------------

# recorded NAME LAST_PROGRESS ERROR - plays it; wants these to be said, and the end
recorded() {
  workflow "$1"
  rm -f new
  follow "$1.json"
  play "$1"
  event '^done$'
  assert_equal "$(last_progress | cut -d '|' -f 2-)" "$2" "progress of $1"
  assert_equal "$(said error)" "${3:+error|$3}" "error of $1"
  assert_equal "$(tail -n 1 events) $(count '^done$')" 'done 1' "end of $1"
  assert_file new
}

@test "each recorded run comes to its end, with what became of it" {
  double
  watcher
  recorded success '100||2|2|||2|SaveImage'
  assert_equal "$(said node open lost)" 'open node|1|0.0|EmptyImage node|2|0.0|SaveImage'
  recorded success@0.33.0 '100||2|2|||2|SaveImage'
  recorded cached_rerun '100||2|2||||'
  assert_equal "$(said node)" ''
  assert_equal "$(jq -c . new)" '{"runs":1,"nodes":{},"idle":[]}'
  recorded cached_rerun@0.33.0 '100||2|2||||'
  recorded progress_labsleep '100||3|3|||3|SaveImage'
  recorded preview_old_binary '100||3|3|||3|SaveImage'
  recorded preview_with_metadata '100||3|3|||3|SaveImage'
  recorded text_output '100||1|1|||1|LabText'
  recorded lab_ui_gifs '100||1|1|||1|LabUi'
  recorded previewany '100||2|2|||2|PreviewAny'
  recorded ischanged_raises '100||3|3|||3|SaveImage'
  recorded success_no_saveoutput_change '100||2|2|||2|SaveImage'
  recorded error '33||1|3|||2|LabFail' 'LabFail: RuntimeError: lab failure message'
  assert_equal "$(jq .runs new)" 0
  recorded error@0.33.0 '33||1|3|||2|LabFail' 'LabFail: RuntimeError: lab failure message'
  recorded error_oom '33||1|3|||2|LabOOM' 'LabOOM: torch.OutOfMemoryError: Allocation on device (lab: pretend CUDA out of memory)'
  recorded interrupted '36||1|3|1|10|2|LabSleep'
  recorded interrupted@0.33.0 '36||1|3|1|10|2|LabSleep'
  recorded interrupted_blind_node '66||2|3|||3|SaveImage'
  recorded interrupted_by_prompt_id '40||1|3|2|10|2|LabSleep'
  recorded execution_blocker_silent '100||3|3|||3|SaveImage'
  recorded execution_blocker_with_message '100||3|3|||3|SaveImage' \
    'SaveImage: ExecutionBlocked: Execution Blocked: blocked on purpose'
  recorded error_prefix_traversal '50||1|2|||2|SaveImage' \
    'SaveImage: Exception: **** ERROR: Saving image outside the output folder is not allowed.'
  recorded error_with_other_output_done '50||2|4|||2|LabFail' 'LabFail: RuntimeError: lab failure message'
  recorded subgraph_expansion '100||3|3|||3|SaveImage'
  assert_equal "$(said node)" 'node|1|0.0|EmptyImage node|2|0.0|LabExpand node|3|0.0|SaveImage'
  recorded subgraph_expansion@0.33.0 '100||3|3|||3|SaveImage'
  assert_equal "$(seen '[.sockets[].origin] | unique | tostring')" '[""]'
  finish
}

@test "what another client runs is not ours" {
  double
  workflow progress_labsleep
  watcher
  follow progress_labsleep.json
  act '{"play": "no_client_id_other_ws_listening", "prompt": "another"}'
  act '{"play": "error", "prompt": "another"}'
  act '{"send": "{\"type\": \"status\", \"data\": {\"status\": {\"exec_info\": {\"queue_remaining\": 7}}}}"}'
  event '^queue	7$'
  assert_equal "$(said progress)" ''
  send '{"type": "executing", "data": {"node": null, "prompt_id": null}}'
  play progress_labsleep
  event '^done$'
  refute_contains error "$(<events)"
  assert_equal "$(count '^node')" 3
  assert_equal "$(said lost 'done')" 'done'
  finish
}

# --- how far, and how long ------------------------------------------------------------------------

@test "steps of a node, its weight, and the time that is left" {
  double
  workflow progress_labsleep
  watcher
  printf '{"runs": 3, "nodes": {"1": 1, "2": 8, "3": 1, "9": 100}}' >old
  follow progress_labsleep.json old
  send "$(about "$PROMPT" execution_cached '"nodes": ["1"]')" \
    "$(about "$PROMPT" executing '"node": "2"')" \
    "$(about "$PROMPT" progress '"node": "2", "value": 1, "max": 4')"
  wait_until 10 progress_like '30|LEFT|1|3|1|4|2|LabSleep'
  # It never goes back, and numbers that are none don't count.
  send "$(about "$PROMPT" progress '"node": "2", "value": 6, "max": 8')"
  wait_until 10 progress_like '70|LEFT|1|3|6|8|2|LabSleep'
  send "$(about "$PROMPT" progress '"node": "2", "value": 1, "max": 8')"
  wait_until 10 progress_like '70|LEFT|1|3|1|8|2|LabSleep'
  send "$(about "$PROMPT" progress '"node": "2", "value": NaN, "max": 8')" \
    "$(about "$PROMPT" progress '"node": "2", "value": 1e999, "max": 8')" \
    "$(about "$PROMPT" progress '"node": "2", "value": "5", "max": 8')" \
    "$(about "$PROMPT" progress '"node": "2", "value": 99, "max": 9')"
  wait_until 10 progress_like '90|LEFT|1|3|9|9|2|LabSleep'
  send "$(about "$PROMPT" executing '"node": null')"
  event '^done$'
  assert_equal "$(jq -c . new)" '{"runs":3,"nodes":{"1":1,"2":8,"3":1},"idle":[]}'
  finish
}

@test "percent, seconds left and what is learnt, by the clock" {
  "$AUTOPOD_PYTHON" - "$ROOT/helpers" <<'E'
import sys
sys.path.insert(0, sys.argv[1])
from weights import Progress, leading_to_outputs, title_of

def chain(*links):
    """A workflow of nodes 1, 2, ...; links are pairs of source and consumer."""
    names = sorted({name for link in links for name in link})
    return {name: {"class_type": "C" + name,
                   "inputs": {f"i{n}": [a, 0] for n, (a, b) in enumerate(links) if b == name}} for name in names}

def same(got, wanted):
    if got != wanted:
        raise SystemExit(f"line {sys._getframe(1).f_lineno}\nwanted: {wanted}\ngot:    {got}")

flow = chain("12", "23", "34")
# Nothing is known: nodes weigh the same, and nobody knows how long it takes.
one = Progress(flow, None)
same(one.fields(0)[:4], ("0", "", "0", "4"))
one.run("1", None, 0)
same(one.finish("1", 2), "1")
same(one.finish("1", 3), "")
one.run("2", None, 2)
one.step("2", None, 5, 10, 3)
same(one.fields(3), ("37", "", "1", "4", "5", "10", "2", "C2"))
same(one.learnt(), {"runs": 0, "nodes": {"1": 2}, "idle": []})
# All is known: what ran took twice its time, which says the more the less is left.
known = {"runs": 1, "nodes": {"1": 10, "2": 10, "3": 70, "4": 10}}
two = Progress(flow, known)
same(two.fields(0)[:4], ("0", "100", "0", "4"))
two.run("1", None, 0)
same(two.fields(4)[:4], ("0", "96", "0", "4"))
two.finish("1", 20)
two.run("2", None, 20)
two.finish("2", 40)
two.run("3", None, 40)
same(two.fields(40)[:4], ("20", "96", "2", "4"))
two.step("3", None, 1, 11, 60)  # its first step took long: a model was loaded
two.step("3", None, 2, 11, 61)
same(two.fields(61)[:6], ("32", "65", "2", "4", "2", "11"))
two.step("3", None, 7, 11, 66)
same(two.fields(66)[:6], ("64", "16", "2", "4", "7", "11"))
two.finish("3", 70)
two.run("4", None, 70)
same(two.fields(70)[:4], ("90", "8", "3", "4"))
two.finish("4", 75)
two.succeed()
same(two.fields(75)[:4], ("100", "0", "4", "4"))
same(two.learnt(), {"runs": 2, "nodes": {"1": 15, "2": 15, "3": 50, "4": 7.5}, "idle": []})
# One node is not known: it weighs as the others do on average, and the time is left out.
three = Progress(flow, {"nodes": {"1": 10, "2": 20, "3": 0}})
same(three.fields(0)[:4], ("0", "", "0", "4"))
three.cached("4")
same(three.fields(0)[:4], ("24", "31", "1", "4"))
# Timings that make no sense are none.
for bad in ([], "x", {"nodes": []}, {"nodes": {"1": -1, "2": "x", "3": float("nan"), "4": True}, "runs": "x", "idle": 5},
            {"nodes": {"1": 10 ** 400}, "runs": float("inf"), "idle": [1, {}]}):
    same(Progress(flow, bad).fields(0)[:4], ("0", "", "0", "4"))
# After a gap only the node that ran all the time has a time.
four = Progress(flow, known)
four.run("1", None, 0)
four.finish("1", 10)
four.run("2", None, 10)
four.lose_sight()
four.run("2", None, 15)
same(four.finish("2", 22), "2")
four.run("3", None, 22)
four.lose_sight()
same(four.finish("3", 90), "")
four.run("4", None, 91)
eight = Progress(flow, known)
eight.run("3", None, 1)
eight.lose_sight()
eight.run("4", None, 2)
same(eight.finish("3", 3), "")
same(four.finish("4", 95), "")
four.succeed()
same(four.learnt(), {"runs": 2, "nodes": {"1": 10, "2": 11, "3": 70, "4": 10}, "idle": []})
# Nodes that nobody ran don't count the next time, until they do run.
flow = chain("12", "34")
five = Progress(flow, None)
for name in "12":
    five.run(name, None, 0)
    five.finish(name, 1)
five.succeed()
same(five.learnt(), {"runs": 1, "nodes": {"1": 1, "2": 1}, "idle": ["3", "4"]})
six = Progress(flow, five.learnt())
same(six.fields(0)[:4], ("0", "2", "0", "2"))
six.run("3", None, 0)
same(six.fields(0)[:4], ("0", "", "0", "3"))
# Graphs: a side branch, a circle, links that are none.
same(leading_to_outputs(chain("12", "13"), set()), {"1", "2", "3"})
same(leading_to_outputs(chain("12", "21"), set()), {"1", "2"})
odd = {"1": 5, "2": {"inputs": {"a": ["1"], "b": ["1", 0, 0], "c": [1, 0], "d": ["9", 0], "e": [["1"], 0]}}}
same(leading_to_outputs(odd, set()), {"1", "2"})
# What an id stands for.
ids = (("2", None), ("2.0.0.1", "2"), ("2.0.0.1", None), ("9", "8"), (2, "2"), ("x", []))
same([one.owner(*pair) for pair in ids], ["2", "2", "2", "", "", ""])
# Steps of a node that another was expanded to are shown, but say nothing of the whole.
seven = Progress(chain("12", "23", "34"), {"nodes": {"1": 1, "2": 9, "3": 1, "4": 1}})
seven.cached("1")
seven.step("2.0.0.1", "2", 1, 9, 5)
seven.step("2.0.0.1", "2", 9, 9, 6)
same(seven.fields(6), ("8", "10", "1", "4", "9", "9", "2", "C2"))
seven.step("2", "2", 1, 2, 7)
same(seven.fields(7), ("45", "9", "1", "4", "1", "2", "2", "C2"))
# Titles.
for node, wanted in (
    ({"class_type": "KSampler", "_meta": {"title": "Draw it"}}, "Draw it"),
    ({"class_type": "KSampler", "_meta": {"title": "  "}}, "KSampler"),
    ({"class_type": "KSampler", "_meta": 5}, "KSampler"),
    ({"class_type": 5}, "node 7"),
    (None, "node 7"),
    ({"class_type": "x" * 24}, "x" * 24),
    ({"class_type": "x" * 25}, "x" * 21 + "..."),
    ({"class_type": "a\tb\n\x1b[2Jc\x9b\u202e"}, "a\\tb\\n\\x1b[2Jc\\x9b\\u202e"),
    ({"class_type": "\u5f69" * 12}, "\u5f69" * 12),
    ({"class_type": "\u5f69" * 13}, "\u5f69" * 10 + "..."),
    ({"class_type": "e\u0301" * 24}, "e\u0301" * 24),
    ({"class_type": "\ud800"}, "\\ud800"),
):
    same(title_of("7", node), wanted)
E
}

@test "a workflow that can't be read, and nodes that it doesn't have" {
  double
  watcher
  local file
  printf '{"1": ' >broken.json
  printf '[1, 2]' >list.json
  for file in broken.json list.json none.json; do
    follow "$file"
    play progress_labsleep
    event '^done$'
    assert_equal "$(last_progress)" 'progress|100||3|3|||3|node 3'
    assert_equal "$(count '^node	[123]	[0-9.]*	node [123]$')" 3
    assert_equal "$(jq -c .nodes new)" '{}'
  done
  printf '{"8": {"class_type": "Other", "inputs": {}}}' >other.json
  follow other.json
  play progress_labsleep
  event '^done$'
  assert_equal "$(last_progress)" 'progress|100||1|1||||'
  finish
}

@test "titles with escape sequences, wide and endless ones; lines have at most 500 bytes" {
  double
  watcher
  jq -n '{"1": {class_type: "A", inputs: {}, _meta: {title: "\u001b]0;x\u0007\ttab\nline"}},
    "2": {class_type: ("x" * 5000), inputs: {a: ["1", 0]}},
    ("\u5f69" * 400): {class_type: ("\u5f69" * 400), inputs: {a: ["2", 0]}}}' >odd.json
  follow odd.json
  local id
  for id in '"1"' '"2"' "$(jq 'keys[2]' odd.json)"; do
    send "$(about "$PROMPT" executing "\"node\": $id")" "$(about "$PROMPT" executed "\"node\": $id")"
  done
  send "$(about "$PROMPT" execution_error '"exception_type": "\u001b[31mE", "exception_message": '"$(jq -n '"\u5f69" * 400')")" \
    "$(about "$PROMPT" executing '"node": null')"
  event '^done$'
  assert_equal "$(LC_ALL=C awk 'length($0) > 499' events)" ''
  assert_equal "$(LC_ALL=C tr -d '\t\n -~\200-\377' <events | wc -c | tr -d ' ')" 0
  assert_equal "$(grep '^node' events | cut -f 4)" '\x1b]0;x\x07\ttab\nline
xxxxxxxxxxxxxxxxxxxxx...
彩彩彩彩彩彩彩彩彩彩...'
  assert_matches '^error[|]\\x1b\[31mE: (彩)+\.\.\.$' "$(said error)"
  finish
}

@test "many steps at once make few lines, and the last one is among them" {
  double
  workflow progress_labsleep
  watcher
  follow progress_labsleep.json
  jq -n --arg to "$CLIENT" --arg one "$(about "$PROMPT" progress '"node": "2", "value": N, "max": 500')" \
    '{to: $to, pause: 0.003, sends: [range(1; 401) as $n | $one | sub("N"; "\($n)")]}' >many
  SECONDS=0
  act @many
  wait_until 10 progress_is '26||0|3|400|500|2|LabSleep'
  [ "$(count '^progress')" -le $((10 * SECONDS + 12)) ] # the clock may be just before a full second
  finish
}

# --- connections ----------------------------------------------------------------------------------

# open_sockets N - wait until the server has N, as it sees it
open_sockets() { wait_until 10 seen_is '[.sockets[] | select(.open)] | length' "$1"; }

# own_sockets N - wait until N were ever made with the client's own id, and the last one is open
own_sockets() {
  wait_until 10 seen_is "[.sockets[] | select(.id == \"$CLIENT\")] | [length, .[-1].open] | tostring" "[$1,true]"
}

# cut - the connection with the client's own id is reset, and the watcher is back
cut_off() {
  act "{\"to\": \"$CLIENT\", \"cut\": true}"
  event '^back$'
  own_sockets 2
}

@test "a connection that is cut: the news go on over two others, one of them with a fresh id" {
  double
  workflow progress_labsleep
  watcher
  follow progress_labsleep.json
  play progress_labsleep ', "until": 14'
  wait_until 10 progress_is '50||1|3|2|4|2|LabSleep'
  cut_off
  open_sockets 2
  assert_matches '^open lost[|][^|]* back$' "$(said lost back open)"
  assert_equal "$(seen '[.sockets[].id] | unique | length')" 2
  play progress_labsleep ', "from": 14'
  event '^done$'
  assert_equal "$(last_progress)" 'progress|100||3|3|||3|SaveImage'
  finish
}

@test "who comes back in the middle is told the node, and takes that" {
  double
  workflow reconnect_mid_run
  watcher
  follow reconnect_mid_run.json
  act '{"set": {"greet": [{"type": "executing", "data": {"node": "2"}}]}}'
  cut_off
  wait_until 10 progress_is '0||0|3|||2|LabSleep'
  play reconnect_mid_run ', "from": 2'
  event '^done$'
  assert_equal "$(last_progress)" 'progress|100||3|3|||3|SaveImage'
  finish
}

@test "a server that is killed and comes again" {
  double
  workflow success
  watcher
  follow success.json
  kill -s KILL "$DOUBLE_PID"
  event '^lost'
  wait "$DOUBLE_PID" || :
  double "${URL##*:}"
  event '^back$'
  open_sockets 2
  play success
  event '^done$'
  assert_matches '^lost[|].* back done$' "$(said lost back 'done')"
  assert_equal "$(count '^lost')" 1
  finish
}

@test "a server that is not there yet" {
  double
  kill -s KILL "$DOUBLE_PID"
  wait "$DOUBLE_PID" || :
  workflow success
  watcher
  say watch "$URL" "$CLIENT" "$PROMPT" success.json none new
  event '^lost'
  double "${URL##*:}"
  event '^open$'
  play success
  event '^done$'
  assert_equal "$(said lost open back)" 'lost|connection refused open'
  assert_equal "$(seen '.sockets | length')" 1
  finish
}

@test "a link that says nothing any more is pinged, given up, and made anew" {
  double
  workflow success
  watcher --ping 0.3
  follow success.json
  wait_until 10 seen_is '.sockets[0].pings > 2' true
  assert_equal "$(said lost)" ''
  act '{"set": {"mute": true}}'
  event '^lost	no answer$'
  act '{"set": {"mute": null}}'
  event '^back$'
  finish
}

@test "a second connection that the server forgot is closed, and only then made anew" {
  double
  workflow progress_labsleep
  watcher --silence 1
  follow progress_labsleep.json
  cut_off
  # The double, too, forgets a later one when an earlier one is closed after it came; here that takes long.
  act "{\"to\": \"$CLIENT\", \"forget\": true, \"set\": {\"linger\": 0.5}}"
  own_sockets 3
  wait_until 10 seen_is '[.sockets[] | select(.open)] | length' 2
  play_out progress_labsleep
  assert_equal "$(last_progress)" 'progress|100||3|3|||3|SaveImage'
  assert_equal "$(count '^lost')" 1
  finish
}

@test "a broadcast that only one of two connections hears tells that the other is deaf" {
  double
  workflow success
  watcher
  follow success.json
  cut_off
  act "{\"to\": \"$CLIENT\", \"forget\": true}"
  sleep 1.1
  act '{"send": "{\"type\": \"status\", \"data\": {\"status\": {\"exec_info\": {\"queue_remaining\": 7}}}}"}'
  event '^queue	7$'
  own_sockets 3
  play success
  event '^done$'
  finish
}

@test "the only connection is silent, as when a former one with its id has gone: two are made" {
  double
  workflow progress_labsleep
  watcher --silence 1
  follow progress_labsleep.json
  play progress_labsleep ', "until": 14'
  wait_until 10 progress_is '50||1|3|2|4|2|LabSleep'
  act "{\"to\": \"$CLIENT\", \"forget\": true}"
  act '{"set": {"greet": [{"type": "executing", "data": {"node": "2"}}]}}'
  own_sockets 2
  play progress_labsleep ', "from": 14'
  event '^done$'
  assert_equal "$(said lost)" ''
  assert_equal "$(grep '^node' events | cut -f 2 | paste -s -d ' ' -)" '1 2 3' # so it is known since when 2 runs
  finish
}

@test "the address changes" {
  double
  workflow success
  watcher
  local first=$DOUBLE_PID
  follow success.json
  double
  say url "$URL"
  event '^back$'
  open_sockets 2
  kill -s KILL "$first"
  wait "$first" || :
  play success
  event '^done$'
  assert_equal "$(said lost back)" 'lost|the address has changed back'
  # The same address once more only has it looked after.
  say url "$URL"
  wait_until 10 seen_is '[.sockets[].pings] | add > 0' true
  open_sockets 2
  assert_equal "$(seen '.sockets | length')" 2
  finish
}

@test "a server that refuses or sends elsewhere, and what is no address" {
  double
  workflow success
  watcher
  act '{"set": {"status": 403}}'
  say watch "$URL" "$CLIENT" "$PROMPT" success.json none new
  event '^lost	HTTP 403$'
  say stop
  act '{"set": {"status": 302, "location": "ws://127.0.0.1:9/x"}}'
  say watch "$URL" "$CLIENT" "$PROMPT" success.json none new
  wait_until 10 said_times '^lost' 2
  refute_contains refused "$(<events)"
  act '{"set": {"status": null}}'
  event '^open$'
  say watch not-a-url "$CLIENT" "$PROMPT" success.json none new
  event '^lost	not an address$'
  finish
}

@test "a proxy that the environment names is not asked for loopback" {
  double
  workflow success
  export http_proxy=http://127.0.0.1:9 no_proxy=example.com
  watcher
  unset http_proxy no_proxy
  follow success.json
  assert_equal "$(said lost)" ''
  finish
}

# --- what comes in --------------------------------------------------------------------------------

@test "messages that make no sense are passed over" {
  double
  workflow success
  watcher
  follow success.json
  local deep digits nodes
  printf -v deep '%3000s' ''
  printf -v digits '%05000d' 0
  nodes='{"1": {"state": ["x"]}, "2": {"state": "running", "value": NaN, "max": -Infinity}, "9": {"state": "finished"}}'
  send '' 'x' '[]' '5' 'null' '{}' '{"type": "status"}' '{"type": "status", "data": {}}' "${deep// /[}" \
    '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": NaN}}}}' \
    '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": "\u001b"}}}}' \
    '{"type": ["executing"], "data": {"node": null}}' '{"type": "executing", "data": {"node": null}}' \
    '{"type": "executing", "data": []}' "$(about "$PROMPT" progress_state '"nodes": 5')" \
    "$(about "$PROMPT" progress_state '"nodes": {"1": 5}')" "$(about "$PROMPT" progress_state "\"nodes\": $nodes")" \
    "$(about "$PROMPT" execution_cached '"nodes": "12"')" "$(about "$PROMPT" execution_cached '"nodes": [5, [], {}]')" \
    "$(about "$PROMPT" executing '"node": 5')" "$(about "$PROMPT" executing '"node": {}')" \
    "$(about "$PROMPT" executed '"node": []')" "$(about "$PROMPT" execution_error)" \
    "$(about "$PROMPT" execution_error '"exception_message": 5, "exception_type": []')" "$(about "$PROMPT" nonsense)" \
    "$(about "$PROMPT" progress "\"node\": \"1\", \"value\": 1$digits, \"max\": 2")"
  act "{\"to\": \"$CLIENT\", \"hex\": \"8102c328\"}" # not UTF-8
  act "$(jq -n --arg to "$CLIENT" --arg split "$(about "$PROMPT" executing '"node": "1"')" '{to: $to, split: $split}')"
  wait_until 10 progress_is '0||0|2|||1|EmptyImage'
  play success
  event '^done$'
  assert_equal "$(said lost) $(count '^queue	[^01]')" ' 0'
  assert_equal "$(count '^error	$')" 2
  seen_is '.sockets[0].pongs' 1
  finish
}

@test "pictures and messages without end are not held" {
  double
  workflow success
  watcher
  follow success.json
  act "{\"to\": \"$CLIENT\", \"huge\": 150000000}"
  act "{\"to\": \"$CLIENT\", \"huge\": 150000000, \"kind\": 1}"
  act "{\"to\": \"$CLIENT\", \"huge\": 10000000, \"kind\": 1}"
  play success
  event '^done$'
  assert_equal "$(said lost)" ''
  [ ! -r "/proc/$WATCHER_PID/status" ] || [ "$(awk '/VmHWM/ { print $2 }' "/proc/$WATCHER_PID/status")" -lt 100000 ]
  finish
}

@test "what is no WebSocket ends the connection, and another is made" {
  double
  workflow success
  watcher
  local bytes
  # reserved bits, a masked frame, an unknown kind, a control frame that is too long, a close frame, HTTP
  for bytes in f100 8180 8300 897e0100 880203e8 485454502f312e3120343034; do
    CLIENT=client-$bytes
    follow success.json
    act "{\"to\": \"$CLIENT\", \"hex\": \"$bytes\"}"
    event '^lost'
    event '^back$'
    say stop
  done
  follow success.json
  play success
  event '^done$'
  finish
}

# --- the program ----------------------------------------------------------------------------------

@test "two prompts one after another: the same client keeps its connection, another has its own" {
  double
  workflow success
  watcher
  follow success.json
  play success
  event '^done$'
  local first=$PROMPT
  PROMPT=7c6ae7c8-5b5a-4a3e-9f0e-2d6c4f6f9e12
  follow success.json
  assert_equal "$(said watching open | head -n 1)" "watching|$PROMPT open" # what is not about the first one any more
  act "{\"play\": \"error\", \"prompt\": \"$first\"}"
  play success
  event '^done$'
  assert_equal "$(said open node error 'done')" 'open node|1|0.0|EmptyImage node|2|0.0|SaveImage done'
  assert_equal "$(seen '.sockets | length')" 1
  CLIENT=another
  follow success.json
  play success
  event '^done$'
  open_sockets 1
  assert_equal "$(seen '.sockets[-1].id')" another
  say stop
  open_sockets 0
  finish
}

@test "it ends with its stdin: idle, connected, and while it connects" {
  double
  workflow progress_labsleep
  watcher
  finish
  watcher
  follow progress_labsleep.json
  finish
  open_sockets 0
  act '{"set": {"mute": true}}'
  watcher
  say watch "$URL" "$CLIENT" "$PROMPT" success.json none new
  open_sockets 1
  finish
}

@test "a reader that does not read: the server is listened to, and the last state comes" {
  double
  workflow progress_labsleep
  mkfifo out
  "$AUTOPOD_PYTHON" -B "$ROOT/helpers/watch.py" <commands >out 2>complaints 3>&- &
  WATCHER_PID=$!
  exec 6>commands 7<out
  say watch "$URL" "$CLIENT" "$PROMPT" progress_labsleep.json none new
  open_sockets 1
  # More than a pipe takes, and more than waits for a reader. Were they not read, the server could not end this.
  jq -n --arg one "$(about "$PROMPT" execution_error '"exception_type": "E"')" --arg to "$CLIENT" \
    '{to: $to, sends: [range(3000) | $one | sub("E"; "E" * 150)]}' >many
  curl -sS --max-time 20 --data-binary @many "$URL/double"
  play progress_labsleep
  wait_until 10 test -f new
  cat <&7 >events 3>&- 6>&- &
  local reader=$!
  exec 7<&-
  event '^done$'
  assert_equal "$(last_progress)" 'progress|100||3|3|||3|SaveImage'
  [ "$(count '^error	E{150}$')" -ge 1000 ] && [ "$(count '^error	E{150}$')" -lt 2500 ]
  assert_equal "$(grep -c -v -E '^(ready|watching	.*|open|done|queue	.*|progress	.*|node	.*|error	E{150})$' events)" 0
  finish
  wait "$reader"
}

@test "it ends with its stdin also while nobody reads what it says, and when its reader goes" {
  double
  mkfifo out
  local line
  "$AUTOPOD_PYTHON" -B "$ROOT/helpers/watch.py" <commands >out 2>complaints 3>&- &
  WATCHER_PID=$!
  exec 6>commands 7<out
  say watch "$URL" "$CLIENT" "$PROMPT" none none new
  open_sockets 1
  jq -n --arg one "$(about "$PROMPT" execution_error '"exception_type": "E"')" --arg to "$CLIENT" \
    '{to: $to, sends: [range(3000) | $one | sub("E"; "E" * 150)]}' >many
  act @many
  finish
  exec 7<&-
  "$AUTOPOD_PYTHON" -B "$ROOT/helpers/watch.py" <commands >out 2>complaints 3>&- &
  WATCHER_PID=$!
  exec 6>commands 7<out
  IFS= read -r line <&7
  assert_equal "$line" ready
  exec 7<&-
  say watch http://127.0.0.1:9 "$CLIENT" "$PROMPT" none none new
  wait_until 5 watcher_ended
  assert_equal "$(<complaints)" ''
}

@test "words that are no command, and one that comes in pieces" {
  double
  workflow success
  watcher
  say dance now
  say watch too few
  printf 'watch\t%s' "$URL" >&6
  sleep 0.1
  printf '\t%s\t%s\t%s\t%s' "$CLIENT" "$PROMPT" success.json '' >&6
  sleep 0.1
  printf '\t\n' >&6
  event '^open$'
  play success
  event '^done$'
  refute_exists ".$WATCHER_PID"
  assert_equal "$(<complaints)" 'not a command: dance\tnow
not a command: watch\ttoo\tfew'
  : >complaints
  finish
}

@test "without websocket-client it says so and ends with 3; --help tells all" {
  mkdir bare
  printf 'raise ImportError("No module named websocket")\n' >bare/websocket.py
  PYTHONPATH=$PWD/bare run "$AUTOPOD_PYTHON" -B "$ROOT/helpers/watch.py" </dev/null
  assert_status 3
  assert_contains 'watch.py needs websocket-client'
  run "$AUTOPOD_PYTHON" -B "$ROOT/helpers/watch.py" --help
  assert_status 0
  assert_contains NEW_TIMINGS_FILE
}

@test "the working directory has no say in what it loads" {
  printf 'raise SystemExit(7)\n' >json.py
  cp json.py websocket.py
  watcher
  finish
}

# --- the simulator --------------------------------------------------------------------------------

@test "with the simulator: a run from its POST to its end, and the same again from its cache" {
  mkdir server
  "$AUTOPOD_PYTHON" "$ROOT/helpers/comfyui_sim.py" --port 0 --base-directory "$PWD/server" >"$TMPDIR/sim" 2>&1 3>&- &
  SIM_PID=$!
  wait_until 10 grep -q ' ready at ' "$TMPDIR/sim"
  URL=$(sed -n 's/.* ready at \([^,]*\),.*/\1/p' "$TMPDIR/sim")
  jq -n '{"1": {class_type: "EmptyImage", inputs: {width: 64, height: 64, batch_size: 1, color: 0}},
    "2": {class_type: "Sleep", inputs: {image: ["1", 0], seconds: 0.5, steps: 5}},
    "3": {class_type: "SaveImage", inputs: {images: ["2", 0], filename_prefix: "x"}}}' >flow.json
  watcher
  follow flow.json
  jq -n --arg id "$PROMPT" --arg client "$CLIENT" --slurpfile flow flow.json \
    '{prompt_id: $id, client_id: $client, prompt: $flow[0]}' >body
  curl -sS --data-binary @body "$URL/prompt" >answer
  event '^done$'
  assert_equal "$(grep '^node' events | cut -f 2,4 | tr '\t\n' '| ')" '1|EmptyImage 2|Sleep 3|SaveImage '
  assert_equal "$(last_progress)" 'progress|100||3|3|||3|SaveImage'
  assert_matches '^progress[|][0-9]+[|][|]1[|]3[|][1-5][|]5[|]2[|]Sleep$' "$(grep '	5	2	' events | head -n 1 | tr '\t' '|')"
  assert_equal "$(jq -c '[.runs, (.nodes | keys)]' new)" '[1,["1","2","3"]]'
  mv new old
  follow flow.json old
  curl -sS --data-binary @body "$URL/prompt" >answer
  event '^done$'
  assert_equal "$(said node)" ''
  assert_equal "$(jq -c .nodes new) $(jq .runs new)" "$(jq -c .nodes old) 2"
  finish
}
