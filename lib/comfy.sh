# shellcheck shell=bash
# comfy.sh - ComfyUI's routes: what we ask a server, and what its answers mean. URL is its base, as
# http://127.0.0.1:8188.

[ -z "${_AUTOPOD_COMFY_SH:-}" ] || return 0 # @guard
_AUTOPOD_COMFY_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/helper.sh"

COMFY_VERSION='' COMFY_PARTIAL=''
COMFY_CANCEL_SECONDS=${COMFY_CANCEL_SECONDS:-15} # for a cancelled prompt to end: ComfyUI looks between nodes and at progress calls

# comfy_answers URL [SECONDS] - 0 when a ComfyUI answers there; then COMFY_VERSION is set. Asks once, waits at most
# SECONDS (15), and says nothing.
comfy_answers() {
  COMFY_VERSION=''
  core_tmpdir || return
  HTTP_TRIES=1 http_get "$1/system_stats" "$CORE_TMP/system_stats" --max-time "${2:-15}" && [ "$HTTP_STATUS" = 200 ] || return 1
  comfy_is_comfy "$CORE_TMP/system_stats"
}

# comfy_is_comfy FILE - 0 when that is ComfyUI's answer to /system_stats; then COMFY_VERSION is set.
comfy_is_comfy() {
  local said shape='"comfyui_version": *"([0-9A-Za-z.+-]+)"'
  COMFY_VERSION=''
  IFS= read -r -d '' said <"$1" || : # $( ) would complain about bytes of nothing
  [[ $said =~ $shape ]] || return 1
  COMFY_VERSION=${BASH_REMATCH[1]}
}

# comfy_check URL - the same, and tells when there is none; EX_TUNNEL.
comfy_check() {
  local what hint='is the address right?'
  ! comfy_answers "$1" || return 0
  what="what answers at $1 is not a ComfyUI (HTTP $HTTP_STATUS)"
  case $HTTP_CURL:$HTTP_STATUS in
    0:401 | 0:403 | 0:407)
      what="the gateway at $1 does not let us in (HTTP $HTTP_STATUS)"
      hint="--auth-file FILE gives it a name and a password, --header-file FILE a header"
      [ -z "$HTTP_SEAL_URL" ] || hint="is what stands in the --auth-file or --header-file right?"
      ;;
    0:30?)
      http_header location
      what="$what: it points to ${HTTP_HEADER%%\?*}"
      hint="if that is the one that you mean, name it by --url"
      ;;
    0:2??) [ -z "$HTTP_PAGE" ] || what="$what, but a web page" hint='is the address right? A login page needs --auth-file or --header-file' ;;
    0:*) ! http_is_away || what="ComfyUI at $1 can't be reached: its gateway says HTTP $HTTP_STATUS" hint='does it run?' ;;
    *) what="no ComfyUI at $1: $HTTP_ERROR" hint='is it running, and is the address right?' ;;
  esac
  core_fail "$EX_TUNNEL" "$what" "$hint"
}

# comfy_upload_limit URL - sets COMFY_LIMIT to the largest request body in bytes; empty when the
# server does not say.
comfy_upload_limit() {
  local shape='"max_upload_size": *([0-9]{1,18})' # 314572800.0 with --max-upload-size
  COMFY_LIMIT=''
  http_get "$1/features" "$CORE_TMP/features" && [ "$HTTP_STATUS" = 200 ] || return 0
  [[ $(<"$CORE_TMP/features") =~ $shape ]] && COMFY_LIMIT=${BASH_REMATCH[1]} || :
}

# comfy_has URL NAME BYTES - 0 when the server has our content-named input NAME (subfolder/name) in
# full.
comfy_has() {
  http_head "$1/view?type=input&subfolder=${2%/*}&filename=${2##*/}" &&
    [ "$HTTP_STATUS$HTTP_PAGE" = 200 ] && [ "$HTTP_LENGTH" = "$3" ]
}

