# shellcheck shell=bash
# ssh.sh - every call of ssh, scp and ssh-keygen. A pod's address comes in as HOST PORT USER, its
# key as a file.

[ -z "${_AUTOPOD_SSH_SH:-}" ] || return 0 # @guard
_AUTOPOD_SSH_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"

# The one that is fastest on CPUs with AES instructions first.
_SSH_CIPHERS=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com
_SSH_CIPHERS=$_SSH_CIPHERS,aes128-ctr,aes192-ctr,aes256-ctr
SSH_REASON='' SSH_SAID=''        # see ssh_reason
SSH_READY=autopod-tunnel-is-open # what a tunnel's log says once its local port is bound,
SSH_POD='autopod-pod-is '        # and then which pod is at the other end (helpers/pod_session.sh)
SSH_LOCAL='autopod-local-port '  # what it begins with: the local port, for who opens it again
SSH_PROCESS='autopod-ssh-is '    # the number and the start of its ssh
SSH_GUARD='autopod-guard-is '    # what its session says of the guard on the pod: dead, or alive DEADLINE
SSH_BEAT=5                       # seconds between two signs that it gives of us there

# ssh_make_key FILE COMMENT - makes an ed25519 key pair without a passphrase; EX_FAIL.
ssh_make_key() {
  ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1" </dev/null >/dev/null ||
    core_fail "$EX_FAIL" "ssh-keygen could not write $1"
}

# ssh_key_path - sets SSH_KEY to where the private key for rented pods is, or will be.
ssh_key_path() { SSH_KEY=${AUTOPOD_SSH_KEY:-$AUTOPOD_HOME/ssh/id_ed25519}; }

# ssh_own_key - sets SSH_KEY to the private key for rented pods: AUTOPOD_SSH_KEY, or else one of autopod's own,
# made at first use; EX_MISSING, EX_FAIL.
ssh_own_key() {
  ssh_key_path
  [ ! -f "$SSH_KEY" ] || return 0
  [ -z "$AUTOPOD_SSH_KEY" ] ||
    core_fail "$EX_MISSING" "AUTOPOD_SSH_KEY is $AUTOPOD_SSH_KEY, but there is no such file" \
      "leave it out, and autopod makes a key of its own" || return
  mkdir -p -- "${SSH_KEY%/*}" && ssh_make_key "$SSH_KEY.new.$$" autopod || return
  ln -- "$SSH_KEY.new.$$" "$SSH_KEY" 2>/dev/null || : # another autopod was first: then it is that one
  rm -f -- "$SSH_KEY.new.$$" "$SSH_KEY.new.$$.pub"
}

