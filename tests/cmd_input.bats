# What people type and write wrong: told with file, key and what is wanted, exit 2, and nothing is touched.

load test_helper
load cmd_helper

setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR AUTOPOD_PYTHON=$ROOT/.venv/bin/python3 double_start
  export DOUBLE FILE_DOUBLE_PID=$DOUBLE_PID
}

teardown_file() { kill "$FILE_DOUBLE_PID"; }

setup() {
  cmd_setup
  double_ask '.requests | length' >"$BATS_TEST_TMPDIR/asked_before"
}

teardown() {
  chmod -R u+rwX "$BATS_TEST_TMPDIR/cwd"
  cmd_teardown
}

# refused TEXT... -- ARG... - comfy-run ARG... ends with 2, says each TEXT in whole lines of its own, and nothing happens
refused() {
  local wanted=()
  while [ "$1" != -- ]; do
    wanted[${#wanted[@]}]=$1
    shift
  done
  shift
  comfy_run --url "$DOUBLE" "$@"
  assert_status 2 || return
  assert_equal "$output" '' 'standard output' || return
  local text line
  for text in "${wanted[@]}"; do assert_contains "$text" "$stderr" || return; done
  while IFS= read -r line; do
    assert_matches '^(comfy-run: (error|warning): [^ ]|  [^ ])' "$line" || return
  done <<<"$stderr"
  refute_contains Traceback "$stderr" || return
  refute_contains 'usage:' "$stderr" || return
  nothing_happened
}

# nothing_happened - no request, no run, no pod, no output
nothing_happened() {
  assert_equal "$(double_ask '.requests | length')" "$(<"$BATS_TEST_TMPDIR/asked_before")" 'requests to the server' || return
  assert_no_runs && assert_no_pods && refute_exists outputs && refute_exists "$AUTOPOD_HOME/pods.json"
}

# template JSON - writes templates/t.json and a job for it, t.json
template() {
  printf '%s\n' "$1" >templates/t.json
  job t t
}

@test "a job file that is missing, a directory, unreadable, empty, or not JSON" {
  refused 'nosuch.json: no such file' -- nosuch.json
  refused 'nosuch.json: no such file' -- --job nosuch.json
  refused 'templates: is a directory' -- templates
  printf '{\n  "job_id": "a",\n  "workflow_template" "b"\n}\n' >broken.json
  refused 'broken.json: not JSON: line 3, column 23: ' -- broken.json
  : >empty.json
  refused 'empty.json: not JSON: it is empty' -- empty.json
  echo '[1]' >list.json
  refused 'list.json: is not a job: a JSON object is wanted' -- list.json
  printf '{"job_id":"\xff"}' >latin.json
  refused 'latin.json: not JSON: byte 12 is not UTF-8 text' -- latin.json
  echo '{"job_id":"a","job_id":"b","workflow_template":"picture"}' >twice.json
  refused 'twice.json: the key "job_id" stands twice' -- twice.json
}

@test "a job file or an input that must not be read" {
  [ "$(id -u)" != 0 ] || skip "root may read every file"
  job one picture
  chmod 000 one.json
  refused 'one.json: cannot be read: Permission denied' -- one.json
  png in.png
  chmod 000 in.png
  job two scale '{"image": "in.png"}'
  refused 'two.json: inputs.image: "in.png": cannot be read: Permission denied' -- two.json
}

@test "missing and unknown keys, each named, all of them in one go" {
  echo '{"inputs": {}, "workflow_templat": "picture", "pod_config": {"gpu_typ": "A40"}, "output": {}}' >job.json
  refused 'job.json: the required key "job_id" is missing' \
    'job.json: the required key "workflow_template" is missing' \
    'job.json: workflow_templat: unknown key; did you mean "workflow_template"?' \
    'job.json: output: unknown key; did you mean "outputs"?' \
    'job.json: pod_config.gpu_typ: unknown key; did you mean "gpu_type"?' -- job.json
  job one picture '{}' '{"timeout_minutes": 5}'
  refused 'one.json: timeout_minutes: unknown key; it belongs in pod_config' -- one.json
  job one picture '{}' '{"inputs": [1]}'
  refused 'one.json: inputs: must be an object, but is [1]' -- one.json
  job one picture '{"width": null}'
  refused 'one.json: inputs.width: must be a string, a number or a boolean, but is null' -- one.json
}

@test "keys for people are left alone" {
  job one picture '{"_note": {"any": "thing"}}' '{"$schema": "x", "_about": [1], "pod_config": {"_why": null}}'
  comfy_run --dry-run one.json
  assert_status 0
  assert_equal "$stderr" ''
}

@test "a job_id that could be a path, a command or anything but a name" {
  local id
  for id in a/b ../a .. .a -a 'a b' '$(touch pwned)' 'a;b' 'ä' '' "$(printf 'a\nb')" a..b; do
    jq -n --arg id "$id" '{job_id: $id, workflow_template: "picture"}' >one.json
    refused 'one.json: job_id: ' -- one.json
  done
  jq -n '{job_id: 7, workflow_template: "picture"}' >one.json
  refused 'one.json: job_id: must be a text in one line, but is 7' -- one.json
  jq -n '{job_id: ("a" * 129), workflow_template: "picture"}' >one.json
  refused 'one.json: job_id: ' 'at most 128 characters' -- one.json
  refute_exists pwned
}

@test "a template that is missing, not JSON, or no workflow" {
  job one pictur
  refused 'one.json: workflow_template: "pictur": no such template; did you mean "picture"?' 'picture, scale' -- one.json
  job one ./nosuch.json
  refused 'one.json: workflow_template: "./nosuch.json": no such template file' -- one.json
  template '{"1": '
  refused 't.json: workflow_template: templates/t.json: not JSON: line 2, column 1: ' -- t.json
  template '[]'
  refused 'templates/t.json: is not a workflow: a JSON object of nodes is wanted' -- t.json
  template '{}'
  refused 'templates/t.json: has no nodes' -- t.json
}

@test "a node that would stop the server: without class_type, without an inputs object, linked to nothing" {
  template '{"1": {"inputs": {}, "_meta": {"title": "Mine"}}, "2": {"class_type": "SaveImage"},
    "3": {"class_type": "SaveImage", "inputs": [1]}, "4": 5,
    "6": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}}}'
  refused 'templates/t.json: node 1 "Mine": has no class_type' \
    'templates/t.json: node 2: has no inputs object' \
    'templates/t.json: node 3: has no inputs object' \
    'templates/t.json: node 4: must be an object with class_type and inputs' \
    'templates/t.json: node 6: images is linked to node "9", which is missing' -- t.json
}

