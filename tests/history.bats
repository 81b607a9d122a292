#!/usr/bin/env bats
# helpers/history.py: how a prompt ended and what it made, from what real servers answered
# (fixtures/comfyui/history.json) and from what a hostile one might.

load test_helper

setup_file() {
  # NAME.id, NAME.workflow and NAME.answer of every recording
  "${AUTOPOD_PYTHON:-python3}" - "$BATS_TEST_DIRNAME/fixtures/comfyui/history.json" "$BATS_FILE_TMPDIR" <<'E'
import json, sys
for row in json.load(open(sys.argv[1], encoding="utf-8")):
    for part, text in (("id", row["prompt_id"]), ("workflow", json.dumps(row["workflow"])),
                       ("answer", json.dumps(row["answer"]))):
        with open(f"{sys.argv[2]}/{row['name']}.{part}", "w") as file:
            file.write(text)
E
}

setup() {
  autopod_setup
  printf '{"outputs":{},"output_dir":"/out"}' >job.json
  printf '{}' >workflow.json
}

# outputs JSON - the job's resolved outputs
outputs() { printf '{"outputs":%s,"output_dir":"/out"}' "$1" >job.json; }

# workflow JSON - the workflow that ran
workflow() { printf '%s' "$1" >workflow.json; }

# read_history [ID] - runs the helper on the answer on stdin
read_history() {
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/history.py" \
    --prompt-id "${1:-p}" --workflow workflow.json --job job.json
}

# made OUTPUTS_JSON - runs the helper on a prompt p that succeeded with these outputs
made() {
  read_history <<<"{\"p\":{\"outputs\":$1,\"status\":{\"status_str\":\"success\",\"messages\":[]}}}"
  assert_status 0
}

