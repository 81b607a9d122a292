# shellcheck shell=bash
# nodes.sh - what a server's nodes are like (its /object_info), kept on disk: so workflows can be converted and checked
# before a server is there. $AUTOPOD_HOME/object_info/VERSION@SERVER.json, the ten newest.

[ -z "${_AUTOPOD_NODES_SH:-}" ] || return 0 # @guard
_AUTOPOD_NODES_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/comfy.sh"

NODES_GIVEN=''   # --object-info
NODES_FILE=''    # the definitions at hand; empty: none
NODES_LIVE=''    # set when they are what the server says now, or were given
NODES_DOUBT=''   # set when they may be out of date, by what has been found with them
NODES_SERVER=''  # see nodes_server
NODES_SECONDS=20 # for the answer, which is some MB

_NODES_KEEP=10
_NODES_LOOK_SECONDS=5 # for it when it is only good to have
_NODES_TRIES=1
_NODES_NEED_SECONDS=90 # for it when nothing goes on without: a proxy allows no more than 100
_NODES_NEED_TRIES=3
_NODES_PAUSE=86400 # seconds until it is asked for again then
_NODES_FRESH=10    # minutes for which a server is taken to have the same nodes
_NODES_VAIN=''     # servers that this call has asked in vain

# nodes_check_given - 0 when nothing was given, or a file that is there; EX_USAGE.
nodes_check_given() {
  [ -z "$NODES_GIVEN" ] || [ -f "$NODES_GIVEN" ] ||
    core_fail "$EX_USAGE" "--object-info: there is no file $NODES_GIVEN" "curl URL/object_info makes one"
}

