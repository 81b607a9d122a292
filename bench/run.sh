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
#   -h, --help   print this help
#
# Exit codes: 0 measured, 1 something broke, 2 usage, 3 something missing.

set -euo pipefail
export LC_ALL=C

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
PYTHON=${AUTOPOD_PYTHON:-$ROOT/.venv/bin/python3}
ROUNDS=15 FILE_ROUNDS=5 MIB=1024 SECONDS_EACH=180
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

# end_pod POD - 1 when it may still be there: then the directory stays, for it holds what is known of it
end_pod() {
  "$ROOT/bin/autopod-kill" -q "$1" && return 0 # a bare return would mean the status before the trap
  printf 'bench: error: the pod %s is left: AUTOPOD_HOME=%s autopod-kill %s\n' "$1" "$AUTOPOD_HOME" "$1" >&2
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
    'BEGIN { printf "aim %s %s: %s\n", op, b, ((op == ">=") ? a >= b : (op == "<=") ? a <= b : a < b) ? "met" : "MISSED" }'
}

# row WHAT VALUE VERDICT DETAIL
row() { printf '%-49s %7s  %-20s %s\n' "$1" "$2" "$3" "$4"; }

# raw RESULT LABEL... - the single figures behind a row
raw() {
  local result=$1 label
  shift
  for label in "$@"; do printf '    %-20s s: %s\n' "$label" "$(field "$result" time "$label" 5)"; done
}

# --- whole process ---

# write_jobs NAME TEMPLATE FORMAT - a job for each number from 301 on, FORMAT being its inputs
write_jobs() {
  local n
  for ((n = 301; n <= 301 + 3 * ROUNDS + 6; n++)); do
    # shellcheck disable=SC2059 # the format is ours
    printf "{\"job_id\":\"$1-%d\",\"workflow_template\":\"$2\",\"inputs\":{$3},\"outputs\":{\"*\":\"out/\"}}\n" \
      "$n" "$n" >"jobs/$1-$n.json"
  done
}

# whole_process NAME TITLE VARIED - comfy-run against the bare client, which runs the workflow that a first comfy-run posted,
# but for VARIED (NODE.INPUT), so that nothing comes from the server's cache
whole_process() {
  local name=$1 title=$2 varied=$3 result=$1.tsv workflow=$1-workflow.json contenders
  "$ROOT/bin/comfy-run" --json "jobs/$name-301.json" >first.json 2>said || {
    cat said >&2
    die 1 'comfy-run failed'
  }
  cp "$AUTOPOD_HOME/runs/$(jq -r '.jobs[0].run' first.json)/workflow.json" "$workflow"
  contenders=("bare=$PYTHON $ROOT/bench/bare_client.py --host ${URL#http://} --workflow $workflow --set $varied={n} --output out/bare"
    "bin=$ROOT/bin/comfy-run jobs/$name-{n}.json")
  [ ! -x "$ROOT/dist/comfy-run" ] || contenders[2]="dist=$ROOT/dist/comfy-run jobs/$name-{n}.json"
  measure "$result" --rounds "$ROUNDS" --first 302 "${contenders[@]}"
  show_process "$result" bin "comfy-run, $title, against a bare script"
  [ -z "${contenders[2]:-}" ] || show_process "$result" dist "dist/comfy-run, $title$(dist_age)"
  raw "$result" bare bin ${contenders[2]:+dist}
}

# dist_age - prints a remark when dist/ is not what lib/ would become
dist_age() {
  [ -z "$(find "$ROOT/bin" "$ROOT/lib" "$ROOT/helpers" -type f -newer "$ROOT/dist/comfy-run")" ] ||
    printf ' (dist/ is older than lib/)'
}

# show_process RESULT LABEL WHAT
show_process() {
  local ratio
  ratio=$(field "$1" ratio "$2" 3)
  row "$3" "$(printf %.2f "$ratio")" "$(verdict "$ratio" '<=' 2.5)" \
    "$(field "$1" time "$2" 3) s against $(field "$1" time bare 3) s, n = $(field "$1" ratio "$2" 4)"
}

# count_processes - how many programs and processes one comfy-run starts
count_processes() {
  local job=jobs/small-$((301 + 3 * ROUNDS + 6)).json
  if strace -f -qq -o trace -e trace=execve,clone,clone3,fork,vfork \
    "$ROOT/bin/comfy-run" "$job" >/dev/null 2>said; then
    awk -f "$ROOT/bench/count.awk" trace >counted
    row 'programs that comfy-run starts (execve)' "$(sed -n 1p counted)" '' 'counted by strace, of one run'
    row 'processes that comfy-run starts (fork, clone)' "$(sed -n 2p counted)" '' "$(sed -n 3p counted)"
  else
    count_by_shims "$job"
  fi
}