# failed TYPE_JSON MESSAGE_JSON - runs the helper on a prompt p that failed in node 3
failed() {
  read_history <<<"{\"p\":{\"outputs\":{},\"status\":{\"status_str\":\"error\",\"messages\":[[\"execution_error\",
    {\"node_id\":\"3\",\"node_type\":\"KSampler\",\"exception_type\":$1,\"exception_message\":$2}]]}}}"
  assert_status 0
}

# field TAG N - field N of every line with this tag (1 is the first after the tag)
field() { sed -n "s/^$1	//p" <<<"$output" | cut -f "$2"; }

# --- real answers ---------------------------------------------------------------------------------

# recorded_entries - what the helper makes of the recorded entries, with @ for a tab
recorded_entries() {
  cat <<'E'
== success
state@success
seconds@0.003
times@1795317618429@1795317618432
file@image@2@fresh@filename=out_00002_.png&subfolder=lab&type=output@lab/out_00002_.png@/out/x.png
== success_33
state@success
seconds@0.004
times@1795318536524@1795318536528
file@image@2@fresh@filename=out_00002_.png&subfolder=lab&type=output@lab/out_00002_.png@/out/x.png
== unknown
state@missing
== error
state@error
seconds@0.039
times@1795317663228@1795317663267
error@LabFail (node 2): lab failure message [RuntimeError]
== oom
state@error
seconds@0.003
times@1795317664598@1795317664601
error@LabOOM (node 2): Allocation on device (lab: pretend CUDA out of memory) This error means you ran out of memory on your GPU. TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number. [torch.OutOfMemoryError]
hint@the GPU ran out of memory: make the picture, batch or model smaller, or take a GPU with more memory (pod_config.gpu_type)
== partial
state@error
seconds@0.004
times@1795317663933@1795317663937
error@LabFail (node 2): lab failure message [RuntimeError]
file@image@4@fresh@filename=ComfyUI_temp_typbf_00001_.png&subfolder=&type=temp@ComfyUI_temp_typbf_00001_.png@/out/x.png
== interrupted
state@interrupted
seconds@1.003
times@1795317666601@1795317667604
error@interrupted on the server at LabSleep (node 2)
hint@if you did not stop it, somebody else who uses this server did: run the job again
== video
state@success
seconds@0.039
times@1795317893949@1795317893988
file@video@3@fresh@filename=video_00001_.mp4&subfolder=m&type=output@m/video_00001_.mp4@/out/video_00001_.mp4
== video_33
state@success
seconds@0.028
times@1795318681726@1795318681754
file@video@3@fresh@filename=video_00002_.mp4&subfolder=m&type=output@m/video_00002_.mp4@/out/video_00002_.mp4
== webm
state@success
seconds@0.113
times@1795317893815@1795317893928
file@video@2@fresh@filename=vid_00001_.webm&subfolder=m&type=output@m/vid_00001_.webm@/out/vid_00001_.webm
== webp
state@success
seconds@0.014
times@1795317893747@1795317893761
file@image@2@fresh@filename=anim_00001_.webp&subfolder=m&type=output@m/anim_00001_.webp@/out/x.webp
== flac
state@success
seconds@0.032
times@1795317894157@1795317894189
file@audio@2@fresh@filename=aud_00001_.flac&subfolder=m&type=output@m/aud_00001_.flac@/out/a/aud_00001_.flac
== flac_33
state@success
seconds@0.026
times@1795318681855@1795318681881
file@audio@2@fresh@filename=aud_00004.flac&subfolder=m&type=output@m/aud_00004.flac@/out/a/aud_00004.flac
== mp3
state@success
seconds@0.038
times@1795317894217@1795317894255
file@audio@2@fresh@filename=aud_00002_.mp3&subfolder=m&type=output@m/aud_00002_.mp3@/out/a/aud_00002_.mp3
== text
state@success
seconds@0.001
times@1795317894351@1795317894352
text@2@/out/text-2.txt@947
== latent
state@success
seconds@0.001
times@1795317894356@1795317894357
file@latent@2@fresh@filename=lat_00001_.latent&subfolder=m&type=output@m/lat_00001_.latent@/out/lat_00001_.latent
== preview
state@success
seconds@0.010
times@1795317893708@1795317893718
file@image@2@fresh@filename=ComfyUI_temp_kcfyy_00001_.png&subfolder=&type=temp@ComfyUI_temp_kcfyy_00001_.png@/out/x.png
file@image@2@fresh@filename=ComfyUI_temp_kcfyy_00002_.png&subfolder=&type=temp@ComfyUI_temp_kcfyy_00002_.png@/out/x-2.png
file@image@2@fresh@filename=ComfyUI_temp_kcfyy_00003_.png&subfolder=&type=temp@ComfyUI_temp_kcfyy_00003_.png@/out/x-3.png
file@image@2@fresh@filename=ComfyUI_temp_kcfyy_00004_.png&subfolder=&type=temp@ComfyUI_temp_kcfyy_00004_.png@/out/x-4.png
== batch
state@success
seconds@0.028
times@1795317893473@1795317893501
file@image@2@fresh@filename=img_00001_.png&subfolder=m&type=output@m/img_00001_.png@/out/x.png
file@image@2@fresh@filename=img_00002_.png&subfolder=m&type=output@m/img_00002_.png@/out/x-2.png
file@image@2@fresh@filename=img_00003_.png&subfolder=m&type=output@m/img_00003_.png@/out/x-3.png
file@image@2@fresh@filename=img_00004_.png&subfolder=m&type=output@m/img_00004_.png@/out/x-4.png
== empty_prefix
state@success
seconds@0.002
times@1795317894922@1795317894924
file@image@2@fresh@filename=._00001_.png&subfolder=&type=output@._00001_.png@/out/x.png
== blocked
state@success
seconds@0.003
times@1795319038870@1795319038873
warning@the workflow succeeded, but made no file and no text
== subgraph
state@success
seconds@0.006
times@1795319040212@1795319040218
file@image@3@fresh@filename=exp_00001_.png&subfolder=x&type=output@x/exp_00001_.png@/out/x.png
file@image@2.0.0.2@fresh@filename=ComfyUI_temp_eatym_00001_.png&subfolder=&type=temp@ComfyUI_temp_eatym_00001_.png@/out/x-2.png
== gifs
state@success
seconds@0.001
times@1795317675090@1795317675091
file@video@1@fresh@filename=a.mp4&subfolder=&type=output@a.mp4@/out/a.mp4
== all_cached
state@success
seconds@0.001
times@1795318922227@1795318922228
file@image@2@cached@filename=x_00004_.png&subfolder=&type=output@x_00004_.png@/out/x.png
== partly_cached
state@success
seconds@0.001
times@1795318922235@1795318922236
file@image@2@cached@filename=a_00001_.png&subfolder=x&type=output@x/a_00001_.png@/out/x.png
file@image@4@fresh@filename=b_00002_.png&subfolder=x&type=output@x/b_00002_.png@/out/x-2.png
== error_cached
state@error
seconds@0.006
times@1795318922238@1795318922244
error@LabFail (node 5): m [RuntimeError]
file@image@2@cached@filename=a_00001_.png&subfolder=x&type=output@x/a_00001_.png@/out/x.png
file@image@4@cached@filename=b_00002_.png&subfolder=x&type=output@x/b_00002_.png@/out/x-2.png
== unicode
state@success
seconds@0.003
times@1795317894854@1795317894857
file@image@2@fresh@filename=%C3%B1ame_00001_.png&subfolder=%C3%BCn%C3%AFcode&type=output@ünïcode/ñame_00001_.png@/out/x.png
E
}

@test "recorded answers: state, seconds, error, files and texts" {
  outputs '{"image":"/out/x.png","audio":"/out/a/"}'
  local name text=''
  for name in success success_33 unknown error oom partial interrupted video video_33 webm webp flac flac_33 mp3 \
    text latent preview batch empty_prefix blocked subgraph gifs all_cached partly_cached error_cached unicode; do
    cp "$BATS_FILE_TMPDIR/$name.workflow" workflow.json
    read_history "$(cat "$BATS_FILE_TMPDIR/$name.id")" <"$BATS_FILE_TMPDIR/$name.answer"
    assert_status 0
    assert_equal "$stderr" ""
    text+="== $name"$'\n'$output$'\n'
  done
  # missing_output lines only repeat which of image and audio a recording lacks
  assert_equal "$(grep -v '^missing_output' <<<"$text")" "$(recorded_entries | tr '@' '\t')"
}

@test "a history of other prompts is missing, too" {
  read_history nobody <"$BATS_FILE_TMPDIR/success.answer"
  assert_status 0
  assert_equal "$output" "state	missing"
}

@test "what is no history answer is exit 2 and one line" {
  local body
  for body in '<html>502 Bad Gateway</html>' '' '[]' '"x"' '{"p":[]}' '{"p":{"status":{}}}' '{"p":'; do
    read_history <<<"$body"
    assert_status 2
    assert_equal "$output" ""
    assert_matches '^the server.s history .*' "$stderr"
    assert_equal "$(grep -c . <<<"$stderr")" 1
  done
  rm job.json
  read_history <<<'{}'
  assert_status 2
  assert_contains 'job.json: cannot be read as a job' "$stderr"
}

# --- how it ended ---------------------------------------------------------------------------------

@test "the status decides: an error message of a blocked node does not make a failure" {
  read_history <<<'{"p":{"outputs":{"2":{"images":[{"filename":"a.png","subfolder":"","type":"output"}]}},
    "status":{"status_str":"success","messages":[["execution_error",{"node_id":"7","node_type":"Block",
    "exception_type":"ExecutionBlocked","exception_message":"Execution Blocked: no"}],["execution_success",{}]]}}}'
  assert_equal "$(field state 1)" success
  assert_equal "$(field warning 1)" 'Block (node 7): Execution Blocked: no [ExecutionBlocked]'
  assert_equal "$(field error 1)" ''
}