@test "placeholders without a value are told in one line" {
  template '{"1": {"class_type": "X", "inputs": {"a": "{input.one}", "b": "${TWO}", "c": "{input.three|3}"}}}'
  refused 't.json: no value for {input.one} (node 1), ${TWO} (node 1)' -- t.json
  job t t '{"eno": 1}'
  refused '{input.one} (node 1)' 'no placeholder uses eno' -- t.json
}

@test "an input file that is missing, empty or a directory" {
  job one scale '{"image": "nosuch.png"}'
  refused 'one.json: inputs.image: "nosuch.png": no such file; put "text:" in front' -- one.json
  job one scale '{"image": "./templates"}'
  refused 'one.json: inputs.image: "./templates": is a directory; a file is wanted' -- one.json
  : >empty.png
  job one scale '{"image": "empty.png"}'
  refused 'one.json: inputs.image: "empty.png": is an empty file' -- one.json
  job one scale '{"image": "s3://bucket/x.png"}'
  refused 'one.json: inputs.image: "s3://bucket/x.png": files in a bucket' -- one.json
  mkfifo pipe.png
  job one scale '{"image": "pipe.png"}'
  refused 'one.json: inputs.image: "pipe.png": is not a regular file' -- one.json
}

@test "two jobs of one call with the same id" {
  job one picture
  cp one.json other.json
  refused 'other.json: job_id "one"' 'No job was started' -- one.json other.json
  refused 'one.json: job_id "one"' -- one.json ./one.json
}

@test "one wrong job of several: the others are not started" {
  job one picture
  job two nosuch
  refused 'two.json: workflow_template: ' 'No job was started' -- one.json two.json
}

@test "output paths that can't be written" {
  mkdir there
  : >file
  job one picture '{}' '{"outputs": {"Result": "file/x.png"}}'
  refused 'one.json: outputs.Result: "'"$PWD"'/file/x.png": '"$PWD/file is not a directory" -- one.json
  job one picture '{}' '{"outputs": {"a": "x.png", "b": "./x.png"}}'
  refused 'one.json: outputs.b: has the same path as outputs.a' -- one.json
  job one picture '{}' '{"outputs": {"a": "x\u0007.png"}}'
  refused 'one.json: outputs.a: must be a path without control characters' -- one.json
  job one picture '{}' '{"outputs": {"a": 5}}'
  refused 'one.json: outputs.a: must be a path, but is 5' -- one.json
  job one picture '{"width": "text:../../w"}' '{"outputs": {"a": "o/{input.width}.png"}}'
  refused "one.json: outputs.a: the value of {input.width} can't be part of a file name" -- one.json
  job one picture
  refused '--output-dir: "'"$PWD"'/file/": '"$PWD/file is not a directory" -- --output-dir file one.json
  if [ "$(id -u)" != 0 ]; then
    chmod 555 there
    refused "--output-dir: \"$PWD/there/\": $PWD/there is not writable" -- -o there one.json
  fi
}

