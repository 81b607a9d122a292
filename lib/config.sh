# shellcheck shell=bash
# config.sh - settings: flag > environment > ./.env > $AUTOPOD_HOME/config.json > default.

[ -z "${_AUTOPOD_CONFIG_SH:-}" ] || return 0 # @guard
_AUTOPOD_CONFIG_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/helper.sh"

# Every setting, once: NAME=default. In config.json the same name in lower case without AUTOPOD_
# (provider, local_rate, runpod_pod_url). A test holds this list against .env.example, which says what each is for.
_CONFIG_SETTINGS='AUTOPOD_PROVIDER=local
AUTOPOD_PORT=8188
RUNPOD_POD_URL=
AUTOPOD_HEADER_FILE=
AUTOPOD_AUTH_FILE=
AUTOPOD_OUTPUT_DIR=outputs
AUTOPOD_BOOT_TIMEOUT=1200
AUTOPOD_RECONNECT_TIMEOUT=600
AUTOPOD_STALL_TIMEOUT=5
AUTOPOD_ON_STALL=warn
AUTOPOD_SSH_KEY=
AUTOPOD_PYTHON=
AUTOPOD_GPU=A40,A6000,A5000
AUTOPOD_CLOUD=secure
AUTOPOD_DATACENTER=
AUTOPOD_VOLUME_ID=
AUTOPOD_VOLUME_MOUNT=/workspace
AUTOPOD_IMAGE=runpod/comfyui:cuda12.8
AUTOPOD_TEMPLATE=
AUTOPOD_DISK_GB=40
AUTOPOD_COMFY_PORT=8188
AUTOPOD_MAX_PRICE=
AUTOPOD_ASK_ABOVE=1
AUTOPOD_MAX_LIFETIME=720
AUTOPOD_MAX_COST=
AUTOPOD_MAX_DAILY_COST=
AUTOPOD_STOP_GRACE=120
AUTOPOD_GUARD_GRACE=1800
AUTOPOD_GUARD_POLL=15
AUTOPOD_LOCAL_COMFYUI=
AUTOPOD_LOCAL_COMFYUI_ARGS=
AUTOPOD_LOCAL_PYTHON=
AUTOPOD_LOCAL_RATE=0'
CONFIG_UMASK=077 # the user's own, for what is his
_CONFIG_PATHS='AUTOPOD_OUTPUT_DIR AUTOPOD_HEADER_FILE AUTOPOD_AUTH_FILE AUTOPOD_SSH_KEY AUTOPOD_PYTHON AUTOPOD_LOCAL_COMFYUI AUTOPOD_LOCAL_PYTHON'
_CONFIG_SECRETS='RUNPOD_API_KEY' # masked wherever we speak; also a key of config.json, in lower case