@test "an error names the node by class, title and id, in one line of at most 500 characters" {
  workflow '{"3":{"class_type":"KSampler","_meta":{"title":"Sampler"}}}'
  failed '"RuntimeError"' '"\u001b[1;31mbad\u001b[0m\n\tthing\u0007 \u202e\r\n"'
  assert_equal "$(field error 1)" 'KSampler "Sampler" (node 3): bad thing [RuntimeError]'
  failed '"RuntimeError"' "\"$(printf 'x%.0s' {1..2000})\""
  local error
  error=$(field error 1)
  assert_equal "${#error}" 500 "length"
  assert_contains '... [RuntimeError]' "$error"
  failed 'null' 'null'
  assert_equal "$(field error 1)" 'KSampler "Sampler" (node 3): no reason given [unknown error]'
}

@test "errors that people can do something about have a hint" {
  local type message want
  while IFS='|' read -r type message want; do
    failed "\"$type\"" "\"$message\""
    assert_contains "$want" "$(field hint 1)"
  done <<'E'
torch.cuda.OutOfMemoryError|CUDA out of memory|pod_config.gpu_type
PIL.UnidentifiedImageError|cannot identify image file|input file
av.error.InvalidDataError|Invalid data found|input file
FileNotFoundError|[Errno 2] No such file or directory: 'x'|missing on the pod
IsADirectoryError|[Errno 21]|missing on the pod
Exception|Saving image outside the output folder is not allowed.|filename_prefix
RuntimeError|CUDA error: no kernel image is available for execution|image
OSError|[Errno 28] No space left on device|disk_gb
ModuleNotFoundError|No module named 'xformers'|custom node
E
  failed '"RuntimeError"' '"something else"'
  assert_equal "$(field hint 1)" ''
}

