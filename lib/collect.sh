# shellcheck shell=bash
# collect.sh - brings a prompt's outputs home: downloads, verifies, and gives them their names.
# Nothing local is overwritten unless that was asked for.

[ -z "${_AUTOPOD_COLLECT_SH:-}" ] || return 0 # @guard
_AUTOPOD_COLLECT_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/events.sh"
. "$AUTOPOD_LIB/config.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/limits.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/comfy.sh"
. "$AUTOPOD_LIB/target.sh"

COLLECT_OVERWRITE='' # --overwrite

# The output at hand: what the plan says of it, and WHICH one it is (its address on the server, or the name of
# a text); PART is where it grows, named after the run so that a resumed one finds it.
_COLLECT_WHICH='' _COLLECT_KIND='' _COLLECT_NODE='' _COLLECT_CACHED='' _COLLECT_NAME='' _COLLECT_TARGET='' _COLLECT_PART=''
_COLLECT_JOURNAL='' # takes a line for each output that is home

# collect_outputs PLAN JOURNAL - fetches each `file` and `text` line of PLAN (see helpers/history.py). JOURNAL
# takes a line for each that is home (WHICH NODE KIND SERVER_NAME BYTES SHA256 PATH): what stands there is not
# fetched again. When one fails, the others are still fetched; EX_DOWNLOAD then. EX_TIME, EX_COST at a limit. COLLECT_TEXT
# says how many are home.
collect_outputs() {
  local tag a b c d e f count=0 total=0 status=0 mark=${2%/*}
  mark=${mark##*.}
  while IFS=$'\t' read -r tag _; do
    case $tag in file | text) total=$((total + 1)) ;; esac
  done <"$1"
  _COLLECT_JOURNAL=$2
  : >>"$2"
  umask "$CONFIG_UMASK" # these files are the user's
  while IFS=$'\t' read -r tag a b c d e f; do
    case $tag in
      file) _COLLECT_KIND=$a _COLLECT_NODE=$b _COLLECT_CACHED=$c _COLLECT_WHICH=$d _COLLECT_NAME=$e _COLLECT_TARGET=$f ;;
      text) _COLLECT_KIND=text _COLLECT_NODE=$a _COLLECT_WHICH=text-$a-${b##*/} _COLLECT_NAME=${b##*/} _COLLECT_TARGET=$b ;;
      *) continue ;;
    esac
    _COLLECT_PART=$_COLLECT_TARGET.$mark.part
    count=$((count + 1))
    ui_progress "$count of $total: $_COLLECT_NAME"
    _collect_known || { limits_check && "_collect_$tag" "$c"; } || status=$?
  done <"$1"
  umask 077
  _collect_count
  return "$status"
}

# _collect_count - sets COLLECT_TEXT to how many are home, as "2 files".
_collect_count() {
  local count=0
  while IFS= read -r _; do count=$((count + 1)); done <"$_COLLECT_JOURNAL"
  ui_count "$count" file
  COLLECT_TEXT=$UI_COUNT
}

# _collect_known - 0 when the output is home already and still there.
_collect_known() {
  local which _node _kind _name _bytes _sum path
  while IFS=$'\t' read -r which _node _kind _name _bytes _sum path; do
    [ "$which" != "$_COLLECT_WHICH" ] || [ ! -f "$path" ] || return 0
  done <"$_COLLECT_JOURNAL"
  return 1
}

# _collect_file - a file: download, verify, name; EX_DOWNLOAD.
_collect_file() {
  local bytes
  _collect_room && _collect_download && _collect_answer || return
  bytes=$(os_size "$_COLLECT_PART")
  [ "$bytes" = "${HTTP_LENGTH:-$bytes}" ] ||
    _collect_failed "$_COLLECT_NAME arrived with $bytes of $HTTP_LENGTH bytes" "comfy-run --resume tries again" ||
    return
  collect_readable "$_COLLECT_PART" "${_COLLECT_NAME##*.}" || {
    mv -f -- "$_COLLECT_PART" "$_COLLECT_TARGET.damaged"
    core_fail "$EX_DOWNLOAD" "$_COLLECT_NAME is damaged: $COLLECT_WHY" "what came is $_COLLECT_TARGET.damaged"
    return
  }
  _collect_keep "$bytes"
}

