#!/usr/bin/env bats
# lib/config.sh: where a setting comes from, and what is said about a wrong one.
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

setup() {
  autopod_setup
  mkdir -p "$AUTOPOD_HOME"
}

# settings NAME... - loads the configuration and shows these settings, <VALUE> a line
settings() {
  run --separate-stderr lib 'config' "$@" <<'SH'
ui_init
core_trap
config_load || exit
for name in "$@"; do printf '<%s>\n' "${!name}"; done
SH
}

# known_settings - lists the settings that lib/config.sh has
known_settings() {
  sed -n -e "/^_CONFIG_SETTINGS='/,/'\$/{" -e "s/^_CONFIG_SETTINGS='//" -e 's/=.*//p' -e '}' \
    "$ROOT/lib/config.sh"
}

config_json() { cat >"$AUTOPOD_HOME/config.json"; }

# --- precedence -----------------------------------------------------------------------------------

@test "flag over environment over .env over config.json over default, in every combination" {
  local bits wanted
  program prog config <<'SH'
[ -z "${1:-}" ] || AUTOPOD_OUTPUT_DIR=$1 # as a flag does, before the settings are loaded
ui_init
core_trap
config_load
echo "$AUTOPOD_OUTPUT_DIR"
SH
  for bits in 0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1010 1011 1100 1101 1110 1111; do
    rm -f .env "$AUTOPOD_HOME/config.json"
    unset AUTOPOD_OUTPUT_DIR
    wanted=outputs
    case $bits in ???1) wanted=from-json && config_json <<<'{"output_dir": "from-json"}' ;; esac
    case $bits in ??1?) wanted=from-dotenv && printf 'AUTOPOD_OUTPUT_DIR=from-dotenv\n' >.env ;; esac
    case $bits in ?1??) wanted=from-env && export AUTOPOD_OUTPUT_DIR=from-env ;; esac
    case $bits in
      1???) wanted=from-flag && run bash prog from-flag ;;
      *) run bash prog ;;
    esac
    assert_equal "$output" "$wanted" "$bits"
  done
}

@test "an empty value in the environment counts as set" {
  config_json <<<'{"output_dir": "json", "local_python": "json"}'
  printf 'AUTOPOD_LOCAL_PYTHON=\n' >.env
  AUTOPOD_OUTPUT_DIR='' settings AUTOPOD_OUTPUT_DIR AUTOPOD_LOCAL_PYTHON
  assert_equal "$output" $'<>\n<>'
}

@test "without any configuration each setting has its default" {
  settings AUTOPOD_PROVIDER AUTOPOD_PORT AUTOPOD_OUTPUT_DIR AUTOPOD_SSH_KEY
  assert_status 0
  assert_equal "$output" $'<local>\n<8188>\n<outputs>\n<>'
  assert_equal "${stderr-}" ''
}

