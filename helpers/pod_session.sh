#!/bin/sh
# What the session of a tunnel runs on the pod, as `sh -c`: so it has no single quotes.
# First of all it says which pod it is on. A pod knows its id by its environment; that of RunPod reaches
# the first process of the container, but not every shell that ssh starts, and in some images (the one of RunPod for
# ComfyUI) only with the quotes of a file around it. Then it waits for the link to end.
id=${RUNPOD_POD_ID:-${AUTOPOD_POD_ID:-}}
[ -n "$id" ] || id=$({ tr "\\0" "\\n" </proc/1/environ | sed -n "s/^RUNPOD_POD_ID=//p"; } 2>/dev/null)
id=${id#\"} id=${id%\"}
echo "autopod-pod-is $id"
exec cat >/dev/null
