#!/usr/bin/env bats
# lib/os.sh: each function against known values, on this system and as a bash 3.2 on macOS runs it.

# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

# each_way CMD... - runs CMD with the library as it is, then as an old bash without /proc runs it
each_way() {
  "$@"
  old_lib
  "$@"
}

# --- time -----------------------------------------------------------------------------------------

now_is_right() {
  local before hour
  before=$(date +%s) hour=$(date -u +%Y-%m-%dT%H)
  TZ=America/New_York run lib_both os <<'SH'
os_now
os_now_ms
os_utc
utc=$OS_UTC
os_utc_compact
echo "$OS_NOW|$OS_MS|$utc|$OS_UTC" >"$0.said"
SH
  assert_status 0
  assert_equal "$output" ''
  IFS='|' read -r -a said <"$BATS_TEST_TMPDIR/program.said"
  [ "${said[0]}" -ge "$before" ] && [ "${said[0]}" -le "$(date +%s)" ]
  assert_matches '^[0-9]{13}$' "${said[1]}"
  [ "${said[1]%???}" -ge "$before" ]
  assert_matches '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$' "${said[2]}"
  assert_matches "^($hour|$(date -u +%Y-%m-%dT%H))" "${said[2]}"
  assert_matches '^[0-9]{8}T[0-9]{6}Z$' "${said[3]}"
}

@test "the time now: seconds, milliseconds, and UTC whatever the time zone" {
  each_way now_is_right
}

# --- files ----------------------------------------------------------------------------------------

files_are_known() {
  run lib_both os <<'SH'
os_size 'a file'
os_size link
os_size -- 2>/dev/null || echo 'no such file'
os_mode 'a file'
os_mode link
os_sha256 'a file'
os_sha256 none 2>/dev/null || echo 'no such file'
os_head_hex 'a file' && echo "$OS_HEX"
os_head_hex empty && echo "<$OS_HEX>"
os_head_hex none 2>/dev/null || echo 'no such file'
SH
  assert_status 0
  assert_equal "$output" "23
23
no such file
640
640
$1
no such file
ff00616263206465660a67686900ffee
<>
no such file"
}

@test "size, mode, sum and first bytes of a file, also through a link" {
  local sum
  printf '\377\000abc def\nghi\000\377\356\335\314\273\252\231\210\167' >'a file'
  : >empty
  chmod 640 'a file'
  ln -s 'a file' link
  sum=$(openssl dgst -sha256 <'a file')
  each_way files_are_known "${sum##* }"
}

@test "the size of a file that is not there: nothing, and no strange words" {
  run lib_both os <<<'os_size none || echo failed'
  refute_contains '%z'
  assert_contains failed
}

@test "without sha256sum, shasum or openssl do" {
  local tool sum
  printf abc >file
  sum=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
  for tool in sha256sum shasum openssl; do
    type -P "$tool" >/dev/null || continue
    rm -rf "$BATS_TEST_TMPDIR/path"
    # shasum is a Perl script, and finds its interpreter through env
    PATH=$(path_of bash cat env perl "$tool") run lib_both os <<<'os_sha256 file'
    assert_equal "$output" "$sum" "$tool"
  done
}

@test "os_move_new renames, but never over anything" {
  printf new >from
  printf old >file
  mkdir dir
  ln -s nowhere dangling
  ln -s dir linked-dir
  run lib_both os <<'SH'
for to in file dir dangling linked-dir no/such/dir; do
  os_move_new from "$to" 2>/dev/null && echo "moved to $to"
done
cat from file
[ -z "$(ls -A dir)" ] || echo 'something came into dir'
SH
  assert_equal "$output" newold
  run lib_both os <<'SH'
[ -e from ] || printf new >from
rm -f -- '-a b'
os_move_new from '-a b' && [ ! -e from ] && cat ./'-a b'
SH
  assert_status 0
  assert_equal "$output" new
}

@test "os_move_new does not overwrite on a disk without hard links" {
  stub ln <<<'exit 1'
  printf new >from
  printf old >file
  run lib os <<<'os_move_new from file || echo kept; os_move_new from other; cat file other'
  assert_equal "$output" $'kept\noldnew'
}

