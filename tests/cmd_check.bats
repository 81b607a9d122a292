#!/usr/bin/env bats
# comfy-check, and the check that comfy-run makes before anything else: with definitions in a file, as they were saved, and
# from a server that runs.

load test_helper
load cmd_helper

# One server for all tests; each has an $AUTOPOD_HOME of its own.
setup_file() {
  local tries=100 dir=$BATS_FILE_TMPDIR/server
  mkdir -p "$dir"
  "$ROOT/.venv/bin/python3" "${DOUBLES_TREE:-$ROOT}/helpers/comfyui_sim.py" --port 0 --base-directory "$dir" >"$dir/log" 2>&1 3>&- &
  export SIM_PID=$!
  until grep -q ' ready at ' "$dir/log" || [ "$((tries -= 1))" -eq 0 ]; do sleep 0.05; done
  SIM=$(sed -n 's/.* ready at \([^,]*\),.*/\1/p' "$dir/log")
  export SIM
  [ -n "$SIM" ]
}

teardown_file() {
  kill "$SIM_PID"
  wait "$SIM_PID" || :
}

setup() {
  cmd_setup
  INFO=$ROOT/tests/fixtures/check/object_info.json
}
teardown() { cmd_teardown; }

# check ARG... - runs comfy-check
check() { run --separate-stderr "$AUTOPOD_BIN/comfy-check" "$@"; }

# bad FILE [WIDTH [CLASS]] - a workflow whose picture is too wide (for WIDTH: as wide as that), and of which a node may have another class
bad() {
  jq -n --argjson width "${2:-99999}" --arg class "${3:-SaveImage}" '{
    "1": {class_type: "EmptyImage", inputs: {width: $width, height: 8, batch_size: 1, color: 1}},
    "2": {class_type: $class, inputs: {images: ["1", 0], filename_prefix: "x"}, _meta: {title: "Out"}}}' >"$1"
}

# graph FILE - a small workflow as the GUI saves it
graph() {
  jq -n '{version: 0.4, last_node_id: 2, last_link_id: 1, groups: [], config: {}, extra: {}, nodes: [
    {id: 1, type: "EmptyImage", pos: [0, 0], size: [200, 100], flags: {}, order: 0, mode: 0, inputs: [], properties: {},
     outputs: [{name: "IMAGE", type: "IMAGE", links: [1], slot_index: 0}], widgets_values: [24, 16, 1, 255]},
    {id: 2, type: "SaveImage", pos: [300, 0], size: [200, 100], flags: {}, order: 1, mode: 0, properties: {}, outputs: [],
     inputs: [{name: "images", type: "IMAGE", link: 1}], widgets_values: ["gui/pic"]}],
    links: [[1, 1, 0, 2, 0, "IMAGE"]]}' >"$1"
}

# --- comfy-check ----------------------------------------------------------------------------------

@test "a workflow and a job: a line a finding on stdout, the summary on stderr, exit 2 only for errors" {
  bad wide.json
  bad right.json 8
  check --object-info "$INFO" wide.json right.json
  assert_status 2
  assert_equal "$output" 'wide.json:1:width: error: EmptyImage: 99999 is above the largest allowed value, 16384'
  assert_equal "$stderr" "1 error, 0 warnings, by the node definitions in $INFO"
  check --object-info "$INFO" right.json
  assert_status 0
  assert_equal "$output" ''
  job one picture '{"width": 99999}'
  check -q --object-info "$INFO" one.json
  assert_status 2
  assert_equal "$output" 'one.json:1:width: error: EmptyImage: 99999 is above the largest allowed value, 16384'
  assert_equal "$stderr" ''
  job one picture '{"width": 8.5}'
  check --object-info "$INFO" one.json
  assert_status 0
  assert_equal "$output" 'one.json:1:width: warning: EmptyImage: 8.5 is cut to 8'
  refute_exists "$AUTOPOD_HOME/runs/one"*
}

@test "a file that the job uploads is there by then; one that nobody brings is told" {
  png in.png
  job one scale '{"image": "in.png"}'
  check --object-info "$INFO" one.json
  assert_status 0
  assert_equal "$output" ''
  job one scale '{"image": "text:gone.png"}'
  check --object-info "$INFO" one.json
  assert_status 0
  assert_contains 'one.json:1:image: warning: LoadImage: "gone.png" is not among'
}

