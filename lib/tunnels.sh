# shellcheck shell=bash
# tunnels.sh - all tunnels of this installation: what tunnels.json says, and what is behind it.

[ -z "${_AUTOPOD_TUNNELS_SH:-}" ] || return 0 # @guard
_AUTOPOD_TUNNELS_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"

TUNNELS_FOUND=() TUNNELS_STATE='' # see tunnels_find and tunnels_look
# In jq: whether an entry of tunnels.json is the record of a pod.
_TUNNELS_SENSE='(.value | valid) and (.key | test("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"))'

# _tunnels_ids - prints the pods that have a record, a line each; EX_FAIL when tunnels.json is damaged.
_tunnels_ids() {
  state_read "$AUTOPOD_HOME/tunnels.json" -r "$TUNNEL_VALID"'
    if type == "object" then to_entries[] else error("not an object") end | select('"$_TUNNELS_SENSE"') | .key'
}

# tunnels_look - sets TUNNELS_STATE to what stands behind the record of the loaded pod: healthy (ComfyUI answers through
# it), silent (it does not, or not yet), dead (its process is gone), or nothing when there is no record.
tunnels_look() {
  TUNNELS_STATE=''
  core_tmpdir || return
  if tunnel_find && comfy_answers "$TUNNEL_URL" 5; then TUNNELS_STATE=healthy; fi
  [ -n "$TUNNEL_PID" ] || return 0
  TUNNEL_URL=http://127.0.0.1:$TUNNEL_PORT
  [ -z "$TUNNELS_STATE" ] || return 0
  if tunnel_is_ours; then TUNNELS_STATE=silent; else TUNNELS_STATE=dead; fi
}

# tunnels_list [POD_ID] - prints a line for each tunnel (or that pod's), its fields apart by tabs: pod, local port, URL,
# since when, process, address, state (healthy, silent or dead, see tunnels_look); EX_FAIL.
tunnels_list() {
  local ids POD_ID TUNNEL_URL TUNNEL_PORT TUNNEL_PID TUNNEL_SINCE TUNNEL_ADDRESS TUNNELS_STATE
  core_tmpdir || return
  ids=$(_tunnels_ids) || return
  for POD_ID in $ids; do # ids have no blanks
    [ "${1:-$POD_ID}" = "$POD_ID" ] || continue
    tunnels_look || return
    [ -z "$TUNNELS_STATE" ] || printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$POD_ID" "$TUNNEL_PORT" "$TUNNEL_URL" \
      "$TUNNEL_SINCE" "$TUNNEL_PID" "$TUNNEL_ADDRESS" "$TUNNELS_STATE"
  done
}

# tunnels_find REF - sets TUNNELS_FOUND to the ids of the pods with a record that REF means, by the beginning of an id or
# of a name that pods.json knows; all of them with an empty REF. Asks no provider; EX_FAIL.
tunnels_find() {
  local ids id named
  TUNNELS_FOUND=()
  ids=$(_tunnels_ids) || return
  named=" $(core_quietly state_read "$AUTOPOD_HOME/pods.json" -r --arg ref "$1" '.pods // {} | to_entries[]
    | select(.value.pod.name // "" | tostring | startswith($ref)) | .key' | tr '\n' ' ')"
  for id in $ids; do
    if [ "$id" = "$1" ]; then
      TUNNELS_FOUND=("$id")
      return
    fi
    case $id:$named in
      "$1"*:* | "$id":*" $id "*) TUNNELS_FOUND[${#TUNNELS_FOUND[@]}]=$id ;;
    esac
  done
}

# tunnels_keep - the loaded pod's tunnel was asked for by itself: a run that opened it, or opens it anew, leaves it
# open. EX_FAIL.
tunnels_keep() {
  if ! tunnel_find || [ -n "$TUNNEL_KEEP" ]; then return 0; fi
  state_update "$AUTOPOD_HOME/tunnels.json" --arg pod "$POD_ID" --argjson pid "$TUNNEL_PID" \
    'if .[$pod].pid == $pid then .[$pod].keep = true else . end'
}

# tunnels_prune - forgets the tunnels whose process is gone, and records that make no sense; EX_FAIL.
tunnels_prune() {
  local POD_ID file=$AUTOPOD_HOME/tunnels.json odd
  tunnels_find '' || return
  for POD_ID in ${TUNNELS_FOUND[@]+"${TUNNELS_FOUND[@]}"}; do tunnel_prune || return; done
  odd=$(state_read "$file" "$TUNNEL_VALID to_entries | map(select($_TUNNELS_SENSE | not)) | length") || return
  [ "$odd" = 0 ] || state_update "$file" "$TUNNEL_VALID with_entries(select($_TUNNELS_SENSE))"
}
