# shellcheck shell=bash
# feed.sh - what happens while a job runs, as one stream of lines: what helpers/watch.py sees on the server's WebSocket,
# and which keys are pressed. It makes things instant; what is true is still asked by polling.

[ -z "${_AUTOPOD_FEED_SH:-}" ] || return 0 # @guard
_AUTOPOD_FEED_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/keys.sh"

FEED_FD=6                          # where the lines come from; commands to watch.py go to 5
FEED_OPEN=''                       # set while watch.py is connected to the server
FEED_EVENT='' FEED_TEXT=''         # the last line: its first word, and what stands behind it
_FEED_ON='' _FEED_WATCHER=''       # set while there is a stream; while watch.py runs
_FEED_WORKS=''                     # set once it did: there is a WebSocket client
FEED_SEAL_URL='' FEED_SEAL_FILE='' # what is below this address gets the headers in this file
_FEED_CONNECT_SECONDS=2            # how long the POST of a prompt may be held up by the WebSocket

# feed_start - opens the stream and starts watch.py, whose imports take a while: so do it early. Without the WebSocket
# client there are just fewer events.
feed_start() {
  [ -z "$_FEED_ON" ] || return 0
  core_tmpdir && mkfifo -m 600 -- "$CORE_TMP/feed" "$CORE_TMP/feed.commands" 2>/dev/null || return 0
  # Both ends of both, so that no open waits for the other side. watch.py has only its reading end: it sees the
  # end of its commands when we are gone, whichever way we went.
  exec 5<>"$CORE_TMP/feed.commands" 6<>"$CORE_TMP/feed"
  _FEED_ON=1
  ! core_quietly helper_python || ! helper_asset_dir helpers || _feed_launch
}

# _feed_launch - starts watch.py.
_feed_launch() {
  _FEED_WATCHER=1
  {
    "$HELPER_PYTHON" -B "$HELPER_DIR/watch.py" <"$CORE_TMP/feed.commands" >&6 5>&- || :
    printf 'gone\n' >&6
  } 2>/dev/null 5>&- 8>&- 9>&- & # Bash would tell that it was killed
}

# feed_watch URL CLIENT_ID PROMPT_ID WORKFLOW TIMINGS NEW_TIMINGS - has watch.py connect for that prompt, and waits
# until it is, or can't: what the server sends before that is lost to it. Events of an earlier prompt are thrown away,
# and so are keys.
feed_watch() {
  local IFS=$'\t' until follows=''
  FEED_OPEN=''
  if [ -z "$_FEED_WATCHER" ] && [ -n "$_FEED_WORKS" ]; then _feed_launch; fi # it was killed
  [ -z "$_FEED_WATCHER" ] || _feed_seal
  [ -z "$_FEED_WATCHER" ] || printf 'watch\t%s\n' "$*" >&5
  os_now
  until=$((OS_NOW + _FEED_CONNECT_SECONDS))
  while [ -n "$_FEED_WATCHER" ] && [ "$OS_NOW" -le "$until" ]; do
    feed_next 0.5 || :
    case $FEED_EVENT:$follows in
      watching:*) [ "$FEED_TEXT" != "$3" ] || follows=1 ;; # what came before is about another one
      open:1 | lost:1) return 0 ;;
    esac
    os_now
  done
  [ -n "$_FEED_WATCHER" ] || _feed_drain
}

# _feed_seal - tells watch.py the headers, by its pipe: they are nothing for argv, where everybody can read.
_feed_seal() {
  local line
  [ -n "$FEED_SEAL_URL" ] || return 0
  printf 'seal\t%s\n' "$FEED_SEAL_URL" >&5
  while IFS= read -r line; do printf 'header\t%s\n' "$line" >&5; done <"$FEED_SEAL_FILE"
}

# _feed_drain - throws away what nobody has read: keys that were meant for an earlier job.
_feed_drain() {
  local line=''
  [ -n "$_FEED_ON" ] || return 0
  printf 'drained\n' >&"$FEED_FD" # nothing waits for more: this is the last line
  until [ "$line" = drained ]; do IFS= read -r -u "$FEED_FD" line || return 0; done
}

# feed_url URL - the same server answers at URL now.
feed_url() { [ -z "$_FEED_WATCHER" ] || printf 'url\t%s\n' "$1" >&5; }

# feed_next SECONDS - waits for the next event, at most SECONDS: FEED_EVENT and FEED_TEXT; 1 when none came.
feed_next() {
  FEED_EVENT='' FEED_TEXT=''
  [ -n "$_FEED_ON" ] || {
    core_sleep "$1"
    return 1
  }
  core_listen "$FEED_FD" os_read "$FEED_FD" "$1" || return 1
  FEED_EVENT=${OS_LINE%%$'\t'*} FEED_TEXT=${OS_LINE#*$'\t'}
  case $FEED_EVENT in
    ready) _FEED_WORKS=1 ;;
    open | back) FEED_OPEN=1 ;;
    lost | watching) FEED_OPEN='' ;;
    gone)
      FEED_OPEN='' _FEED_WATCHER=''
      ui_detail "no WebSocket client: polling alone tells how far the job is"
      ;;
  esac
}

# feed_keys - from here on keys are events too; 1 without a terminal.
feed_keys() { [ -n "$_FEED_ON" ] && keys_start "$FEED_FD"; }
