#!/usr/bin/env bats
# lib/state.sh: JSON files that are whole at every moment, locks that outlive no owner.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

setup() {
  autopod_setup
  make_home
  FILE=$AUTOPOD_HOME/pods.json
}

# --- files ----------------------------------------------------------------------------------------

@test "a file is made, changed and read; it is private" {
  run lib 'config state' "$FILE" <<'SH'
config_load
state_read "$1" -c .
state_update "$1" --arg id a1 '.pods[$id] = {cost: 0.44, name: "x \"y\" $(z)"}'
state_update "$1" '.pods.b = "ü\n2"'
state_read "$1" -c .
os_mode "$1"
SH
  assert_status 0
  assert_equal "$output" '{}
{"pods":{"a1":{"cost":0.44,"name":"x \"y\" $(z)"},"b":"ü\n2"}}
600'
  assert_equal "$(ls -A "$AUTOPOD_HOME/locks")" '' 'locks afterwards'
  assert_equal "$(cd "$AUTOPOD_HOME" && echo ./*)" './known_hosts.d ./locks ./logs ./pods.json ./runs'
}

@test "without set -e it says and does the same" {
  run lib_both state "$FILE" <<'SH'
state_update "$1" '.n = 1' && state_read "$1" -c . && state_update "$1" 'no such filter' && echo "not reached"
echo "$?"
SH
  assert_contains '{"n":1}'
  refute_contains 'not reached'
}

damaged_is_kept() { # CONTENT
  printf '%s' "$1" >"$FILE"
  cp "$FILE" before
  run lib state "$FILE" <<<'state_update "$1" ".pods.new = 1"'
  assert_status 1
  assert_contains "$FILE is damaged"
  assert_contains 'hint:'
  refute_contains 'jq:'
  cmp "$FILE" before
  run --separate-stderr lib state "$FILE" <<<'state_read "$1" -r .pods'
  assert_status 1
  assert_equal "$(ls -A "$AUTOPOD_HOME/locks")" '' 'locks afterwards'
}

@test "a damaged file is told, and never overwritten" {
  damaged_is_kept '{"pods": {"a": 1}'
  damaged_is_kept 'not json'
  damaged_is_kept '[1, 2]'
  damaged_is_kept '{"pods": {}} trailing'
}

@test "a file that a crash left empty is damaged, not new" {
  damaged_is_kept ''
}

@test "a filter that yields nothing changes nothing" {
  printf '{"a":1}\n' >"$FILE"
  run lib state "$FILE" <<<'state_update "$1" empty'
  [ "$status" != 0 ]
  assert_equal "$(<"$FILE")" '{"a":1}'
}

@test "state_save takes nothing for a failure" {
  printf 'old\n' >file
  run lib_both state <<<'printf "" | state_save file || echo "refused $?"; cat file'
  assert_contains 'refused 1'
  assert_equal "${lines[${#lines[@]} - 1]}" old
  assert_equal "$(ls)" file
}

@test "a disk that is full keeps the old file" {
  local full=$PWD/full
  mkdir "$full"
  printf '{"old":1}\n' >before
  if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=64k tmpfs "$full" 2>/dev/null; then
    cp before "$full/file"
    run lib state "$full/file" <<<'printf "%070000d" 0 | state_save "$1"'
    cp "$full/file" after
    ls "$full" >left
    umount "$full"
  else
    cp before "$full/file"
    run lib state "$full/file" <<<'trap "" XFSZ; ulimit -f 8; printf "%070000d" 0 | state_save "$1"'
    cp "$full/file" after
    ls "$full" >left
  fi
  assert_status 1
  assert_contains "can't write $full/file"
  assert_contains 'is the disk full'
  cmp before after
  assert_equal "$(<left)" file
}

@test "many writers at once lose no entry, and no reader sees half a file" {
  local i
  printf '{"seed":"%s"}\n' "$(printf '%02000d' 0)" >"$FILE"
  program writer state <<'SH'
until [ -e go ]; do sleep 0.01; done
for ((n = 0; n < 5; n++)); do
  state_update "$AUTOPOD_HOME/pods.json" --arg key "$1-$n" '.[$key] = "value"' || echo "writer $1 failed" >>failed
done
SH
  program reader state <<'SH'
touch reading
while [ ! -e stop ]; do
  jq -e '.seed | length == 2000' "$AUTOPOD_HOME/pods.json" >/dev/null || echo "half a file" >>failed
  reads=$((${reads:-0} + 1))
done
echo "$reads" >reads
SH
  bash reader 3>&- &
  wait_until 5 test -e reading
  for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    bash writer "$i" 3>&- &
  done
  touch go
  wait_until 60 eval "[ \"\$(jq length '$FILE')\" = 61 ]"
  touch stop
  wait
  refute_exists failed
  [ "$(<reads)" -gt 5 ]
  assert_equal "$(ls -A "$AUTOPOD_HOME/locks")" '' 'locks afterwards'
}

# --- locks ----------------------------------------------------------------------------------------

@test "a lock is held by one, and free again when it is given back" {
  run lib_both 'os state' <<'SH'
state_lock x 0 && echo held
bash -c '
  AUTOPOD_LIB=$1 AUTOPOD_PROG=other
  . "$AUTOPOD_LIB/state.sh"
  state_lock x 0 || echo busy
  state_lock y 0 && echo "another one" && state_unlock y' bash "$AUTOPOD_LIB"
state_unlock x
bash -c 'AUTOPOD_LIB=$1; . "$AUTOPOD_LIB/state.sh"; state_lock x 0 && echo free && state_unlock x' bash "$AUTOPOD_LIB"
SH
  assert_status 0
  assert_equal "$output" $'held\nbusy\nanother one\nfree'
}

