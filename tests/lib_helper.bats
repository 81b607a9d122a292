#!/usr/bin/env bats
# lib/helper.sh: which Python runs, what a helper gets, and how its complaints are told.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

setup() {
  autopod_setup
  # A tree of our own, with a helper of our own.
  mkdir -p tree/helpers
  ln -s "$ROOT/lib" tree/lib
}

# helper_py - the helper of the tree; its source is on stdin
helper_py() { cat >tree/helpers/probe.py; }

# probe [ARG...] - runs it through the library; LIB_BUNDLED makes it look like a build
probe() {
  run --separate-stderr lib helper "$@" <<'SH'
AUTOPOD_ROOT=$PWD/tree
ui_init
core_trap
if [ -n "${LIB_BUNDLED:-}" ]; then
  AUTOPOD_BUNDLED=1 _AUTOPOD_ASSETS=helpers/probe.py
  _autopod_asset_helpers_probe_py() { cat tree/helpers/probe.py; }
fi
printf 'from stdin\n' | "${LIB_RUN:-helper_run}" probe "$@"
SH
}

@test "words, stdin and stdout pass, in the tree and in a build" {
  helper_py <<'PY'
import sys
print(sys.argv[1:], sys.stdin.read().strip())
PY
  local bundled way
  for bundled in '' 1; do
    for way in helper_run helper_run_site; do
      LIB_BUNDLED=$bundled LIB_RUN=$way probe 'a  b' '' '*' "it's" 'ü'
      assert_status 0
      assert_equal "$output" "['a  b', '', '*', \"it's\", 'ü'] from stdin"
    done
  done
}

@test "nothing that lies in the working directory is taken for a module" {
  local bundled way
  printf 'import argparse, json\nprint("fine")\n' | helper_py
  printf 'print("pwned")\n' | tee argparse.py >json.py
  for bundled in '' 1; do
    for way in helper_run helper_run_site; do
      LIB_BUNDLED=$bundled LIB_RUN=$way probe
      assert_equal "$output" fine "bundled=$bundled $way"
    done
  done
}

@test "AUTOPOD_PYTHON, then the clone's .venv, then python3" {
  printf 'import os\nprint(os.environ.get("WHICH", "real"))\n' | helper_py
  local real
  real=$("$AUTOPOD_PYTHON" -c 'import sys; print(sys.executable)')
  # Binaries can't be told apart by their content: each place gets a link of its own name.
  mkdir -p tree/.venv/bin bin
  ln -s "$real" tree/.venv/bin/python3
  ln -s "$real" bin/python3
  ln -s "$real" bin/mine
  which_python() {
    run lib helper <<<'AUTOPOD_ROOT=$PWD/tree; ui_init; core_trap; helper_python && echo "$HELPER_PYTHON"'
  }
  AUTOPOD_PYTHON=$PWD/bin/mine which_python
  assert_equal "$output" "$PWD/bin/mine"
  PATH=$PWD/bin:$PATH AUTOPOD_PYTHON=mine which_python
  assert_equal "$output" "$PWD/bin/mine"
  PATH=$PWD/bin:$PATH AUTOPOD_PYTHON='' which_python
  assert_equal "$output" "$PWD/tree/.venv/bin/python3"
  rm -r tree/.venv
  PATH=$PWD/bin:$PATH AUTOPOD_PYTHON='' which_python
  assert_equal "$output" "$PWD/bin/python3"
}

@test "a version manager's shim is asked once for the real interpreter" {
  local real
  printf 'import sys\nprint(sys.executable)\n' | helper_py
  real=$("$AUTOPOD_PYTHON" -c 'import sys; print(sys.executable)')
  mkdir bin
  printf '#!/bin/sh\necho asked >>"%s/asked"\nexec "%s" "$@"\n' "$PWD" "$real" >bin/python3
  chmod +x bin/python3
  AUTOPOD_PYTHON=$PWD/bin/python3 run lib helper <<'SH'
AUTOPOD_ROOT=$PWD/tree
ui_init
core_trap
helper_run probe
helper_run probe
SH
  assert_equal "$output" "$real"$'\n'"$real"
  assert_equal "$(($(wc -l <asked)))" 1
}

