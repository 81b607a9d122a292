#!/usr/bin/env bash
#
# Usage: tests/bsdsim/mk.sh DIR
#
# Makes DIR a PATH with only the tools of a stock macOS (plus jq and the tests'
# own needs), where shims refuse the options that only GNU has. It is an
# approximation: GNU tools do the work underneath.

set -eu

DIR=${1:?usage: mk.sh DIR}
SHELL_PATH=$(type -P bash)

# Tools that behave alike as far as this project uses them.
ALIKE='awk basename bash cat chmod cmp comm cut date dirname env expr false find gzip gunzip hostname
  id kill ln ls mkdir mkfifo mv nc nohup od openssl paste ps pgrep pkill printf rm rmdir sh sleep
  ssh ssh-keygen scp sshd split tail tar tee test touch tr true tty uniq cksum fold nl
  curl diff dd du df file locale patch perl seq stty yes jq python3 bats tmux getconf shasum lsof make'

# shim NAME - makes DIR/NAME from the Bash source on stdin; $real is the tool itself
shim() {
  local real
  real=$(type -P "$1") || return 0
  rm -f "$DIR/$1"
  { printf '#!%s\nreal=%s\n' "$SHELL_PATH" "$real" && cat; } >"$DIR/$1"
  chmod +x "$DIR/$1"
}

# refusing NAME PATTERN - a shim that refuses arguments like PATTERN (up to the first --)
refusing() {
  shim "$1" <<EOF
for a in "\$@"; do
  case \$a in
    --) break ;;
    $2) printf '%s: illegal option -- %s\n' "$1" "\$a" >&2; exit 1 ;;
  esac
done
exec "\$real" "\$@"
EOF
}

mkdir -p "$DIR"
PATH=$PATH:/usr/sbin:/sbin
for tool in $ALIKE; do
  real=$(type -P "$tool") || continue
  ln -sf "$real" "$DIR/$tool"
done

shim stat <<'EOF'
follow=''
[ "${1:-}" != -L ] || { follow=-L && shift; }
[ "${1:-}" = -f ] || { echo "stat: illegal option" >&2; exit 1; }
format=$2
shift 2
[ "${1:-}" != -- ] || shift
case $format in
  %m) format=%Y ;;
  %z) format=%s ;;
  %Lp) format=%a ;;
  %i) format=%i ;;
  %u) format=%u ;;
  *) echo "stat: bad format $format" >&2; exit 1 ;;
esac
exec "$real" $follow -c "$format" -- "$@"
EOF

shim date <<'EOF'
args=() utc='' parse='' epoch=''
while [ $# -gt 0 ]; do
  case $1 in
    -u) utc=-u ;;
    -ju | -uj) utc=-u parse=1 ;;
    -j) parse=1 ;;
    -r) epoch=$2; shift ;;
    -f) shift ;;
    -v*) echo "date: -v is not simulated" >&2; exit 1 ;;
    -d* | --* | -I*) echo "date: illegal option -- ${1#-}" >&2; exit 1 ;;
    +*%N*) args+=("${1//%N/N}") ;;
    *) args+=("$1") ;;
  esac
  shift
done
if [ -n "$epoch" ]; then exec "$real" $utc -d "@$epoch" "${args[@]}"; fi
if [ -n "$parse" ]; then exec "$real" $utc -d "${args[0]}" "${args[@]:1}"; fi
exec "$real" $utc ${args[@]+"${args[@]}"}
EOF

shim sed <<'EOF'
for a in "$@"; do
  case $a in
    -r | --regexp-extended | --in-place* | -s | -z | --posix)
      echo "sed: illegal option -- $a" >&2
      exit 1
      ;;
  esac
done
if [ "${1:-}" = -i ]; then
  [ $# -ge 3 ] || { echo "sed: -i needs an argument" >&2; exit 1; }
  suffix=$2
  shift 2
  exec "$real" "-i$suffix" "$@"
fi
exec "$real" --posix "$@"
EOF

shim xargs <<'EOF'
for a in "$@"; do
  case $a in
    -r | -[0-9]*r | -0r | --* | -d* | -a) echo "xargs: illegal option -- $a" >&2; exit 1 ;;
    -*) ;;
    *) break ;;
  esac
done
exec "$real" -r "$@"
EOF

shim head <<'EOF'
case "${1:-} ${2:-}" in
  '-n -'* | -n-* | -c-* | '-c -'* | --*) echo "head: illegal count" >&2; exit 1 ;;
esac
exec "$real" "$@"
EOF

shim base64 <<'EOF'
for a in "$@"; do
  case $a in -w* | --wrap*) echo "base64: invalid option -- w" >&2; exit 1 ;; esac
done
exec "$real" -w0 "$@"
EOF

# BSD pads the counts.
shim wc <<'EOF'
"$real" "$@" | awk '{ printf "%8s", $1; for (i = 2; i <= NF; i++) printf " %s", $i; print "" }'
EOF

shim uname <<'EOF'
case ${1:-} in
  '' | -s) echo Darwin ;;
  *) exec "$real" "$@" ;;
esac
EOF

refusing mktemp '--* | -p'
refusing readlink '-f | -e | -m | --*'
refusing sort '-V | --version-sort | -h | --human* | -R'
refusing grep '-P | -[a-z]*P | --perl*'
refusing cp '--* | -t | -d | -u'
refusing install '-D* | -t | --*'