# ssh_public_key FILE - prints the public half of the private key FILE; EX_MISSING when it has a passphrase.
ssh_public_key() {
  if [ -f "$1.pub" ]; then
    cat -- "$1.pub"
  else
    ssh-keygen -y -P '' -f "$1" 2>/dev/null
  fi || core_fail "$EX_MISSING" "the ssh key $1 can't be read: is it a private key without a passphrase?" \
    "put its public half into $1.pub and load it into ssh-agent, or leave AUTOPOD_SSH_KEY out"
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

# ssh_ask SECONDS POD_ID HOST PORT USER KEY CMD - as ssh_run, but ended after SECONDS; then 255.
ssh_ask() {
  local seconds=$1 job until
  shift
  _ssh_options "$1" "$5"
  ui_debug ssh -p "$3" "$4@$2" "$6"
  os_now
  until=$((OS_NOW + seconds))
  ssh -T "${_SSH_OPTIONS[@]}" -p "$3" "$4@$2" "$6" <&0 &
  job=$!
  while os_process_start "$job"; do
    os_now
    [ "$OS_NOW" -lt "$until" ] || {
      kill "$job" 2>/dev/null
      wait "$job" 2>/dev/null
      return 255
    }
    core_sleep 0.03
  done
  wait "$job"
}

# ssh_login POD_ID HOST PORT USER KEY [CMD...] - at a terminal and without CMD: ssh takes the place of
# this process. Else it runs CMD (without one a shell that reads stdin) with our stdin, stdout and
# stderr, each word of CMD arriving as the word it is; its status; EX_TUNNEL, told, when there is no
# connection, or another pod answers.
ssh_login() {
  local pod=$1 port=$3 who=$4@$2 key=$5 log=$CORE_TMP/login.log status=0
  _ssh_options "$1" "$5"
  # Where somebody sits, ssh may ask for the passphrase of a key, but for no password: pods have none.
  if [ -t 0 ] || [ -t 2 ]; then
    _SSH_OPTIONS=(-o BatchMode=no -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no
      "${_SSH_OPTIONS[@]}")
  fi
  shift 5
  ui_debug ssh -p "$port" "$who" "$@"
  _ssh_quote "$(helper_asset helpers/pod_login.sh)" "$pod" "$@"
  if [ $# = 0 ] && [ -t 0 ]; then
    rm -rf -- "$CORE_TMP" # no EXIT trap is left to do it
    exec ssh -t "${_SSH_OPTIONS[@]}" -p "$port" "$who" "exec sh -c $_SSH_QUOTED"
  fi
  # 255 can be CMD's own, or ssh's: what ssh has to say about it goes to a file.
  core_wait ssh -T -E "$log" -o LogLevel=DEBUG1 "${_SSH_OPTIONS[@]}" -p "$port" "$who" "exec sh -c $_SSH_QUOTED" ||
    status=$?
  [ "$status" = 255 ] && ! grep -q '^debug1: Exit status 255' "$log" || return "$status"
  grep -vE '^(debug1: |OpenSSH_|Authenticated to |Transferred: |Bytes per second: )' "$log" >"$log.said" || :
  ssh_reason "$log.said"
  ! grep -q '^debug1: Exit status -1' "$log" || SSH_REASON=broken
  ssh_explain "$pod" "$who port $port" "$key"
}

# _ssh_quote WORD... - sets _SSH_QUOTED to the words, quoted for any shell.
_ssh_quote() {
  local word quote="'" escaped="'\\''"
  _SSH_QUOTED=''
  for word; do _SSH_QUOTED="$_SSH_QUOTED '${word//$quote/$escaped}'"; done
}

# ssh_tunnel POD_ID HOST PORT USER KEY LOCAL_PORT REMOTE_PORT LOG - starts a tunnel that outlives us;
# sets OS_PID. It is open when LOG has the line $SSH_READY: ssh runs LocalCommand once login is done and
# the local port is bound (and ends before it, when the port is taken), so an answer on that port can
# only come from this pod. LocalCommand goes to $SHELL, which may be nologin: we name one.
# With a session, not -N: only then sshd sets TCP_NODELAY, without which each answer that is written in
# two pieces (every /view) waits 40 ms for an acknowledgement (measured, OpenSSH 9.2). The session says which pod it is
# on, and passes our heartbeat on to the guard there. It ends with the link.
ssh_tunnel() {
  local pipe=$CORE_TMP/tunnel.$RANDOM beat=$((${AUTOPOD_GUARD_GRACE:-0} / 3)) log=$8
  [ "$beat" -lt "$SSH_BEAT" ] || beat=$SSH_BEAT
  [ "$beat" -gt 0 ] || beat=1
  _ssh_options "$1" "$5"
  _ssh_session
  ui_debug ssh -L "127.0.0.1:$6:127.0.0.1:$7" -p "$3" "$4@$2"
  mkfifo -m 600 -- "$pipe.in" "$pipe.out" || return
  BASH_ENV='' os_spawn "$log" "$BASH" -c "$_SSH_BEATING" autopod-tunnel "$pipe" "$_SSH_BEATS" "$beat" \
    ssh -T "${_SSH_OPTIONS[@]}" -o ExitOnForwardFailure=yes \
    -o PermitLocalCommand=yes -o "LocalCommand=echo $SSH_READY >&2" \
    -L "127.0.0.1:$6:127.0.0.1:$7" -p "$3" "$4@$2" "exec sh -c '$_SSH_SESSION'" <>"$pipe.in"
  ! os_process_start "$OS_PID" || { printf '%s%s %s\n' "$SSH_PROCESS" "$OS_PID" "$OS_START" >>"$log"; } 2>/dev/null || :
}

# What starts a tunnel's ssh: first the process that writes its heartbeat, whose stdin ends when ssh does, however ssh is
# ended: ssh alone has the other end of that pipe, as its stdout. The other way round, too: who writes has the only other
# end of ssh's stdin, and when that ends, so does the session, and ssh with it; a tunnel that beats no more is no good.
# Then this becomes ssh.
_SSH_BEATING='exec 3>>"$1.in" 0<"$1.in" 1<>"$1.out" 4<"$1.out" || exit
(exec "$BASH" -c "$2" autopod-heartbeat "$3" <&4 >&3 2>/dev/null 3>&- 4>&- &)
rm -f -- "$1.in" "$1.out"
shift 3
SHELL=/bin/sh exec "$@" 3>&- 4>&-'
# Not by `read -t` (see os_read). Should the one that waits for the end of ssh be killed, the other ends with its next beat.
_SSH_BEATS='(
  trap "kill -9 \$!; exit" TERM
  while printf "\n"; do
    sleep "$1" </dev/null >/dev/null &
    wait "$!"
  done
) </dev/null &
exec >/dev/null
while read -r _; do :; done
kill $(jobs -rp)'

# _ssh_session - sets _SSH_SESSION to what a tunnel's session runs on the pod.
_ssh_session() {
  local line
  _SSH_SESSION=''
  while IFS= read -r line; do
    case $line in '#'*) ;; *) _SSH_SESSION=$_SSH_SESSION$line$'\n' ;; esac
  done < <(helper_asset helpers/pod_session.sh)
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
    case $line in
      '' | "$SSH_READY" | "$SSH_POD"* | "$SSH_LOCAL"* | "$SSH_PROCESS"* | "$SSH_GUARD"*) ;;
      *) SSH_SAID=${line%$'\r'} ;;
    esac
  done <"$1"
}