# comfy_upload URL FILE NAME - uploads FILE as NAME (subfolder/name); sets COMFY_NAME to the name that
# the server gave it, which is the one to use; EX_UPLOAD.
comfy_upload() {
  local answer=$CORE_TMP/upload.json
  COMFY_NAME=$3
  http_upload "$1/upload/image" "$2" "${3##*/}" "${3%/*}" "$answer" ||
    core_fail "$EX_UPLOAD" "the upload of $2 broke off: $HTTP_ERROR" \
      "run the same command again" || return
  case $HTTP_STATUS in
    200) ;;
    413)
      core_fail "$EX_UPLOAD" "the server refuses $2: it is larger than its upload limit" \
        "start ComfyUI with a larger --max-upload-size (in MB)"
      return
      ;;
    *)
      core_fail "$EX_UPLOAD" "the server refuses $2 (HTTP $HTTP_STATUS)" \
        "its log says why; is its disk full?"
      return
      ;;
  esac
  COMFY_NAME=$(jq -r 'select(.type == "input") | if .subfolder == "" then .name else "\(.subfolder)/\(.name)" end
    | strings | select(test("[\u0000-\u001f]") | not)' "$answer" 2>/dev/null) || COMFY_NAME=''
  [ -n "$COMFY_NAME" ] || core_fail "$EX_UPLOAD" "the server's answer to the upload of $2 makes no sense" \
    "is it a ComfyUI?"
}

# comfy_submit URL BODY_FILE ANSWER_FILE PROMPT_ID - posts a prompt once; 0 when it was taken
# (COMFY_PARTIAL is set when outputs of it were dropped: 200 with node_errors); 1 when nobody knows
# (the link broke, a gateway answered, or a 5xx, after which a prompt may still be queued: seen on 0.3.64); EX_REFUSED
# when it was refused, the answer in ANSWER_FILE; 2 when it runs under another id (told). COMFY_SAID says
# what came.
comfy_submit() {
  local id taken
  COMFY_PARTIAL=''
  http_post "$1/prompt" "$2" "$3" || {
    COMFY_SAID=$HTTP_ERROR
    return 1
  }
  COMFY_SAID="HTTP $HTTP_STATUS"
  case $HTTP_STATUS in
    200) ;;
    404 | 405 | 408 | 425) return 1 ;; # ComfyUI does not say these of a prompt
    4??) return "$EX_REFUSED" ;;
    *) return 1 ;;
  esac
  taken="^\\{\"prompt_id\": \"$4\", \"number\": -?[0-9.]+, \"node_errors\": \\{\\}\\}\$"
  ! [[ $(<"$3") =~ $taken ]] || return 0 # the usual answer, word for word; anything else is worth a jq
  IFS=$'\t' read -r id COMFY_PARTIAL < <(jq -r '
    "\(.prompt_id)\t\(if (.node_errors // {}) == {} then "" else 1 end)"' "$3" 2>/dev/null) || id=''
  case $id in
    "$4") ;;
    '' | null) return 1 ;;
    *)
      core_fail "$EX_REFUSED" "the server runs the job under another id ($id) than the one it was given" \
        "is that a ComfyUI, and no older than 0.3.64?" || return 2
      ;;
  esac
}

# comfy_rejection URL WORKFLOW ANSWER_FILE - tells, a line a problem, why the server refused the
# workflow; returns EX_REFUSED.
comfy_rejection() {
  local tag text class first='' hint='' info=$CORE_TMP/object_info out=$CORE_TMP/rejection said=''
  case $HTTP_STATUS in 200 | 400) ;; *) said=" (HTTP $HTTP_STATUS)" ;; esac
  helper_run rejection --workflow "$2" <"$3" >"$out" ||
    core_fail "$EX_REFUSED" "the server refused the workflow$said" \
      "its log says why" || return
  # The server cuts long lists of allowed values: it is asked for those classes, so that the nearest
  # can be named.
  if LC_ALL=C grep -q $'^class\t' "$out"; then
    while IFS=$'\t' read -r tag class; do
      [ "$tag" != class ] || ! http_get "$1/object_info/$(jq -rn --arg class "$class" '$class | @uri')" "$CORE_TMP/class" || [ "$HTTP_STATUS" != 200 ] ||
        cat "$CORE_TMP/class"
    done <"$out" | jq -s 'add // {}' >"$info" 2>/dev/null || printf '{}' >"$info"
    helper_run rejection --workflow "$2" --object-info "$info" <"$3" >"$out" || return "$EX_REFUSED"
  fi
  while IFS=$'\t' read -r tag text; do
    case $tag in
      problem)
        [ -n "$first" ] && ui_tell error "$text"
        first=${first:-$text}
        ;;
      hint) hint=${hint:-$text} ;;
    esac
  done <"$out"
  core_fail "$EX_REFUSED" "${first:-the server refused the workflow}$said" "$hint"
}