@test "of many that move to one name at once, exactly one wins" {
  local i round
  program mover os <<'SH'
until [ -e go ]; do :; done
! os_move_new "from$1" to || echo "$1" >>won
SH
  for round in 1 2 3; do
    rm -f go won to
    for i in 1 2 3 4 5 6 7 8 9 10; do
      printf '%s\n' "$i" >"from$i"
      bash mover "$i" 3>&- &
    done
    touch go
    wait
    assert_equal "$(($(wc -l <won)))" 1 "winners of round $round"
    assert_equal "$(<to)" "$(<won)"
    rm "from$(<won)" 2>/dev/null && return 1
    assert_equal "$(find . -name 'from*' | wc -l | tr -d ' ')" 9
  done
}

# --- random values --------------------------------------------------------------------------------

@test "random digits and UUIDs have their form and differ" {
  run lib_both os <<'SH'
os_random_hex 8; a=$OS_HEX
os_random_hex 8
[ "$a" != "$OS_HEX" ] && [[ $a$OS_HEX =~ ^[0-9a-f]{16}$ ]] || echo "hex $a $OS_HEX"
os_random_hex 64
[ "${#OS_HEX}" = 64 ] || echo "$OS_HEX"
os_uuid; a=$OS_UUID
os_uuid
shape='^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
[ "$a" != "$OS_UUID" ] && [[ $a =~ $shape ]] && [[ $OS_UUID =~ $shape ]] || echo "uuid $a $OS_UUID"
SH
  assert_status 0
  assert_equal "$output" ''
}

@test "without /proc the UUID comes from uuidgen, in lower case; without both it fails" {
  old_lib
  stub uuidgen <<<'echo 0F6A7C1E-3B2D-4E5F-8A9B-0C1D2E3F4A5B'
  run lib_both os <<<'os_uuid; echo "$OS_UUID"'
  assert_equal "$output" 0f6a7c1e-3b2d-4e5f-8a9b-0c1d2e3f4a5b
  stub uuidgen <<<'exit 127'
  run lib os <<<'os_uuid || echo none'
  assert_equal "$output" none
}

# --- processes ------------------------------------------------------------------------------------

processes_are_known() {
  sleep 300 3>&- &
  other=$!
  run lib os "$other" <<'SH'
os_process_start "$1"
one=$OS_START
case $one in '' | *[!A-Za-z0-9.]*) echo "not one word: $one" ;; esac
TZ=Asia/Tokyo os_process_start "$1"
[ "$OS_START" = "$one" ] || echo "the time zone makes a difference: $one $OS_START"
os_same_process "$1" "$one" || echo 'not the same'
! os_same_process "$1" "${one}1" || echo 'another start is the same'
! os_same_process "$1" '' || echo 'no start is the same'
! os_same_process '' '' || echo 'nothing is the same'
! os_same_process 99999999 "$one" || echo 'a pid that nobody has is the same'
for bad in '' 0x1 -1 '1 2' '../self' '*'; do
  ! os_process_start "$bad" || echo "<$bad> is a process"
done
printf '%s' "$one" >start
os_process_start "$$" && [ -n "$OS_START" ] || echo 'we are not there'
SH
  assert_status 0
  assert_equal "$output" ''
  kill -9 "$other" && wait "$other" || :
  run lib os "$other" <<<'! os_same_process "$1" "$(<start)" || echo "still the same"'
  assert_equal "$output" ''
}

@test "a process is known by its pid and its start" {
  each_way processes_are_known
}

@test "a pid that was given to another process is not the same" {
  # Another process under the pid of ours is what a wrong start stands for.
  sleep 300 3>&- &
  run lib os "$!" <<'SH'
os_end_process "$1" 'deadbeef.12345' && kill -0 "$1" && echo 'left alone'
kill "$1"
SH
  assert_status 0
  assert_equal "$output" 'left alone'
}

@test "a process whose name has blanks, brackets and a newline is known" {
  [ -r /proc/self/stat ] || skip "no /proc"
  local name='a) S 1 (b'
  cp "$(type -P sleep)" "$name"
  "./$name" 300 3>&- &
  run lib os "$!" <<'SH'
os_process_start "$1"
start=$OS_START
os_same_process "$1" "$start" && [[ $start =~ ^[0-9a-f]+\.[0-9]+$ ]] && echo known
SH
  kill "$!"
  assert_equal "$output" known
  name=$'x\ny'
  cp "$(type -P sleep)" "$name"
  "./$name" 300 3>&- &
  run lib os "$!" <<<'os_process_start "$1" || :; echo survived'
  kill "$!"
  assert_equal "$output" survived
}

