#!/usr/bin/env bash
#
# Usage: bench/transfer.sh up URL FILE NAME | down URL NAME FILE
#
# Moves one file by the functions that comfy-run does it with, progress included:
# FILE becomes the input bench/NAME of the ComfyUI at URL, or comes back from there.

set -euo pipefail

ROOT=$(cd -P "${BASH_SOURCE[0]%/*}/.." && pwd -P)
AUTOPOD_ROOT=$ROOT AUTOPOD_LIB=$ROOT/lib
: "$AUTOPOD_ROOT"
. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/comfy.sh"

# progress PERCENT - what a job shows while the file moves
progress() { ui_progress "$1 %" "$1" 100; }

# up URL FILE NAME
up() { comfy_upload "$1" "$2" "bench/$3" "$(os_size "$2")"; }

# down URL NAME FILE
down() {
  http_download "$1/view?type=input&subfolder=bench&filename=$2" "$3" ||
    core_die "$EX_DOWNLOAD" "the download broke off: $HTTP_ERROR"
  [ "$HTTP_STATUS:$(os_size "$3")" = "200:$HTTP_LENGTH" ] ||
    core_die "$EX_DOWNLOAD" "HTTP $HTTP_STATUS, $(os_size "$3") of $HTTP_LENGTH bytes"
}

core_trap
ui_init
core_tmpdir
# shellcheck disable=SC2034 # lib/http.sh reads it
HTTP_PROGRESS=progress
"$@"