# comfy_where URL PROMPT_ID HISTORY_FILE - sets COMFY_STATE to running, pending, done (its history
# entry is in HISTORY_FILE) or unknown, and COMFY_POSITION for a pending one; 1 when the server
# doesn't answer, or what comes is none of ComfyUI's answers. The queue is asked first: a prompt goes
# from it into the history in one step, so in this order it can't be missed.
comfy_where() {
  local queue=$CORE_TMP/queue said queued sense=''
  http_get_two "$1/queue" "$queue" "$1/history/$2" "$3" && [ "$HTTP_STATUS" = 200 ] || return 1
  COMFY_STATE=unknown COMFY_POSITION=''
  # Taken in by read: Bash 5.2 stumbles over a signal that comes while it parses a $(...).
  IFS= read -r -d '' said <"$3" || :
  IFS= read -r -d '' queued <"$queue" || :
  case $said in '{'* | '['*) sense=1 ;; esac # else a page, or nothing
  if [[ $sense$said == 1*"\"$2\""* ]]; then
    COMFY_STATE='done'
  elif [[ $queued =~ ^\{\"queue_running\":\ \[\[[0-9.-]+,\ \"$2\", ]]; then
    COMFY_STATE=running # what it usually looks like; for anything else jq is worth its 20 ms
  elif [[ $queued == *"\"$2\""* ]]; then
    # It is in there, so nobody may call it unknown. The pending list is a heap: only sorted by its numbers it is the order of execution.
    read -r COMFY_STATE COMFY_POSITION < <(jq -r --arg id "$2" '
      if any(.queue_running[]; .[1] == $id) then "running"
      else ([.queue_pending[]] | sort_by(.[0]) | map(.[1]) | index($id)) as $i
        | if $i == null then "unknown" else "pending \($i + 1)" end end' "$queue" 2>/dev/null) || return 1
  else # that it is in neither takes two answers
    case $sense$queued in '1{'* | '1['*) ;; *) return 1 ;; esac
  fi
}

# comfy_cancel URL PROMPT_ID - takes the prompt from the queue, or interrupts it if it runs, and
# waits for that; 1 when that could not be confirmed. (Interrupt is sent only while ours runs: old
# servers ignore the id and interrupt whatever runs.)
comfy_cancel() {
  local history=$CORE_TMP/cancelled deadline
  core_tmpdir || return
  os_now
  deadline=$((OS_NOW + COMFY_CANCEL_SECONDS))
  [ -z "$HTTP_UNTIL" ] || [ "$deadline" -le "$HTTP_UNTIL" ] || deadline=$HTTP_UNTIL
  printf '{"delete":["%s"]}' "$2" >"$CORE_TMP/delete"
  printf '{"prompt_id":"%s"}' "$2" >"$CORE_TMP/interrupt"
  while :; do
    HTTP_TRIES=2 http_post "$1/queue" "$CORE_TMP/delete" "$CORE_TMP/cancelled.answer" || return 1
    HTTP_TRIES=2 comfy_where "$1" "$2" "$history" || return 1
    case $COMFY_STATE in
      running) http_post "$1/interrupt" "$CORE_TMP/interrupt" "$CORE_TMP/cancelled.answer" || return 1 ;;
      'done' | unknown) return 0 ;;
    esac
    os_now
    [ "$OS_NOW" -lt "$deadline" ] || return 1
    core_sleep 0.3
  done
}