@test "faults of a job and of a file are findings of the whole" {
  job one picture '{"width": 8}' '{"job_idd": 1}'
  check --object-info "$INFO" one.json gone.json
  assert_status 2
  assert_contains 'one.json: error: job_idd: unknown key'
  assert_contains 'gone.json: error: no such file'
  assert_contains '2 errors, 0 warnings' "$stderr"
  refute_contains Traceback "$stderr"
}

@test "--json: one object, whatever stands in a workflow" {
  bad 'a "b".json' '"\u001b[31m\t\n\"x"' $'Save\tX'
  check --json --object-info "$INFO" 'a "b".json'
  assert_status 2
  assert_equal "$(jq -c '[.exit_code, .errors, .warnings, (.findings | length)]' <<<"$output")" '[2,2,0,2]'
  assert_equal "$(jq -r '.findings[0] | [.severity, .file, .node, .field] | join("|")' <<<"$output")" 'error|a "b".json|1|width'
  assert_equal "$(jq -r '.findings[1].field' <<<"$output")" null
  refute_contains $'\x1b'
  check --json --object-info "$INFO" gone.json
  assert_equal "$(jq -r '.findings[0].text' <<<"$output")" 'no such file'
}

@test "a server that is named is asked, and what it says is kept" {
  bad w.json 8 NoSuchNode
  check --url "$SIM" w.json
  assert_status 2
  assert_contains 'w.json:2: error: NoSuchNode "Out": the server has no node of this class'
  assert_contains 'by what the server says of its nodes (ComfyUI 0.3.64)' "$stderr"
  assert_file "$AUTOPOD_HOME/object_info/0.3.64@127.0.0.1_${SIM##*:}.json"
  check w.json # the same without it: it may be otherwise elsewhere
  assert_status 0
  assert_contains 'w.json:2: warning: NoSuchNode "Out": no node of this class is among the definitions at hand'
  assert_contains "by the node definitions that 127.0.0.1_${SIM##*:} had (ComfyUI 0.3.64)" "$stderr"
  check --url http://127.0.0.1:1 w.json
  assert_status 5
  check --object-info "$INFO" --url "$SIM" w.json
  assert_status 2
  assert_contains 'stands for a server' "$stderr"
  check --object-info gone w.json
  assert_status 2
  check
  assert_status 2
}

@test "nothing is known: what can be said; a graph can't be checked" {
  bad w.json
  check w.json
  assert_status 0
  assert_equal "$output" ''
  assert_contains 'by what is known without a server' "$stderr"
  graph g.json
  check g.json
  assert_status 0
  assert_contains 'g.json: warning: is in the GUI format'
  check --object-info "$INFO" g.json
  assert_status 0
  assert_equal "$output" ''
}

# --- comfy-run ------------------------------------------------------------------------------------

@test "what would be refused is told before anything is contacted; --no-check leaves it to the server" {
  double_start
  job one picture '{"width": 99999}'
  comfy_run --url "$DOUBLE" --object-info "$INFO" one.json
  assert_status 2
  assert_contains 'one.json:1:width: EmptyImage: 99999 is above the largest allowed value, 16384' "$stderr"
  assert_contains '--no-check' "$stderr"
  assert_equal "$(double_ask '.requests | length')" 0
  assert_equal "$(ls "$AUTOPOD_HOME/runs")" ''
  comfy_run --url "$DOUBLE" --object-info "$INFO" --no-check one.json
  assert_status 0
}

@test "a batch begins only when all of its jobs are right" {
  double_start
  job one picture
  job two picture '{"count": 0}'
  comfy_run --url "$DOUBLE" --object-info "$INFO" one.json two.json
  assert_status 2
  assert_contains 'two.json:1:batch_size: EmptyImage: 0 is below' "$stderr"
  assert_contains 'No job was started' "$stderr"
  assert_equal "$(ls "$AUTOPOD_HOME/runs")" ''
  assert_executions 0
}

@test "warnings don't stop it; --allow-partial makes errors warnings" {
  double_start
  job one picture '{"width": 8.5}'
  comfy_run --url "$DOUBLE" --object-info "$INFO" one.json
  assert_status 0
  assert_contains 'warning: one.json:1:width: EmptyImage: 8.5 is cut to 8' "$stderr"
  job two picture '{"width": 99999}'
  comfy_run --url "$DOUBLE" --object-info "$INFO" --allow-partial two.json
  assert_status 0
  assert_contains 'warning: two.json:1:width' "$stderr"
}

