#!/usr/bin/env bats
# The rules of the house hold for this repo, and each of them is one that scripts/check-house.sh
# really enforces: a good tree passes, and the same tree with one fault does not.

load test_helper

setup() {
  autopod_setup
  mkdir -p lib/providers bin helpers
  module core '# core_say TEXT - prints TEXT' 'core_say() { printf "%s\n" "$1"; }'
  module os '# os_now - prints the time' 'os_now() { core_say "$(date +%s)"; }'
  include os core
  module http '# http_get URL - prints the answer' 'http_get() { curl -q "$1" | core_say; }'
  include http core
  module providers/local '# provider_local_list - nothing' 'provider_local_list() { core_say none; }' \
    '# _local_port - a port' '_local_port() { printf "%s\n" 22; }'
  include providers/local core
  module pod '# pod_list - prints all pods' 'pod_list() { core_say none; }'
  include pod core
  include pod providers/local
  module job '# job_run - runs it' 'job_run() { pod_list; }'
  include job pod
  printf 'import sys\n' >helpers/history.py
  printf 'import sys\n' >helpers/rejection.py
  printf '#!/usr/bin/env bash\n. "$AUTOPOD_LIB/job.sh"\njob_run\n' >bin/comfy-run
}

# module NAME LINE... - makes lib/NAME.sh
module() {
  local name=$1
  shift
  printf '%s\n' '# shellcheck shell=bash' "# $name.sh - a sample" '' "$@" >"lib/$name.sh"
}

# include NAME WHAT - adds an include line for lib/WHAT.sh to lib/NAME.sh
include() { append "lib/$1.sh" ". \"\$AUTOPOD_LIB/$2.sh\""; }

# append FILE LINE...
append() {
  local file=$1
  shift
  printf '%s\n' "$@" >>"$file"
}

# rejected WHERE WHAT - the checker ends with 1 and says WHAT about WHERE
rejected() {
  run bash "$ROOT/scripts/check-house.sh" .
  assert_status 1
  assert_matches "(^|"$'\n'")$1:[0-9]+: [^"$'\n'"]*$2"
}

@test "this repo keeps the rules" {
  run bash "$ROOT/scripts/check-house.sh"
  assert_status 0
  assert_equal "$output" ''
}

@test "a good tree passes" {
  run bash "$ROOT/scripts/check-house.sh" .
  assert_equal "$output" ''
  assert_status 0
}

@test "an empty tree is an error, not a pass" {
  mkdir empty
  run bash "$ROOT/scripts/check-house.sh" empty
  assert_status 2
}

@test "an arrow that points up" {
  include core pod
  append lib/core.sh '# core_pods - all pods' 'core_pods() { pod_list; }'
  rejected lib/core.sh 'includes lib/pod.sh, which stands above it'
}

@test "an arrow from a provider to an actor" {
  include providers/local pod
  append lib/providers/local.sh '# _local_pods - all' '_local_pods() { pod_list; }'
  rejected lib/providers/local.sh 'includes lib/pod.sh, which stands above it'
}

@test "a circle" {
  include core os
  append lib/core.sh '# core_time - prints the time' 'core_time() { os_now; }'
  rejected 'lib/(core|os).sh' 'includes itself: '
}

@test "a library that has no rank" {
  module helpful '# helpful_thing - nothing' 'helpful_thing() { :; }'
  rejected lib/helpful.sh 'has no rank'
}

@test "an include in another spelling" {
  append lib/pod.sh 'source "$AUTOPOD_LIB/os.sh"'
  rejected lib/pod.sh 'an include is spelled'
}

@test "an include that is indented" {
  append lib/pod.sh '# pod_late - includes late' 'pod_late() {' '  . "$AUTOPOD_LIB/os.sh"' '}'
  rejected lib/pod.sh 'an include is spelled'
}

@test "a function of a library that is not included" {
  append lib/job.sh '# job_time - prints the time' 'job_time() { os_now; }'
  rejected lib/job.sh 'os_now is from lib/os.sh, which is not included'
}

@test "a library that is included for nothing" {
  include job os
  rejected lib/job.sh 'includes lib/os.sh but uses nothing of it'
}

@test "a private function of another library" {
  append lib/pod.sh '# pod_port - prints the port' 'pod_port() { _local_port; }'
  rejected lib/pod.sh '_local_port is private to lib/providers/local.sh'
}

@test "curl outside http.sh" {
  append lib/pod.sh '# pod_ip - prints it' 'pod_ip() { x=$(curl -s "$1"); }'
  rejected lib/pod.sh 'curl may be called only in lib/http.sh'
}

@test "ssh, scp and ssh-keygen outside ssh.sh" {
  local tool
  for tool in ssh scp ssh-keygen; do
    append lib/pod.sh "# pod_$tool - runs it" "pod_${tool//-/_}() {" "  if ! $tool -x \"\$1\"; then :; fi" '}'
    rejected lib/pod.sh "$tool may be called only in lib/ssh.sh"
  done
}