@test "limits that are no numbers, or not above zero" {
  local limit
  for limit in timeout_minutes max_cost_usd gpu_count disk_gb; do
    job one picture '{}' "{\"pod_config\": {\"$limit\": -5}}"
    refused "one.json: pod_config.$limit: must be above 0, but is -5" -- one.json
    job one picture '{}' "{\"pod_config\": {\"$limit\": \"ten\"}}"
    refused "one.json: pod_config.$limit: must be a number, but is \"ten\"" -- one.json
  done
  job one picture '{}' '{"pod_config": {"gpu_count": 1.5, "max_cost_usd": true}}'
  refused 'one.json: pod_config.gpu_count: must be a whole number, but is 1.5' \
    'one.json: pod_config.max_cost_usd: must be a number, but is true' -- one.json
  echo '{"job_id":"a","workflow_template":"picture","pod_config":{"max_cost_usd":1e999}}' >inf.json
  refused 'inf.json: 1e999 is not a number that JSON can hold' -- inf.json
  job one picture
  for limit in -5 0 abc 1e3 ' 5' '$(touch pwned)'; do
    refused --timeout: -- "--timeout=$limit" one.json
  done
  refute_exists pwned
}

@test "--set without a name, and one that nothing uses" {
  job one picture
  refused '--set "A": NAME=VALUE or NODE.FIELD=VALUE is wanted' -- --set A one.json
  refused '--set "1=2": NAME=VALUE or NODE.FIELD=VALUE is wanted' -- --set 1=2 one.json
  refused '--set "-x": NAME=VALUE or NODE.FIELD=VALUE is wanted' -- --set=-x one.json
  comfy_run --dry-run --set UNUSED=1 one.json
  assert_status 0
  assert_contains 'warning: ' "$stderr"
  assert_contains '--set UNUSED: no placeholder uses it' "$stderr"
}

@test "options: unknown, without a value, with a value too many, together where that makes no sense" {
  job one picture
  refused 'unknown option: --nope' '--help' -- --nope one.json
  refused 'unknown option: -x' -- -x one.json
  refused 'unknown option: --nope' -- --nope=1 one.json
  refused 'there is only --json and --json=final' -- --json=yes one.json
  refused '--job needs a value' -- --job
  refused '--timeout needs a value' -- one.json --timeout
  refused '-C needs a value' -- -C
  refused 'only one of --pod, --url, --proxy and --no-tunnel' -- --no-tunnel one.json
  refused 'only one of --pod, --url, --proxy and --no-tunnel' -- --pod x one.json
  refused 'there is no provider "mars"' 'known are: local' -- --provider mars one.json
  refused '--resume takes up one run' -- --resume x one.json
  refused 'there is no run or job "x"' -- --resume x
  refused '--resume goes on with the values that the run has, so --seed is not for it' -- --resume x --seed 4
  refused '--resume goes on with the values that the run has, so --timeout is not for it' -- --resume x --timeout 5
  refused 'is not the directory of a run' -- --resume '../../../etc'
  refused "-C: can't enter the directory /nonexistent" -- -C /nonexistent one.json
  refused 'no job was given' '--job FILE' --
}

@test "--url that is no URL" {
  job one picture
  comfy_run --url 'http://a b' one.json
  assert_status 2
  assert_contains 'http://a b' "$stderr"
  comfy_run --url 'http://a"/$(touch pwned)' one.json
  assert_status 2
  comfy_run --url 'file:///etc/passwd' one.json
  assert_status 2
  nothing_happened
  refute_exists pwned
}

@test "a pattern without a match, and one whose files have blanks in their names" {
  refused "--jobs: no file matches nosuch*.json in $PWD" -- --jobs 'nosuch*.json'
  mkdir 'my jobs'
  job one picture && mv one.json 'my jobs/a one.json'
  job two picture && mv two.json 'my jobs/b [two].json'
  comfy_run --dry-run --jobs 'my jobs/*.json'
  assert_status 0
  assert_contains 'one (my jobs/a one.json)'
  assert_contains 'two (my jobs/b [two].json)'
}

@test "a job from standard input, and as --job, --job-file, --option=value, or after --" {
  job one picture
  run --separate-stderr "$AUTOPOD_BIN/comfy-run" --dry-run - <one.json
  assert_status 0
  assert_contains one
  mv one.json ./-x.json
  local form
  for form in --job=-x.json --job-file=-x.json; do
    comfy_run --dry-run "$form"
    assert_status 0
    assert_contains one
  done
  comfy_run --dry-run -- -x.json
  assert_status 0
  assert_contains one
  run --separate-stderr "$AUTOPOD_BIN/comfy-run" --dry-run --job - <<<'{"job_id": 1'
  assert_status 2
  assert_contains 'standard input: not JSON: line 2, column 1: ' "$stderr"
}

