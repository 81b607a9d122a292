#!/bin/sh
# What autopod-ssh runs on the pod, as `sh -c SCRIPT POD_ID [CMD...]`.
# For a while after a start RunPod tells the address from before, where another pod of the same owner, with
# the same key, may be by now: nothing is run on that one. (Where its id comes from: see pod_session.sh.)
id=${RUNPOD_POD_ID:-${AUTOPOD_POD_ID:-}}
[ -n "$id" ] || id=$({ tr "\\0" "\\n" </proc/1/environ | sed -n "s/^RUNPOD_POD_ID=//p"; } 2>/dev/null)
id=${id#\"} id=${id%\"}
[ "${id:-$0}" = "$0" ] || {
  echo "autopod-ssh: error: pod $id answers at the address of $0: its new one is not known yet" >&2
  echo "  try again in a minute" >&2
  exit 5
}
[ $# -gt 0 ] || exec "${SHELL:-/bin/sh}" -l
"$@"
exit # not exec: of a CMD that a signal ended (no memory left) ssh would only say 255
