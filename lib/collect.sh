# shellcheck shell=bash
# collect.sh - brings a prompt's outputs home: downloads, verifies, and gives them their names.
# Nothing local is overwritten unless that was asked for.

[ -z "${_AUTOPOD_COLLECT_SH:-}" ] || return 0 # @guard
_AUTOPOD_COLLECT_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/config.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/target.sh"

COLLECT_OVERWRITE='' # --overwrite

# collect_outputs PLAN JOURNAL - fetches each `file` and `text` line of PLAN (see
# helpers/history.py). JOURNAL takes a line for each that is home (WHICH NODE KIND SERVER_NAME BYTES
# SHA256 PATH): what stands there is not fetched again. When one fails, the others are still
# fetched; EX_DOWNLOAD then.
collect_outputs() {
  local tag a b c d e f count=0 total status=0
  total=$(LC_ALL=C grep -cE $'^(file|text)\t' "$1") || :
  : >>"$2"
  umask "$CONFIG_UMASK"                                    # these files are the user's
  _COLLECT_MARK=${2%/*} _COLLECT_MARK=${_COLLECT_MARK##*.} # the run's own: a resumed run finds its parts
  while IFS=$'\t' read -r tag a b c d e f; do
    case $tag in
      file) # KIND NODE CACHED QUERY NAME TARGET
        count=$((count + 1))
        ui_progress "$count of $total: $e"
        _collect_known "$2" "$d" || _collect_file "$a" "$b" "$c" "$d" "$e" "$f" "$2" || status=$?
        ;;
      text) # NODE TARGET CONTENT
        count=$((count + 1))
        _collect_known "$2" "text-$a-${b##*/}" || _collect_text "$a" "$b" "$c" "$2" || status=$?
        ;;
    esac
  done <"$1"
  umask 077
  return "$status"
}

# _collect_known JOURNAL WHICH - 0 when that output is home already and still there.
_collect_known() {
  local which _node _kind _name _bytes _sum path
  while IFS=$'\t' read -r which _node _kind _name _bytes _sum path; do
    [ "$which" != "$2" ] || [ ! -f "$path" ] || return 0
  done <"$1"
  return 1
}

# _collect_file KIND NODE CACHED QUERY NAME TARGET JOURNAL - one file: download, verify, name;
# EX_DOWNLOAD.
_collect_file() {
  local part=$6.$_COLLECT_MARK.part bytes
  _collect_room "$6" || return
  _collect_download "$part" "$4" || _collect_broke_off "$part" "$5" || return
  [ "$HTTP_STATUS" != 404 ] || {
    _collect_gone "$part" "$3" "$5"
    return
  }
  case $HTTP_STATUS in 200 | 206) ;; *)
    _collect_failed "$part" "the server does not give out $5 (HTTP $HTTP_STATUS)" "its log says why"
    return
    ;;
  esac
  bytes=$(os_size "$part")
  [ "$bytes" = "${HTTP_LENGTH:-$bytes}" ] ||
    _collect_failed "$part" "$5 arrived with $bytes of $HTTP_LENGTH bytes" \
      "comfy-run --resume tries again" || return
  collect_readable "$part" "${5##*.}" ||
    _collect_failed "$part" "$5 is damaged: $COLLECT_WHY" \
      "look at the server's log; a new seed makes it run again" || return
  _collect_name "$part" "$6" "$4"$'\t'"$2"$'\t'"$1"$'\t'"$5" "$bytes" "$7"
}

# _collect_text NODE TARGET CONTENT JOURNAL - a text output; CONTENT is as `printf %b` wants it.
_collect_text() {
  local part=$2.$_COLLECT_MARK.part
  _collect_room "$2" || return
  printf '%b' "$3" 2>/dev/null >"$part" ||
    _collect_failed "$part" "can't write $2" "is the disk full?" || return
  _collect_name "$part" "$2" "text-$1-${2##*/}"$'\t'"$1"$'\t'text$'\t'"${2##*/}" "$(os_size "$part")" "$4"
}

# _collect_room TARGET - makes the directory that TARGET goes into; EX_DOWNLOAD.
_collect_room() {
  mkdir -p -- "${1%/*}" 2>/dev/null || core_fail "$EX_DOWNLOAD" "can't make the directory ${1%/*}" \
    "choose another output path"
}

# _collect_progress PERCENT - how far the file at hand is.
_collect_progress() { ui_progress "downloading, $1 %" "$1" 100; }

# _collect_failed PART WHAT TODO - removes the part and tells; EX_DOWNLOAD.
_collect_failed() {
  rm -f -- "$1"
  core_fail "$EX_DOWNLOAD" "$2" "$3"
}

# _collect_download PART QUERY - downloads; over a lost link too, once it is back; 1 when it broke off.
_collect_download() {
  HTTP_PROGRESS=_collect_progress http_download "$TARGET_URL/view?$2" "$1" && return
  [ "$HTTP_CURL" != 23 ] && [ "$HTTP_CURL" != 0 ] && target_recover || return 1
  HTTP_PROGRESS=_collect_progress http_download "$TARGET_URL/view?$2" "$1"
}

# _collect_broke_off PART NAME - a download that did not come to its end; EX_DOWNLOAD.
_collect_broke_off() {
  if [ "$HTTP_CURL" = 23 ]; then # curl: could not write
    _collect_failed "$1" "can't write $1" "is the disk full? comfy-run --resume goes on when there is room"
  else
    _collect_failed "$1" "the download of $2 broke off: ${HTTP_ERROR:-HTTP $HTTP_STATUS}" \
      "comfy-run --resume tries again"
  fi
}

# _collect_gone PART CACHED NAME - a file that the history names, but the server no longer has;
# EX_DOWNLOAD.
_collect_gone() {
  if [ "$2" = cached ]; then
    _collect_failed "$1" "the server has deleted $3: ComfyUI took this result from its cache and wrote no new file" \
      "change an input (the seed, or filename_prefix) so that it runs again"
  else
    _collect_failed "$1" "the server no longer has $3" "run the job again"
  fi
}

# _collect_name PART TARGET WHAT BYTES JOURNAL - gives a verified file its name, and writes it down;
# EX_DOWNLOAD.
_collect_name() {
  local sum target=$2
  sum=$(os_sha256 "$1") || return "$EX_DOWNLOAD"
  if [ -n "$COLLECT_OVERWRITE" ] && [ ! -d "$target" ]; then
    mv -f -- "$1" "$target"
  else
    while ! os_move_new "$1" "$target"; do
      [ -e "$target" ] || [ -L "$target" ] || break # not because it exists
      collect_other_name "$2"
      target=$COLLECT_NAME
    done
  fi
  [ ! -e "$1" ] || _collect_failed "$1" "can't write $target" \
    "is the disk full, or the directory read-only?" || return
  [ "$target" = "$2" ] || ui_warn "$2 exists: kept, the new one is $target"
  printf '%s\t%s\t%s\t%s\n' "$3" "$4" "$sum" "$target" >>"$5"
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
  local hex
  COLLECT_WHY='it can not be read'
  os_head_hex "$1" || return
  hex=$OS_HEX
  [ -n "$hex" ] || {
    COLLECT_WHY='it is empty'
    return 1
  }
  case $(LC_ALL=C tr '[:upper:]' '[:lower:]' <<<"$2"):$hex in
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