# count_by_shims JOB - without strace: each program on PATH is replaced by one that notes its start
count_by_shims() {
  local tool path
  mkdir shims
  for tool in awk cat chmod cp curl cut date env grep head id jq ln mkdir mktemp mv od ps readlink rm \
    sed sha256sum shasum sleep sort stat tail tr uname uuidgen wc; do
    path=$(command -v "$tool") || continue
    printf '#!/bin/sh\necho %s >>"%s/starts"\nexec "%s" "$@"\n' "$tool" "$WORK" "$path" >"shims/$tool"
    chmod +x "shims/$tool"
  done
  : >starts
  PATH=$WORK/shims:$PATH "$ROOT/bin/comfy-run" "$1" >/dev/null 2>said || die 1 "comfy-run failed: $(tail -n 1 said)"
  row 'programs that comfy-run starts' "$(awk 'END { print NR }' starts)" '' \
    'counted by a PATH of shims, without Python; forks are not counted'
}

# --- large files ---

# transfers - a large file up and down, against scp through the same sshd; peak memory
transfers() {
  local input=$AUTOPOD_HOME/local/$POD/comfyui/input/bench pod_dir=$AUTOPOD_HOME/local/$POD address scp plain same move
  [ "$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024))" -gt $((MIB * 5)) ] ||
    die 3 "the transfers need $((MIB * 5)) MiB in ${TMPDIR:-/tmp}; --mib N makes the file smaller, --files 0 leaves it out"
  head -c $((MIB << 20)) /dev/urandom >file
  address=$(jq -r '.ssh.user' pod.json)@127.0.0.1
  # Without the user's own configuration, as the tunnel is; else scp as it comes.
  scp="scp -q -F none -i $pod_dir/client_key -o IdentitiesOnly=yes -o BatchMode=yes -P $SSHD_PORT"
  scp="$scp -o UserKnownHostsFile=$AUTOPOD_HOME/known_hosts.d/$POD -o GlobalKnownHostsFile=none"
  # A pod without the sftp subsystem is spoken to by the older protocol.
  $scp pod.json "$address:$WORK/probe" 2>/dev/null || scp="$scp -O"
  $scp pod.json "$address:$WORK/probe" 2>said || die 1 "scp: $(cat said)"
  plain=$scp
  same="$scp -o $(tunnel_ciphers)"
  move="$ROOT/bench/transfer.sh"

  measure up.tsv --rounds "$FILE_ROUNDS" --memory --watch "ssh=$TUNNEL_PID" --watch "ComfyUI=$COMFYUI_PID" \
    --between "rm -rf $input $WORK/copy" \
    "scp=$plain file $address:$WORK/copy" "scp+cipher=$same file $address:$WORK/copy" \
    "autopod=$move up $URL file {n}.bin"
  cmp -s file "$input"/*.bin || die 1 'the file that was uploaded is not the one that arrived'
  show_transfer up.tsv up

  rm -rf "$input" && mkdir -p "$input" && ln file "$input/file.bin"
  measure down.tsv --rounds "$FILE_ROUNDS" --memory --watch "ssh=$TUNNEL_PID" --watch "ComfyUI=$COMFYUI_PID" \
    --between "rm -f $WORK/copy" \
    "scp=$plain $address:$WORK/file copy" "scp+cipher=$same $address:$WORK/file copy" \
    "autopod=$move down $URL file.bin copy"
  cmp -s file copy || die 1 'the file that was downloaded is not the one that was sent'
  show_transfer down.tsv down
}

# whole_job - a job with the large file as its input, from its hash to its end
whole_job() {
  printf '%s\n' '{"1":{"class_type":"EmptyImage","inputs":{"width":64,"height":64,"batch_size":1,"color":1},' \
    '"_meta":{"title":"{input.file}"}},' \
    '"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"bench/large"}}}' >large.json
  printf '{"job_id":"large","workflow_template":"%s","inputs":{"file":"%s"},"outputs":{"*":"out/"}}\n' \
    "$WORK/large.json" "$WORK/file" >jobs/large.json
  measure large.tsv --rounds 1 --warm-up 0 --memory --watch "ssh=$TUNNEL_PID" --watch "ComfyUI=$COMFYUI_PID" \
    "autopod=$ROOT/bin/comfy-run jobs/large.json"
  row "whole job with a $MIB MiB input, s" "$(printf %.1f "$(field large.tsv time autopod 3)")" '' 'its hash and its upload'
  show_peak large.tsv
}

# tunnel_ciphers - prints the option that the tunnel's ssh was given
tunnel_ciphers() {
  ps -ww -o args= -p "$TUNNEL_PID" | sed -n 's/.*\(Ciphers=[^ ]*\).*/\1/p'
}