@test "--dry-run says what was found, and by what" {
  job one picture '{"width": 8.5}'
  comfy_run -n --object-info "$INFO" one.json
  assert_status 0
  assert_contains "Checked    by the node definitions in $INFO"
  assert_contains 'is cut to 8' "$stderr"
  comfy_run -n --json --object-info "$INFO" one.json
  assert_equal "$(jq -c '.jobs[0].findings' <<<"$output")" \
    '[{"severity":"warning","stale":false,"node":"1","field":"width","text":"EmptyImage: 8.5 is cut to 8"}]'
  job one picture '{"width": 0}'
  comfy_run -n --object-info "$INFO" one.json
  assert_status 2
  graph templates/g.json
  job gui g
  comfy_run -n gui.json
  assert_status 0
  assert_contains 'is in the GUI format: it is converted when'
  comfy_run -n --json gui.json
  assert_equal "$(jq -c '.jobs[0].workflow' <<<"$output")" null
}

@test "what a server's nodes are like is kept after its first run, and asked for only then" {
  double_start
  job one picture
  comfy_run --url "$DOUBLE" one.json # it says {}: no matter
  assert_status 0
  refute_exists "$AUTOPOD_HOME/object_info/"*.json
  comfy_run --url "$SIM" one.json
  assert_status 0
  assert_equal "$(cd "$AUTOPOD_HOME/object_info" && echo *)" "0.3.64@127.0.0.1_${SIM##*:}.json"
  touch -t 202601010000.00 "$AUTOPOD_HOME/object_info"/*
  comfy_run --debug --url "$SIM" one.json
  assert_status 0
  assert_equal "$(find "$AUTOPOD_HOME/object_info" -name '*.json' -newer one.json)" ''
  refute_contains "$SIM/object_info" "$stderr" # no request, and no process, more than before there was a check
  refute_contains object_info.py "$stderr"
  assert_equal "$(grep -c 'render_template\.py' <<<"$stderr")" 1
}

@test "old definitions refuse nothing that the server would take: it is asked again" {
  local file
  mkdir -p "$AUTOPOD_HOME/object_info"
  file=$AUTOPOD_HOME/object_info/0.3.64@127.0.0.1_${SIM##*:}.json
  job one picture
  # a class that was not there, and a limit that was another one
  jq -c 'del(.SaveImage)' "$INFO" >"$file"
  comfy_run --url "$SIM" one.json
  assert_status 0
  refute_contains 'no node of this class' "$stderr"
  assert_contains '"SaveImage"' "$(<"$file")"
  jq -c '.EmptyImage.input.required.width[1].max = 10' "$INFO" >"$file"
  comfy_run --url "$SIM" one.json
  assert_status 0
  refute_contains 'above the largest' "$stderr"
  # nor those of another server
  rm -f -- "$file"
  jq -c '.EmptyImage.input.required.width[1].max = 10' "$INFO" >"$AUTOPOD_HOME/object_info/9.9@elsewhere.json"
  comfy_run --url "$SIM" one.json
  assert_status 0
  refute_contains 'above the largest' "$stderr"
}

@test "saved definitions that can't be read refuse nothing: they are removed, and older ones taken, or none" {
  local file saved damage
  saved=$AUTOPOD_HOME/object_info
  mkdir -p "$saved"
  graph g.json
  job one picture
  for damage in '' '{"A":' $'{\n"A":{"input":{}},\n"EmptyImage":{"inp' $'{\n"EmptyImage":{"inp,\n"SaveImage":{}\n}\n' '[]'; do
    cp "$INFO" "$saved/0.1@older.json"
    touch -t 202601010000.00 "$saved/0.1@older.json"
    file=$saved/0.3.64@127.0.0.1_8188.json
    printf '%s' "$damage" >"$file"
    comfy_run -n one.json
    assert_status 0 || return
    assert_contains 'by the node definitions that older had (ComfyUI 0.1)' "$output" || return
    assert_equal "$stderr" '' || return
    printf '%s' "$damage" >"$file"
    comfy_run -n --workflow g.json
    assert_status 0 || return
    refute_contains 'is in the GUI format' "$output" || return
    [ -z "$damage" ] || refute_exists "$file" || return
    rm -f -- "$saved"/*
    printf '%s' "$damage" >"$file"
    comfy_run -n --workflow g.json
    assert_status 0 || return
    assert_contains 'is in the GUI format' "$output" || return
  done
  printf '%s' '{"A":' >"$saved/0.3.64@127.0.0.1_${SIM##*:}.json" # what the very server said: it is asked anew
  comfy_run --url "$SIM" --workflow g.json --seed 1
  assert_status 2 # there is no seed in it
  comfy_run --url "$SIM" --workflow g.json
  assert_status 0
  assert_contains '"SaveImage"' "$(<"$saved/0.3.64@127.0.0.1_${SIM##*:}.json")"
  rm -rf -- "$saved"
  cp "$INFO" right.json
  printf '{"A":' >bad.json
  comfy_run --object-info bad.json -n one.json # what somebody gives is looked at
  assert_status 2
  assert_equal "$stderr" $'comfy-run: error: bad.json: is not JSON, so not an answer of /object_info\n  curl URL/object_info makes one'
}

@test "saved definitions that can't be read: comfy-check, comfy-params and comfy-convert do without, too" {
  local file=$AUTOPOD_HOME/object_info/0.3.64@127.0.0.1_8188.json program
  graph g.json
  for program in check params convert; do
    mkdir -p "${file%/*}"
    cp "$INFO" "${file%/*}/0.1@older.json"
    touch -t 202601010000.00 "${file%/*}/0.1@older.json"
    printf '{"A":' >"$file"
    run --separate-stderr "$AUTOPOD_BIN/comfy-$program" g.json
    assert_status 0 || return
    refute_contains 'is in the GUI format' "$output$stderr" || return
    [ "$program" = check ] || assert_contains gui/pic || return
    printf '{"A":' >"$file"
    run --separate-stderr "$AUTOPOD_BIN/comfy-$program" --object-info "$file" g.json
    assert_status 2 || return
    assert_contains "0.3.64@127.0.0.1_8188.json: is not JSON" "$output$stderr" || return
    assert_file "$file" || return
    mkdir "${file%/*}/9@dir.json"
    run --separate-stderr "$AUTOPOD_BIN/comfy-$program" - <g.json
    [ "$program" = check ] || assert_status 0 || return
    [ "$program" = check ] || assert_contains gui/pic || return
    rm -rf -- "${file%/*}"
  done
}

# swapped FILE - definitions of other versions of nodes: of EmptyImage height comes before width
swapped() {
  jq -c '.EmptyImage.input_order.required = ["height", "width", "batch_size", "color"]
    | .EmptyImage.input.required |= {height, width, batch_size, color}' "$INFO" >"$1"
}

@test "a graph is converted by what its own server says now, not by what another one, or an older one, said" {
  local saved sizes='{"width":24,"height":16,"batch_size":1,"color":255}'
  saved=$AUTOPOD_HOME/object_info
  mkdir -p "$saved"
  graph g.json
  swapped "$saved/9.9@elsewhere.json"
  comfy_run -n --workflow g.json --json # which is good enough for a plan
  assert_equal "$(jq -c '.jobs[0].workflow["1"].inputs.width' <<<"$output")" 16
  comfy_run --url "$SIM" --workflow g.json --set 1.color=255 --seed 1
  assert_status 2
  comfy_run --url "$SIM" --workflow g.json --image-id first --set 1.color=255
  assert_status 0
  assert_equal "$(jq -cS '.["1"].inputs' "$AUTOPOD_HOME"/runs/first.*/workflow.json)" "$(jq -cS . <<<"$sizes")"
  assert_equal "$(grep -c '^timings' "$AUTOPOD_HOME"/runs/first.*/plan)" 1
  rm -f -- "$saved"/*
  swapped "$saved/0.3.64@127.0.0.1_${SIM##*:}.json" # its own, of which a pack was updated
  touch -t 202601010000.00 "$saved"/*
  comfy_run --url "$SIM" --workflow g.json --image-id second
  assert_status 0
  assert_equal "$(jq -cS '.["1"].inputs' "$AUTOPOD_HOME"/runs/second.*/workflow.json)" "$(jq -cS . <<<"$sizes")"
  comfy_run --debug --url "$SIM" --workflow g.json --image-id third # what it said just now is good
  assert_status 0
  refute_contains "$SIM/object_info" "$stderr"
  assert_equal "$(jq -cS '.["1"].inputs' "$AUTOPOD_HOME"/runs/third.*/workflow.json)" "$(jq -cS . <<<"$sizes")"
}