@test "ssh in a command" {
  append bin/comfy-run 'exec ssh "$1"'
  rejected bin/comfy-run 'ssh may be called only in lib/ssh.sh'
}

@test "sshd outside its provider" {
  append lib/pod.sh '# pod_serve - serves' 'pod_serve() {' '  nohup sshd -D &' '}'
  rejected lib/pod.sh 'sshd may be called only in lib/providers/local.sh'
}

@test "runpodctl outside its file" {
  append lib/pod.sh '# pod_rent - rents' 'pod_rent() {' '  true && runpodctl create' '}'
  rejected lib/pod.sh 'runpodctl may be called only in lib/runpodctl.sh'
}

@test "talking about a program is not calling it" {
  append lib/pod.sh '# pod_tell - tells; curl' 'pod_tell() {' \
    '  core_say "the tunnel (ssh ended); curl is fine" # ; ssh x' \
    "  core_say 'x; curl y | ssh z'" '  case $1 in' '    curl | ssh) : ;;' '  esac' \
    '  command -v curl' '}'
  run bash "$ROOT/scripts/check-house.sh" .
  assert_equal "$output" ''
}

@test "a tool that GNU and BSD know differently" {
  local line lines
  lines=('stat -c %s x' 'sha256sum x' 'sed -i s/a/b/ x' 'date -d @1') # portable: to be rejected
  lines=("${lines[@]}" 'timeout 5 x' 'readlink -f x' 'flock 9' 'uname -s' 'x=$(base64 x)') # portable: too
  for line in "${lines[@]}"; do
    module pod '# pod_list - prints all pods' 'pod_list() {' "  $line" '}'
    rejected lib/pod.sh 'lib/os.sh'
  done
}

@test "a file that asks which system this is" {
  append lib/pod.sh '# pod_mac - is it a Mac' 'pod_mac() { [ "$OSTYPE" = x ]; }'
  rejected lib/pod.sh 'only lib/os.sh may know'
  module pod '# pod_list - on a Mac' 'pod_list() {' '  case $1 in' '    Darwin) : ;;' '  esac' '}'
  rejected lib/pod.sh 'only lib/os.sh may know'
}

@test "a function without a synopsis" {
  append lib/pod.sh '' 'pod_new() { :; }'
  rejected lib/pod.sh 'pod_new: no synopsis comment above it'
}

@test "a synopsis that names another function, or stands apart" {
  append lib/pod.sh '# pod_old - makes one' 'pod_new() { :; }'
  rejected lib/pod.sh 'pod_new: no synopsis comment above it'
  append lib/pod.sh '# pod_far - makes one' '' 'pod_far() { :; }'
  rejected lib/pod.sh 'pod_far: no synopsis comment above it'
}

@test "a function without its module's prefix" {
  append lib/pod.sh '# make_pod - makes one' 'make_pod() { :; }'
  rejected lib/pod.sh 'make_pod: its name must begin with pod_'
}

@test "a function that is too long" {
  {
    printf '# pod_long - prints much\npod_long() {\n'
    printf '  core_say %s\n' $(seq 60)
    printf '}\n'
  } >>lib/pod.sh
  rejected lib/pod.sh 'pod_long is 62 lines long; 60 is the limit'
}

@test "a library that is too long" {
  { printf 'POD_%s=1\n' $(seq 300); } >>lib/pod.sh
  rejected lib/pod.sh '30[0-9] lines of code; 300 is the limit'
}

@test "a library that runs something when it is sourced" {
  append lib/pod.sh 'core_say hello'
  rejected lib/pod.sh 'this runs when it is sourced'
}

@test "an assignment that runs something when it is sourced" {
  append lib/pod.sh 'POD_TIME=$(date)'
  rejected lib/pod.sh 'this runs when it is sourced'
}

@test "plain assignments, arrays and long strings may stand in a library" {
  append lib/pod.sh 'POD_MAX=$((1 << 20)) # $(not run)' 'POD_LIST=(' '  one' ')' \
    'POD_MORE=(one "two"' '  three)' "POD_TEXT='first" "second line'"
  run bash "$ROOT/scripts/check-house.sh" .
  assert_equal "$output" ''
}

@test "a command that embeds a helper without the one that it imports" {
  printf 'from rejection import main\n' >>helpers/history.py
  append bin/comfy-run '# @asset helpers/history.py'
  rejected bin/comfy-run 'embeds helpers/history.py, but not helpers/rejection.py'
  append bin/comfy-run '# @asset helpers/rejection.py'
  run bash "$ROOT/scripts/check-house.sh" .
  refute_contains 'embeds helpers/history.py'
}