# config_load - makes every setting a variable, by precedence; call it once, then let flags
# overwrite; EX_USAGE or EX_MISSING.
config_load() {
  local name value
  CONFIG_UMASK=$(umask)
  umask 077      # whatever we keep is nobody else's; outputs are the user's, with his own mask
  : "${HOME:=/}" # cron and containers may leave it out
  [ ! -f .env ] || _config_dotenv || return
  AUTOPOD_HOME=${AUTOPOD_HOME:-$HOME/.autopod}
  _config_tilde AUTOPOD_HOME
  case $AUTOPOD_HOME in /*) ;; *) AUTOPOD_HOME=$PWD/$AUTOPOD_HOME ;; esac
  [ -d "$AUTOPOD_HOME/known_hosts.d" ] && [ -d "$AUTOPOD_HOME/runs" ] && [ -d "$AUTOPOD_HOME/logs" ] &&
    [ -d "$AUTOPOD_HOME/locks" ] || _config_home || return
  [ ! -f "$AUTOPOD_HOME/config.json" ] || _config_json "$AUTOPOD_HOME/config.json" || return
  while IFS='=' read -r name value; do
    _config_default "$name" "$value"
  done <<<"$_CONFIG_SETTINGS"
  for name in $_CONFIG_PATHS; do _config_tilde "$name"; done
  for name in $_CONFIG_SECRETS; do
    [ -z "${!name:-}" ] || ui_secret "${!name}"
    export -n "${name?}" # for the one program that needs it, not for all that we start
  done
  config_check
}

# config_check - EX_USAGE when a setting is not what it must be; also after options have overwritten some.
config_check() {
  config_number AUTOPOD_PORT 1 65535 && config_number AUTOPOD_COMFY_PORT 1 65535 &&
    config_number AUTOPOD_BOOT_TIMEOUT 1 86400 && config_number AUTOPOD_RECONNECT_TIMEOUT 1 86400 &&
    config_number AUTOPOD_DISK_GB 1 65536 && config_number AUTOPOD_MAX_LIFETIME 1 525600 &&
    config_number AUTOPOD_STALL_TIMEOUT 0 10080 && config_word AUTOPOD_ON_STALL warn cancel stop &&
    config_number AUTOPOD_STOP_GRACE 0 3600 && config_number AUTOPOD_GUARD_GRACE 1 86400 &&
    config_number AUTOPOD_GUARD_POLL 1 3600 &&
    config_price AUTOPOD_LOCAL_RATE && config_price AUTOPOD_ASK_ABOVE &&
    { [ -z "$AUTOPOD_MAX_PRICE" ] || config_price AUTOPOD_MAX_PRICE; } &&
    config_limit AUTOPOD_MAX_COST && config_limit AUTOPOD_MAX_DAILY_COST
}

# _config_home - makes the directories of $AUTOPOD_HOME, for nobody else to read; EX_MISSING.
_config_home() {
  mkdir -p -- "$AUTOPOD_HOME/logs" "$AUTOPOD_HOME/runs" "$AUTOPOD_HOME/locks" \
    "$AUTOPOD_HOME/known_hosts.d" 2>/dev/null ||
    core_fail "$EX_MISSING" "can't write to $AUTOPOD_HOME" "set AUTOPOD_HOME to a directory of yours"
}

# config_changed - sets CONFIG_CHANGED to the settings that are not the default, as NAME=VALUE, NAME=VALUE; of secrets
# only that they are there.
config_changed() {
  local name default
  CONFIG_CHANGED=''
  while IFS='=' read -r name default; do
    [ "${!name}" = "$default" ] || CONFIG_CHANGED="$CONFIG_CHANGED${CONFIG_CHANGED:+, }$name=${!name}"
  done <<<"$_CONFIG_SETTINGS"
  for name in $_CONFIG_SECRETS; do
    [ -z "${!name:-}" ] || CONFIG_CHANGED="$CONFIG_CHANGED${CONFIG_CHANGED:+, }$name (not shown)"
  done
}

# config_names - sets CONFIG_NAMES to the names of all settings and keys, a blank between them.
config_names() {
  local name
  CONFIG_NAMES=$_CONFIG_SECRETS
  while IFS='=' read -r name _; do CONFIG_NAMES="$CONFIG_NAMES $name"; done <<<"$_CONFIG_SETTINGS"
}

# config_value NAME - sets CONFIG_VALUE to what that setting is for a program that is started elsewhere: paths are absolute.
config_value() {
  CONFIG_VALUE=${!1:-}
  case " $_CONFIG_PATHS " in *" $1 "*) ;; *) return 0 ;; esac
  case $CONFIG_VALUE in
    '' | /*) ;;
    */*) CONFIG_VALUE=$PWD/$CONFIG_VALUE ;;
    *) [ "$1" = AUTOPOD_PYTHON ] || CONFIG_VALUE=$PWD/$CONFIG_VALUE ;; # that one is looked for on PATH
  esac
}

# config_number NAME MIN MAX - EX_USAGE when the setting is not a whole number between them.
config_number() {
  case ${!1} in
    '' | *[!0-9]* | 0?* | ????????*) ;;
    *) [ "${!1}" -lt "$2" ] || [ "${!1}" -gt "$3" ] || return 0 ;;
  esac
  core_fail "$EX_USAGE" "$1 is \"${!1}\", but must be a whole number from $2 to $3"
}

# config_word NAME WORD... - EX_USAGE when the setting is none of the words.
config_word() {
  local name=$1 word
  shift
  for word; do [ "${!name}" != "$word" ] || return 0; done
  core_fail "$EX_USAGE" "$name is \"${!name}\", but must be one of: $*"
}

# config_price NAME - EX_USAGE when the setting is not an amount of dollars.
config_price() {
  local shape='^[0-9]{1,6}(\.[0-9]{1,6})?$'
  [[ ${!1} =~ $shape ]] ||
    core_fail "$EX_USAGE" "$1 is \"${!1}\", but must be dollars per hour, like 0.44"
}

