# shellcheck shell=bash
# runpod_doctor.sh - what works of RunPod and what does not, for autopod-doctor. Nothing is ordered, only asked; each
# question is bounded and put once.

[ -z "${_AUTOPOD_PROVIDERS_RUNPOD_DOCTOR_SH:-}" ] || return 0 # @guard
_AUTOPOD_PROVIDERS_RUNPOD_DOCTOR_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/runpodctl.sh"

_RUNPOD_DOCTOR_SECONDS=15 # that RunPod's API may take for an answer
_RUNPOD_DOCTOR_SKEW=60    # seconds that the clock may be off: limits shift by as much
_RUNPOD_DOCTOR_BALANCE=5  # dollars, and hours at the present spend, below which the account runs low
_RUNPOD_DOCTOR_HOURS=24
_RUNPOD_DOCTOR_NOWHERE=http://127.0.0.1:9/v1 # port 9, discard: nobody listens there

# provider_runpod_doctor_report - prints `ok|warn|bad TAB what TAB what to do` a line.
provider_runpod_doctor_report() {
  local tool='' key='' HTTP_TRIES=1 HTTP_TIMEOUT=$_RUNPOD_DOCTOR_SECONDS
  _runpod_doctor_variables
  if _runpod_doctor_tool; then tool=1; fi
  if _runpod_doctor_key; then key=1; fi
  _runpod_doctor_can_ask && [ -n "$key" ] || return 0
  _runpod_doctor_account || return 0
  [ -z "$tool" ] || _runpod_doctor_pods
}

# _runpod_doctor_found STATE WHAT [WHAT_TO_DO]
_runpod_doctor_found() { printf '%s\t%s\t%s\n' "$1" "${2//[[:cntrl:]]/ }" "${3:-}"; }

# _runpod_doctor_variables - those without a prefix that runpodctl takes for settings of its own (read in the source of
# 2.7.2): TIMEOUT=600 is 600 ns.
_runpod_doctor_variables() {
  local name names=''
  for name in TIMEOUT GRAPHQLTIMEOUT APIKEY APIURL RESTAPIURL; do
    [ -z "${!name+set}" ] || names="$names${names:+, }$name"
  done
  [ -z "$names" ] ||
    _runpod_doctor_found warn "your environment has $names, which runpodctl takes for its own settings" \
      "unset it before you call runpodctl yourself; autopod keeps it from the calls that it makes"
}

# _runpod_doctor_tool - 0 when there is a runpodctl that can be used.
_runpod_doctor_tool() {
  local version=''
  core_tmpdir || return
  if command -v runpodctl >/dev/null 2>&1; then # it prints no JSON here, so that is no answer to a question
    runpodctl_look "$CORE_TMP/runpod.version" version || :
    { IFS= read -r version <"$CORE_TMP/runpod.version"; } 2>/dev/null || :
  fi
  # What it can do does not depend on the key, which is looked at for itself.
  RUNPOD_API_KEY=${RUNPOD_API_KEY:-none} core_quietly runpodctl_check || {
    _runpod_doctor_found bad "${version:+$version: }$CORE_ERROR" "$CORE_HINT"
    return 1
  }
  _runpod_doctor_found ok "${version:-runpodctl}, of the second generation"
}

# _runpod_doctor_key - 0 when there is a key; who else can read it in runpodctl's own file.
_runpod_doctor_key() {
  local file=$HOME/.runpod/config.toml mode set=${RUNPOD_API_KEY:+1}
  runpodctl_key || {
    _runpod_doctor_found bad "there is no RunPod API key, or it has characters that no key has" \
      "make one at console.runpod.io/user/settings, and put RUNPOD_API_KEY=... into .env (chmod 600 .env)"
    return 1
  }
  [ -z "$set" ] || return 0
  mode=$(os_mode "$file")
  case $mode in
    *00) ;;
    *) _runpod_doctor_found warn "$file holds the key and can be read by others (mode $mode)" "run: chmod 600 $file" ;;
  esac
}

# _runpod_doctor_can_ask - 0 when the tools are there by which RunPod is asked; that they are missing was told.
_runpod_doctor_can_ask() {
  command -v jq >/dev/null 2>&1 && command -v curl >/dev/null 2>&1 ||
    ! _runpod_doctor_found warn "RunPod could not be asked without jq and curl"
}

