#!/usr/bin/env bats
# lib/events.sh and events.schema.json: whatever is told, each line is JSON and as the schema says.

load test_helper
load lib_helper

# utf8_locale - prints the name of a UTF-8 locale that this machine has
utf8_locale() { locale -a 2>/dev/null | grep -iE '^(C|en_US)\.utf-?8$' | head -n 1; }

# texts KIND - writes texts, each with a NUL behind it: bytes (each one), utf8 (each kind of character), noise
texts() {
  "$AUTOPOD_PYTHON" - "$1" <<'PY'
import random, sys
random.seed(7)
out = sys.stdout.buffer
if sys.argv[1] == "bytes":
    for byte in range(1, 256):
        for text in (b"%c", b"a%cb", b"%c%c", b"\\%c\"", b"%c\n"):
            out.write(text.replace(b"%c", bytes([byte])) + b"\0")
elif sys.argv[1] == "utf8":
    edges = [1, 0x7f, 0x80, 0x85, 0x9f, 0xa0, 0x7ff, 0x800, 0xfff, 0x2027, 0x2028, 0x2029, 0x202a, 0xd7ff, 0xe000,
             0xfffd, 0xffff, 0x10000, 0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff]
    for code in edges + [random.choice([random.randrange(1, 0xd800), random.randrange(0xe000, 0x110000)]) for _ in range(200)]:
        out.write(f"a{chr(code)}b{chr(code)}".encode() + b"\0")
    out.write(("long " * 50 + "é" * 300 + '\\"').encode() + b"\0")
else:
    pieces = [b"\xc3", b"\xa9", b"\xe2\x80", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
              b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80", b"\xf5", b"\xff", b"\xfe", b"\x7f", b"\x01", b"\x1b[31m", b'"', b"\\",
              b"\\u0041", b"\n", b"\r", b"\t", b"&", b"%s", b"$(x)", b"*", b"[a]", b" ", b"text", b"]", b"[!a]"]
    for _ in range(400):
        out.write(b"".join(random.choices(pieces, k=random.randrange(1, 9))) + b"\0")
PY
}

# assert_texts KIND - the events of these texts say just these texts; what isn't UTF-8 in them has become U+FFFD
assert_texts() {
  texts "$1" >bytes
  lib 'events' <<'SH' >told
EVENTS_ON=1 EVENTS_RUN='a "run"'
exec 7<bytes
while LC_ALL=C IFS= read -r -d '' text <&7; do events_emit warning text s "$text"; done
SH
  "$AUTOPOD_PYTHON" - <<'PY'
import json, re
lines = open("told", "rb").read().split(b"\n")[:-1]
texts = open("bytes", "rb").read().split(b"\0")[:-1]
assert len(lines) == len(texts) > 200, (len(lines), len(texts))
squeeze = lambda text: re.sub("\ufffd+", "\ufffd", text)
for line, text in zip(lines, texts):
    event = json.loads(line.decode("utf-8", "strict"), strict=True)
    assert squeeze(event["text"]) == squeeze(text.decode("utf-8", "replace")), (text, line)
    assert event["run"] == 'a "run"'
    shown = line.decode()
    assert len(shown.splitlines()) == 1 and not re.search("[\x00-\x1f\x7f-\x9f]", shown), line
PY
}

@test "texts of any bytes, in the C locale and in UTF-8" {
  local locale kind
  for locale in C "$(utf8_locale)"; do
    for kind in bytes utf8 noise; do
      LC_ALL=$locale assert_texts "$kind"
    done
  done
  LANG=$(utf8_locale) assert_texts noise # LC_ALL unset
}

@test "the locale is as before, and nothing in a text is run or taken for a pattern" {
  LC_ALL=$(utf8_locale) run lib events <<'SH'
touch match
EVENTS_ON=1
events_emit warning text s $'é $(touch pwned) `touch pwned` * ${HOME} \\ " \n & ['
text=é
echo "${#text} ${LC_ALL:+set}"
SH
  assert_status 0
  assert_equal "$(jq -r .text <<<"${lines[0]}")" $'é $(touch pwned) `touch pwned` * ${HOME} \\ " \n & ['
  assert_equal "${lines[1]}" '1 set'
  refute_exists pwned
}

@test "kinds of values; what is not known is null" {
  run lib_both events <<'SH'
EVENTS_ON=1
events_emit x t s text e s '' n n 12 f n -0.50 g n 1e5 z n '' b b 1 c b '' j j $'{"a":\n[1, "\\n"]}\n' k j '' l j ' '
SH
  assert_equal "$(jq -c 'del(.time)' <<<"$output")" \
    '{"event":"x","run":null,"t":"text","e":null,"n":12,"f":-0.5,"g":100000,"z":null,"b":true,"c":false,"j":{"a":[1,"\n"]},"k":null,"l":null}'
  assert_matches '"time":"20[0-9-]{8}T[0-9:]{8}Z"'
  assert_matches '"f":-0.50,'
  assert_equal "${#lines[@]}" 1
  run lib events <<'SH'
EVENTS_ON=1
for number in 007 .5 5. 0x10 1,5 NaN - '1 2' '1
2' $'\xd9\xa1' '$(touch pwned)' 'a[$(touch pwned)]'; do events_emit x n n "$number"; done
SH
  assert_equal "$(jq -c .n <<<"$output" | sort -u)" null
  assert_equal "${#lines[@]}" 12
  refute_exists pwned
}

@test "an object for a file; a text alone" {
  run lib_both events <<'SH'
events_object state s running percent n 48 node s ''
echo "$EVENTS_JSON"
events_quote 'say "é"'
echo "$EVENTS_JSON"
events_object
echo "$EVENTS_JSON"
SH
  assert_equal "$output" $'{"state":"running","percent":48,"node":null}\n"say \\"é\\""\n{}'
}

@test "nothing unless it is wanted; ordinary texts start no other program" {
  run lib_both events <<'SH'
events_emit warning text s hello
EVENTS_ON=1
events_emit warning text s "first" # without a newer bash the clock is one
PATH=/nowhere
for ((i = 0; i < 3; i++)); do events_emit warning text s 'KSampler (12/25) "quoted" é'; done
SH
  assert_status 0
  assert_equal "$(jq -r .text <<<"$output" | sort | uniq -c | tr -s ' ')" $' 3 KSampler (12/25) "quoted" é\n 1 first'
}

@test "an older bash without a clock of its own: it looks at one once a second" {
  old_lib
  stub date <<'SH'
echo >>"$BATS_TEST_TMPDIR/looks"
echo 2026-01-31T23:59:59Z
SH
  run lib events <<'SH'
EVENTS_ON=1
for ((i = 0; i < 30; i++)); do
  SECONDS=7
  events_emit warning text s é
done
SH
  assert_status 0
  assert_equal "$(sort -u <<<"$output")" '{"event":"warning","time":"2026-01-31T23:59:59Z","run":null,"text":"é"}'
  assert_equal "$(($(wc -l <"$BATS_TEST_TMPDIR/looks")))" 1 'looks at the clock'
  run lib events <<'SH'
EVENTS_ON=1
events_emit warning text s one
SECONDS=$((SECONDS + 1))
events_emit warning text s two
SH
  assert_equal "$(($(wc -l <"$BATS_TEST_TMPDIR/looks")))" 3 'looks at the clock'
}

@test "they go to the program's own output, also from inside of a command substitution" {
  run --separate-stderr lib ui <<'SH'
ui_init
core_trap
EVENTS_ON=1
caught=$(ui_warn "from inside"; echo data)
echo "caught $caught" >&2
core_on_exit events_emit warning text s "from the cleanup"
SH
  assert_status 0
  assert_equal "$(jq -r .text <<<"$output")" $'from inside\nfrom the cleanup'
  assert_contains 'caught data' "$stderr"
}

@test "warnings are events, with secrets masked; other talk is none" {
  run --separate-stderr lib ui <<'SH'
ui_init
EVENTS_ON=1
ui_secret rpa_0123456789
ui_warn $'the key\trpa_0123456789 is old'
ui_note note
core_fail 1 error hint || :
SH
  assert_equal "$(jq -c 'del(.time)' <<<"$output")" '{"event":"warning","run":null,"text":"the key **** is old"}'
  assert_contains 'warning: the key **** is old' "$stderr"
}

@test "a reader who has gone, or a full disk, ends nothing" {
  local program=$BATS_TEST_TMPDIR/program said=$BATS_TEST_TMPDIR/said
  program "$program" events <<SH
EVENTS_ON=1
events_emit warning text s one
sleep 0.5
events_emit warning text s two
events_emit warning text s three
echo "lost \$EVENTS_LOST" >"$said"
SH
  bash "$program" 3>&- | head -n 1 >first
  assert_equal "$(jq -r .text <first)" one
  wait_until 10 has_line "$said"
  assert_equal "$(<"$said")" 'lost 1'
  [ -w /dev/full ] || return 0
  rm "$said"
  bash "$program" 3>&- >/dev/full 2>complaints
  assert_equal "$(<"$said")" 'lost 1'
  assert_equal "$(<complaints)" ''
}

# --- the schema -----------------------------------------------------------------------------------

# check_events - holds stdin against the schema
check_events() { "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/events_check.py" "$ROOT/events.schema.json"; }

# story - prints a run as events: two of them, the second one failed
story() {
  lib events <<'SH'
EVENTS_ON=1
SUM=$(printf '%064d' 0)
result() {
  printf '{"job_id":"one","run":"%s","template":"film","exit_code":%s,"status":"%s","error":%s,"hint":null,"prompt_id":null,"seed":null,"outputs":[{"node":"2","kind":"image","server_name":"a.png","bytes":1,"sha256":"%s","path":"/a.png"}],"downloaded":true,"seconds":{"target":0.1,"total":1},"server_seconds":null,"cost_usd":0.01,"bill":{"seconds":{"boot":1,"tunnel":0.2,"transfer":0,"queue":0,"compute":1.5,"idle":0.3,"tail":null},"usd":{"boot":1,"tunnel":0.2,"transfer":0,"queue":0,"compute":1.5,"idle":0.3,"tail":null}},"limits":{"max_cost_usd":null,"timeout_seconds":60,"pod":null},"pod":{"id":"p","provider":"local","gpu":"","cost_per_hr":0},"url":"http://127.0.0.1:1","comfyui_version":null,"autopod_version":"1","finished_at":"2026-01-31T23:59:59Z"}' \
    "$EVENTS_RUN" "$1" "$2" "$3" "$SUM"
}
events_emit warning text s before
EVENTS_RUN=one.1
events_emit run_started job s one directory s /runs/one.1
events_emit pod_ready pod s p provider s local gpu s '' usd_per_hour n '' made b 1 seconds n 1.5 \
  deadline n 1769904000 latest_bill_usd n '' guards j '{"run":true,"watcher":true,"pod":false}'
events_emit tunnel_open url s http://127.0.0.1:8188 port n 8188 pod s p
events_emit upload files n 1 bytes n 10
events_emit submitted prompt_id s abc url s http://127.0.0.1:8188
events_emit progress state s pending percent n '' left_seconds n '' node s '' title s '' value n '' max n '' position n 2 seconds n 1 cost_usd n ''
events_emit progress state s running percent n 48.5 left_seconds n 3 node s 3 title s KSampler value n 12 max n 25 position n '' seconds n 2 cost_usd n 0.0123
events_emit output path s /a.png bytes n 1 sha256 s "$SUM" kind s image node s 2 server_name s a.png
events_emit run_finished job s one status s success exit_code n 0 error s '' hint s '' seconds n 3 cost_usd n 0.01 result j "$(result 0 success null)"
EVENTS_RUN=one.2
events_emit run_started job s one directory s /runs/one.2
events_emit run_finished job s one status s failed exit_code n 8 error s boom hint s '' seconds n 3 cost_usd n 0.01 result j "$(result 8 failed '"boom"')"
SH
}

@test "the schema takes every event, and each is among them" {
  story >told
  run check_events <told
  assert_status 0
  assert_equal "$(jq -r .event <told | sort -u)" "$(jq -r '.properties.event.enum[]' "$ROOT/events.schema.json" | sort)"
  lib events >told <<'SH'
EVENTS_ON=1
events_emit run_finished job s '' status s failed exit_code n 2 error s wrong hint s '' seconds n '' cost_usd n '' result j ''
SH
  run check_events <told
  assert_status 0
}

@test "the schema refuses each event with a key less, a key more, or a value of another kind" {
  story >told
  "$AUTOPOD_PYTHON" - "$ROOT" <<'PY'
import json, sys
sys.path.insert(0, sys.argv[1] + "/tests/doubles")
import events_check
schema = events_check.read_schema(sys.argv[1] + "/events.schema.json")
tried = 0

def refused(event, what):
    global tried
    tried += 1
    assert list(events_check.faults_of(event, schema)), (what, event)

def spoil(value):
    yield [value]
    if isinstance(value, str):
        yield 7
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield -1
        yield str(value)

for line in open("told", "rb"):
    event = events_check.parse(line)
    assert not list(events_check.faults_of(event, schema)), line
    refused({**event, "more": 1}, "a key more")
    refused({**event, "event": "other"}, "another name")
    for key, value in event.items():
        refused({k: v for k, v in event.items() if k != key}, "without " + key)
        for wrong in spoil(value):
            refused({**event, key: wrong}, key)
    if event["event"] == "run_finished":
        for key in event["result"]:
            refused({**event, "result": {k: v for k, v in event["result"].items() if k != key}}, "result." + key)
    for key, wrong in {"state": "flying", "status": "odd", "percent": 101, "port": 0, "sha256": "00", "time": "now"}.items():
        if key in event:
            refused({**event, key: wrong}, key)
assert tried > 200, tried
PY
}

# assert_refused TEXT PROGRAM - the story, changed by sed's PROGRAM, is refused, and the checker says TEXT
assert_refused() {
  sed -E "$2" told >changed
  run check_events <changed
  assert_status 1
  assert_contains "$1"
}

@test "the checker notices a story that makes no sense" {
  story >told
  assert_refused 'has not begun' '/run_started/d'
  assert_refused 'has begun already' '/run_started/p'
  assert_refused 'run one.2 has no end' '$d'
  assert_refused 'there is no run_finished' '/one\.[12]/d'
  assert_refused 'not begun, or has ended' '/run_finished/p'
  assert_refused 'does not say the same' 's/("status":"failed","exit_code":)8/\19/'
  assert_refused 'time goes back' '3s/"time":"20/"time":"19/'
  sed -E '/48\.5/{p;s/48\.5/48/;}' told >changed
  run check_events <changed
  assert_contains '48 % after 48.5 %'
  printf 'talk\n' | cat told - >changed
  run check_events <changed
  assert_status 1
  assert_contains 'line 13'
  head -c 1000 told >changed
  run check_events <changed
  assert_status 1
  assert_contains 'has no end'
}

@test "the README names every event with its keys" {
  local event keys
  awk -F ' *[|] *' '/^[|] `/ { print $2 " " $3 }' "$ROOT/README.md" >named
  while IFS=$'\t' read -r event keys; do
    grep -qxF "\`$event\` $keys" named || { _complain "not in the README: $event $keys" && return 1; }
  done < <(jq -r '."$defs" | to_entries[] | select(.value.properties.event)
    | [.key, (.value.required[3:] | map("`\(.)`") | join(", "))] | @tsv' "$ROOT/events.schema.json")
}

@test "how far a run is stands in its file also while a step waits, and not after its end" {
  run lib progress <<'SH'
progress_begin "$PWD" 0 ''
progress_state target
[ -e progress ] || echo "not at once"
_PROGRESS_BEGAN=0 _PROGRESS_SAVED_AT=0 # as if it had begun long ago
AUTOPOD_QUIET=1
ui_progress "waiting for its ssh address"
jq -r .state progress
rm progress
progress_end
_PROGRESS_SAVED_AT=0
ui_progress "terminating its pod"
[ -e progress ] || echo "no more"
SH
  assert_equal "$output" $'not at once\ntarget\nno more'
}