# _collect_text CONTENT - a text, its CONTENT as `printf %b` wants it; EX_DOWNLOAD.
_collect_text() {
  _collect_room || return
  printf '%b' "$1" 2>/dev/null >"$_COLLECT_PART" ||
    _collect_failed "can't write $_COLLECT_TARGET" "is the disk full?" || return
  _collect_keep "$(os_size "$_COLLECT_PART")"
}

# _collect_room - makes the directory that the output goes into; EX_DOWNLOAD.
_collect_room() {
  [ -d "${_COLLECT_TARGET%/*}" ] || mkdir -p -- "${_COLLECT_TARGET%/*}" 2>/dev/null ||
    core_fail "$EX_DOWNLOAD" "can't make the directory ${_COLLECT_TARGET%/*}" "choose another output path"
}

# _collect_download - downloads, over a lost link too once it is back; EX_DOWNLOAD when it broke off; EX_TIME, EX_COST at
# a limit.
_collect_download() {
  local try status
  for try in 1 2; do
    if HTTP_PROGRESS=_collect_progress http_download "$TARGET_URL/view?$_COLLECT_WHICH" "$_COLLECT_PART"; then
      [ "$try" = 1 ] && _collect_is_away || return 0
    fi
    [ "$HTTP_CURL" != 23 ] ||
      _collect_failed "can't write $_COLLECT_PART" \
        "is the disk full? comfy-run --resume goes on when there is room" || return
    [ "$try" = 1 ] && limits_check && target_recover || break
  done
  limits_check || {
    status=$?
    rm -f -- "$_COLLECT_PART"
    return "$status"
  }
  _collect_failed "the download of $_COLLECT_NAME broke off: ${HTTP_ERROR:-HTTP $HTTP_STATUS}" \
    "comfy-run --resume tries again"
}

# _collect_is_away - 0 when what came is not ComfyUI's own: see http_is_away. Without a tunnel a 404 may be a gateway's, too.
_collect_is_away() {
  if http_is_away; then return 0; fi
  [ "$HTTP_STATUS:$POD_ID" = 404: ] || return 1
  local HTTP_STATUS HTTP_CURL HTTP_ERROR HTTP_PAGE HTTP_LENGTH
  ! comfy_answers "$TARGET_URL"
}

# _collect_progress PERCENT - how far the file at hand is; it may take so long that a guard dies meanwhile.
_collect_progress() {
  ui_progress downloading "$1" 100
  limits_guards
}

# _collect_answer - 0 when the server gave the file out; else EX_DOWNLOAD, and why.
_collect_answer() {
  case $HTTP_STATUS:$_COLLECT_CACHED in
    200:* | 206:*)
      [ -z "$HTTP_PAGE" ] || _collect_failed "a web page came in place of $_COLLECT_NAME: it is not ComfyUI that answers" \
        "comfy-run --resume tries again"
      ;;
    404:cached)
      _collect_failed \
        "the server has deleted $_COLLECT_NAME: ComfyUI took this result from its cache and wrote no new file" \
        "change an input (the seed, or filename_prefix) so that it runs again"
      ;;
    404:*) _collect_failed "the server no longer has $_COLLECT_NAME" "run the job again" ;;
    *) _collect_failed "the server does not give out $_COLLECT_NAME (HTTP $HTTP_STATUS)" "its log says why" ;;
  esac
}

# _collect_failed WHAT TODO - removes the part and tells; EX_DOWNLOAD.
_collect_failed() {
  rm -f -- "$_COLLECT_PART"
  core_fail "$EX_DOWNLOAD" "$1" "$2"
}