@test "no Python, or one that doesn't run, is exit 3 and what to do" {
  printf 'print(1)\n' | helper_py
  AUTOPOD_PYTHON=$PWD/none probe
  assert_status 3
  assert_contains 'AUTOPOD_PYTHON' "${stderr-}"
  printf '#!/bin/sh\nexit 1\n' >broken
  chmod +x broken
  AUTOPOD_PYTHON=$PWD/broken probe
  assert_status 3
  assert_contains "$PWD/broken does not run" "${stderr-}"
  AUTOPOD_PYTHON='' PATH=$(path_of bash cat mktemp rm mkdir sleep) probe
  assert_status 3
  assert_contains 'python3 is not installed' "${stderr-}"
}

@test "complaints are told as errors, each in a line; the status is the helper's" {
  helper_py <<'PY'
import sys
sys.stderr.write("jobs/x.json: width: must be above 0\njobs/x.json: \033[31mred\n")
sys.exit(2)
PY
  probe
  assert_status 2
  assert_equal "$output" ''
  assert_equal "${stderr-}" $'prog: error: jobs/x.json: width: must be above 0\nprog: error: jobs/x.json:  [31mred'
}

@test "what a helper says on stderr without failing is not shown" {
  printf 'import sys\nprint("data")\nsys.stderr.write("chatter\\n")\n' | helper_py
  probe
  assert_status 0
  assert_equal "$output" data
  assert_equal "${stderr-}" ''
}

@test "nobody is shown a stack trace: it goes to the log" {
  printf 'raise KeyError("oops")\n' | helper_py
  run --separate-stderr lib helper <<'SH'
AUTOPOD_ROOT=$PWD/tree
ui_init "$AUTOPOD_HOME/logs/log"
core_trap
helper_run probe
SH
  assert_status 1
  refute_contains Traceback "${stderr-}"
  refute_contains 'File "' "${stderr-}"
  assert_contains "probe.py stopped with an error of its own: KeyError: 'oops'" "${stderr-}"
  assert_contains "$AUTOPOD_HOME/logs/log" "${stderr-}"
  assert_contains Traceback "$(<"$AUTOPOD_HOME/logs/log")"
}

@test "a helper that dies without a word is told" {
  printf 'import os\nos.kill(os.getpid(), 9)\n' | helper_py
  probe
  [ "$status" != 0 ]
  assert_contains 'probe.py was ended by signal 9' "${stderr-}"
  refute_contains Killed "${stderr-}"
  printf 'import sys\nsys.exit(4)\n' | helper_py
  probe
  assert_status 4
  assert_contains probe.py "${stderr-}"
}

@test "shipped files come from the tree, or from inside a build" {
  mkdir -p tree/templates
  printf 'one' >tree/templates/a.json
  run --separate-stderr lib helper <<'SH'
AUTOPOD_ROOT=$PWD/tree
ui_init
core_trap
helper_asset templates/a.json && echo
helper_asset_dir templates && [ "$HELPER_DIR" = "$PWD/tree/templates" ] && echo tree
AUTOPOD_BUNDLED=1 _AUTOPOD_ASSETS='helpers/x.py templates/a.json templates/b.json'
_autopod_asset_templates_a_json() { printf 'bundled a'; }
_autopod_asset_templates_b_json() { printf 'bundled b'; }
helper_asset templates/a.json && echo
helper_asset_dir templates
cd "$HELPER_DIR" && ls && cat a.json b.json && echo
helper_asset templates/none.json 2>/dev/null || echo none
SH
  assert_status 0
  assert_equal "$output" 'one
tree
bundled a
a.json
b.json
bundled abundled b
none'
  assert_equal "$(ls -A "$TMPDIR")" ''
}