@test "config.json knows every setting, by its name in lower case" {
  local name names json=''
  names=()
  while read -r name; do
    names[${#names[@]}]=$name
    name=$(printf '%s' "${name#AUTOPOD_}" | tr '[:upper:]' '[:lower:]')
    json="$json${json:+, }\"$name\": $([ "$name" = on_stall ] && echo '"stop"' || echo 7)"
  done < <(known_settings)
  [ "${#names[@]}" -gt 5 ]
  config_json <<<"{$json}"
  unset AUTOPOD_PYTHON
  settings "${names[@]}"
  assert_status 0
  assert_equal "${stderr-}" ''
  assert_equal "$(sort <<<"$output" | uniq -c | awk '{ print $2 }' | paste -sd ' ' -)" '<7> <stop>'
}

# --- config.json ----------------------------------------------------------------------------------

@test "an unknown key is named, and the known ones are" {
  config_json <<<'{"provider": "local", "provder": "x", "port": 9000}'
  settings AUTOPOD_PORT
  assert_status 0
  assert_equal "$output" '<9000>'
  assert_contains 'config.json: unknown key "provder"' "${stderr-}"
  assert_contains 'provider port' "${stderr-}"
}

@test "a config.json that is no object of plain values is an error that names the file" {
  local content
  for content in '{"port": 80,' 'port: 80' '"text"' '["local"]' '{"provider": {"name": "local"}}' \
    '{"provider": ["local"]}'; do
    config_json <<<"$content"
    settings AUTOPOD_PORT
    assert_status 2
    assert_equal "$output" ''
    assert_contains "$AUTOPOD_HOME/config.json" "${stderr-}"
    assert_contains 'must be one JSON object' "${stderr-}"
  done
}

@test "values of config.json: numbers, booleans, null, quotes, lines, and code that is never run" {
  cat >"$AUTOPOD_HOME/config.json" <<'J'
{"port": 9000, "local_rate": 0.44, "local_python": null, "ssh_key": true,
 "output_dir": " a \"b\" 'c' $(touch pwned) `touch pwned` ${HOME} \\\nsecond=line ",
 "local_comfyui_args": ""}
J
  settings AUTOPOD_PORT AUTOPOD_LOCAL_RATE AUTOPOD_LOCAL_PYTHON AUTOPOD_SSH_KEY \
    AUTOPOD_OUTPUT_DIR AUTOPOD_LOCAL_COMFYUI_ARGS
  assert_status 0
  assert_equal "$output" "<9000>
<0.44>
<>
<true>
< a \"b\" 'c' \$(touch pwned) \`touch pwned\` \${HOME} \\
second=line >
<>"
  refute_exists pwned
}

# --- .env -----------------------------------------------------------------------------------------

@test "values of .env: quotes, lines, and code that is never run; other names stay out" {
  cat >.env <<'E'
# ours and others
AUTOPOD_OUTPUT_DIR="a 'b' $(touch pwned) `touch pwned`
second=line"
export AUTOPOD_SSH_KEY='~/k "x" $(touch pwned)' # a comment
AUTOPOD_LOCAL_COMFYUI_ARGS=--a;touch pwned
DATABASE_URL=not-ours
PATH=/nowhere
E
  settings AUTOPOD_OUTPUT_DIR AUTOPOD_SSH_KEY AUTOPOD_LOCAL_COMFYUI_ARGS
  assert_status 0
  assert_equal "$output" "<a 'b' \$(touch pwned) \`touch pwned\`
second=line>
<$HOME/k \"x\" \$(touch pwned)>
<--a;touch pwned>"
  refute_exists pwned
  run lib config <<<'ui_init; core_trap; config_load; echo "${DATABASE_URL-unset}"; ls .env'
  assert_equal "$output" $'unset\n.env'
}

@test "a .env with a key that others can read is a warning, which does not show the key" {
  printf 'RUNPOD_API_KEY=rpa_SECRET123\n' >.env
  chmod 644 .env
  settings AUTOPOD_PORT
  assert_status 0
  assert_contains RUNPOD_API_KEY "${stderr-}"
  assert_contains 'chmod 600 .env' "${stderr-}"
  refute_contains SECRET123 "${stderr-}"
  chmod 600 .env
  settings AUTOPOD_PORT
  assert_equal "${stderr-}" ''
}

@test "a .env without a key may be read by all" {
  printf 'AUTOPOD_PORT=9001\nAUTOPOD_SSH_KEY=keys/id\n' >.env
  chmod 644 .env
  settings AUTOPOD_PORT
  assert_equal "$output" '<9001>'
  assert_equal "${stderr-}" ''
}

@test "a misspelt setting in .env is named" {
  printf 'AUTOPOD_PROVIDR=runpod\n' >.env
  settings AUTOPOD_PROVIDER
  assert_status 0
  assert_contains AUTOPOD_PROVIDR "${stderr-}"
}

@test "without python-dotenv, a .env of ours is exit 3 with the line that installs it" {
  mkdir modules
  printf 'raise ImportError("no dotenv")\n' >modules/dotenv.py
  printf 'AUTOPOD_PORT=9001\n' >.env
  PYTHONPATH=$PWD/modules settings AUTOPOD_PORT
  assert_status 3
  assert_equal "$output" ''
  assert_contains 'pip install python-dotenv' "${stderr-}"
  refute_contains Traceback "${stderr-}"
}

@test "a .env of another project costs nothing: no Python is started" {
  printf 'DATABASE_URL=postgres://x\n# AUTOPOD_PORT=1\nMY_AUTOPOD_PORT=2\n' >.env
  AUTOPOD_PYTHON=$PWD/no-python settings AUTOPOD_PORT
  assert_status 0
  assert_equal "$output" '<8188>'
  assert_equal "${stderr-}" ''
}

@test "Python modules that lie in the working directory are not taken in" {
  local name
  printf 'AUTOPOD_PORT=9001\n' >.env
  for name in argparse re dotenv json; do printf 'open("pwned", "w")\n' >"$name.py"; done
  settings AUTOPOD_PORT
  assert_equal "$output" '<9001>'
  refute_exists pwned
}

# --- values that can't be right -------------------------------------------------------------------

@test "a port or a limit that is no number is told by its name" {
  local value
  for value in abc 0 65536 -1 1.5 '' 08188 ' 80' 99999999999999999999 '8188; touch pwned' \
    'x[$(touch pwned)]'; do
    AUTOPOD_PORT=$value settings AUTOPOD_PORT
    assert_status 2
    assert_contains "AUTOPOD_PORT is \"$value\"" "${stderr-}"
  done
  refute_exists pwned
  AUTOPOD_BOOT_TIMEOUT=soon settings AUTOPOD_PORT
  assert_status 2
  assert_contains AUTOPOD_BOOT_TIMEOUT "${stderr-}"
  AUTOPOD_LOCAL_RATE=cheap settings AUTOPOD_PORT
  assert_status 2
  assert_contains AUTOPOD_LOCAL_RATE "${stderr-}"
  AUTOPOD_STALL_TIMEOUT=0 settings AUTOPOD_PORT # never
  assert_status 0
  for value in '' kill WARN 'warn stop' -n; do
    AUTOPOD_ON_STALL=$value settings AUTOPOD_PORT
    assert_status 2
    assert_contains "AUTOPOD_ON_STALL is \"$value\", but must be one of: warn cancel stop" "${stderr-}"
  done
}

# --- AUTOPOD_HOME ---------------------------------------------------------------------------------

@test "AUTOPOD_HOME is made private; it may be relative, from .env, or in the home directory" {
  rm -rf "$AUTOPOD_HOME"
  settings AUTOPOD_HOME
  assert_equal "$output" "<$AUTOPOD_HOME>"
  run lib os <<<'for d in "" logs runs locks known_hosts.d; do os_mode "$AUTOPOD_HOME/$d"; done'
  assert_equal "$(sort -u <<<"$output")" 700
  AUTOPOD_HOME='a b' settings AUTOPOD_HOME
  assert_equal "$output" "<$PWD/a b>"
  unset AUTOPOD_HOME
  settings AUTOPOD_HOME
  assert_equal "$output" "<$HOME/.autopod>"
  printf 'AUTOPOD_HOME=%s/from-dotenv\n' "$PWD" >.env
  settings AUTOPOD_HOME
  assert_equal "$output" "<$PWD/from-dotenv>"
}

@test "an AUTOPOD_HOME that can't be made is exit 3" {
  : >file
  AUTOPOD_HOME=$PWD/file/home settings AUTOPOD_PORT
  assert_status 3
  assert_contains "can't write to $PWD/file/home" "${stderr-}"
}

@test "a key from the environment is masked" {
  export RUNPOD_API_KEY=rpa_SECRET123
  run lib config <<'SH'
ui_init
core_trap
config_load
ui_log_open "$AUTOPOD_HOME/logs/log"
ui_note "the key is $RUNPOD_API_KEY!"
SH
  assert_equal "$output" 'the key is ****!'
  refute_contains SECRET123 "$(<"$AUTOPOD_HOME/logs/log")"
}

# --- the documentation ----------------------------------------------------------------------------

@test ".env.example and the list of settings name the same" {
  assert_file "$ROOT/.env.example"
  assert_equal "$(sed -n -E 's/^#? ?(AUTOPOD_[A-Z_]+|RUNPOD_POD_URL)=.*/\1/p' "$ROOT/.env.example" |
    grep -vx AUTOPOD_HOME | sort)" "$(known_settings | sort)"
}
