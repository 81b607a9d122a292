# shellcheck shell=bash
# survey.sh - every pod that may be ours: also those that a provider's list leaves out, or does not tell as ours; and
# the wishes in pods.json that came to nothing.

[ -z "${_AUTOPOD_SURVEY_SH:-}" ] || return 0 # @guard
_AUTOPOD_SURVEY_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/ledger.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/wish.sh"

SURVEY_YOUNG=600 # seconds: a pod that was made later than that may not have got around yet

# survey_pods [PROVIDER] - as pod_list, but nothing of ours is missed: it asks again for pods of pods.json that a list
# leaves out (forgetting those that are gone), and for those that may bear our stamp, which lists do not tell.
survey_pods() {
  local provider providers=${1:-} status=0
  core_tmpdir || return
  [ -n "$providers" ] || providers=$(pod_providers_in_use)
  for provider in $providers; do
    pod_list "$provider" >"$CORE_TMP/survey" && _survey_doubts "$provider" || status=$?
  done
  POD_ID=''
  return "$status"
}

# _survey_doubts PROVIDER - prints the pods in the file survey, which are that provider's, without doubts about them.
_survey_doubts() {
  local why known=$AUTOPOD_HOME/pods.json status=0
  [ -s "$known" ] || known=/dev/null
  : >"$CORE_TMP/surveyed"
  POD_PROVIDER=$1
  wish_account "$1"
  for POD_ID in $(jq -r -n --slurpfile known "$known" --arg provider "$1" --arg account "$WISH_ACCOUNT" "$_SURVEY_DOUBTS" "$CORE_TMP/survey"); do
    why=0
    case $POD_ID in !*)
      survey_warn_foreign "${POD_ID#!}"
      continue
      ;;
    esac
    core_quietly pod_json >"$CORE_TMP/doubt" || why=$?
    case $why in
      0) wish_adopt "$CORE_TMP/doubt" && cat "$CORE_TMP/doubt" >>"$CORE_TMP/surveyed" || status=$? ;;
      "$EX_POD") survey_gone "$POD_ID" "$1" || : ;;
      *) core_fail "$why" "$CORE_ERROR" "$CORE_HINT" || status=$why ;;
    esac
  done
  cat "$CORE_TMP/survey" "$CORE_TMP/surveyed" >"$CORE_TMP/seen"
  _survey_claim "$1" "$CORE_TMP/seen"
  jq -n -c --slurpfile surveyed "$CORE_TMP/surveyed" '
    [inputs] as $listed | ($surveyed | map({(.id): .}) | add // {}) as $new
    | ($listed[] | $new[.id] // .), ($surveyed[] | select(.id as $id | all($listed[]; .id != $id)))' "$CORE_TMP/survey"
  return "$status"
}

# The ids of pods that are asked for again; behind a `!` those that run, and were made with another key.
_SURVEY_DOUBTS='
  def shape: select(test("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"));
  [inputs] as $listed
  | ($listed[] | select((.ours | not) and .owner == null and (.name // "" | startswith("autopod-"))) | .id | shape),
    ([$known[0] | objects | .pods | objects] | first // {} | to_entries[] | select((.value | objects | .provider) == $provider)
      | select(.key as $id | all($listed[]; .id != $id)) | (.key | shape) as $id
      | if (.value.account // $account) == $account then $id elif .value.state == "stopped" then empty else "!\($id)" end)'

# survey_warn_foreign ID - tells that a pod of pods.json, or a wish, is not of our account, for all that is known.
survey_warn_foreign() {
  ui_warn "our RunPod key does not show pod $1, and nothing says that it was made with it: it is left alone. \
Use autopod with the key that made it; should the pod be gone, take it out of $AUTOPOD_HOME/pods.json"
}

# _survey_claim PROVIDER FILE - the pods of pods.json that our key shows, which are in FILE, are of our account: keys are
# replaced, and older records don't say.
_survey_claim() {
  local new='[$seen[].id] as $ids | .pods // {} | to_entries | any(.[]; (.value | objects | .account) != $account and (.key | IN($ids[])))'
  wish_account "$1"
  [ -n "$WISH_ACCOUNT" ] && [ -s "$AUTOPOD_HOME/pods.json" ] || return 0
  new=$(core_quietly state_read "$AUTOPOD_HOME/pods.json" --slurpfile seen "$2" --arg account "$WISH_ACCOUNT" "$new") || return 0
  [ "$new" = false ] || state_update "$AUTOPOD_HOME/pods.json" --slurpfile seen "$2" --arg account "$WISH_ACCOUNT" \
    'reduce $seen[].id as $id (.; if .pods[$id] then .pods[$id].account = $account else . end)' || :
}

# survey_gone ID PROVIDER - forgets a pod that its provider does not know any more; 1 when nothing says that it was made with
# our key: then it may be there all the same.
survey_gone() {
  local old='(.pods[$id] | .since // $before) < $before' ours='.pods[$id] | . == null or .provider == "local" or (.account // "-") == $account' before
  os_now
  before=$((OS_NOW - SURVEY_YOUNG))
  wish_account "$2"
  [ "$(state_read "$AUTOPOD_HOME/pods.json" --arg id "$1" --arg account "$WISH_ACCOUNT" "$ours")" = true ] || return 1
  ssh_forget "$1"
  [ "$(state_read "$AUTOPOD_HOME/pods.json" --arg id "$1" --argjson before "$before" "$old")" != true ] || ledger_lost "$1"
  state_update "$AUTOPOD_HOME/pods.json" --arg id "$1" --argjson before "$before" \
    "if $old then del(.pods[\$id]) else . end" || :
}

# survey_is_wished - 0 when the loaded pod is one whose maker lives, and has yet to write it down.
survey_is_wished() {
  local maker
  maker=$(state_read "$AUTOPOD_HOME/pods.json" -r --arg name "$POD_NAME" '.intents[$name].maker // empty')
  [ -n "$maker" ] && os_same_process "${maker%%-*}" "${maker#*-}"
}

# survey_forget_wishes FILE - forgets the wishes that came to nothing: old ones, whose maker is gone, without a pod in
# FILE, a list of all, and not of another key. EX_FAIL.
survey_forget_wishes() {
  local name maker
  os_now
  state_read "$AUTOPOD_HOME/pods.json" -r --slurpfile all "$1" --argjson before $((OS_NOW - SURVEY_YOUNG)) '
    .intents // {} | to_entries[] | select(.value.at <= $before)
    | select(.key as $name | all($all[]; .name != $name)) | "\(.key)\u001f\(.value.maker // "")"' \
    >"$CORE_TMP/wishes" || return
  while IFS=$'\x1f' read -r name maker; do
    os_same_process "${maker%%-*}" "${maker#*-}" || wish_is_foreign "$name" ||
      state_update "$AUTOPOD_HOME/pods.json" --arg name "$name" 'del(.intents[$name])' || return
  done <"$CORE_TMP/wishes"
}
