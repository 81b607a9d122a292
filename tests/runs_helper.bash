# shellcheck shell=bash
# runs_helper.bash - runs that are only files, and processes that seem to carry them out. Needs test_helper.

NOW=$(date -u +%Y%m%dT%H%M%SZ)
HOLDERS=() # the processes that were started here

# lay_run NAME [RESULT_JSON] - a run called NAME, which is JOB.STAMP.DIGITS, as load.sh lays it down; sets RUN
lay_run() {
  local job=${1%.*}
  RUN=$AUTOPOD_HOME/runs/$1
  mkdir -p "$RUN" "$AUTOPOD_HOME/locks"
  printf 'job_id\t%s\ntimeout_seconds\t600\nwish_provider\tlocal\n' "${job%.*}" >"$RUN/plan"
  [ -z "${2:-}" ] || printf '%s\n' "$2" >"$RUN/result.json"
}

# result STATUS CODE [MORE_JSON] - prints a result.json
result() {
  jq -nc --arg status "$1" --argjson code "$2" --argjson more "${3:-"{}"}" '{job_id: "x", exit_code: $code, status: $status,
    error: (if $code == 0 then null else "it went wrong" end), hint: null, prompt_id: null, outputs: [],
    seconds: {total: 75}, cost_usd: 0.0123, pod: null, url: "http://127.0.0.1:1"} * $more'
}

# someone - starts a process that lives; sets OWNER to how locks and plans name it
someone() {
  (unset AUTOPOD_TEST_MARK && exec sleep 300) 3>&- &
  HOLDERS[${#HOLDERS[@]}]=$!
  OWNER=$!-$(bash -c '. "${DOUBLES_TREE:-$ROOT}/lib/os.sh" && os_process_start "$1" && printf "%s" "$OS_START"' bash "$!")
}

# someone_gone - no process any more is what OWNER names: its number was given to another one, or to none
someone_gone() {
  local pid
  for pid in ${HOLDERS[@]+"${HOLDERS[@]}"}; do
    kill "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || :
  done
  HOLDERS=()
}

# carried [OWNER] - RUN is being carried out
carried() {
  [ $# -gt 0 ] || someone
  ln -s "${1:-$OWNER}" "$AUTOPOD_HOME/locks/run-${RUN##*/}"
}

# queued [OWNER] - RUN waits for its turn
queued() {
  [ $# -gt 0 ] || someone
  printf 'call\t%s\n' "${1:-$OWNER}" >>"$RUN/plan"
}

# interrupt RUN - somebody else ends its prompt on the double
interrupt() {
  jq -c '{prompt_id}' "$1/prompt.json" |
    curl -qsf --noproxy '*' -o "$BATS_TEST_TMPDIR/told" --data-binary @- "$DOUBLE/interrupt"
}

# command_ NAME ARG... - `run`s a command, its two outputs apart
command_() {
  local name=$1
  shift
  run --separate-stderr "$AUTOPOD_BIN/$name" "$@"
}