# What RunPod says of the account, as a finding.
_RUNPOD_DOCTOR_ACCOUNT='
  def usd: . * 100 | round / 100 | tostring | "$" + .;
  .data.myself | (.clientBalance // 0) as $balance | (.currentSpendPerHr // 0) as $spend
  | (if $spend > 0 then $balance / $spend else null end) as $hours
  | [if $balance < $least or ($hours != null and $hours < $few) then "warn" else "ok" end,
     "the account has \($balance | usd) and spends \($spend | usd)/h"
       + (if $hours == null then "" else ", which lasts \($hours | floor) h" end),
     if $balance < $least or ($hours != null and $hours < $few) then
       "add credit at console.runpod.io/user/billing: at nothing, RunPod ends pods with what is on them" else "" end]
  | join("\t")'

# _runpod_doctor_account - the key, the clock, the money and the ssh key, by one question that goes past runpodctl; 1
# when there is no use in asking on.
_runpod_doctor_account() {
  if runpodctl_graphql '{"query":"query { myself { clientBalance currentSpendPerHr pubKey } }"}'; then
    _runpod_doctor_found ok "the key is accepted (whether it may also write shows when a pod is made)"
    _runpod_doctor_clock
    jq -r --argjson least "$_RUNPOD_DOCTOR_BALANCE" --argjson few "$_RUNPOD_DOCTOR_HOURS" "$_RUNPOD_DOCTOR_ACCOUNT" \
      "$CORE_TMP/runpodctl.answer" 2>/dev/null || _runpod_doctor_found warn "the account's balance can't be read"
    _runpod_doctor_ssh_key
    return 0
  fi
  case $HTTP_STATUS:$RUNPODCTL_SAID in
    401:* | *[Uu]nauthorized*)
      _runpod_doctor_found bad "RunPod does not accept the key: ${RUNPODCTL_SAID:-HTTP $HTTP_STATUS}" \
        "make one at console.runpod.io/user/settings"
      return 1
      ;;
    403:*)
      _runpod_doctor_found bad "the key may not read the account: ${RUNPODCTL_SAID:-HTTP $HTTP_STATUS}" \
        "it needs read and write access"
      ;;
    *)
      _runpod_doctor_found warn "RunPod's account could not be asked: ${RUNPODCTL_SAID:-HTTP $HTTP_STATUS}" \
        "is the network there? RunPod's state: uptime.runpod.io"
      [ "$HTTP_STATUS" != 0 ] # else runpodctl would wait long for the same
      ;;
  esac
}

# _runpod_doctor_clock - compares the clock with the one of the server that has just answered.
_runpod_doctor_clock() {
  local date skew way='ahead of'
  date=$(sed -n 's/^[Dd]ate: *//p' "$CORE_TMP/http.headers" | tr -d '\r')
  os_now
  skew=$(LC_ALL=C jq -rn --arg date "$date" --argjson now "$OS_NOW" \
    '$now - ($date | strptime("%a, %d %b %Y %H:%M:%S GMT") | mktime)' 2>/dev/null) || return 0
  case $skew in -*) way=behind skew=${skew#-} ;; esac
  if [ "$skew" -le "$_RUNPOD_DOCTOR_SKEW" ]; then
    _runpod_doctor_found ok "this machine's clock agrees with RunPod's"
  else
    _runpod_doctor_found warn "this machine's clock is $skew s $way RunPod's" \
      "let the system set it (NTP): what limits of time say shifts by as much"
  fi
}

# _runpod_doctor_ssh_key - whether the account knows the key that autopod uses, if there is one by now.
_runpod_doctor_ssh_key() {
  local public key
  ssh_key_path
  key=$SSH_KEY
  [ -f "$key" ] && public=$(core_quietly ssh_public_key "$key") || return 0
  public=${public#* } # the type; what follows the key itself is a comment
  if jq -e --arg key "${public%% *}" '.data.myself.pubKey // "" | contains($key)' "$CORE_TMP/runpodctl.answer" \
    >/dev/null 2>&1; then
    _runpod_doctor_found ok "the account knows the ssh key $key"
  else
    _runpod_doctor_found ok \
      "the account does not know the ssh key $key; it need not: each pod that autopod makes gets it"
  fi
}

# What runs now, of all that `pod list` shows.
_RUNPOD_DOCTOR_PODS='
  [.[] | select(.desiredStatus // "" | ascii_upcase == "RUNNING")] as $running
  | ($running | map(.costPerHr // 0) | add // 0 | . * 100 | round / 100) as $usd
  | "ok\tpods can be listed; \($running | length) of \(length) run now, for $\($usd)/h\t"'

# _runpod_doctor_pods - whether pods can be listed, now and later, and what runs.
_runpod_doctor_pods() {
  local state=bad
  if runpodctl_list once; then
    jq -r "$_RUNPOD_DOCTOR_PODS" "$CORE_TMP/runpodctl.list"
    _runpod_doctor_future
    return
  fi
  case $RUNPODCTL_WHY in
    network | ambiguous | unanswered | rate) state=warn ;;
    retired) RUNPODCTL_SAID="this runpodctl asks REST v1, which RunPod has switched off" ;;
  esac
  runpodctl_remedy
  _runpod_doctor_found "$state" "pods can't be listed, so autopod makes none: $RUNPODCTL_SAID" \
    "${RUNPODCTL_TODO:-$RUNPODCTL_UPGRADE}"
}

# _runpod_doctor_future - REST v1 ends on 1 December 2026 (docs.runpod.io, api-reference-v2/migrate-from-v1). No --help
# says which API a runpodctl asks; but one that can list pods while REST v1 is nowhere will do without it.
_runpod_doctor_future() {
  ! RUNPOD_API_URL=$_RUNPOD_DOCTOR_NOWHERE runpodctl_list once && [ "$RUNPODCTL_WHY" = network ] || return 0
  _runpod_doctor_found warn \
    "this runpodctl asks REST v1, which RunPod switches off on 1 December 2026: no pods from then on" \
    "$RUNPODCTL_UPGRADE"
}