# _collect_keep BYTES - gives the verified output its name, and writes it down; EX_DOWNLOAD.
_collect_keep() {
  local sum target=$_COLLECT_TARGET
  sum=$(os_sha256 "$_COLLECT_PART") || _collect_failed "can't read $_COLLECT_PART" "is the disk at fault?" || return
  if [ -n "$COLLECT_OVERWRITE" ] && [ ! -d "$target" ]; then
    mv -f -- "$_COLLECT_PART" "$target"
  else
    while ! os_move_new "$_COLLECT_PART" "$target"; do
      [ -e "$target" ] || [ -L "$target" ] || break # not because it exists
      collect_other_name "$_COLLECT_TARGET"
      target=$COLLECT_NAME
    done
  fi
  [ ! -e "$_COLLECT_PART" ] ||
    _collect_failed "can't write $target" "is the disk full, or the directory read-only?" || return
  [ "$target" = "$_COLLECT_TARGET" ] || ui_warn "$_COLLECT_TARGET exists: kept, the new one is $target"
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$_COLLECT_WHICH" "$_COLLECT_NODE" "$_COLLECT_KIND" "$_COLLECT_NAME" \
    "$1" "$sum" "$target" >>"$_COLLECT_JOURNAL"
  events_emit output path s "$target" bytes n "$1" sha256 s "$sum" kind s "$_COLLECT_KIND" node s "$_COLLECT_NODE" \
    server_name s "$_COLLECT_NAME"
}

# collect_other_name WANTED - sets COLLECT_NAME to WANTED with a UTC stamp before the extension, and
# a number when that exists too.
collect_other_name() {
  local stem=$1 extension='' number=1
  case ${1##*/} in ?*.*) stem=${1%.*} extension=.${1##*.} ;; esac
  os_utc_compact
  COLLECT_NAME=$stem-$OS_UTC$extension
  while [ -e "$COLLECT_NAME" ] || [ -L "$COLLECT_NAME" ]; do
    number=$((number + 1))
    COLLECT_NAME=$stem-$OS_UTC-$number$extension
  done
}

# collect_readable FILE EXTENSION - 0 when the file begins as its kind does; else 1, and COLLECT_WHY
# says what is wrong.
collect_readable() {
  local hex extension=$2
  COLLECT_WHY='it can not be read'
  os_head_hex "$1" || return
  hex=$OS_HEX
  [ -n "$hex" ] || {
    COLLECT_WHY='it is empty'
    return 1
  }
  case $extension in *[[:upper:]]*) extension=$(LC_ALL=C tr '[:upper:]' '[:lower:]' <<<"$2") ;; esac
  case $extension:$hex in
    png:89504e470d0a1a0a* | jpg:ffd8ff* | jpeg:ffd8ff* | gif:47494638* | bmp:424d*) ;;
    webp:52494646????????57454250* | wav:52494646????????57415645* | avi:52494646????????41564920*) ;;
    mp4:????????66747970* | mov:????????66747970* | m4a:????????66747970* | m4v:????????66747970*) ;;
    webm:1a45dfa3* | mkv:1a45dfa3* | flac:664c6143* | ogg:4f676753* | opus:4f676753*) ;;
    mp3:494433* | mp3:ff[ef]* | tif:49492a00* | tiff:49492a00* | tif:4d4d002a* | tiff:4d4d002a*) ;;
    glb:676c5446* | exr:762f3101* | pdf:25504446* | zip:504b0304* | npy:934e554d5059* | json:[57]b*) ;;
    json:efbbbf* | json:20* | json:0a* | json:0d* | json:09* | json:22* | json:3[0-9]* | json:2d* | json:[67][46e]*) ;;
    safetensors:????????????00007b* | latent:????????????00007b*) ;; # eight bytes of length, then the JSON
    png:* | jpg:* | jpeg:* | gif:* | bmp:* | webp:* | wav:* | avi:* | mp4:* | mov:* | m4a:* | \
      m4v:* | webm:* | mkv:* | flac:* | ogg:* | opus:* | mp3:* | tif:* | tiff:* | glb:* | \
      exr:* | pdf:* | zip:* | npy:* | json:* | safetensors:* | latent:*)
      COLLECT_WHY="it does not begin as a .$2 file does"
      return 1
      ;;
  esac
}
