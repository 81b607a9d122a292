#!/bin/sh
#
# Stops the RunPod pod $id (set in the line before this text) from inside it, by the pod's own key, which may do
# just that: by the runpodctl that RunPod's images have (of either generation), else by RunPod's GraphQL API.
# Exit code 0 when the stop was accepted; else one line of reason on stderr.
# shellcheck disable=SC2154 # id

# The environment of the container reaches its first process, but not every shell that ssh starts, and some only
# with quotes around the values (see pod_session.sh).
of_container() { { tr "\\0" "\\n" </proc/1/environ | sed -n "s/^$1=//p"; } 2>/dev/null; }

: "${RUNPOD_API_KEY:=$(of_container RUNPOD_API_KEY)}"
RUNPOD_API_KEY=${RUNPOD_API_KEY#\"} RUNPOD_API_KEY=${RUNPOD_API_KEY%\"}
export RUNPOD_API_KEY
api=${RUNPOD_GRAPHQL_URL:-https://api.runpod.io/graphql}
query="{\"query\":\"mutation { podStop(input: {podId: \\\"$id\\\"}) { id desiredStatus } }\"}"

if command -v runpodctl >/dev/null 2>&1; then
  answer=$(env -u TIMEOUT runpodctl pod stop "$id" 2>/dev/null || env -u TIMEOUT runpodctl stop pod "$id" 2>/dev/null)
  case $answer in *EXITED* | *'" stopped'*) exit 0 ;; esac
fi
if command -v curl >/dev/null 2>&1; then
  answer=$(printf 'header = "Authorization: Bearer %s"\n' "$RUNPOD_API_KEY" |
    curl -q -sS -m 30 -K - -A autopod -H 'Content-Type: application/json' --data "$query" "$api" 2>&1)
else # BusyBox has no other way to give it a header; on a pod nobody else can see its arguments
  answer=$(wget -q -T 30 -O - -U autopod --header 'Content-Type: application/json' \
    --header "Authorization: Bearer $RUNPOD_API_KEY" --post-data "$query" "$api" 2>&1)
fi
case $answer in *EXITED*) exit 0 ;; esac
printf 'the stop was not accepted: %s\n' "$(printf '%s' "${answer:-no answer}" | tr -s '\r\n\t' ' ' | cut -c 1-300)" >&2
exit 1
