#!/usr/bin/env bats
# Bash 3.2 and BSD tools: what they lack is not used, and the library's own tests pass with the
# tools of a simulated macOS. A newer Bash meets a construct that is too new only when a test
# happens to run that line, hence the list.

load test_helper

# A line of tests/banned.txt is a regular expression, why it is banned and a sample, TAB between
# them. Reasons that begin with "bash" hold everywhere, the others not in lib/os.sh.

# hits REGEX WHY FILE... - prints `FILE:LINE:TEXT    <- WHY` for each line that has it. A comment
# is let pass, and a line that says `# portable: why`.
hits() {
  local regex=$1 why=$2 hit
  shift 2
  grep -nHE -e "$regex" -- "$@" | grep -vE '^[^:]*:[0-9]+:[[:space:]]*#|# portable: ' |
    while IFS= read -r hit; do printf '%s    <- %s\n' "$hit" "$why"; done
}

@test "nothing that bash 3.2 or BSD tools lack is used" {
  local file files regex why
  files=()
  cd "$ROOT"
  for file in bin/* lib/*.sh lib/*/*.sh scripts/*.sh completions/*.bash tests/*.bats tests/*.bash \
    bench/*.sh .ci/run; do
    case $file in lib/os.sh | *'*'*) ;; *) files[${#files[@]}]=$file ;; esac
  done
  while IFS=$'\t' read -r regex why _; do
    hits "$regex" "$why" "${files[@]}"
    case $why in bash*) hits "$regex" "$why" lib/os.sh ;; esac
  done <tests/banned.txt >"$TMPDIR/found"
  assert_equal "$(cat "$TMPDIR/found")" ''
}

@test "every line of the list rejects its sample, and a reason lets it pass" {
  local regex why sample
  while IFS=$'\t' read -r regex why sample; do
    printf '%s\n' "$sample" >sample.sh
    assert_contains "$why" "$(hits "$regex" "$why" sample.sh)"
    printf '%s # portable: a test\n' "$sample" >sample.sh
    assert_equal "$(hits "$regex" "$why" sample.sh)" ''
  done <"$ROOT/tests/banned.txt"
}

@test "every script parses under the system's own bash, which is 3.2 on macOS" {
  local file shell=/bin/bash
  [ -x "$shell" ] || shell=bash
  cd "$ROOT"
  for file in bin/* lib/*.sh lib/*/*.sh scripts/*.sh completions/*.bash .ci/run; do
    case $file in *'*'*) ;; *) "$shell" -n "$file" ;; esac
  done
}

@test "the simulated macOS refuses what macOS lacks" {
  local sim=$PWD/sim tool
  bash "$ROOT/tests/bsdsim/mk.sh" "$sim"
  for tool in timeout flock sha256sum realpath setsid nproc; do
    refute_exists "$sim/$tool"
  done
  printf 'abc\n' >file
  run "$sim/stat" -c %s file # portable: to be refused
  assert_status 1
  run "$sim/stat" -f %z file
  assert_equal "$output" 4
  run "$sim/date" -d @1 # portable: to be refused
  assert_status 1
  run "$sim/date" -u -r 1700000000 +%Y-%m-%dT%H:%M:%SZ
  assert_equal "$output" 2023-11-14T22:13:20Z
  run "$sim/sed" -r s/a/b/ file # portable: to be refused
  assert_status 1
  run "$sim/readlink" -f file # portable: to be refused
  assert_status 1
}

@test "the library's tests pass with the tools of a simulated macOS" {
  local file files
  files=()
  for file in "$ROOT"/tests/lib_*.bats; do
    # These take long, and are about curl and ssh, which are the same programs on macOS.
    case $file in */lib_http.bats | */lib_ssh.bats | */lib_tunnel.bats | */lib_guard.bats) ;; *) files[${#files[@]}]=$file ;; esac
  done
  bash "$ROOT/tests/bsdsim/mk.sh" "$PWD/sim"
  AUTOPOD_TEST_PATH=$PWD/sim HOME=$REAL_HOME TMPDIR=/tmp run "$ROOT/scripts/test.sh" -j 2 "${files[@]}"
  assert_status 0
  assert_matches '[1-9][0-9]* passed, 0 failed'
}
