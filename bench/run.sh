#!/usr/bin/env bash
#
# Usage: bench/run.sh [options]
#
# Measures autopod on this machine, on a local pod of its own, and prints a table
# of ratios: each against something that was measured in the same run, as the
# median of interleaved rounds. A slow figure is no failure.
#
#   --rounds N   rounds of the small measurements (default: 15)
#   --files N    rounds of the large transfers (default: 5; 0 leaves them out)
#   --mib N      size of the file that is moved, in MiB (default: 1024)
#   --seconds N  no new round of a measurement after that (default: 180)
#   --convert    instead: how long the conversion of a GUI workflow takes, without
#                a pod
#   --limits     instead: how long pods outlive their limits when everything is
#                broken that would stop them (bench/limits.sh; what follows is its)
#   -h, --help   print this help
#
# Exit codes: 0 measured, 1 something broke, 2 usage, 3 something missing.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
PYTHON=${AUTOPOD_PYTHON:-$ROOT/.venv/bin/python3}
ROUNDS=15 FILE_ROUNDS=5 MIB=1024 SECONDS_EACH=180 CONVERT=''
WORK=''  # the private directory, with the pod in it
CHILD='' # the measurement that runs

# die CODE TEXT
die() {
  printf 'bench: error: %s\n' "$2" >&2
  exit "$1"
}

