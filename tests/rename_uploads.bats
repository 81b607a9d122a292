#!/usr/bin/env bats
# helpers/rename_uploads.py: the names that a server gave to uploads stand in the workflow, and
# nothing else in it has changed.

load test_helper

# uploads UPLOAD_NAME SERVER_NAME... - makes uploads.json, as a run has it
uploads() {
  jq -n '[$ARGS.positional | range(0; length; 2) as $i | {upload_name: .[$i], server_name: .[$i + 1],
    path: "/in", bytes: 1, sha256: "00"}] | {uploads: .}' --args -- "$@" >uploads.json
}

# rename WORKFLOW - runs the helper on it
rename() {
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/rename_uploads.py" \
    --uploads uploads.json <<<"$1"
}

# assert_renamed WORKFLOW WANTED - one line of JSON, which is WANTED
assert_renamed() {
  rename "$1"
  assert_status 0
  assert_equal "$stderr" ""
  assert_equal "${#lines[@]}" 1 "number of lines"
  assert_equal "$(jq -c . <<<"$output")" "$2"
}

@test "a name that is the whole string, and one inside a string" {
  uploads autopod/a-0123456789ab.png 'sub/a (1).png'
  assert_renamed '{"1":{"class_type":"LoadImage","inputs":{"image":"autopod/a-0123456789ab.png"}}}' \
    '{"1":{"class_type":"LoadImage","inputs":{"image":"sub/a (1).png"}}}'
  assert_renamed '{"v":"<autopod/a-0123456789ab.png, autopod/a-0123456789ab.png> autopod/a.png"}' \
    '{"v":"<sub/a (1).png, sub/a (1).png> autopod/a.png"}'
}

@test "names in nested lists and objects; keys, links, numbers and null stay" {
  uploads autopod/a-0123456789ab.png b.png
  assert_renamed '{"v":[["autopod/a-0123456789ab.png",[1.5]],{"autopod/a-0123456789ab.png":"autopod/a-0123456789ab.png"},["3",0],true,null]}' \
    '{"v":[["b.png",[1.5]],{"autopod/a-0123456789ab.png":"b.png"},["3",0],true,null]}'
}

@test "two names, each its own" {
  uploads autopod/a-0123456789ab.png 'a (1).png' autopod/b-ba9876543210.wav 'ü "b"\.wav'
  assert_renamed '{"v":["autopod/b-ba9876543210.wav","autopod/a-0123456789ab.png"]}' \
    '{"v":["ü \"b\"\\.wav","a (1).png"]}'
}

@test "a seed of 2^64-1 survives" {
  uploads autopod/a-0123456789ab.png b.png
  rename '{"seed":18446744073709551615,"image":"autopod/a-0123456789ab.png"}'
  assert_status 0
  # jq 1.6 rounds large numbers, so the text itself is compared
  assert_equal "${output// /}" '{"seed":18446744073709551615,"image":"b.png"}'
}

@test "what the renderer wrote and this helper renamed is the same workflow under other names" {
  mkdir templates
  printf 'picture' >a.png
  printf '{"1":{"class_type":"X","inputs":{"v":["{input.a}","<{input.a}>","{input.t}",0.1]}}}' >templates/t.json
  printf '{"job_id":"j","workflow_template":"t","inputs":{"a":"a.png","t":"ünï 日本 😀\\n\\\\"}}' >job.json
  "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/render_template.py" --job job.json >lines
  local name workflow
  name=$(sed -n 's/^upload	[^	]*	[^	]*	\([^	]*\)	.*/\1/p' lines)
  workflow=$(sed -n 's/^workflow	//p' lines)
  uploads "$name" 'a (1).png'
  LC_ALL=C assert_renamed "$workflow" "$(jq -c '.["1"].inputs.v[0] = "a (1).png" | .["1"].inputs.v[1] = "<a (1).png>"' <<<"$workflow")"
}

@test "what is not JSON, or no uploads.json, is exit 2 and one line that names the file" {
  local bad
  uploads autopod/a-0123456789ab.png b.png
  for bad in '' '{"v":' 'x'; do
    rename "$bad"
    assert_status 2
    assert_equal "$output" ""
    assert_matches "^the workflow or uploads.json can't be read: [^"$'\n'"]+\$" "$stderr"
  done
  for bad in '' '{' '{}' '[]' '{"uploads":[{"upload_name":"a"}]}' '{"uploads":5}'; do
    printf '%s' "$bad" >uploads.json
    rename '{"v":1}'
    assert_status 2
    assert_equal "$output" ""
    assert_matches "^the workflow or uploads.json can't be read: [^"$'\n'"]+\$" "$stderr"
  done
  rm uploads.json
  rename '{"v":1}'
  assert_status 2
  assert_contains 'uploads.json' "$stderr"
}