@test "-C: jobs, templates, inputs, outputs, patterns and .env are seen from there" {
  png in.png
  job one scale '{"image": "in.png"}' '{"outputs": {"image": "here/out.png"}}'
  echo 'AUTOPOD_OUTPUT_DIR="from dotenv"' >.env
  local here=$PWD
  mkdir -p "$BATS_TEST_TMPDIR/elsewhere" && cd "$BATS_TEST_TMPDIR/elsewhere"
  comfy_run --dry-run -C "$here" --jobs 'o*.json'
  assert_status 0
  assert_contains "$here/in.png"
  assert_contains "$here/here/out.png"
  cd "$here"
}

@test "--dry-run: the plan, and not a thing made, contacted or uploaded" {
  png 'my in.png'
  job one scale '{"image": "my in.png"}' \
    '{"outputs": {"image": "out/{job_id}.png"}, "pod_config": {"gpu_type": "RTX A40", "max_cost_usd": 2.5, "timeout_minutes": 7}}'
  find . | sort >"$BATS_TEST_TMPDIR/before"
  comfy_run --dry-run one.json
  assert_status 0
  assert_equal "$stderr" ''
  assert_contains 'one (one.json)'
  assert_contains "$PWD/my in.png, $(($(wc -c <'my in.png'))) B"
  assert_contains "$PWD/out/one.png"
  assert_contains 'RTX A40'
  assert_contains '7 min'
  assert_contains '$2.5'
  refute_contains LoadImage
  comfy_run -v --dry-run one.json
  assert_status 0
  assert_contains '"class_type":"LoadImage"'
  comfy_run --dry-run --url "$DOUBLE" one.json
  assert_status 0
  assert_contains "$DOUBLE"
  comfy_run --dry-run --pod somepod one.json
  assert_status 0
  assert_contains somepod
  unset AUTOPOD_PORT
  comfy_run --dry-run --no-tunnel one.json
  assert_status 0
  assert_contains http://127.0.0.1:8188
  find . | sort | diff "$BATS_TEST_TMPDIR/before" -
  nothing_happened
}

@test "--dry-run shows the values that were resolved" {
  job one picture '{"width": 320, "color": "text:7"}'
  comfy_run --dry-run one.json
  assert_status 0
  assert_matches 'width[^[:alnum:]]+320'
}

@test "--dry-run of a wrong job" {
  job one nosuch
  comfy_run --dry-run one.json
  assert_status 2
  assert_contains 'one.json: workflow_template: ' "$stderr"
}

@test "an empty or odd name of a job file is shown as it is, and harmless" {
  refused '--job needs a value' -- --job ''
  refused '"": no such file' -- ''
  refused 'no such file' -- "$(printf 'a\033[31m\nb.json')"
  refute_contains $'\033' "$stderr"
  refused 'no such file' -- '$(touch pwned).json'
  refused 'no such file' -- '*.nosuch'
  refute_exists pwned
}

@test "every command: --help in 80 columns, --version, and a wrong option" {
  local command
  for command in autopod-connect autopod-ls autopod-info autopod-start autopod-stop autopod-kill autopod-gpus \
    autopod-volumes autopod-sweep comfy-run; do
    run --separate-stderr "$AUTOPOD_BIN/$command" --help
    assert_status 0
    assert_equal "$stderr" ''
    assert_contains "Usage: $command"
    assert_equal "$(awk 'length > 80' <<<"$output")" '' "$command --help: lines above 80 columns"
    assert_equal "$("$AUTOPOD_BIN/$command" -h)" "$output"
    run --separate-stderr "$AUTOPOD_BIN/$command" --version
    assert_status 0
    assert_matches "^$command [0-9]+\.[0-9]+\.[0-9]+$"
    run --separate-stderr "$AUTOPOD_BIN/$command" --nope
    assert_status 2
    assert_contains "$command: error: unknown option: --nope" "$stderr"
  done
  refute_exists "$AUTOPOD_HOME"
}

@test "a command works through a symbolic link, from another directory" {
  ln -s "$AUTOPOD_BIN/comfy-run" "$BATS_TEST_TMPDIR/run"
  run "$BATS_TEST_TMPDIR/run" --version
  assert_status 0
  assert_matches '[0-9]+\.[0-9]+\.[0-9]+$'
}

@test "a command that is copied alone" {
  mkdir alone
  cp "$AUTOPOD_BIN/comfy-run" alone/
  run --separate-stderr alone/comfy-run --version
  if grep -q 'AUTOPOD_BUNDLED=1' "$AUTOPOD_BIN/comfy-run"; then
    assert_status 0
  else
    assert_status 3
    assert_equal "$(wc -l <<<"$stderr")" 1
    assert_contains dist/comfy-run "$stderr"
  fi
}