zombies_are_gone() {
  # The shell becomes a sleep that never asks for its child, which dies only then: the shell itself might ask.
  sh -c 'sleep 0.3 & echo $! >zombie; exec sleep 300' 3>&- &
  wait_until 5 has_line zombie
  wait_until 5 eval "ps -o stat= -p $(<zombie) | grep -q Z"
  run lib os "$(<zombie)" <<<'! os_process_start "$1" || echo "a zombie counts"'
  kill "$!"
  rm zombie
  assert_status 0
  assert_equal "$output" ''
}

@test "a zombie is gone" {
  each_way zombies_are_gone
}

processes_are_ended() {
  bash -c 'trap "touch asked; exit" TERM; while :; do sleep 0.1; done' 3>&- &
  run lib os "$!" <<<'os_process_start "$1"; os_end_process "$1" "$OS_START"; echo "$?"; ! kill -0 "$1" 2>/dev/null'
  assert_equal "$output" 0
  [ -e asked ] && rm asked
  # One that does not listen.
  bash -c 'trap "" TERM; touch deaf; while :; do sleep 0.1; done' 3>&- &
  wait_until 5 test -e deaf
  run lib os "$!" <<'SH'
os_process_start "$1"
os_end_process "$1" "$OS_START" 1
echo "$?"
os_end_process "$1" "$OS_START" 1
echo "again $?"
SH
  rm deaf
  assert_equal "$output" $'0\nagain 0'
}

@test "a process is ended politely, and by force when it does not listen" {
  each_way processes_are_ended
}

commands_are_known() {
  run lib_both os "$1" <<'SH'
os_process_command "$1" && echo "<$OS_COMMAND>"
for bad in '' x -1 99999999 "$1 1"; do
  ! os_process_command "$bad" || echo "<$bad> is a process"
done
SH
  assert_equal "$output" "<sleep 300 0.001 0.002>"
}

@test "the command line of a process; a process that is none has none" {
  sleep 300 0.001 0.002 3>&- &
  each_way commands_are_known "$!"
  kill "$!"
}

# who_listens PORT - prints what os_port_user says of PORT
who_listens() { lib_both os "$1" <<<'os_port_user "$1"; echo "<$OS_USER>"'; }

@test "who listens at a port: by lsof, by ss, by /proc; nobody is nobody" {
  local port tool
  "$AUTOPOD_PYTHON" - 3>&- <<'PY' &
import socket, time
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
with open("port", "w") as file:
    print(server.getsockname()[1], file=file)
time.sleep(300)
PY
  wait_until 10 has_line port
  port=$(<port)
  for tool in lsof ss none; do
    assert_matches "^<python[^ ]* \\(pid $!\\)>\$" "$(who_listens "$port")" || { kill "$!" && return 1; }
    [ -r /proc/net/tcp ] || break # macOS has lsof
    stub "$tool" <<<'exit 1'
  done
  kill "$!" && wait "$!" 2>/dev/null || :
  assert_equal "$(who_listens "$port")" '<>'
  rm -f "$STUBS/lsof" "$STUBS/ss"
  assert_equal "$(who_listens "$port")" '<>'
}

@test "os_spawn: it outlives the program, its terminal's hang-up and Ctrl+C, and does not hold its output" {
  local pid
  program prog core os <<'SH'
core_trap
os_spawn log sh -c 'echo "$*"; read -r x || echo "no stdin"; exec sleep 300' sh 'a  b' '*'
os_process_start "$OS_PID"
echo "$OS_PID $OS_START" >spawned
touch ready
core_sleep 60
SH
  printf 'there\n' >log
  # Through a pipe: it would not end before all have closed it.
  run bash -c '"$@" | cat' bash "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/signalled.py" HUP ready bash prog
  assert_equal "$output" 'signal HUP'
  read -r pid _ <spawned
  run lib os "$pid" "$(cut -d ' ' -f 2 spawned)" <<<'os_same_process "$1" "$2" && echo alive'
  assert_equal "$output" alive
  assert_equal "$(ps -o pgid= -p "$pid" | tr -d ' ')" "$pid" 'its process group'
  kill -HUP "$pid"
  kill -0 "$pid"
  wait_until 5 grep -q 'no stdin' log
  assert_contains $'there\n' "$(<log)"
  assert_contains 'a  b *' "$(<log)"
  kill "$pid"
}

