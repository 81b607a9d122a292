# shellcheck shell=bash
# runs.sh - the runs on disk: which one is meant, what has become of it, who carries it out, and what it wants of a pod.

[ -z "${_AUTOPOD_RUNS_SH:-}" ] || return 0 # @guard
_AUTOPOD_RUNS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/state.sh"

RUNS_USER=''    # who uses a pod, in words
RUNS_FOUND=''   # the directory that runs_find has found
RUNS_STATE=''   # see runs_state
RUNS_CARRIER='' # the process that carries a run out, as PID-START; empty when nobody does
RUNS_LIST=()    # directories, see runs_list
RUNS_MORE=0     # how many it has left out
RUNS_TEXT=''    # see runs_read

# What load.sh calls them: job_id, when, and four digits by chance. Nothing else in runs/ is a run.
_RUNS_NAME='^([A-Za-z0-9][A-Za-z0-9._-]*)\.([0-9]{8}T[0-9]{6}Z)\.([0-9a-f]{4})$'

# --- one run ---

# runs_read FILE - sets RUNS_TEXT to what stands in FILE, on one line; empty when there is none. (No fork, unlike
# `$(<file)`: it is done for each of many runs, or twice a second.)
runs_read() {
  RUNS_TEXT=''
  { IFS= read -r -d '' RUNS_TEXT <"$1"; } 2>/dev/null || :
  RUNS_TEXT=${RUNS_TEXT//[[:cntrl:]]/ } # in JSON these are nothing but blanks
}

# runs_state RUN - sets RUNS_STATE to what has become of it: done, failed, cancelled, interrupted (so says its
# result.json); running (the process RUNS_CARRIER is at it), waiting (RUNS_CARRIER has others to do first); or left:
# nobody carries it out any more, and nobody has seen it end.
runs_state() {
  RUNS_CARRIER=''
  ! _runs_result "$1" || return 0
  _runs_carrier "$1"
  [ "$RUNS_STATE" = running ] || _runs_result "$1" || : # it may have ended between these two looks
}

# _runs_result RUN - sets RUNS_STATE by its result.json; 1 when that says nothing.
_runs_result() {
  local shape='[{,] *"status": *"(success|failed|cancelled|interrupted)"'
  runs_read "$1/result.json"
  [[ $RUNS_TEXT =~ $shape ]] || return 1
  RUNS_STATE=${BASH_REMATCH[1]} RUNS_CARRIER=''
  [ "$RUNS_STATE" != success ] || RUNS_STATE='done'
}

# _runs_carrier RUN - sets RUNS_CARRIER and RUNS_STATE for a run without a result.
_runs_carrier() {
  local lock=$AUTOPOD_HOME/locks/run-${1##*/} owner='' tag text state=running
  RUNS_STATE=left
  if [ -L "$lock" ]; then
    owner=$(readlink "$lock") || owner=''
  else # whoever laid it down may have others to do first
    state=waiting
    { while IFS=$'\t' read -r tag text; do
      [ "$tag" != call ] || owner=$text
    done <"$1/plan"; } 2>/dev/null || :
  fi
  os_same_process "${owner%%-*}" "${owner#*-}" || return 0
  RUNS_STATE=$state RUNS_CARRIER=$owner
}

# runs_is_open RUN - 0 when it has no result yet; sets RUNS_STATE and RUNS_CARRIER.
runs_is_open() {
  runs_state "$1"
  case $RUNS_STATE in running | waiting | left) return 0 ;; esac
  return 1
}

# runs_take RUN - 0 when nobody carries out the run, which has no result, and from here on we do.
runs_take() {
  state_lock "run-${1##*/}" 0 || return 1
  ! _runs_result "$1" || {
    state_unlock "run-${1##*/}"
    return 1
  }
}

# --- which one is meant ---

# runs_find REF [open|undone] - sets RUNS_FOUND to the directory of the run that REF means: its path, its name or the
# beginning of that, the four digits at its end, or a job_id, which means that job's newest run. With `open` (for what
# can't be undone) runs with a result, and with `undone` (to take one up) those that are done, count only when there are no
# others, and nothing is guessed. EX_USAGE with the list.
runs_find() {
  local run name newest='' job begins
  job=() begins=() RUNS_FOUND=''
  case $1 in */*)
    _runs_at "$1"
    return
    ;;
  esac
  for run in "$AUTOPOD_HOME"/runs/*/; do
    run=${run%/} name=${run%/}
    name=${name##*/}
    [ -n "$1" ] && [[ $name =~ $_RUNS_NAME ]] && [ -f "$run/plan" ] || continue
    if [ "$name" = "$1" ]; then
      RUNS_FOUND=$run
      return 0
    elif [ "${BASH_REMATCH[1]}" = "$1" ]; then
      job[${#job[@]}]=$run
      ! _runs_is_newer "$run" "$newest" || newest=$run
    elif [ "${BASH_REMATCH[3]}" = "$1" ] || [ "${name#"$1"}" != "$name" ]; then
      begins[${#begins[@]}]=$run
    fi
  done
  if [ "${#job[@]}" = 0 ]; then
    _runs_choose "$1" "${2:-}" '' ${begins[@]+"${begins[@]}"}
  elif [ -n "${2:-}" ]; then
    _runs_choose "$1" "$2" "$newest" "${job[@]}"
  else
    RUNS_FOUND=$newest
  fi
}

# _runs_at PATH - runs_find for a path; EX_USAGE when no run is there.
_runs_at() {
  local path
  path=$(cd -P -- "$1" 2>/dev/null && pwd -P) || path=''
  [ -n "$path" ] && [ -f "$path/plan" ] && [[ ${path##*/} =~ $_RUNS_NAME ]] ||
    core_fail "$EX_USAGE" "$1 is not the directory of a run" "they are in $AUTOPOD_HOME/runs" || return
  RUNS_FOUND=$path
}

# _runs_is_newer RUN OTHER - 0 when RUN was laid down after OTHER, or there is no other.
_runs_is_newer() {
  local mine=${1%.*} other=${2%.*}
  mine=${mine##*.} other=${other##*.}
  [ -z "$2" ] || [[ $mine > $other ]] || { [ "$mine" = "$other" ] && [ "$1/plan" -nt "$2/plan" ]; }
}

# _runs_counts WHICH RUN - 0 when RUN is open, or undone: see runs_find.
_runs_counts() {
  if [ "$1" = undone ]; then [ ! -f "$2/outputs.json" ]; else runs_is_open "$2"; fi
}

# _runs_choose REF WHICH NEWEST RUN... - sets RUNS_FOUND to the only RUN; with WHICH (open, undone) to the only one that is
# so, or to NEWEST when none is; EX_USAGE.
_runs_choose() {
  local ref=$1 which=$2 newest=$3 run left
  shift 3
  left=()
  [ -z "$which" ] || for run in "$@"; do
    ! _runs_counts "$which" "$run" || left[${#left[@]}]=$run
  done
  if [ "${#left[@]}" -gt 0 ]; then set -- "${left[@]}"; elif [ -n "$newest" ]; then set -- "$newest"; fi
  case $# in
    0) core_fail "$EX_USAGE" "there is no run or job \"$ref\"" "autopod-status --all lists them" ;;
    1) RUNS_FOUND=$1 ;;
    *)
      run="${*:1:10}"
      run=${run//"$AUTOPOD_HOME/runs/"/}
      [ $# -le 10 ] || run="$run ..."
      core_fail "$EX_USAGE" "$# runs could be meant: $run" "name one of them; its last four digits will do"
      ;;
  esac
}

# --- many of them ---

# runs_open - sets RUNS_LIST to the directories of all runs that have no result.
runs_open() {
  local run
  RUNS_LIST=()
  for run in "$AUTOPOD_HOME"/runs/*/; do
    run=${run%/}
    [[ ${run##*/} =~ $_RUNS_NAME ]] && [ -f "$run/plan" ] && runs_is_open "$run" || continue
    RUNS_LIST[${#RUNS_LIST[@]}]=$run
  done
}

# runs_list [LIMIT] - sets RUNS_LIST to the directories of the runs that somebody carries out, and behind them those that
# something has happened to in the last day, newest first, at most LIMIT in all (RUNS_MORE says how many are left out);
# without LIMIT to all that there are.
runs_list() {
  local run running waiting rest
  running=() waiting=() rest=() RUNS_MORE=0
  while IFS=' ' read -r _ run; do
    run=$AUTOPOD_HOME/runs/$run
    RUNS_STATE=''
    [ -f "$run/result.json" ] || runs_state "$run"
    case $RUNS_STATE in
      running) running[${#running[@]}]=$run ;;
      waiting) waiting[${#waiting[@]}]=$run ;;
      *) rest[${#rest[@]}]=$run ;;
    esac
  done < <(_runs_names "${1:-}" | LC_ALL=C sort -r -u)
  RUNS_LIST=(${running[@]+"${running[@]}"} ${waiting[@]+"${waiting[@]}"} ${rest[@]+"${rest[@]}"})
  [ -n "${1:-}" ] && [ "${#RUNS_LIST[@]}" -gt "$1" ] || return 0
  RUNS_MORE=$((${#RUNS_LIST[@]} - $1))
  RUNS_LIST=("${RUNS_LIST[@]:0:$1}")
}

# _runs_names RECENT - prints when each run was laid down, and its name, a line each, some of them twice; with RECENT only
# of those that runs_list wants then. (A directory is as old as the last change in it.)
_runs_names() {
  local run
  {
    [ -z "$1" ] || find "$AUTOPOD_HOME/runs" -mindepth 1 -maxdepth 1 -type d -mtime -1 2>/dev/null || :
    for run in "$AUTOPOD_HOME"/runs/*/; do
      run=${run%/}
      if [ -z "$1" ]; then
        printf '%s\n' "$run"
      elif [ ! -f "$run/result.json" ] && runs_is_open "$run" && [ -n "$RUNS_CARRIER" ]; then
        printf '%s\n' "$run"
      fi
    done
  } | while IFS= read -r run; do
    [[ ${run##*/} =~ $_RUNS_NAME ]] && [ -f "$run/plan" ] || continue
    printf '%s %s\n' "${BASH_REMATCH[2]}" "${run##*/}"
  done
}

# What is known of a run, from the lines of _runs_lines: KIND <tab> TEXT, a `run` line first.
_RUNS_FACTS='
  def object: (try fromjson catch null) | if type == "object" then . else {} end;
  def number: if type == "number" then . else null end;
  def word: if type == "string" and . != "" then gsub("[\u0000-\u001f\u007f-\u009f]"; " ") else null end;
  def amount: if type == "string" then tonumber? // null else number end;
  def iso: "\(.[0:4])-\(.[4:6])-\(.[6:11]):\(.[11:13]):\(.[13:15])Z";
  def facts:
    (.run | split("/")) as $run | ($run[0] | split(".")) as $name | ($run[1]) as $state
    | (.result // "" | object) as $result | (.progress // "" | object) as $progress
    | (if $state == "running" then $progress else {} end) as $now
    | (.pod // "" | object) as $pod | (.prompt // "" | object) as $prompt
    | ($name[:-2] | join(".")) as $job | ($name[-2] | iso) as $begun
    | (if $state == "running" or $state == "waiting" or $state == "left" then $state else "over" end) as $phase
    | {run: $run[0], job_id: $job, state: $state, step: ($now.state | word),
       percent: (if $state == "done" then 100 else $now.percent | number end),
       node: ($now.node | word), title: ($now.title | word), value: ($now.value | number), max: ($now.max | number),
       position: ($now.position | number),
       seconds: (if $phase == "over" then ($result.seconds | objects | .total | number) // null
         elif $phase == "running" then
           ($time - (($now.began | number) // ($begun | fromdateiso8601?) // $time)) | if . < 0 then 0 else floor end
         else null end),
       left_seconds: ($now.left | number),
       cost_usd: (if $phase == "over" then $result.cost_usd else $now.cost_usd end | amount),
       pod: (($result.pod | objects | .id | word) // ($pod.id | word)),
       url: (($result.url | word) // ($prompt.url | word)),
       prompt_id: (($result.prompt_id | word) // ($prompt.prompt_id | word)),
       exit_code: ($result.exit_code | number), error: ($result.error | word), hint: ($result.hint | word),
       outputs: [$result.outputs | arrays | .[] | objects | .path | word],
       carrier: ((.carrier // "" | tonumber?) // null),
       begun_at: $begun, finished_at: ($result.finished_at | word), directory: .directory};
  def runs: foreach (inputs, "run\t") as $line ({};
    ($line | index("\t")) as $i | $line[:$i] as $kind | $line[$i + 1:] as $text
    | if $kind == "run" then {out: .at, at: {run: $text}} else .out = null | .at[$kind] = $text end;
    .out | values | facts);
  runs'

# runs_facts FILTER [JQ_ARG...] -- RUN... - prints what jq makes of what is known of each RUN, by FILTER; one jq for all of
# them. Files that are missing or damaged are facts that are not known.
runs_facts() {
  local filter=$1 args
  args=()
  shift
  while [ "$1" != -- ]; do
    args[${#args[@]}]=$1
    shift
  done
  shift
  os_now
  _runs_lines "$@" | jq -n -R --argjson time "$OS_NOW" ${args[@]+"${args[@]}"} "$_RUNS_FACTS | $filter"
}

# _runs_lines RUN... - prints what the files of each RUN say, a line each.
_runs_lines() {
  local run file
  for run in "$@"; do
    runs_state "$run"
    printf 'run\t%s/%s\ncarrier\t%s\ndirectory\t%s\n' "${run##*/}" "$RUNS_STATE" "${RUNS_CARRIER%%-*}" "$run"
    for file in result.json progress pod.json prompt.json; do
      [ -f "$run/$file" ] || continue
      runs_read "$run/$file"
      printf '%s\t%s\n' "${file%.json}" "$RUNS_TEXT"
    done
  done
}

# --- what they want of a pod ---

# _runs_on POD_ID - prints the directory of each run that was last on that pod, a line each.
_runs_on() {
  local run
  for run in "$AUTOPOD_HOME"/runs/*/; do
    run=${run%/}
    [ -f "$run/pod.json" ] && [[ $(<"$run/pod.json") == "{\"id\":\"$1\","* ]] || continue
    printf '%s\n' "$run"
  done
}

# runs_unfetched POD_ID - prints the name of each run that has, or may have, left outputs on the pod, a line each.
runs_unfetched() {
  local run
  while IFS= read -r run; do
    ! runs_left_outputs "$run" || printf '%s\n' "${run##*/}"
  done < <(_runs_on "$1")
}

# runs_left_outputs RUN - 0 when the run has, or may have, left outputs on its server: it was killed, lost its link, or
# could not download; or it was ended early, and what it had finished could not be brought home.
runs_left_outputs() {
  local lost='"exit_code":(5|9),' early='"exit_code":(8|10|11|130),' collected='"collect":[0-9]'
  local known='"exit_code":(0|6|7|8),' gone='"exit_code":4,.*"await":[0-9]'
  [ -f "$1/prompt.json" ] && [ ! -f "$1/outputs.json" ] || return 1
  runs_read "$1/result.json"
  [ -n "$RUNS_TEXT" ] && [ ! -e "$1/unfetched" ] || return 0
  if [[ $RUNS_TEXT =~ $lost ]]; then return 0; fi
  [ -f "$1/history.json" ] || { # a prompt that was cancelled for certain has no file any more
    ! [[ $RUNS_TEXT =~ $known ]] && ! [[ $RUNS_TEXT =~ $gone ]]
    return
  }
  [[ $RUNS_TEXT =~ $early ]] && ! [[ $RUNS_TEXT =~ $collected ]]
}

# runs_need POD_ID - 0 when a run that has no result yet was last on that pod.
runs_need() {
  local run
  while IFS= read -r run; do
    ! runs_is_open "$run" || return 0
  done < <(_runs_on "$1")
  return 1
}

# runs_compute POD_ID [RUN...] - 0 when the pod may still work on the prompt of a run that has no result, and that is none
# of these; then RUNS_USER says which.
runs_compute() {
  local run pod=$1 mine=$'\n'
  shift
  for run in "$@"; do mine=$mine$run$'\n'; done
  while IFS= read -r run; do
    case $mine in *$'\n'"$run"$'\n'*) continue ;; esac
    [ -f "$run/prompt.json" ] && [ ! -f "$run/history.json" ] && runs_is_open "$run" || continue
    RUNS_USER="run ${run##*/}"
    return 0
  done < <(_runs_on "$pod")
  return 1
}

# runs_in_use POD_ID - 0 when another process that lives uses the pod; then RUNS_USER says who: a run on it, who makes it
# just now, or a call with jobs on it that is between two of them. What the dead have left of that is removed.
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
  for lock in "$AUTOPOD_HOME/locks/use-$1-"*; do
    lock=${lock##*/}
    case ${lock#"use-$1-"} in *[!0-9]* | "$$") continue ;; esac
    if ! state_lock_is_foreign "$lock"; then
      state_unlock "$lock"
    elif [ -z "$RUNS_USER" ]; then
      RUNS_USER="process ${lock##*-}"
    fi
  done
  [ -n "$RUNS_USER" ]
}
