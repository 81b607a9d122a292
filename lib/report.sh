# shellcheck shell=bash
# report.sh - what came of a call, for people: the files, how long it took and what it cost; of several jobs a table.

[ -z "${_AUTOPOD_REPORT_SH:-}" ] || return 0 # @guard
_AUTOPOD_REPORT_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/budget.sh"

# report_run RUN CODE SECONDS USD - the run's files with their sizes; how it ended, what it took and what it cost.
report_run() {
  local _which _node _kind _name bytes _sum path how='Failed after'
  [ ! -f "$1/collected" ] || while IFS=$'\t' read -r _which _node _kind _name bytes _sum path; do
    ui_size "$bytes"
    ui_note "  $path  $UI_SIZE"
  done <"$1/collected"
  case $2 in
    0) how='Done in' ;;
    "$EX_CANCEL") how='Cancelled after' ;;
  esac
  ui_duration "$3"
  budget_show "$4"
  ui_note "$how $UI_TIME${BUDGET_TEXT:+, $BUDGET_TEXT}."
}

# report_runs RUN... - a line for each run, and one for all of them: time, cost, and how much of the time the server
# computed.
report_runs() {
  local run name line total results
  results=()
  for run in "$@"; do
    [ ! -f "$run/result.json" ] || results[${#results[@]}]=$run/result.json
  done
  while :; do
    for run in "$@"; do
      if [ -f "$run/result.json" ]; then
        IFS= read -r line <&4 || return 0
        ui_note "$line"
      else
        name=${run##*/}
        line=${name%.*}
        ui_note "not carried out here  ${line%.*}  (autopod-status ${name##*.} shows it)"
      fi
    done
    IFS= read -r total <&4 || return 0
    _report_total "$#" "$total"
    return
  done 4< <([ "${#results[@]}" = 0 ] || jq -n -r "$_REPORT_LINES" "${results[@]}")
}

# A line for each result, and behind them: how many are done, dollars, seconds, and those of them that the server computed.
_REPORT_LINES='
  def number: if type == "number" then . else 0 end;
  [inputs | objects] | (.[] | [.status, .job_id, "\(.seconds.total) s", "$\(.cost_usd)",
      (.outputs | length | "\(.) \(if . == 1 then "file" else "files" end)"), .error // ""]
    | map(tostring | gsub("[\u0000-\u001f]+"; " ")) | join("  ")),
  "\(map(select(.exit_code == 0)) | length) \(map(.cost_usd | number) | add) \(
    map(.bill.seconds | objects | map(number) | add) | add // 0 | ceil) \(map(.bill.seconds.compute? | number) | add * 1000 | floor)"'

# _report_total JOBS FACTS - the last line, from the last of _REPORT_LINES.
_report_total() {
  local finished usd seconds computed busy=''
  IFS=' ' read -r finished usd seconds computed <<<"$2"
  ui_duration "$seconds"
  budget_show "$usd"
  [ "$seconds" = 0 ] || busy="; the GPU was busy for $((computed / 10 / seconds)) % of it"
  ui_note "$finished of $1 jobs done in $UI_TIME${BUDGET_TEXT:+, $BUDGET_TEXT in all}$busy."
}