@test "what os_spawn starts does not keep the caller's other files open" {
  [ -d /proc/self/fd ] || skip "no /proc"
  program prog os <<<'os_spawn log sleep 300; echo "$OS_PID"'
  exec 7>held
  run bash prog 9>held
  exec 7>&-
  assert_status 0
  run bash -c 'ls -l "/proc/$1/fd"; kill "$1"' bash "$output"
  refute_contains held
}

# --- ports and tools ------------------------------------------------------------------------------

@test "a port is free or taken" {
  "$AUTOPOD_PYTHON" -c '
import socket, sys, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
time.sleep(300)' >port 3>&- &
  wait_until 10 has_line port
  run lib_both os "$(<port)" <<<'os_port_free "$1" && echo free || echo taken'
  assert_equal "$output" taken
  kill "$!" && wait "$!" || :
  run lib_both os "$(<port)" <<<'os_port_free "$1" && echo free || echo taken'
  assert_equal "$output" free
}

@test "a random port is a free one; when all are taken it says so" {
  run lib_both os <<'SH'
os_random_port
os_port_free "$OS_PORT" && [ "$OS_PORT" -ge 1024 ] && [ "$OS_PORT" -lt 65536 ] || echo "$OS_PORT"
os_port_free() { return 1; }
os_random_port || echo none
SH
  assert_equal "$output" none
}

# --- the terminal ---------------------------------------------------------------------------------

# in_terminal CMD... - runs CMD in a terminal; $output has what it wrote, without carriage returns
in_terminal() {
  run "$AUTOPOD_PYTHON" "$ROOT/tests/doubles/terminal.py" "$@"
  output=${output//$'\r'/}
}

front_is_known() {
  program prog os <<<'os_in_foreground && echo front || echo behind'
  in_terminal bash prog
  assert_equal "$output" front
  in_terminal bash -c 'set -m; bash prog & wait'
  assert_contains behind
  run bash prog </dev/null # nobody can be in front where there is no terminal
  assert_equal "$output" front
}

@test "a program knows whether it is the one in front of its terminal" {
  each_way front_is_known
}

@test "the size of the terminal on stderr, else 80 columns and 24 rows" {
  program prog os <<<'os_columns; echo "$OS_COLUMNS $OS_ROWS"'
  in_terminal sh -c 'stty cols 132 rows 50; bash prog'
  assert_equal "$output" '132 50'
  in_terminal sh -c 'stty cols 0 rows 0; bash prog'
  assert_equal "$output" '80 24'
  run bash prog 2>/dev/null
  assert_equal "$output" '80 24'
}

@test "tenths of a second, unless they would cost a process" {
  run lib_both os <<<'os_tenth; os_now_ms; [ $((OS_MS / 100 - OS_TENTH)) -le 10 ] && echo "${#OS_TENTH}"'
  [ "${BASH_VERSINFO[0]}" -lt 5 ] || assert_equal "$output" 11
  old_lib
  run lib_both os <<<'os_tenth; echo "[$OS_TENTH]"'
  assert_equal "$output" '[]'
}

@test "a line is waited for, but not for long" {
  run lib_both os <<'SH'
mkfifo pipe
exec 6<>pipe
rm pipe
os_read 6 0.1 || echo "nothing yet: [$OS_LINE]"
printf 'one line\nanother\n' >&6
os_read 6 2 && echo "[$OS_LINE]"
os_read 6 2 && echo "[$OS_LINE]"
{ sleep 0.2 && printf 'late\n' >&6; } &
os_read 6 2 && echo "[$OS_LINE]"
SH
  assert_equal "$output" $'nothing yet: []\n[one line]\n[another]\n[late]'
}

@test "what to install is named as the system calls it" {
  run lib_both os <<'SH'
OSTYPE=darwin23
os_install_hint jq
os_install_hint sshd
OSTYPE=linux-gnu
os_install_hint sshd
SH
  assert_contains 'brew install jq' "${lines[0]}"
  assert_contains 'brew install openssh' "${lines[1]}"
  assert_contains 'apt-get install openssh-server' "${lines[2]}"
}