# show_transfer RESULT DIRECTION - rates are the inverse of times; the smallest and largest round tell how steady they are
show_transfer() {
  local rate base same ratio
  rate=$(rate "$(field "$1" time autopod 3)") base=$(rate "$(field "$1" time scp 3)")
  same=$(rate "$(field "$1" time 'scp+cipher' 3)")
  ratio=$(awk -v r="$(field "$1" ratio autopod 3)" 'BEGIN { printf "%.2f", 1 / r }')
  row "$MIB MiB $2, rate against scp" "$ratio" "$(verdict "$ratio" '>=' 0.90)" \
    "$rate MB/s against $base MB/s, n = $(field "$1" time autopod 4)"
  row "    against scp with the tunnel's cipher" "$(awk -v a="$rate" -v b="$same" 'BEGIN { printf "%.2f", a / b }')" \
    '' "$rate MB/s against $same MB/s"
  show_peak "$1"
  raw "$1" scp 'scp+cipher' autopod
}

# show_peak RESULT - of our processes; that of the server is for information
show_peak() {
  local peak
  peak=$(awk -F '\t' '$1 == "peak" && $2 == "autopod" && $3 != "ComfyUI" && $4 > top { top = $4 } END { printf "%.1f", top / 1024 }' "$1")
  row "    peak memory of our processes, MiB" "$peak" "$(verdict "$peak" '<' 100)" \
    "$(awk -F '\t' '$1 == "peak" && $2 == "autopod" { printf "%s%s %.1f", c++ ? ", " : "", $3, $4 / 1024 }' "$1")"
}

# rate SECONDS - prints MB/s (10^6 bytes)
rate() { awk -v s="$1" -v mib="$MIB" 'BEGIN { printf "%.0f", mib * 1.048576 / s }'; }

# --- start of the library ---

sourcing() {
  local ms
  measure lib.tsv --rounds $((ROUNDS * 2)) "empty=bash -c :" \
    "lib=bash -c 'AUTOPOD_LIB=\$1; for f in \"\$1\"/*.sh \"\$1\"/providers/*.sh; do . \"\$f\"; done' bash $ROOT/lib"
  ms=$(awk -v a="$(field lib.tsv time lib 3)" -v b="$(field lib.tsv time empty 3)" 'BEGIN { printf "%.1f", (a - b) * 1000 }')
  row 'sourcing all of lib/, ms' "$ms" "$(verdict "$ms" '<' 30)" \
    "$(field lib.tsv time lib 3) s against $(field lib.tsv time empty 3) s for bash -c :, n = $(field lib.tsv time lib 4)"
  raw lib.tsv empty lib
}

# machine - prints what it was measured on
machine() {
  printf 'autopod %s on %s, %s CPUs; bash %s, %s, %s, %s; load%s\n' "$(<"$ROOT/VERSION")" "$(uname -sm)" \
    "$(getconf _NPROCESSORS_ONLN)" "$BASH_VERSION" "$(jq --version)" "$(curl --version | awk 'NR == 1 { print $1, $2 }')" \
    "$(ssh -V 2>&1 | cut -d , -f 1)" "$(uptime | sed 's/.*load average[s]*://')"
}

main() {
  parse "$@"
  trap end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  prepare
  machine
  connect
  write_jobs small "$WORK/small.json" '"color":%d'
  printf '%s\n' '{"1":{"class_type":"EmptyImage","inputs":{"width":64,"height":64,"batch_size":1,"color":"{input.color}"}},' \
    '"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"bench/small"}}}' >small.json
  write_jobs demo demo "\"image\":\"$ROOT/jobs/inputs/landscape.png\",\"width\":%d"
  sourcing
  whole_process small 'one empty image' 1.color
  whole_process demo 'shipped demo' 2.width
  count_processes
  [ "$FILE_ROUNDS" = 0 ] || { transfers && whole_job; }
  machine | sed 's/.*; load/load at the end/'
}

main "$@"
exit