@test "a lock that stays busy is told with its owner and what to do" {
  program owner state <<<'state_lock pods.json; touch locked; exec sleep 300'
  bash owner 3>&- &
  wait_until 5 test -e locked
  run lib state "$FILE" <<<'STATE_LOCK_SECONDS=1; state_update "$1" ".a = 1"'
  kill "$!"
  assert_status 1
  assert_contains "$FILE is in use by process $!"
  assert_contains "remove $AUTOPOD_HOME/locks/pods.json"
  refute_exists "$FILE"
}

@test "the lock of an owner that was killed is taken over at once" {
  local pid
  program owner state <<<'state_lock x; touch locked; exec sleep 300'
  bash owner 3>&- &
  pid=$!
  wait_until 5 test -e locked
  run lib state <<<'state_lock x 0 || echo busy'
  assert_equal "$output" busy
  kill -9 "$pid" && wait "$pid" || :
  run lib state <<<'state_lock x 2 && echo mine && state_unlock x'
  assert_equal "$output" mine
  assert_equal "$(ls -A "$AUTOPOD_HOME/locks")" ''
}

@test "a lock of another process under the same pid is taken over, a pid alone is no owner" {
  run lib 'os state' <<'SH'
ln -s "$$-deadbeef.1" "$AUTOPOD_HOME/locks/x"
state_lock x 2 && echo mine
SH
  assert_equal "$output" mine
}

@test "one who dies while it takes over a dead owner's lock blocks nobody" {
  # The marks that any takeover leaves behind at the moment of its death.
  ln -s 99999999-dead.1 "$AUTOPOD_HOME/locks/x"
  ln -s 99999998-dead.1 "$AUTOPOD_HOME/locks/x.takeover"
  run lib state <<<'state_lock x 2 && echo mine && state_unlock x'
  assert_equal "$output" mine
  assert_equal "$(ls -A "$AUTOPOD_HOME/locks")" ''
}

@test "a lock that can't be made does not hang" {
  : >"$AUTOPOD_HOME/locks/x"
  run lib state <<<'SECONDS=0; state_lock x 1 || echo "gave up"; [ "$SECONDS" -lt 20 ]'
  assert_status 0
  assert_equal "$output" 'gave up'
  rm -r "$AUTOPOD_HOME/locks"
  run lib state <<<'SECONDS=0; state_lock x 1 || echo "gave up"; [ "$SECONDS" -lt 20 ]'
  assert_status 0
  assert_equal "$output" 'gave up'
}

@test "a signal during an update: the cleanup can update the same file at once" {
  stub jq <<SH
case "\$*" in *slow*) touch '$PWD/ready'; sleep 2 ;; esac
exec '$(type -P jq)' "\$@"
SH
  program prog state <<'SH'
core_on_exit state_update "$AUTOPOD_HOME/pods.json" '.clean = 1'
core_trap
state_update "$AUTOPOD_HOME/pods.json" '.slow = 1'
sleep 60
SH
  # Far less than the half minute that a stranger's lock is waited for.
  run signalled TERM ready bash prog
  assert_equal "$output" 'signal TERM'
  assert_equal "$(jq -c .clean "$FILE")" 1
  assert_equal "$(ls -A "$AUTOPOD_HOME/locks")" ''
}

# Workers count in a file, by reading and writing, which only exclusion makes right; meanwhile they
# are killed at random moments. An owner that finds a living one inside has proved a failure.
exclusion_holds() { # WORKERS KILLS
  local i n pid pids counted said killed=0
  rm -f go failed counter inside said.*
  printf '0\n' >counter
  program worker os state <<'SH'
os_process_start "$$"
me="$$ $OS_START"
until [ -e go ]; do sleep 0.01; done
for ((n = 0; n < 8; n++)); do
  state_lock stress 60 || { echo "gave up" >>failed; exit 1; }
  [ ! -s inside ] || {
    read -r pid start <inside
    ! os_same_process "$pid" "$start" || echo "$pid and $$ are both inside" >>failed
  }
  echo "$me" >inside.$$ && mv inside.$$ inside
  count=$(<counter)
  sleep 0.01
  echo $((count + 1)) >counter.$$ && mv counter.$$ counter
  : >inside
  state_unlock stress
  echo done >>"said.$1"
done
SH
  pids=()
  for ((i = 0; i < $1; i++)); do
    bash worker "$i" 3>&- &
    pids[i]=$!
  done
  touch go
  # Every other time the owner of the moment, which all the others wait for.
  for ((i = 0; i < $2; i++)); do
    sleep "0.$((RANDOM % 20 + 1))"
    pid=${pids[i]}
    [ $((i % 2)) = 0 ] || pid=$(readlink "$AUTOPOD_HOME/locks/stress") || continue
    if kill -9 "${pid%%-*}" 2>/dev/null; then killed=$((killed + 1)); fi
  done
  for pid in "${pids[@]}"; do wait "$pid" || :; done
  refute_exists failed
  counted=$(<counter)
  said=$(($(cat said.* 2>/dev/null | wc -l)))
  # One that was killed may have counted without having said so.
  [ "$counted" -ge "$said" ] && [ "$counted" -le $((said + killed)) ] && [ "$said" -ge $((($1 - $2) * 8)) ] ||
    { _complain "counted $counted, said $said, killed $killed" && return 1; }
  # What the last one killed left is taken over, too.
  run lib state <<<'state_lock stress 5 && state_unlock stress && echo free'
  assert_equal "$output" free
}

@test "never two owners at once, whoever is killed when" {
  exclusion_holds 10 8
}

@test "never two owners at once without /proc either" {
  old_lib
  exclusion_holds 6 4
}