# end - on every way out: the measurement that runs, the pod, and the private directory
end() {
  local status=$? pod
  trap - EXIT
  trap '' INT TERM HUP
  [ -z "$CHILD" ] || {
    kill "$CHILD" 2>/dev/null || :
    wait "$CHILD" || :
  }
  [ -z "$WORK" ] || {
    cd /
    for pod in "$WORK/home/local"/*/; do
      [ ! -d "$pod" ] || end_pod "$(basename "$pod")" || exit 1
    done
    rm -rf -- "$WORK"
  }
  exit "$status"
}

# end_pod POD - 1 when it may still be there: then the directory stays, for it holds all about it
end_pod() {
  # With its 0: in a trap, a bare return is the status before the trap.
  "$ROOT/bin/autopod-kill" -q "$1" && return 0
  printf 'bench: error: pod %s is left: AUTOPOD_HOME=%s autopod-kill %s\n' \
    "$1" "$AUTOPOD_HOME" "$1" >&2
  return 1
}

# number OPTION VALUE - prints VALUE, if it is a whole number
number() {
  case ${2:-x} in *[!0-9]* | ????????*) die 2 "$1 wants a whole number" ;; esac
  printf '%s\n' "$2"
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --rounds) ROUNDS=$(number "$1" "${2:-}") && shift ;;
      --files) FILE_ROUNDS=$(number "$1" "${2:-}") && shift ;;
      --mib) MIB=$(number "$1" "${2:-}") && shift ;;
      --seconds) SECONDS_EACH=$(number "$1" "${2:-}") && shift ;;
      --convert) CONVERT=1 ;;
      --limits) exec bash "$ROOT/bench/limits.sh" "${@:2}" ;;
      -h | --help) sed -n -e '1,2d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
      *) die 2 "unknown option: $1 (--help lists them)" ;;
    esac
    shift
  done
  [ "$ROUNDS" -gt 0 ] && [ "$MIB" -gt 0 ] || die 2 '--rounds and --mib want at least 1'
}

# prepare - the private directory, in which nothing of the user's own settings counts
prepare() {
  local name
  "$PYTHON" -c 'import aiohttp, websocket' 2>/dev/null ||
    die 3 "$PYTHON lacks aiohttp or websocket-client: run make setup"
  for name in $(compgen -v AUTOPOD_); do unset "$name"; done
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/autopod-bench.XXXXXX") || die 3 "no room for a directory"
  export AUTOPOD_HOME=$WORK/home AUTOPOD_PYTHON=$PYTHON
  export AUTOPOD_LOCAL_COMFYUI_ARGS="--max-upload-size $((MIB + 100))"
  cd "$WORK"
  mkdir out jobs
}

# connect - the pod and its tunnel; sets POD, URL, TUNNEL_PID, COMFYUI_PID, SSHD_PORT
connect() {
  local name pid _start port
  "$ROOT/bin/autopod-connect" -q --provider local --json >pod.json 2>said || {
    cat said >&2
    die 1 'autopod-connect made no pod'
  }
  POD=$(jq -r .id pod.json)
  URL=$(jq -r .url pod.json)
  TUNNEL_PID=$(jq -r --arg pod "$POD" '.[$pod].pid' "$AUTOPOD_HOME/tunnels.json")
  while read -r name pid _start port; do
    case $name in
      comfyui) COMFYUI_PID=$pid ;;
      sshd) SSHD_PORT=$port ;;
    esac
  done <"$AUTOPOD_HOME/local/$POD/processes"
}

# measure RESULT ARG... - rounds.py; its lines go to RESULT
measure() {
  local result=$1
  shift
  # In the background, since a signal interrupts only `wait`.
  "$PYTHON" "$ROOT/bench/rounds.py" --seconds "$SECONDS_EACH" "$@" >"$result" &
  CHILD=$!
  wait "$CHILD" || {
    CHILD=''
    die 1 'a command failed while it was measured'
  }
  CHILD=''
}

# field RESULT KIND LABEL N - prints the Nth field of that line
field() {
  awk -F '\t' -v kind="$2" -v label="$3" -v n="$4" '$1 == kind && $2 == label { print $n }' "$1"
}

# verdict VALUE OPERATOR LIMIT - prints whether the aim is met
verdict() {
  awk -v a="$1" -v op="$2" -v b="$3" \
    'BEGIN {
      met = (op == ">=") ? a >= b : (op == "<=") ? a <= b : a < b
      printf "aim %s %s: %s\n", op, b, met ? "met" : "MISSED"
    }'
}

# row WHAT VALUE VERDICT DETAIL
row() { printf '%-49s %7s  %-20s %s\n' "$1" "$2" "$3" "$4"; }

# raw RESULT LABEL... - the single figures behind a row
raw() {
  local result=$1 label
  shift
  for label in "$@"; do
    printf '    %-20s s: %s\n' "$label" "$(field "$result" time "$label" 5)"
  done
}

# --- whole process ---

# write_jobs NAME TEMPLATE FORMAT - a job for each number from 301 on, FORMAT being its inputs
write_jobs() {
  local n inputs
  for ((n = 301; n <= 301 + 3 * ROUNDS + 6; n++)); do
    # shellcheck disable=SC2059 # the format is ours
    printf -v inputs "$3" "$n"
    printf '{"job_id":"%s-%d","workflow_template":"%s","inputs":{%s},"outputs":{"*":"out/"}}\n' \
      "$1" "$n" "$2" "$inputs" >"jobs/$1-$n.json"
  done
}

# whole_process NAME TITLE VARIED - comfy-run against the bare client, which runs the workflow that
# a first comfy-run posted, but for VARIED (NODE.INPUT), so that nothing comes from a cache
whole_process() {
  local name=$1 title=$2 varied=$3 result=$1.tsv workflow=$1-workflow.json bare contenders
  "$ROOT/bin/comfy-run" --json=final "jobs/$name-301.json" >first.json 2>said || {
    cat said >&2
    die 1 'comfy-run failed'
  }
  cp "$AUTOPOD_HOME/runs/$(jq -r '.jobs[0].run' first.json)/workflow.json" "$workflow"
  bare="$PYTHON $ROOT/bench/bare_client.py --host ${URL#http://} --workflow $workflow"
  contenders=("bare=$bare --set $varied={n} --output out/bare"
    "bin=$ROOT/bin/comfy-run jobs/$name-{n}.json")
  [ ! -x "$ROOT/dist/comfy-run" ] ||
    contenders[2]="dist=$ROOT/dist/comfy-run jobs/$name-{n}.json"
  measure "$result" --rounds "$ROUNDS" --first 302 "${contenders[@]}"
  show_process "$result" bin "comfy-run, $title, against a bare script"
  [ -z "${contenders[2]:-}" ] ||
    show_process "$result" dist "dist/comfy-run, $title$(dist_age)"
  raw "$result" bare bin ${contenders[2]:+dist}
}

# dist_age - prints a remark when dist/ is not what lib/ would become
dist_age() {
  local newer
  newer=$(find "$ROOT/bin" "$ROOT/lib" "$ROOT/helpers" -type f -newer "$ROOT/dist/comfy-run")
  [ -z "$newer" ] || printf ' (dist/ is older than lib/)'
}

# show_process RESULT LABEL WHAT
show_process() {
  local ratio times
  ratio=$(field "$1" ratio "$2" 3)
  times="$(field "$1" time "$2" 3) s against $(field "$1" time bare 3) s"
  row "$3" "$(printf %.2f "$ratio")" "$(verdict "$ratio" '<=' 2.5)" \
    "$times, n = $(field "$1" ratio "$2" 4)"
}

# count_processes NAME TITLE - how many programs and processes one comfy-run starts
count_processes() {
  local job=jobs/$1-$((301 + 3 * ROUNDS + 6)).json
  if strace -f -qq -o trace -e trace=execve,clone,clone3,fork,vfork \
    "$ROOT/bin/comfy-run" "$job" >/dev/null 2>said; then
    awk -f "$ROOT/bench/count.awk" trace >counted
    row "starts of comfy-run, $2: programs" "$(sed -n 1p counted)" '' \
      "by strace (execve): $(sed -n 3p counted)"
    row '    processes' "$(sed -n 2p counted)" '' 'by strace (fork and clone, without threads)'
  else
    count_by_shims "$job" "$2"
  fi
}

# count_by_shims JOB TITLE - without strace: by programs in front of PATH that note their start
count_by_shims() {
  local tool path
  mkdir -p shims
  for tool in awk cat chmod cp curl cut date env grep head id jq ln mkdir mktemp mv od ps \
    readlink rm sed sha256sum shasum sleep sort stat tail tr uname uuidgen wc; do
    path=$(command -v "$tool") || continue
    printf '#!/bin/sh\necho %s >>"%s/starts"\nexec "%s" "$@"\n' \
      "$tool" "$WORK" "$path" >"shims/$tool"
    chmod +x "shims/$tool"
  done
  : >starts
  PATH=$WORK/shims:$PATH "$ROOT/bin/comfy-run" "$1" >/dev/null 2>said ||
    die 1 "comfy-run failed: $(tail -n 1 said)"
  row "starts of comfy-run, $2: programs" "$(awk 'END { print NR }' starts)" '' \
    'by a PATH of shims (no strace here): without Python, and forks are not seen'
}

# --- large files ---

# measure_files RESULT ARG... - the same for the large file, with the memory of all that moves it
measure_files() {
  local result=$1
  shift
  measure "$result" --memory --watch "ssh=$TUNNEL_PID" --watch "ComfyUI=$COMFYUI_PID" "$@"
}

# find_scp - sets SCP to scp for the pod, and ADDRESS; as it comes, but like the tunnel without
# the user's own configuration
find_scp() {
  local pod_dir=$AUTOPOD_HOME/local/$POD
  ADDRESS=$(jq -r '.ssh.user' pod.json)@127.0.0.1
  SCP="scp -q -F none -i $pod_dir/client_key -o IdentitiesOnly=yes -o BatchMode=yes -P $SSHD_PORT"
  SCP="$SCP -o UserKnownHostsFile=$AUTOPOD_HOME/known_hosts.d/$POD -o GlobalKnownHostsFile=none"
  # A pod without the sftp subsystem is spoken to by the older protocol.
  $SCP pod.json "$ADDRESS:$WORK/probe" 2>/dev/null || SCP="$SCP -O"
  $SCP pod.json "$ADDRESS:$WORK/probe" 2>said || die 1 "scp: $(tail -n 1 said)"
}

# transfers - a large file up and down, against scp through the same sshd
transfers() {
  local input=$AUTOPOD_HOME/local/$POD/comfyui/input/bench same move=$ROOT/bench/transfer.sh
  [ "$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024))" -gt $((MIB * 5)) ] ||
    die 3 "$((MIB * 5)) MiB must be free in ${TMPDIR:-/tmp}; or use a smaller --mib, or --files 0"
  head -c $((MIB << 20)) /dev/urandom >file
  find_scp
  same="$SCP -o $(tunnel_ciphers)"

  measure_files up.tsv --rounds "$FILE_ROUNDS" --between "rm -rf $input $WORK/copy" \
    "scp=$SCP file $ADDRESS:$WORK/copy" "scp+cipher=$same file $ADDRESS:$WORK/copy" \
    "autopod=$move up $URL file {n}.bin"
  cmp -s file "$input"/*.bin || die 1 'what was uploaded is not what arrived'
  show_transfer up.tsv up

  rm -rf "$input" && mkdir -p "$input" && ln file "$input/file.bin"
  measure_files down.tsv --rounds "$FILE_ROUNDS" --between "rm -f $WORK/copy" \
    "scp=$SCP $ADDRESS:$WORK/file copy" "scp+cipher=$same $ADDRESS:$WORK/file copy" \
    "autopod=$move down $URL file.bin copy"
  cmp -s file copy || die 1 'what was downloaded is not what was sent'
  show_transfer down.tsv down
}

# whole_job - a job with the large file as its input, from its hash to its end
whole_job() {
  empty_image 1 '{input.file}' >large.json
  printf '{"job_id":"large","workflow_template":"%s","inputs":{"file":"%s"}}\n' \
    "$WORK/large.json" "$WORK/file" >jobs/large.json
  measure_files large.tsv --rounds 1 --warm-up 0 "autopod=$ROOT/bin/comfy-run jobs/large.json"
  row "whole job with a $MIB MiB input, s" "$(printf %.1f "$(field large.tsv time autopod 3)")" \
    '' 'its hash and its upload'
  show_peak large.tsv
}

# tunnel_ciphers - prints the option that the tunnel's ssh was given
tunnel_ciphers() {
  ps -ww -o args= -p "$TUNNEL_PID" | sed -n 's/.*\(Ciphers=[^ ]*\).*/\1/p'
}

# show_transfer RESULT DIRECTION - rates are the inverse of times
show_transfer() {
  local rate base same ratio
  rate=$(rate "$(field "$1" time autopod 3)") base=$(rate "$(field "$1" time scp 3)")
  same=$(rate "$(field "$1" time 'scp+cipher' 3)")
  ratio=$(quotient 1 "$(field "$1" ratio autopod 3)")
  row "$MIB MiB $2, rate against scp" "$ratio" "$(verdict "$ratio" '>=' 0.90)" \
    "$rate MB/s against $base MB/s, n = $(field "$1" time autopod 4)"
  row "    against scp with the tunnel's cipher" "$(quotient "$rate" "$same")" \
    '' "$rate MB/s against $same MB/s"
  show_peak "$1"
  raw "$1" scp 'scp+cipher' autopod
}

# show_peak RESULT - of our processes; that of the server is for information
show_peak() {
  local peaks peak
  peaks=$(awk -F '\t' '$1 == "peak" && $2 == "autopod" { printf "%s %.1f\n", $3, $4 / 1024 }' "$1")
  peak=$(awk '$1 != "ComfyUI" && $2 > top { top = $2 } END { print top }' <<<"$peaks")
  row "    peak memory of our processes, MiB" "$peak" "$(verdict "$peak" '<' 100)" \
    "${peaks//$'\n'/, }"
}

# quotient A B
quotient() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# rate SECONDS - prints MB/s (10^6 bytes)
rate() { awk -v s="$1" -v mib="$MIB" 'BEGIN { printf "%.0f", mib * 1.048576 / s }'; }

# --- start of the library ---

sourcing() {
  local ms empty lib all='for f in "$AUTOPOD_LIB"/*.sh "$AUTOPOD_LIB"/*/*.sh; do . "$f"; done'
  measure lib.tsv --rounds $((ROUNDS * 2)) "empty=env bash -c :" \
    "lib=env AUTOPOD_LIB=$ROOT/lib bash -c '$all'"
  empty=$(field lib.tsv time empty 3) lib=$(field lib.tsv time lib 3)
  ms=$(awk -v a="$lib" -v b="$empty" 'BEGIN { printf "%.1f", (a - b) * 1000 }')
  row 'sourcing all of lib/, ms' "$ms" "$(verdict "$ms" '<' 30)" \
    "$lib s against $empty s for bash -c :, n = $(field lib.tsv time lib 4)"
  raw lib.tsv empty lib
}

# --- conversion ---

# conversion - a workflow of 100 nodes, against the parsing of the definitions alone that a server gives
conversion() {
  local convert="$PYTHON -IS $ROOT/helpers/convert_workflow.py --object-info" size label time ratio what
  "$PYTHON" "$ROOT/bench/conversion.py" . || die 1 'bench/conversion.py failed'
  "$PYTHON" -IS "$ROOT/helpers/object_info.py" --lines <info.json >info.lines || die 1 'object_info.py failed'
  size=$(wc -c <info.json | awk '{ printf "%.1f MB", $1 / 1e6 }')
  measure convert.tsv --rounds "$ROUNDS" \
    "json=$PYTHON -IS -c 'import json; json.load(open(\"info.json\"))'" \
    "start=$PYTHON -IS -c 0" "raw=$convert info.json workflow.json" "saved=$convert info.lines workflow.json" \
    "command=$ROOT/bin/comfy-convert --object-info info.json workflow.json"
  for label in 'saved=what was saved of a server' 'raw=the answer of a server' 'command=comfy-convert, the same'; do
    what=${label#*=} label=${label%%=*}
    time=$(field convert.tsv time "$label" 3) ratio=$(field convert.tsv ratio "$label" 3)
    row "100 nodes, $what, s" "$(printf %.3f "$time")" "$(verdict "$time" '<' 0.4)" \
      "$(printf %.2f "$ratio") of json.load of $size, $(field convert.tsv time json 3) s; n = $(field convert.tsv time "$label" 4)"
  done
  raw convert.tsv json start saved raw command
}

# machine - prints what it was measured on
machine() {
  printf 'autopod %s on %s, %s CPUs; bash %s, %s, %s, %s; %s\n' "$(<"$ROOT/VERSION")" \
    "$(uname -sm)" "$(getconf _NPROCESSORS_ONLN)" "$BASH_VERSION" "$(jq --version)" \
    "$(curl --version | awk 'NR == 1 { print $1, $2 }')" "$(ssh -V 2>&1 | cut -d , -f 1)" "$(load)"
}

# load - prints the machine's load averages
load() { uptime | sed 's/.*load average[s]*:/load/'; }

# empty_image COLOR TITLE - prints a workflow that needs no model and no input
empty_image() {
  printf '{"1":{"class_type":"EmptyImage","_meta":{"title":"%s"},' "$2"
  printf '"inputs":{"width":64,"height":64,"batch_size":1,"color":%s}},' "$1"
  printf '"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"bench"}}}\n'
}

main() {
  parse "$@"
  trap end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  prepare
  machine
  if [ -n "$CONVERT" ]; then
    conversion
    printf 'at the end %s\n' "$(load)"
    return
  fi
  connect
  empty_image '"{input.color}"' Empty >small.json
  write_jobs small "$WORK/small.json" '"color":%d'
  write_jobs demo demo "\"image\":\"$ROOT/jobs/inputs/landscape.png\",\"width\":%d"
  sourcing
  whole_process small 'one empty image' 1.color
  whole_process demo 'shipped demo' 2.width
  count_processes small 'one empty image'
  count_processes demo 'shipped demo'
  [ "$FILE_ROUNDS" = 0 ] || { transfers && whole_job; }
  printf 'at the end %s\n' "$(load)"
}

main "$@"
exit