@test "a failure without a message, and a history without times" {
  read_history <<<'{"p":{"outputs":{},"status":{"status_str":"error"}}}'
  assert_equal "$output" "state	error
error	the server says that the workflow failed, but not why"
  read_history <<<'{"p":{"outputs":{},"status":null}}'
  assert_equal "$(field state 1)" error
}

# --- what was made --------------------------------------------------------------------------------

@test "every key is walked, whatever it is called; other things in the lists are passed over" {
  made '{"1":{"gifs":[{"filename":"a.mp4"}],"animated":[true],"n":[1,"x",null,[{"filename":"b.png"}]],
    "3d":{"deep":{"filename":"c.glb","subfolder":"s","type":"temp"}},"bad":[{"filename":7},{"filename":""}]}}'
  assert_equal "$(field file 1,4)" "video	filename=a.mp4&subfolder=&type=output
image	filename=b.png&subfolder=&type=output
model	filename=c.glb&subfolder=s&type=temp"
}

@test "the kind is in the extension" {
  made '{"1":{"images":[{"filename":"a.JPG"},{"filename":"a.gif"},{"filename":"a.webm"},{"filename":"a.wav"},
    {"filename":"a.opus"},{"filename":"a.srt"},{"filename":"a.json"},{"filename":"a.latent"},
    {"filename":"a.safetensors"},{"filename":"a.xyz"},{"filename":"a"}]}}'
  assert_equal "$(field file 1 | tr '\n' ' ')" 'image image video audio audio text json latent model file file '
}

@test "the same file twice is one; the same name in two folders is two" {
  made '{"1":{"images":[{"filename":"a.png","subfolder":"x"},{"filename":"a.png","subfolder":"x","type":"output"}]},
    "2":{"images":[{"filename":"a.png","subfolder":"x"},{"filename":"a.png","subfolder":"y"},{"filename":"A.png"}]}}'
  assert_equal "$(field file 2,5,6)" "1	x/a.png	/out/a.png
2	y/a.png	/out/a-2.png
2	A.png	/out/A-3.png"
}