@test "values that old definitions refuse are given to a server that has them" {
  local file
  mkdir -p "$AUTOPOD_HOME/object_info"
  file=$AUTOPOD_HOME/object_info/0.3.64@127.0.0.1_${SIM##*:}.json
  graph g.json
  bad api.json 8
  jq -c '.EmptyImage.input.required.width[1].max = 10' "$INFO" >"$file"
  comfy_run --url "$SIM" --workflow api.json --set 1.width=32
  assert_status 0
  assert_equal "$stderr" "${stderr/must be/}"
  jq -c 'del(.EmptyImage.input.required.width)' "$INFO" >"$file"
  comfy_run --url "$SIM" --workflow g.json --set 1.width=32
  assert_status 0
  assert_equal "$(jq -c '.["1"].inputs.width' "$AUTOPOD_HOME"/runs/g.*/workflow.json)" 32
  comfy_run --url "$SIM" --workflow api.json --set 1.width=0
  assert_status 2
  assert_contains '1.width must be at least 1, but is 0' "$stderr"
  assert_equal "$(grep -c 'must be at least' <<<"$stderr")" 1
  # without a server that can be asked, a value that a list lacks is a warning
  jq -c '.EmptyImage.input.required.color = [["red"]]' "$INFO" >"$file"
  comfy_run -n --workflow api.json --set 1.color=blue
  assert_status 0
  assert_contains 'warning: api.json:1:color: EmptyImage: "blue" is not one of red' "$stderr"
  comfy_run -n --object-info "$file" --workflow api.json --set 1.color=blue
  assert_status 2
}

@test "a graph, and nothing is known: values for nodes that it does not have are refused before anything is contacted" {
  local args
  graph g.json
  jq '.nodes[0].title = "7.5"' g.json >titled.json
  jq -n '{job_id: "j", workflow: "g.json", set: {"99.x": 1}}' >job.json
  for args in '--set 99.x=1' '--set 99:1.x=1' '--set 1.color=1 --set 02.x=1'; do
    # shellcheck disable=SC2086 # several words
    comfy_run --url http://127.0.0.1:1 --workflow g.json $args
    assert_status 2 || return
    assert_contains 'there is no node ' "$stderr" || return
  done
  comfy_run -n job.json
  assert_status 2
  assert_contains 'g.json: set.99.x: there is no node 99 in it' "$stderr"
  for args in '1.color=3' 'Titled.x=1' '2.filename_prefix=9.a' 'EmptyImage.color=1'; do
    comfy_run -n --workflow g.json --set "$args"
    assert_status 0 || return
  done
  comfy_run -n --workflow titled.json --set 7.5.color=1
  assert_status 0
}

@test "--resume: values are refused, and files that are damaged are told, before anything else happens" {
  local run args
  graph g.json
  comfy_run --url http://127.0.0.1:1 --workflow g.json
  assert_status 5
  run=$(printf '%s' "$AUTOPOD_HOME"/runs/g.*)
  for args in '--seed 4' '--prompt zzz' '--set 1.color=1' '--plain-text' '--input a=b'; do
    # shellcheck disable=SC2086 # several words
    comfy_run --resume g $args
    assert_status 2 || return
    assert_contains "so ${args%% *} is not for it" "$stderr" || return
  done
  cp "$run/graph.json" kept
  for args in '' '{"nodes":' '[]'; do
    printf '%s' "$args" >"$run/graph.json"
    comfy_run --resume g
    assert_status 2 || return
    assert_contains "can't be taken up again: its files are damaged" "$stderr" || return
  done
  mv kept "$run/graph.json"
  cp "$run/job.json" kept
  for args in '' '{"values":{}}' 'x'; do
    printf '%s' "$args" >"$run/job.json"
    comfy_run --resume g
    assert_status 2 || return
    assert_contains "can't be taken up again: its files are damaged" "$stderr" || return
    refute_contains 'jq:' "$stderr" || return
  done
  mv kept "$run/job.json"
  comfy_run --url "$SIM" --resume g
  assert_status 0
}

@test "standard input is a job or a workflow, whichever it is; comfy-run says how a workflow is run" {
  bad wide.json
  check --object-info "$INFO" - <wide.json
  assert_status 2
  assert_equal "$output" 'standard input:1:width: error: EmptyImage: 99999 is above the largest allowed value, 16384'
  graph g.json
  jq '.nodes[0].widgets_values[0] = 99999' g.json >wide.json
  check --object-info "$INFO" - <wide.json
  assert_status 2
  assert_contains 'standard input:1:width: error: '
  job one picture '{"width": 8.5}'
  check --object-info "$INFO" - <one.json
  assert_status 0
  assert_contains 'standard input:1:width: warning: '
  bad wide.json
  comfy_run - <wide.json
  assert_status 2
  assert_contains 'is run by comfy-run --workflow -' "$stderr"
}

@test "a graph with a node that old definitions lack: one warning, with its file named once" {
  mkdir -p "$AUTOPOD_HOME/object_info"
  cp "$INFO" "$AUTOPOD_HOME/object_info/0.1@elsewhere.json"
  graph g.json
  jq '.nodes[0].type = "NoSuchNode"' g.json >unknown.json
  check unknown.json
  assert_status 0
  assert_contains NoSuchNode
  assert_equal "$(grep -c . <<<"$output")" 1
  assert_equal "$(grep -o 'unknown\.json' <<<"$output")" unknown.json
}

@test "what the server says itself now is an error" {
  mkdir -p "$AUTOPOD_HOME/object_info"
  cp "$INFO" "$AUTOPOD_HOME/object_info/0.1@127.0.0.1_${SIM##*:}.json"
  bad templates/none.json 8 NoSuchNode
  job one none
  comfy_run --url "$SIM" one.json
  assert_status 2
  assert_contains 'one.json:2: NoSuchNode "Out": the server has no node of this class' "$stderr"
  assert_contains 'that is so by what the server says of its nodes' "$stderr"
}

@test "what may be otherwise elsewhere is a warning that says by what" {
  mkdir -p "$AUTOPOD_HOME/object_info"
  cp "$INFO" "$AUTOPOD_HOME/object_info/0.1@elsewhere.json"
  bad templates/none.json 8 NoSuchNode
  job one none
  comfy_run -n --pod some-pod one.json
  assert_status 0
  assert_contains 'warning: one.json:2: NoSuchNode "Out": no node of this class is among the definitions at hand' "$stderr"
  assert_contains 'That goes by the node definitions that elsewhere had (ComfyUI 0.1); another server may be otherwise.' "$stderr"
}

@test "a graph without definitions: it is converted when its server is there" {
  graph templates/g.json
  job gui g
  comfy_run --url "$SIM" gui.json
  assert_status 0
  assert_file "$(printf '%s' outputs/pic_*.png)"
  assert_equal "$(jq -c '.["1"].inputs' "$AUTOPOD_HOME"/runs/gui.*/workflow.json)" '{"width":24,"height":16,"batch_size":1,"color":255}'
  assert_file "$AUTOPOD_HOME/object_info/0.3.64@127.0.0.1_${SIM##*:}.json"
  comfy_run --url "$SIM" gui.json # and now before
  assert_status 0
}

@test "a graph that can't be converted, or would be refused, once its server is there: exit 2" {
  graph templates/g.json
  jq '.nodes[0].widgets_values[0] = 99999' templates/g.json >templates/wide.json
  jq '.nodes[0].type = "NoSuchNode" | .nodes[0].properties = {cnr_id: "some-pack"}' templates/g.json >templates/unknown.json
  job wide wide
  comfy_run --url "$SIM" wide.json
  assert_status 2
  assert_contains '99999 is above the largest allowed value' "$stderr"
  job unknown unknown
  comfy_run --url "$SIM" unknown.json
  assert_status 2
  assert_contains NoSuchNode "$stderr"
  assert_contains some-pack "$stderr"
  refute_contains Traceback "$stderr"
  double_start
  job gui g
  rm -rf -- "$AUTOPOD_HOME/object_info"
  comfy_run --url "$DOUBLE" gui.json
  assert_status 5
  assert_contains 'says of its nodes makes no sense' "$stderr"
  assert_executions 0
}