# ssh_explain POD_ID WHO [KEY] - tells why there is no connection to WHO ("root@1.2.3.4 port 22") with the private key
# KEY, by SSH_REASON; EX_TUNNEL.
ssh_explain() {
  local what todo="autopod-info $1 shows the pod"
  case $SSH_REASON in
    denied)
      what="$2 does not accept our ssh key"
      todo="set AUTOPOD_SSH_KEY to the private key whose public half the pod knows"
      ! _ssh_key_trouble "${3:-}" || what=$_SSH_WHAT todo=$_SSH_TODO
      ;;
    hostkey)
      what="$2 shows another host key than before"
      todo="if the pod was made anew, remove $AUTOPOD_HOME/known_hosts.d/$1"
      ;;
    refused)
      what="nothing listens at $2: its sshd does not run (yet)"
      todo="does its image start sshd? A start command of one's own may keep RunPod's images from it"
      ;;
    timeout) what="$2 does not answer: no public address, or a firewall" ;;
    broken) what="the connection to $2 broke off" ;;
    *) what="no connection to $2: ${SSH_SAID:-ssh said nothing}" ;;
  esac
  core_fail "$EX_TUNNEL" "$what" "$todo"
}

# _ssh_key_trouble KEY - 0 when the private key KEY could not even be used, and _SSH_WHAT and _SSH_TODO say why and what
# to do: it has a passphrase and no agent holds it, it is open to others, or it is no key.
_ssh_key_trouble() {
  local said print
  [ -n "$1" ] && [ -f "$1" ] || return 1
  said=$(ssh-keygen -y -P '' -f "$1" 2>&1 >/dev/null </dev/null) && return 1
  case $said in
    *passphrase*)
      _SSH_WHAT="the ssh key $1 has a passphrase, and no ssh-agent holds it: nobody can be asked for it here"
      _SSH_TODO="load it once: ssh-add $1 (no agent? eval \"\$(ssh-agent)\" starts one); or leave AUTOPOD_SSH_KEY out: autopod makes a key of its own"
      print=$(ssh-keygen -l -f "$1" 2>/dev/null </dev/null) || return 0
      read -r _ print _ <<<"$print"
      [[ " $(ssh-add -l 2>/dev/null </dev/null) " != *" $print "* ]] # else it was offered, and is not the one
      ;;
    *'too open'* | *UNPROTECTED*)
      _SSH_WHAT="the ssh key $1 can be read by others, so ssh does not use it"
      _SSH_TODO="run: chmod 600 $1"
      ;;
    *)
      _SSH_WHAT="$1 is not a private ssh key that ssh can read"
      _SSH_TODO="set AUTOPOD_SSH_KEY to a private key, or leave it out: autopod makes one of its own"
      ;;
  esac
}