@test "outputs match node id, then title, then prefix, then kind, then *" {
  workflow '{"1":{"_meta":{"title":"Face"},"inputs":{"filename_prefix":"p/face"}},
             "2":{"_meta":{"title":"Face"},"inputs":{"filename_prefix":"p/two"}},
             "3":{"_meta":{"title":"image"},"inputs":{"filename_prefix":"p/face"}},
             "4":{"inputs":{"filename_prefix":"p/face"}},"5":{"inputs":{"filename_prefix":"q/last"}},
             "6":{"_meta":"odd","inputs":[]}, "7": {}}'
  outputs '{"*":"/o/rest","image":"/o/kind.png","p/face":"/o/prefix.png","last":"/o/base.png","Face":"/o/title.png","1":"/o/id.png","text":"/o/t.txt"}'
  made '{"1":{"images":[{"filename":"a.png"}]},"2":{"images":[{"filename":"b.png"}]},"3":{"images":[{"filename":"c.png"}]},
    "4":{"images":[{"filename":"d.png"}]},"5":{"images":[{"filename":"e.png"}]},"6":{"images":[{"filename":"f.png"}]},
    "7":{"video":[{"filename":"g.mp4"}],"text":["said"]}}'
  assert_equal "$(field file 5,6)" "a.png	/o/id.png
b.png	/o/title.png
c.png	/o/kind.png
d.png	/o/prefix.png
e.png	/o/base.png
f.png	/o/kind-2.png
g.mp4	/o/rest.mp4"
  assert_equal "$(field text 2)" /o/t.txt
  assert_equal "$(field missing_output 1)" ''
}

@test "nodes of a subgraph count as the node that they stand in" {
  workflow '{"2":{"_meta":{"title":"Group"}}}'
  outputs '{"Group":"/o/g.png","nothing":"/o/n.png"}'
  made '{"2.0.0.1":{"images":[{"filename":"a.png"}]}}'
  assert_equal "$(field file 2,6)" "2.0.0.1	/o/g.png"
  assert_equal "$(field missing_output 1)" nothing
}

@test "more files of one name are numbered, and the extension follows the real file" {
  local path name want
  while IFS='|' read -r path name want; do
    outputs "{\"*\":\"$path\"}"
    made "{\"1\":{\"a\":[{\"filename\":\"1$name\"},{\"filename\":\"2$name\"},{\"filename\":\"3$name\"}]}}"
    assert_equal "$(field file 6 | tr '\n' ' ')" "$want " "$path with $name"
  done <<'E'
/o/x.png|.png|/o/x.png /o/x-2.png /o/x-3.png
/o/x.png|.webp|/o/x.webp /o/x-2.webp /o/x-3.webp
/o/x|.png|/o/x.png /o/x-2.png /o/x-3.png
/o/x|y|/o/x /o/x-2 /o/x-3
/o/v1.2|.png|/o/v1.2.png /o/v1.2-2.png /o/v1.2-3.png
/o/run.v2|y|/o/run.v2 /o/run.v2-2 /o/run.v2-3
/o/x.jpeg|.jpg|/o/x.jpeg /o/x-2.jpeg /o/x-3.jpeg
/o/x.PNG|.png|/o/x.PNG /o/x-2.PNG /o/x-3.PNG
/o/d/|.png|/o/d/1.png /o/d/2.png /o/d/3.png
E
}

@test "two outputs whose paths meet after the extension changed both survive" {
  outputs '{"1":"/o/x.png","2":"/o/x.jpg","3":"/o/x-2.png"}'
  made '{"1":{"a":[{"filename":"a.png"}]},"2":{"a":[{"filename":"b.png"}]},"3":{"a":[{"filename":"c.png"}]}}'
  assert_equal "$(field file 6 | tr '\n' ' ')" '/o/x.png /o/x-2.png /o/x-2-2.png '
}

