#!/usr/bin/env bats
# scripts/bundle.sh, dist.sh and check-dist.sh on a small tree of their own.

load test_helper

setup() {
  autopod_setup
  mkdir -p tree/bin tree/lib/providers tree/helpers tree/templates tree/scripts
  cd tree || return
  cp "$ROOT"/scripts/{bundle,dist,check-dist}.sh scripts/
  printf '1.2.3\n' >VERSION
  printf '%s\n' '# shellcheck shell=bash' '# core.sh - names' '[ -z "${X:-}" ] || return 0 # @guard' \
    '# core_say TEXT - prints TEXT' 'core_say() { printf "%s\n" "$1"; }' >lib/core.sh
  printf '%s\n' '. "$AUTOPOD_LIB/core.sh"' '# os_hi - greets' 'os_hi() { core_say hi; }' >lib/os.sh
  printf '%s\n' '. "$AUTOPOD_LIB/os.sh"' '. "$AUTOPOD_LIB/core.sh"' '# provider_local_hi - greets' \
    'provider_local_hi() { os_hi; }' >lib/providers/local.sh
  printf '%s\n' 'import sys' "print('it'\"'\"'s', sys.argv[1:], \"\$HOME \`x\`\")" >helpers/greet.py
  printf '{"b": "$HOME"}' >templates/b.json # without a newline at the end
  printf '{"a": 1}\n' >templates/a.json
  tool '. "$AUTOPOD_LIB/os.sh"' '. "$AUTOPOD_LIB/providers/local.sh"' '# @asset helpers/greet.py' \
    '# @asset templates/*.json'
}

# tool LINE... - makes bin/tool with these lines in its bootstrap block
tool() {
  {
    printf '%s\n' '#!/usr/bin/env bash' '#' '# Usage: tool' '' 'set -euo pipefail' "AUTOPOD_VERSION='@VERSION@'"
    printf '%s\n' '# >>> autopod bootstrap >>>' 'AUTOPOD_LIB=${0%/*}/../lib' "$@" '# <<< autopod bootstrap <<<'
    printf '%s\n' 'main() {' '  case ${1:-} in' '    say) provider_local_hi ;;' \
      '    py) python3 -c "$(_autopod_asset_helpers_greet_py)" "${@:2}" ;;' \
      '    assets) core_say "$_AUTOPOD_ASSETS" ;;' '    json) _autopod_asset_templates_b_json ;;' \
      '    *) core_say "tool $AUTOPOD_VERSION" ;;' '  esac' '}' '' 'main "$@"' 'exit'
  } >bin/tool
}

# refused WHY - the bundler ends with 1 and says WHY
refused() {
  run bash scripts/bundle.sh bin/tool
  assert_status 1
  assert_contains "$1"
}

@test "a build runs alone, with its libraries, helpers and templates" {
  bash scripts/dist.sh
  mkdir "$TMPDIR/alone"
  cp dist/tool "$TMPDIR/alone/"
  mv lib helpers templates "$TMPDIR"
  cd "$TMPDIR/alone"
  assert_equal "$(./tool)" 'tool 1.2.3'
  assert_equal "$(./tool say)" hi
  assert_equal "$(./tool py 'a b')" "it's ['a b'] \$HOME \`x\`"
  assert_equal "$(./tool assets)" 'helpers/greet.py templates/a.json templates/b.json'
  assert_equal "$(./tool json)" '{"b": "$HOME"}'
  assert_equal "$(bash -s -- say <tool)" hi
}

@test "dependencies come first, each file once, without guards and includes" {
  bash scripts/bundle.sh bin/tool >built
  assert_equal "$(grep '^# --- ' built)" '# --- lib/core.sh
# --- lib/os.sh
# --- lib/providers/local.sh
# --- helpers/greet.py
# --- templates/a.json
# --- templates/b.json'
  refute_contains '@guard' "$(cat built)"
  refute_contains 'AUTOPOD_LIB' "$(cat built)"
  assert_equal "$(tail -n 1 built)" 'main "$@"; exit'
}

@test "the same bytes whoever builds, and where" {
  bash scripts/dist.sh one
  cp -R "$PWD" "$TMPDIR/a [b] c"
  (cd / && umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 bash "$TMPDIR/a [b] c/scripts/dist.sh" "$TMPDIR/two")
  diff -r one "$TMPDIR/two"
}

@test "SHA256SUMS names every build" {
  bash scripts/dist.sh
  assert_matches '^[0-9a-f]{64}  tool$' "$(cat dist/SHA256SUMS)"
}

@test "what can't be bundled fails the build" {
  tool '. "$AUTOPOD_LIB/none.sh"'
  refused 'no lib/none.sh'
  tool '# @asset helpers/none.py'
  refused 'no asset helpers/none.py'
  tool '# @asset jobs/*.json'
  refused 'no asset matches jobs/*.json'
  tool '. "$AUTOPOD_LIB/os.sh"'
  printf '%s\n' 'source /etc/profile' >>lib/core.sh
  refused 'can be bundled: source /etc/profile'
}

@test "an asset with quotes, backslashes and a here-document in it comes out as it went in" {
  tool '. "$AUTOPOD_LIB/os.sh"' '# @asset templates/a.json'
  printf '%s\n' "'it''s' '\\'' \\n %s \$HOME \`date\`" "cat <<'EOF'" 'EOF' "printf '%s' '" >templates/a.json
  printf 'ü, and no newline' >>templates/a.json
  bash scripts/bundle.sh bin/tool >built
  sed '$d' built >library # without the line that calls main
  bash -c '. ./library && _autopod_asset_templates_a_json' >out
  cmp templates/a.json out
}

@test "an asset of any size comes out as it went in" {
  tool '. "$AUTOPOD_LIB/os.sh"' '# @asset templates/a.json'
  printf '"%0200000d"\n' 1 >templates/a.json
  bash scripts/bundle.sh bin/tool >built
  sed '$d' built >library # without the line that calls main
  bash -c '. ./library && _autopod_asset_templates_a_json' >out
  cmp templates/a.json out
}

@test "a command without its block, or with two, fails the build" {
  printf '#!/usr/bin/env bash\nmain "$@"\n' >bin/tool
  refused 'exactly one bootstrap block'
  tool '# >>> autopod bootstrap >>>'
  refused 'exactly one bootstrap block'
}

@test "check-dist finds nothing wrong with a good build" {
  bash scripts/dist.sh
  run bash scripts/check-dist.sh --structure dist/tool
  assert_equal "$output" ''
  assert_status 0
}

@test "check-dist finds an include, a double, a path of the builder and a careless end" {
  bash scripts/bundle.sh bin/tool >good
  # bad WHY LINE... - the good build with these lines put before its last one
  bad() {
    local why=$1
    shift
    { sed '$d' good && printf '%s\n' "$@" && tail -n 1 good; } >built
    run bash scripts/check-dist.sh --structure built
    assert_status 1
    assert_contains "$why"
  }
  bad 'an include is left' '. ./x.sh'
  bad 'is defined twice: core_say()' 'core_say() { :; }'
  bad 'is in it twice: # --- lib/os.sh' '# --- lib/os.sh'
  bad 'names a path of the builder' "X=$PWD/lib"
  bad 'does not parse' 'if'
  bad 'it still runs' 'main' "$(printf '# filler %s\n' $(seq 2000))"
  { sed '$d' good && printf 'main "$@"\n'; } >built
  run bash scripts/check-dist.sh --structure built
  assert_contains 'does not end in the line'
}
