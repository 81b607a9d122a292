# shellcheck shell=bash
# upload.sh - brings a job's file inputs to the server, each content once.

[ -z "${_AUTOPOD_UPLOAD_SH:-}" ] || return 0 # @guard
_AUTOPOD_UPLOAD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/target.sh"
. "$AUTOPOD_LIB/comfy.sh"

UPLOAD_SHOW_FROM=1000000 # bytes; the progress of smaller files isn't worth a line

# upload_files PLAN RECORD - uploads each `upload` line of PLAN (BYTES SHA256 NAME PATH); RECORD
# (uploads.json) says under which name the server has it. UPLOAD_RENAMED is set when it is another
# than we wanted; EX_UPLOAD; EX_TIME, EX_COST at a limit.
upload_files() {
  local tag bytes sum name path count=0 total=0 list=$CORE_TMP/uploads planned=''
  UPLOAD_RENAMED='' _UPLOAD_LIMIT_ASKED='' _UPLOAD_PLAN=$1
  : >"$list"
  while IFS=$'\t' read -r tag bytes sum name path <&4; do
    [ "$tag" != uploads ] || planned=$bytes
    [ "$tag" = upload ] || continue
    limits_check && _upload_file "$path" "$name" "$bytes" || return
    [ "$COMFY_NAME" = "$name" ] || UPLOAD_RENAMED=1
    printf '%s\t%s\t%s\t%s\t%s\n' "$bytes" "$sum" "$name" "$COMFY_NAME" "$path" >>"$list"
    count=$((count + 1)) total=$((total + bytes))
  done 4<"$1"
  ui_count "$count" file
  ui_size "$total"
  UPLOAD_TEXT="$UI_COUNT, $UI_SIZE" UPLOAD_FILES=$count UPLOAD_BYTES=$total
  [ -n "$UPLOAD_RENAMED" ] || { # then it is as it was planned, word for word
    printf '%s\n' "$planned" >"$2"
    return
  }
  jq -R -n '{uploads: [inputs | split("\t")
    | {path: .[4], upload_name: .[2], server_name: .[3], bytes: (.[0] | tonumber), sha256: .[1]}]}' \
    "$list" >"$2"
}

# _upload_file PATH NAME BYTES - one file; COMFY_NAME is what the server calls it; EX_UPLOAD.
_upload_file() {
  local status=0
  if comfy_has "$TARGET_URL" "$2" "$3"; then
    COMFY_NAME=$2
    return 0
  fi
  _upload_check "$1" "$3" || return
  ui_size "$3"
  ui_progress "${1##*/}, $UI_SIZE"
  [ "$3" -lt "$UPLOAD_SHOW_FROM" ] || HTTP_PROGRESS=_upload_progress
  HTTP_TRIES=1 core_quietly comfy_upload "$TARGET_URL" "$1" "$2" || status=$?
  if [ "$status" != 0 ]; then
    case $HTTP_CURL:$HTTP_STATUS in
      0:429) status=0 && comfy_upload "$TARGET_URL" "$1" "$2" || status=$? ;;
      *) # the link, not the server: once more when it is back
        if [ "$HTTP_CURL" = 0 ] && ! http_is_away; then
          core_fail "$status" "$CORE_ERROR" "$CORE_HINT" || :
        else
          status=0
          target_recover && _upload_again "$@" || status=$?
        fi
        ;;
    esac
  fi
  HTTP_PROGRESS=''
  return "$status"
}

# _upload_again PATH NAME BYTES - the file once more, unless it has got there all the same; EX_UPLOAD.
_upload_again() {
  if comfy_has "$TARGET_URL" "$2" "$3"; then COMFY_NAME=$2; else comfy_upload "$TARGET_URL" "$1" "$2"; fi
}

# _upload_check PATH BYTES - EX_UPLOAD when the file changed since it was checked, or is above the
# server's limit.
_upload_check() {
  local size
  [ "$(os_size "$1")" = "$2" ] && ! [ "$1" -nt "$_UPLOAD_PLAN" ] ||
    core_fail "$EX_UPLOAD" "$1 has changed or gone since the job was loaded" \
      "run the job anew" || return
  [ -n "$_UPLOAD_LIMIT_ASKED" ] || comfy_upload_limit "$TARGET_URL"
  _UPLOAD_LIMIT_ASKED=1
  # The limit is on the whole request: the multipart lines around the file take some hundred bytes
  # of it.
  [ -n "$COMFY_LIMIT" ] && [ $(($2 + 2000)) -gt "$COMFY_LIMIT" ] || return 0
  ui_size "$2"
  size=$UI_SIZE
  ui_size "$COMFY_LIMIT"
  core_fail "$EX_UPLOAD" "$1 is $size, and the server takes no more than $UI_SIZE" \
    "start ComfyUI with --max-upload-size $(($2 / 1000000 + 1))"
}

# _upload_progress PERCENT - how far the upload at hand is; it may take so long that a guard dies meanwhile.
_upload_progress() {
  ui_progress uploading "$1" 100
  limits_guards
}