# nodes_server URL [POD] - sets NODES_SERVER to what the server is called in the names of files: its pod's id, else what
# stands in the address.
nodes_server() {
  local name=${2:-${1#*://}}
  name=${name//[!A-Za-z0-9.-]/_}
  NODES_SERVER=${name:0:100}
}

# nodes_saved [SERVER] - sets NODES_FILE to the newest definitions of SERVER, else of a pod that is known, else of any
# server; empty when none were saved. Those that were given come before all others.
nodes_saved() {
  local file known='' dir=$AUTOPOD_HOME/object_info found='' of_known=''
  NODES_FILE=$NODES_GIVEN NODES_LIVE=${NODES_GIVEN:+1}
  [ -z "$NODES_GIVEN" ] && [ -d "$dir" ] || return 0
  [ -z "${1:-}" ] || _nodes_newest "$dir"/*"@$1.json"
  [ -z "$NODES_FILE" ] || return 0
  [ ! -s "$AUTOPOD_HOME/pods.json" ] || IFS= read -r -d '' known <"$AUTOPOD_HOME/pods.json" || :
  for file in "$dir"/*@*.json; do
    found=${file##*@}
    case $known in *"\"${found%.json}\""*) [ ! -f "$file" ] || [ ! -s "$file" ] || [ "$file" -ot "$of_known" ] || of_known=$file ;; esac
  done
  NODES_FILE=$of_known
  [ -n "$of_known" ] || _nodes_newest "$dir"/*@*.json
}

# _nodes_newest FILE... - sets NODES_FILE to the newest of them; empty when there is none (a pattern without a match).
_nodes_newest() {
  local file
  NODES_FILE=''
  for file; do
    [ ! -f "$file" ] || [ ! -s "$file" ] || [ "$file" -ot "$NODES_FILE" ] || NODES_FILE=$file
  done
}

# nodes_has URL [POD] - 0 when the definitions of the server, as it is (COMFY_VERSION), are saved; then they are NODES_FILE.
nodes_has() {
  nodes_server "$@"
  NODES_FILE=$AUTOPOD_HOME/object_info/$COMFY_VERSION@$NODES_SERVER.json NODES_LIVE=''
  [ -f "$NODES_FILE" ] && [ -s "$NODES_FILE" ] && [ -n "$COMFY_VERSION" ] || NODES_FILE=''
  [ -n "$NODES_FILE" ]
}

# nodes_with CMD [ARG...] - runs CMD, which starts a helper with NODES_FILE; its status. Saved definitions that can't be read
# (the disk was full, the power was cut) are removed, and it runs again with others or none. EX_USAGE when they were given.
nodes_with() {
  local status error=$CORE_ERROR hint=$CORE_HINT code=$CORE_ERROR_CODE
  while :; do
    status=0
    "$@" || status=$?
    [ "$status" = "$HELPER_UNREADABLE" ] || return "$status"
    [ -z "$NODES_GIVEN" ] || core_fail "$EX_USAGE" "$CORE_ERROR" "curl URL/object_info makes one" || return
    CORE_ERROR=$error CORE_HINT=$hint CORE_ERROR_CODE=$code
    ui_detail "saved node definitions can't be read, and are removed: $NODES_FILE"
    rm -f -- "$NODES_FILE" 2>/dev/null || :
    if [ -e "$NODES_FILE" ]; then NODES_FILE='' NODES_LIVE=''; else nodes_saved "$NODES_SERVER"; fi
  done
}

# nodes_is_fresh [URL [POD]] - 0 when NODES_FILE is good to convert a graph with: it was given, or is of the server, or of
# NODES_SERVER, as it was a short time ago. With other fields in a node, values would go to the wrong ones without a word.
nodes_is_fresh() {
  [ -z "$NODES_LIVE" ] || return 0
  [ -z "${1:-}" ] || nodes_server "$@"
  case $NODES_SERVER in '') return 1 ;; esac
  case $NODES_FILE in *"@$NODES_SERVER.json") [ -n "$(find "$NODES_FILE" -mmin "-$_NODES_FRESH" 2>/dev/null)" ] ;; *) return 1 ;; esac
}

# nodes_get URL [POD] - the definitions of the server to convert a graph with: NODES_FILE; EX_TUNNEL, EX_FAIL. A server that
# has just booted may take its time to look through its folders, and nothing goes on without them.
nodes_get() {
  local NODES_SECONDS=$_NODES_NEED_SECONDS _NODES_TRIES=$_NODES_NEED_TRIES
  [ -z "$NODES_GIVEN" ] || {
    nodes_saved
    return
  }
  nodes_has "$@" || {
    nodes_fetch "$@"
    return
  }
  nodes_is_fresh "$@" || core_quietly nodes_fetch "$@" || nodes_has "$@"
}

# nodes_keep URL [POD] - asks the server that is used, once, for its definitions, when they are not saved yet or in doubt:
# for the next workflow. That they don't come is no matter; then it is left alone for a day.
nodes_keep() {
  local NODES_FILE NODES_LIVE NODES_SECONDS=$_NODES_LOOK_SECONDS CORE_ERROR='' CORE_HINT='' CORE_ERROR_CODE=0 vain at=0
  if nodes_has "$@"; then
    [ -n "$NODES_DOUBT" ] || return 0
    NODES_DOUBT=''
  fi
  vain=$AUTOPOD_HOME/object_info/$COMFY_VERSION@$NODES_SERVER.vain
  [ ! -f "$vain" ] || { IFS= read -r at <"$vain"; } 2>/dev/null || at=0
  case $at in '' | *[!0-9]* | ???????????*) at=0 ;; esac
  os_now
  [ "$at" -le $((OS_NOW - _NODES_PAUSE)) ] || return 0
  core_quietly nodes_fetch "$@" || {
    ui_detail "${CORE_ERROR:-the node definitions did not come}"
    { printf '%s\n' "$OS_NOW" >"$vain"; } 2>/dev/null || :
  }
}

# nodes_fetch URL [POD] - asks the server for its definitions and saves them; sets NODES_FILE, NODES_LIVE. EX_TUNNEL when
# they don't come, or make no sense; EX_FAIL when they can't be written.
nodes_fetch() {
  local raw dir=$AUTOPOD_HOME/object_info file new status=0
  NODES_FILE='' NODES_LIVE=''
  core_tmpdir || return
  raw=$CORE_TMP/object_info.raw
  mkdir -p -- "$dir" 2>/dev/null || :
  nodes_server "$@"
  case "$_NODES_VAIN " in *" $NODES_SERVER "*)
    core_fail "$EX_TUNNEL" "the server at $1 does not say which nodes it has" "$_NODES_HINT"
    return
    ;;
  esac
  _nodes_ask "$1" "$raw" || status=$?
  [ "$status" = 0 ] || {
    _NODES_VAIN="$_NODES_VAIN $NODES_SERVER"
    return "$status"
  }
  file=$dir/$COMFY_VERSION@$NODES_SERVER.json new=$dir/.new.$$
  core_quietly helper_run object_info --save "$new" <"$raw" || status=$?
  if [ "$status" = 0 ] && [ ! -d "$file" ] && mv -f -- "$new" "$file" 2>/dev/null; then
    NODES_FILE=$file NODES_LIVE=1
    ui_detail "the server's node definitions are saved: $file"
    _nodes_prune "$dir"
  else
    [ ! -e "$new" ] || rm -f -- "$new"
    _NODES_VAIN="$_NODES_VAIN $NODES_SERVER"
    if [ "$status" = "$EX_USAGE" ]; then
      status=$EX_TUNNEL
      core_fail "$status" "what the server at $1 says of its nodes makes no sense" "is it a ComfyUI? --object-info FILE does without" || :
    else
      status=$EX_FAIL
      core_fail "$status" "can't write $file" "is the disk full?" || :
    fi
  fi
  rm -f -- "$raw"
  return "$status"
}

_NODES_HINT='is it a ComfyUI? --object-info FILE does without'

# _nodes_ask URL FILE - the server's answer, which is not yet looked at; sets COMFY_VERSION if that is not known. EX_TUNNEL.
_nodes_ask() {
  [ -n "$COMFY_VERSION" ] || comfy_check "$1" || return
  HTTP_TRIES=$_NODES_TRIES http_get "$1/object_info" "$2" --max-time "$NODES_SECONDS" && [ "$HTTP_STATUS" = 200 ] ||
    core_fail "$EX_TUNNEL" "the server at $1 does not say which nodes it has (${HTTP_ERROR:-HTTP $HTTP_STATUS})" "$_NODES_HINT"
}

# _nodes_prune DIR - removes all but the newest definitions, and what was noted of servers that did not say theirs.
_nodes_prune() {
  local file oldest count
  for file in "$1"/*@*.vain; do
    [ ! -f "$file" ] || rm -f -- "$file" 2>/dev/null || :
  done
  while :; do
    count=0 oldest=''
    for file in "$1"/*@*.json; do
      count=$((count + 1))
      [ -n "$oldest" ] && [ "$oldest" -ot "$file" ] || oldest=$file
    done
    [ "$count" -gt "$_NODES_KEEP" ] && rm -f -- "$oldest" 2>/dev/null || return 0
  done
}
