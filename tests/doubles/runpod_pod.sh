#!/usr/bin/env bash
#
# Usage: tests/doubles/runpod_pod.sh HOME create
#        tests/doubles/runpod_pod.sh HOME start|stop|terminate ID
#
# The machines behind tests/doubles/runpod_api.py: pods of the local provider,
# kept in HOME. Prints the pod as JSON, but for terminate.

set -euo pipefail

AUTOPOD_ROOT=${DOUBLES_TREE:-$(cd -P "${BASH_SOURCE[0]%/*}/../.." && pwd -P)}
AUTOPOD_LIB=$AUTOPOD_ROOT/lib
AUTOPOD_HOME=$1

. "$AUTOPOD_LIB/providers/local.sh"

umask 077
mkdir -p -- "$AUTOPOD_HOME/known_hosts.d" "$AUTOPOD_HOME/locks"

case $2 in
  create) provider_local_create '{"name":"machine"}' ;;
  start)
    # A container's disk is wiped by a stop, and its sshd makes a new host key: who trusted the old
    # one must meet that here, too (read in runpodctl's AGENTS.md).
    rm -f -- "$AUTOPOD_HOME/local/$3/host_key" "$AUTOPOD_HOME/local/$3/host_key.pub"
    ssh_make_key "$AUTOPOD_HOME/local/$3/host_key" "autopod pod $3"
    provider_local_start "$3"
    ;;
  stop) provider_local_stop "$3" ;;
  terminate) provider_local_terminate "$3" ;;
esac
