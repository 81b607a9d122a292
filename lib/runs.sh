# shellcheck shell=bash
# runs.sh - what the runs on disk want of a pod: who works on it now, and whose outputs are still there.

[ -z "${_AUTOPOD_RUNS_SH:-}" ] || return 0 # @guard
_AUTOPOD_RUNS_SH=1                         # @guard

. "$AUTOPOD_LIB/state.sh"

RUNS_USER='' # who uses a pod, in words

# _runs_on POD_ID - prints the directory of each run that was last on that pod, a line each.
_runs_on() {
  local run
  for run in "$AUTOPOD_HOME"/runs/*/; do
    run=${run%/}
    [ -f "$run/pod.json" ] && [[ $(<"$run/pod.json") == "{\"id\":\"$1\","* ]] || continue
    printf '%s\n' "$run"
  done
}

# runs_unfetched POD_ID - prints the name of each run that has, or may have, left outputs on the pod, a line
# each: it was killed, lost its link, or could not download.
runs_unfetched() {
  local run shape='"exit_code":(5|9),'
  while IFS= read -r run; do
    [ -f "$run/prompt.json" ] && [ ! -f "$run/outputs.json" ] || continue
    [ -f "$run/result.json" ] && ! [[ $(<"$run/result.json") =~ $shape ]] && continue
    printf '%s\n' "${run##*/}"
  done < <(_runs_on "$1")
}

# runs_in_use POD_ID - 0 when another process that lives uses the pod; then RUNS_USER says who: a run on it, or who
# makes it just now.
runs_in_use() {
  local run lock
  RUNS_USER=''
  while IFS= read -r run; do
    lock=run-${run##*/}
    ! state_lock_is_foreign "$lock" || RUNS_USER="run ${run##*/} (process $(state_lock_owner "$lock"))"
  done < <(_runs_on "$1")
  if [ -z "$RUNS_USER" ] && state_lock_is_foreign "pod-$1"; then
    RUNS_USER="process $(state_lock_owner "pod-$1")"
  fi
  [ -n "$RUNS_USER" ]
}