# config_limit NAME - EX_USAGE when the setting is neither empty nor an amount of dollars above nothing.
config_limit() {
  local shape='^[0-9]{1,6}(\.[0-9]{1,6})?$'
  [ -z "${!1}" ] || { [[ ${!1} =~ $shape ]] && [[ ${!1} == *[1-9]* ]]; } ||
    core_fail "$EX_USAGE" "$1 is \"${!1}\", but must be dollars, like 5 or 0.50; empty is no limit"
}

# _config_tilde NAME - in a file nobody has expanded ~/ yet.
_config_tilde() {
  # shellcheck disable=SC2088 # the letter itself is meant
  case ${!1} in '~/'*) printf -v "$1" '%s' "$HOME/${!1#??}" ;; esac
}

# _config_default NAME VALUE - sets what nobody has set yet; an empty value in the environment
# counts as set.
_config_default() { [ -n "${!1+set}" ] || printf -v "$1" '%s' "$2"; }

# _config_known NAME - 0 for a setting of ours.
_config_known() {
  case $'\n'$_CONFIG_SETTINGS in *$'\n'"$1="*) return 0 ;; esac
  return 1
}

# _config_is_secret NAME - 0 for a setting that nobody else may see.
_config_is_secret() {
  case " $_CONFIG_SECRETS " in *" $1 "*) return 0 ;; esac
  return 1
}

# _config_guard FILE NAME - warns when the file that holds the secret NAME can be read by others.
_config_guard() {
  local mode
  mode=$(os_mode "$1")
  case $mode in
    *00) ;;
    *) ui_warn "$1 holds $2 and can be read by others (mode $mode): run chmod 600 $1" ;;
  esac
}

# _config_dotenv - takes ./.env in, by python-dotenv: it knows the quoting rules, and its values are
# never run.
_config_dotenv() {
  local pair name
  # Most projects have a .env: one that isn't about us costs nothing and needs no python-dotenv.
  LC_ALL=C grep -Eq '^[[:space:]]*(export[[:space:]]+)?(AUTOPOD|RUNPOD)_' .env || return 0
  core_tmpdir || return
  helper_run_site load_dotenv .env --prefix AUTOPOD_ --prefix RUNPOD_ >"$CORE_TMP/dotenv" || return
  while IFS= read -r -d '' pair; do
    name=${pair%%=*}
    ! _config_is_secret "$name" || _config_guard .env "$name"
    case $name in
      AUTOPOD_HOME | RUNPOD_*) ;;
      *)
        _config_known "$name" || {
          ui_warn ".env: unknown setting $name is ignored; .env.example lists those there are"
          continue
        }
        ;;
    esac
    _config_default "$name" "${pair#*=}"
  done <"$CORE_TMP/dotenv"
}

# _config_json FILE - takes config.json in; unknown keys are named.
_config_json() {
  local pair name known
  core_need jq || return
  core_tmpdir || return
  jq -j 'if type != "object" then error("it is not an object") else to_entries[] end
    | if .value | type == "object" or type == "array" then error("\(.key) is not a plain value") else . end
    | "\(.key)=\(.value // "" | tostring)\u0000"' "$1" >"$CORE_TMP/config" 2>"$CORE_TMP/complaints" ||
    core_fail "$EX_USAGE" "$1 can't be read: $(head -n 1 "$CORE_TMP/complaints")" \
      'it must be one JSON object, like {"provider": "local", "port": 8188}' || return
  known=$(sed -e 's/=.*//' -e 's/^AUTOPOD_//' <<<"$_CONFIG_SETTINGS" | LC_ALL=C tr '[:upper:]\n' '[:lower:] ')
  while IFS= read -r -d '' pair; do
    name=$(LC_ALL=C tr '[:lower:]' '[:upper:]' <<<"${pair%%=*}")
    if _config_is_secret "$name"; then
      _config_guard "$1" "${pair%%=*}"
      _config_default "$name" "${pair#*=}"
    elif _config_known "$name" || { name=AUTOPOD_$name && _config_known "$name"; }; then
      _config_default "$name" "${pair#*=}"
    else
      ui_warn "$1: unknown key \"${pair%%=*}\" is ignored; known are: ${known% }"
    fi
  done <"$CORE_TMP/config"
}