@test "saved files are named before previews, in the order of the workflow" {
  workflow '{"9":{},"5":{},"1":{}}'
  outputs '{"image":"/o/x.png"}'
  made '{"1":{"images":[{"filename":"p.png","type":"temp"}]},"5":{"images":[{"filename":"b.png"}]},
    "9":{"images":[{"filename":"t.png","type":"temp"},{"filename":"a.png"}]}}'
  assert_equal "$(field file 5,6)" "a.png	/o/x.png
b.png	/o/x-2.png
t.png	/o/x-3.png
p.png	/o/x-4.png"
}

@test "names from the server lose all that could do harm" {
  local name want long
  long=$(printf 'é%.0s' {1..200})
  while IFS='|' read -r name want; do
    made "{\"1\":{\"a\":[{\"filename\":\"$name\"}]}}"
    assert_equal "$(field file 6)" "/out/$want" "$name"
    assert_equal "$(field file 6 | tr -d '\n' | LC_ALL=C tr -d '[:print:]\200-\377')" ''
  done <<E
../../etc/passwd|passwd
/etc/passwd|passwd
..\\\\..\\\\boot.ini|boot.ini
.bashrc|bashrc
...|output
--rf.png|rf.png
-.-.x.png|x.png
a\\nb\\tc\\u0000d.png|abcd.png
\\u001b[31mred.png|[31mred.png
\\u202egnp.exe|gnp.exe
/|output
 . |output
\$(id) \`x\`;'\\".png|\$(id) \`x\`;'".png
日本.png|日本.png
$long.png|$(printf 'é%.0s' {1..98}).png
E
}

@test "the address of a file is percent-encoded" {
  made '{"1":{"a":[{"filename":"a b&c=d%e+f#?\"/é.png","subfolder":"s/t ü","type":"o&x=1"}]}}'
  assert_equal "$(field file 4)" \
    'filename=a%20b%26c%3Dd%25e%2Bf%23%3F%22%2F%C3%A9.png&subfolder=s%2Ft%20%C3%BC&type=o%26x%3D1'
}

@test "a name that the server will not hand out is told" {
  made '{"1":{"a":[{"filename":"a..b.png"}]}}'
  assert_contains 'a..b.png' "$(field warning 1)"
}

# --- texts ----------------------------------------------------------------------------------------

@test "texts become .txt files: strings under text and string, and nothing else" {
  outputs '{"2":"/o/say.txt","3":"/o/dir/"}'
  made '{"1":{"text":["a","b",5,null],"string":"c"},"2":{"text":["d","e"]},"3":{"string":["f"]},"4":{"other":["g"]}}'
  assert_equal "$(field text 2,3)" "/out/text-1.txt	a
/out/text-1-2.txt	b
/out/text-1-3.txt	c
/o/say.txt	d
/o/say-2.txt	e
/o/dir/text-3.txt	f"
}

@test "any text comes back byte for byte through printf %b" {
  cat >texts.py <<'E'
import json, random
rng = random.Random(7)
alphabet = [*map(chr, range(1, 0x100)), *"\\\\\\nt0123'\"%", "日", "😀", "\\n", "\\0101", "\r\n"]
texts = ["".join(rng.choices(alphabet, k=rng.randrange(1, 80))) + "." for _ in range(60)]
with open("texts", "wb") as file:
    file.write("\0".join(texts).encode() + b"\0")
print(json.dumps({"p": {"outputs": {"1": {"text": texts}}, "status": {"status_str": "success"}}}))
E
  "$AUTOPOD_PYTHON" texts.py >answer.json
  read_history <answer.json
  assert_status 0
  grep '^text	' <<<"$output" | cut -f 4- >contents
  while IFS= read -r content; do
    printf '%b\0' "$content"
  done <contents >restored
  cmp restored texts
}

@test "--help explains; a missing option is exit 2" {
  run "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/history.py" --help
  assert_status 0
  assert_contains '--prompt-id'
  run "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/history.py"
  assert_status 2
}
