# shellcheck shell=bash
# ssh.sh - every call of ssh, scp and ssh-keygen. A pod's address comes in as HOST PORT USER, its
# key as a file.

[ -z "${_AUTOPOD_SSH_SH:-}" ] || return 0 # @guard
_AUTOPOD_SSH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"

# The one that is fastest on CPUs with AES instructions first.
_SSH_CIPHERS=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com
_SSH_CIPHERS=$_SSH_CIPHERS,aes128-ctr,aes192-ctr,aes256-ctr
SSH_READY=autopod-tunnel-is-open # what a tunnel's log says once its local port is bound

# ssh_make_key FILE COMMENT - makes an ed25519 key pair without a passphrase; EX_FAIL.
ssh_make_key() {
  ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1" </dev/null >/dev/null ||
    core_fail "$EX_FAIL" "ssh-keygen could not write $1"
}

# ssh_forget POD_ID - forgets the pod's host key.
ssh_forget() { rm -f -- "$AUTOPOD_HOME/known_hosts.d/$1" "$AUTOPOD_HOME/known_hosts.d/$1.old"; }

# ssh_know POD_ID HOST PORT PUBLIC_KEY_FILE - takes a host key that came to us by a safe way, so
# that no first use is trusted.
ssh_know() {
  local type key _comment
  read -r type key _comment <"$4" || return
  printf '[%s]:%s %s %s\n' "$2" "$3" "$type" "$key" >"$AUTOPOD_HOME/known_hosts.d/$1"
}

# ssh_run POD_ID HOST PORT USER KEY CMD - runs CMD on the pod with our stdin and stdout; its status,
# 255 when there is no connection.
ssh_run() {
  _ssh_options "$1" "$5"
  ui_debug ssh -p "$3" "$4@$2" "$6"
  core_wait ssh -T "${_SSH_OPTIONS[@]}" -p "$3" "$4@$2" "$6"
}

# ssh_tunnel POD_ID HOST PORT USER KEY LOCAL_PORT REMOTE_PORT LOG - starts a tunnel that outlives us;
# sets OS_PID. It is open when LOG has the line $SSH_READY: ssh runs LocalCommand once login is done and
# the local port is bound (and ends before it, when the port is taken), so an answer on that port can
# only come from this pod. LocalCommand goes to $SHELL, which may be nologin: we name one.
# With a session, not -N: only then sshd sets TCP_NODELAY, without which each answer that is written in
# two pieces (every /view) waits 40 ms for an acknowledgement (measured, OpenSSH 9.2). The session reads
# a pipe that nobody writes to, and ends with the link.
ssh_tunnel() {
  local pipe=$CORE_TMP/tunnel.$RANDOM
  _ssh_options "$1" "$5"
  ui_debug ssh -L "127.0.0.1:$6:127.0.0.1:$7" -p "$3" "$4@$2"
  mkfifo -m 600 -- "$pipe" || return
  os_spawn "$8" env SHELL=/bin/sh ssh -T "${_SSH_OPTIONS[@]}" -o ExitOnForwardFailure=yes \
    -o PermitLocalCommand=yes -o "LocalCommand=echo $SSH_READY" \
    -L "127.0.0.1:$6:127.0.0.1:$7" -p "$3" "$4@$2" 'exec cat >/dev/null' <>"$pipe"
  rm -f -- "$pipe"
}

# _ssh_options POD_ID KEY - sets _SSH_OPTIONS. -F none: nothing of the user's own ssh configuration
# (a forward, a proxy, a control master) can redirect us, and ~/.ssh is never written.
_ssh_options() {
  local known=$AUTOPOD_HOME/known_hosts.d/$1
  known=${known//%/%%}
  _SSH_OPTIONS=(-F none -o BatchMode=yes -o ConnectTimeout=10
    -o ServerAliveInterval=15 -o ServerAliveCountMax=3
    -o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=\"$known\"" -o GlobalKnownHostsFile=none
    -o UpdateHostKeys=no -o CheckHostIP=no -o Compression=no -o LogLevel=ERROR
    -o "Ciphers=$_SSH_CIPHERS")
  [ -z "$2" ] || _SSH_OPTIONS=("${_SSH_OPTIONS[@]}" -o IdentitiesOnly=yes
    -o "IdentityFile=\"${2//%/%%}\"")
}

# ssh_reason LOG - sets SSH_REASON to one of denied, hostkey, port, refused, timeout, other, by what
# ssh wrote, and SSH_SAID to its last line.
ssh_reason() {
  local line
  SSH_REASON=other SSH_SAID=''
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      *'Permission denied ('* | *'Too many authentication failures'*) SSH_REASON=denied ;;
      *'Host key verification failed'* | *'HOST IDENTIFICATION HAS CHANGED'*) SSH_REASON=hostkey ;;
      *'Address already in use'* | *'cannot listen to port'*) SSH_REASON=port ;;
      *'Could not request local forwarding'*) SSH_REASON=port ;;
      *'Connection refused'*) SSH_REASON=refused ;;
      *'timed out'* | *'No route to host'* | *'Network is unreachable'*) SSH_REASON=timeout ;;
    esac
    [ -z "$line" ] || SSH_SAID=${line%$'\r'}
  done <"$1"
}
