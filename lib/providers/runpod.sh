# shellcheck shell=bash
# runpod.sh - pods of RunPod, by its own tool, runpodctl 2.x; where a pod must not be left running, there is a
# second way past it, RunPod's GraphQL API. No answer to an order is believed: the state is read back.

[ -z "${_AUTOPOD_PROVIDERS_RUNPOD_SH:-}" ] || return 0 # @guard
_AUTOPOD_PROVIDERS_RUNPOD_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/state.sh"
. "$AUTOPOD_LIB/helper.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/runpodctl.sh"
. "$AUTOPOD_LIB/providers/runpod_doctor.sh"

RUNPOD_CONSOLE=https://console.runpod.io/pods
RUNPOD_DISK_MONTH=0.20                     # dollars a GB and month for the disk of a stopped pod (docs.runpod.io, pods/pricing)
RUNPOD_VOLUME_MONTH=0.07                   # dollars a GB and month for a network volume up to 1 TB, and
RUNPOD_VOLUME_MONTH_ABOVE=0.05             # for what is above that (docs.runpod.io, network volumes)
RUNPOD_CONFIRM=${RUNPOD_CONFIRM-0.5 1 2 4} # seconds between the looks at whether an order was carried out
RUNPOD_SETTLE=${RUNPOD_SETTLE-1 2 4 8}     # seconds between the looks for a pod whose making is in doubt

# provider_runpod_check - 0 when runpodctl 2.x and a key are there; nothing is contacted. EX_MISSING.
provider_runpod_check() { core_need jq curl ssh ssh-keygen && runpodctl_check; }

# provider_runpod_preflight - prints {"balance","spend_per_hr"} of the account; EX_MISSING when the key is not
# accepted, or when pods can't be listed: what can't be listed could not be stopped either.
provider_runpod_preflight() {
  provider_runpod_check || return
  runpodctl_ask "$CORE_TMP/runpod.user" user || _runpod_told "$EX_TUNNEL" "the RunPod account can't be read" || return
  runpodctl_list || _runpod_told "$EX_MISSING" "pods can't be listed, and none is made that could not be found again" || return
  jq -c 'def number: if type == "number" then . else null end;
    objects | {balance: (.clientBalance | number), spend_per_hr: (.currentSpendPerHr | number)}' "$CORE_TMP/runpod.user"
}

# provider_runpod_doctor - prints what works and what does not, `ok|warn|bad TAB what TAB what to do` a line.
provider_runpod_doctor() { provider_runpod_doctor_report; }

# provider_runpod_create SPEC - asks for one pod as the JSON SPEC says, and prints it; on failure PROVIDER_WHY
# says whether another candidate may be tried (capacity), or a pod may have been made all the same (ambiguous: RunPod
# says that something failed; unanswered: it says nothing, and may still be at it).
# EX_POD, EX_MISSING, EX_USAGE.
provider_runpod_create() {
  local word words=() args=(pod create)
  provider_runpod_check && _runpod_public_keys || return
  jq -j --arg keys "$_RUNPOD_KEYS" "$_RUNPOD_CREATE_ARGS" <<<"$1" >"$CORE_TMP/runpod.args" || return
  while IFS= read -r -d '' word; do words[${#words[@]}]=$word; done <"$CORE_TMP/runpod.args"
  args=("${args[@]}" "${words[@]}")
  _runpod_make "$1" "${args[@]}" || {
    # Only what is known to be a refusal is one: after any other words there may be a pod.
    case $RUNPODCTL_WHY in other) RUNPODCTL_WHY=ambiguous ;; esac
    _runpod_told "$EX_POD" "RunPod makes no pod"
    return
  }
  # The answer leaves out what was asked for: which GPU, and where. It has no address yet.
  _runpod_print "$CORE_TMP/runpod.made" | jq -ce --argjson spec "$1" 'select(.id | type == "string")
    | .status = "creating" | .created_at //= (now | floor | todate)
    | (if .gpu == "GPU" then .gpu = $spec.gpu_name else . end) | .cloud //= $spec.cloud | .volume //= $spec.volume
    | .data_center //= (if $spec.data_center == "" then null else $spec.data_center end)' || {
    PROVIDER_WHY=unanswered
    core_fail "$EX_POD" "runpodctl's answer about the new pod makes no sense" "$RUNPODCTL_UPGRADE"
  }
}

# _runpod_make SPEC ARG... - gives the order. A pod of the community cloud comes with a public address, by which ssh
# reaches it, only on request; those runpodctl that go by REST v2 refuse the request (read in its AGENTS.md).
_runpod_make() {
  local cloud=$1
  shift
  case $cloud in *'"cloud":"community"'*)
    ! runpodctl_order "$CORE_TMP/runpod.made" "$@" --public-ip || return 0
    case $RUNPODCTL_WHY:$RUNPODCTL_SAID in usage:* | other:*public-ip*) ;; *) return 1 ;; esac
    ;;
  esac
  runpodctl_order "$CORE_TMP/runpod.made" "$@"
}

# The words after `pod create`, each ended by NUL. 22/tcp is what ssh needs; ComfyUI's port is not exposed: that
# would put it on a public proxy without a password. The disk is a volume disk (10 GB at least), where RunPod's images
# have ComfyUI: that of the container is wiped by a stop, and outputs that were not downloaded would be lost.
_RUNPOD_CREATE_ARGS='
  [ "--name", .name, "--gpu-id", .gpu_id, "--gpu-count", (.gpu_count // 1 | tostring),
    "--cloud-type", (.cloud // "secure" | ascii_upcase), "--ports", "22/tcp",
    "--env", ((.env // {}) + {PUBLIC_KEY: $keys} | tojson) ]
  + (if .template then ["--template-id", .template] else ["--image", .image] end)
  + (if (.data_center // "") != "" then ["--data-center-ids", .data_center] else [] end)
  + (if .volume then
       ["--network-volume-id", .volume.id, "--volume-mount-path", .volume.mount, "--container-disk-in-gb", (.disk_gb // 20 | tostring)]
     else ["--volume-in-gb", ([.disk_gb, 10] | max | tostring), "--volume-mount-path", "/workspace"] end)
  | map(. + "\u0000") | add'

# provider_runpod_get ID - prints the pod; EX_POD when there is none, EX_TUNNEL when RunPod can't be asked.
provider_runpod_get() {
  _runpod_id "$1" && provider_runpod_check || return
  if runpodctl_ask "$CORE_TMP/runpod.pod" pod get "$1" --include-machine --include-network-volume; then
    _runpod_print "$CORE_TMP/runpod.pod"
  elif [ "$RUNPODCTL_WHY" = gone ]; then
    _runpod_no_pod "$1"
  else
    _runpod_told "$EX_TUNNEL" "pod $1 can't be looked at"
  fi
}

# provider_runpod_list - prints every pod of the account, also stopped ones, a line each; EX_TUNNEL, EX_MISSING.
provider_runpod_list() {
  provider_runpod_check || return
  runpodctl_list || _runpod_told "$EX_TUNNEL" "RunPod's pods can't be listed" || return
  _runpod_print "$CORE_TMP/runpodctl.list"
}

# provider_runpod_start ID - starts a stopped pod; its address is new. Prints the pod, also one that runs already.
# EX_POD when its machine has no free GPU any more: then it is stopped again. EX_POD_LEFT when nobody can say whether it
# starts: the order may still be on its way.
provider_runpod_start() {
  local why said pause status=0
  _runpod_id "$1" && provider_runpod_check || return
  runpodctl_order "$CORE_TMP/runpodctl.answer" pod start "$1" || {
    why=$RUNPODCTL_WHY said=$RUNPODCTL_SAID
    case $why in
      gone) _runpod_no_pod "$1" || return ;;
      capacity) _runpod_no_gpu "$1" || return ;;
      other | usage | ambiguous | unanswered) # it runs already, or all the same
        for pause in 0 $RUNPOD_SETTLE; do
          [ "$pause" = 0 ] || core_sleep "$pause"
          _runpod_state "$1"
          case $why:$_RUNPOD_STATE in ambiguous:stopped | unanswered:stopped) ;; *) break ;; esac
        done
        [ "$_RUNPOD_STATE" != running ] || why=''
        ;;
    esac
    RUNPODCTL_WHY=$why RUNPODCTL_SAID=$said
    case $why in
      '') ;;
      ambiguous | unanswered)
        _runpod_told "$EX_POD_LEFT" "nobody can say whether it was started"
        return "$EX_POD_LEFT"
        ;;
      *) _runpod_told "$EX_POD" "pod $1 can't be started" || return ;;
    esac
  }
  ssh_forget "$1" # it may have been stopped elsewhere
  provider_runpod_get "$1" >"$CORE_TMP/runpod.started" || status=$?
  case $status in
    0) ;;
    "$EX_POD") return "$status" ;;
    *) core_fail "$EX_POD_LEFT" "it was started, and can't be looked at: $CORE_ERROR" "$CORE_HINT" || return ;;
  esac
  [ "$(jq -r '.gpu_count' "$CORE_TMP/runpod.started")" != 0 ] || {
    provider_runpod_stop "$1" >/dev/null || return
    _runpod_no_gpu "$1"
    return
  }
  cat "$CORE_TMP/runpod.started"
}

# provider_runpod_stop ID - stops the pod and prints it as it is then; EX_POD_LEFT when that can't be confirmed.
provider_runpod_stop() {
  _runpod_id "$1" && provider_runpod_check && _runpod_end stop "$1" || return
  ssh_forget "$1" # a container makes a new host key at each start
  ! core_quietly provider_runpod_get "$1" || return 0
  # That it is stopped was seen past runpodctl.
  printf '{"id":"%s","desiredStatus":"EXITED"}' "$1" >"$CORE_TMP/runpod.pod" && _runpod_print "$CORE_TMP/runpod.pod"
}

# provider_runpod_terminate ID - ends the pod for good; EX_POD_LEFT when that can't be confirmed.
provider_runpod_terminate() {
  _runpod_id "$1" && provider_runpod_check && _runpod_end terminate "$1"
}

# provider_runpod_gpus - prints the GPU types, a line each, with price and stock; EX_TUNNEL, EX_MISSING.
provider_runpod_gpus() {
  provider_runpod_check || return
  runpodctl_ask "$CORE_TMP/runpod.gpus" gpu list --include-unavailable ||
    _runpod_told "$EX_TUNNEL" "RunPod's GPU types can't be listed" || return
  printf '{}' >"$CORE_TMP/runpod.prices"
  case $(<"$CORE_TMP/runpod.gpus") in
    *PricePerHr*) ;;
    *) # runpodctl before 2.8 does not tell prices
      ! runpodctl_graphql '{"query":"{ gpuTypes { id securePrice communityPrice } }"}' ||
        cp -- "$CORE_TMP/runpodctl.answer" "$CORE_TMP/runpod.prices"
      ;;
  esac
  jq -c --slurpfile more "$CORE_TMP/runpod.prices" "$_RUNPOD_GPU" "$CORE_TMP/runpod.gpus"
}

_RUNPOD_GPU='
  def price: if type == "number" and . > 0 then . else null end;
  (($more[0].data.gpuTypes // []) | map({(.id): .}) | add // {}) as $other
  | .[] | $other[.gpuId] as $also
  | {id: .gpuId, name: (.displayName // .gpuId), memory_gb: .memoryInGb,
     price: {secure: (.securePricePerHr // $also.securePrice | price),
             community: (.communityPricePerHr // $also.communityPrice | price)},
     clouds: [(if .secureCloud != false then "secure" else empty end), (if .communityCloud != false then "community" else empty end)],
     stock: (if (.stockStatus // "") == "" then null else .stockStatus end), available: (.available != false),
     data_centers: (if .dataCenterAvailability then [.dataCenterAvailability[] | {id: .dataCenterId, stock: .stockStatus}] else null end)}'

# provider_runpod_volumes - prints the account's network volumes, a line each, with what they cost; EX_TUNNEL,
# EX_MISSING.
provider_runpod_volumes() {
  provider_runpod_check || return
  runpodctl_ask "$CORE_TMP/runpod.volumes" network-volume list ||
    _runpod_told "$EX_TUNNEL" "RunPod's network volumes can't be listed" || return
  jq -c --argjson up_to_1_tb "$RUNPOD_VOLUME_MONTH" --argjson above "$RUNPOD_VOLUME_MONTH_ABOVE" '.[]
    | {id, name, size_gb: .size, data_center: .dataCenterId,
       usd_per_month: (([.size // 0, 1000] | min * $up_to_1_tb) + ([(.size // 0) - 1000, 0] | max * $above)
         | . * 100 | round / 100)}' "$CORE_TMP/runpod.volumes"
}

# provider_runpod_proxy_url ID - prints the public address of its ComfyUI; EX_POD when it has none, or there is no such
# pod; EX_TUNNEL, EX_MISSING.
provider_runpod_proxy_url() {
  provider_runpod_get "$1" >/dev/null || return
  jq -e --arg port "$AUTOPOD_COMFY_PORT/http" '(if type == "array" then .[0] else . end).ports
    | if type == "string" then split(",") else . end | arrays | index($port)' "$CORE_TMP/runpod.pod" >/dev/null 2>&1 ||
    core_fail "$EX_POD" "pod $1 has no public address: it does not expose port $AUTOPOD_COMFY_PORT" \
      "pods that autopod makes never do: leave --proxy out, and the tunnel is used" || return
  printf 'https://%s-%s.proxy.runpod.net\n' "$1" "$AUTOPOD_COMFY_PORT"
}

# provider_runpod_billing FROM TO - prints what RunPod bills for the time between these (epochs), {"pod","usd"} a line;
# by the hour for up to three days, by the day for more. EX_TUNNEL, EX_MISSING.
provider_runpod_billing() {
  local bucket=day args
  [ $(($2 - $1)) -gt 259200 ] || bucket=hour
  provider_runpod_check || return
  args=(billing pods --bucket-size "$bucket" --start-time "$(jq -n -r "$1 | todate")" --end-time "$(jq -n -r "$2 | todate")")
  # The newest ones always tell it by the pod, and refuse to be asked for it; those before did by the GPU.
  runpodctl_ask "$CORE_TMP/runpod.billing" "${args[@]}" --grouping podId ||
    { [ "$RUNPODCTL_WHY" = usage ] && runpodctl_ask "$CORE_TMP/runpod.billing" "${args[@]}"; } ||
    _runpod_told "$EX_TUNNEL" "RunPod's bill can't be read" || return
  jq -c '.[] | objects | select(.podId | type == "string") | {pod: .podId, usd: (.totalAmount // .amount // 0)}' \
    "$CORE_TMP/runpod.billing"
}

# provider_runpod_self_stop_script ID - prints POSIX sh that stops the pod from inside it, by the pod's own key,
# which may do just that; its exit code is 0 when the stop was accepted.
provider_runpod_self_stop_script() {
  _runpod_id "$1" || return
  printf 'id=%s\n' "$1"
  helper_asset helpers/self_stop_runpod.sh
}

# provider_runpod_settling - prints the pauses between the looks for a pod whose making is in doubt: one that was
# made shows up in the list within seconds.
provider_runpod_settling() { printf '%s\n' "$RUNPOD_SETTLE"; }

# provider_runpod_configured - 0 when this machine can ask for the pods of an account there: it has runpodctl and a key.
provider_runpod_configured() { command -v runpodctl >/dev/null 2>&1 && runpodctl_key; }

# _runpod_id ID - EX_POD when it can't be the id of a pod.
_runpod_id() {
  local shape='^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
  [[ $1 =~ $shape ]] || _runpod_no_pod "$1"
}

# _runpod_no_pod ID - tells that there is none; EX_POD.
_runpod_no_pod() {
  PROVIDER_WHY=gone
  core_fail "$EX_POD" "there is no pod \"$1\" at RunPod" "autopod-ls shows those there are"
}

# _runpod_no_gpu ID - tells that a pod's machine has no GPU for it any more; EX_POD.
_runpod_no_gpu() {
  PROVIDER_WHY=capacity
  core_fail "$EX_POD" "the machine of pod $1 has no free GPU for it any more: it stays stopped" \
    "make a new pod: autopod-connect (a network volume goes with it); and end this one: autopod-kill $1"
}

# _runpod_told CODE WHAT - tells what did not work and what to do, by RUNPODCTL_WHY; CODE, or EX_MISSING when it is
# the key or the tool.
_runpod_told() {
  local code=$1
  PROVIDER_WHY=$RUNPODCTL_WHY
  case $RUNPODCTL_WHY in auth | scope | retired) code=$EX_MISSING ;; esac
  runpodctl_remedy
  core_fail "$code" "$2: $RUNPODCTL_SAID" "$RUNPODCTL_TODO"
}

# _runpod_public_keys - sets _RUNPOD_KEYS to what a new pod shall let in; EX_MISSING.
_runpod_public_keys() {
  ssh_own_key && _RUNPOD_KEYS=$(ssh_public_key "$SSH_KEY")
}

# _runpod_print FILE - prints the pod or pods in FILE as pod objects, a line each.
_runpod_print() {
  state_installation && ssh_own_key || return
  jq -c --arg own "$STATE_INSTALLATION" --arg key "$SSH_KEY" --arg other "$AUTOPOD_SSH_KEY" \
    --argjson port "$AUTOPOD_COMFY_PORT" --argjson disk "$RUNPOD_DISK_MONTH" "$_RUNPOD_POD" "$1" 2>/dev/null ||
    core_fail "$EX_TUNNEL" "what runpodctl says of the pods makes no sense" "$RUNPODCTL_UPGRADE"
}

# Generations differ: env is a map or a list of K=V; costPerHr is left out when it is 0; times are RFC 3339 or
# Go's ("2026-10-02 05:28:38.366 +0000 UTC"); desiredStatus is what was asked for, so a pod without an address
# or with runtimeStatus "initializing" is still being made.
_RUNPOD_POD='
  def time: if type == "string" then sub("\\.[0-9]+"; "") | sub(" ?(\\+00:?00|Z)( UTC)?$"; "Z") | sub(" "; "T") else null end;
  def env: if type == "array" then map(strings | capture("^(?<key>[^=]*)=(?<value>.*)$"; "m")) | from_entries
    elif type == "object" then . else {} end;
  def text: if type == "string" and . != "" then . else null end;
  (if type == "array" then .[] else . end) | objects
  | (.env | env | .AUTOPOD_INSTALLATION | text) as $owner
  | (.desiredStatus // "" | ascii_upcase) as $desired
  | (if (.ssh | type) == "object" and .ssh.ip and .ssh.port and $desired == "RUNNING"
     then {host: .ssh.ip, port: .ssh.port, user: "root", key: (if $owner == $own then $key else $other | text end)} else null end) as $ssh
  | (if (.networkVolume | type) == "object" then .networkVolume.id else .networkVolumeId end | text) as $volume
  | {id, name, provider: "runpod",
     status: ({EXITED: (if .runtimeStatus == "terminated" then "terminated" else "stopped" end),
       PAUSED: "stopped", TERMINATED: "terminated", DEAD: "failed", RUNNING:
       (if .runtimeStatus == "initializing" or ((.ssh | type) == "object" and $ssh == null) then "creating" else "running" end)}
       [$desired] // "creating"),
     gpu: (.machine.gpuDisplayName // .gpuDisplayName // (.gpuId // "" | sub("^NVIDIA +(GeForce +)?"; "")) | text // "GPU"),
     gpu_count: (.gpuCount // 1), cost_per_hr: ((.costPerHr | numbers | select(. >= 0.0001 and . < 100000)) // 0),
     created_at: (.createdAt | time), image: (.imageName | text),
     volume: (if $volume then {id: $volume, mount: .volumeMountPath} else null end), ssh: $ssh, comfy_port: $port,
     reason: (.runtimeStatusReason | text), data_center: (.machine.dataCenterId // .dataCenterId | text),
     cloud: (if .machine.secureCloud == false then "community" elif .machine.secureCloud then "secure" else null end),
     owner: $owner, stopped_usd_per_month: ((.volumeInGb // 0) * $disk * 100 | round / 100)}'

# _runpod_end stop|terminate ID - gives the order by runpodctl, looks whether it was carried out, and if not, gives
# it past runpodctl. EX_POD when there is no such pod, EX_POD_LEFT when it could not be confirmed.
_runpod_end() {
  local verb=$1 id=$2 said order=stop mutation=podStop
  [ "$verb" = stop ] || order=delete mutation=podTerminate
  runpodctl_order "$CORE_TMP/runpodctl.answer" pod "$order" "$id" || :
  said=$RUNPODCTL_SAID
  if [ "$RUNPODCTL_WHY" = gone ]; then
    _runpod_state "$id"
    [ "$_RUNPOD_STATE" != gone ] || _runpod_no_pod "$id" || return
  fi
  if _runpod_confirm "$verb" "$id"; then return 0; fi
  ui_detail "runpodctl's way did not work${said:+ ($said)}: asking RunPod's API itself"
  runpodctl_graphql "{\"query\":\"mutation { $mutation(input: {podId: \\\"$id\\\"})$([ "$verb" != stop ] || printf ' { id desiredStatus }') }\"}" ||
    said=${said:-$RUNPODCTL_SAID}
  if _runpod_confirm "$verb" "$id"; then return 0; fi
  case $said in *[Ll]ocked*) said="$said (unlock it in the console)" ;; esac
  core_fail "$EX_POD_LEFT" "RunPod did not $verb pod $id${said:+: $said}" \
    "look at $RUNPOD_CONSOLE, or run: runpodctl pod $order $id"
}

# _runpod_confirm stop|terminate ID - 0 once the pod is seen to be stopped (or gone); 1 when it is not in time.
_runpod_confirm() {
  local pause
  for pause in 0 $RUNPOD_CONFIRM; do
    [ "$pause" = 0 ] || core_sleep "$pause"
    _runpod_state "$2"
    case $1:$_RUNPOD_STATE in *:gone | *:ended | stop:stopped) return 0 ;; esac
  done
  return 1
}

# _runpod_state ID - sets _RUNPOD_STATE to what can be seen of the pod: running, stopped, gone (not listed and not
# known), ended (not listed, and not running), unknown. By runpodctl, else past it.
_runpod_state() {
  # A terminated pod that can still be looked at is EXITED, too, but for its runtimeStatus.
  local word='if .runtimeStatus == "terminated" then "TERMINATED" else .desiredStatus // "" | ascii_upcase end'
  _RUNPOD_STATE=UNKNOWN
  if runpodctl_list once; then
    _RUNPOD_STATE=$(jq -r --arg id "$1" "first(.[] | select(.id == \$id)) | $word" "$CORE_TMP/runpodctl.list")
    [ -n "$_RUNPOD_STATE" ] || {
      _RUNPOD_STATE=UNKNOWN
      if runpodctl_look "$CORE_TMP/runpod.pod" pod get "$1"; then
        _RUNPOD_STATE=$(jq -r "$word" "$CORE_TMP/runpod.pod" | sed 's/EXITED/ENDED/')
      elif [ "$RUNPODCTL_WHY" = gone ]; then
        _RUNPOD_STATE=GONE
      fi
    }
  fi
  if [ "$_RUNPOD_STATE" = UNKNOWN ] && runpodctl_graphql "{\"query\":\"{ pod(input: {podId: \\\"$1\\\"}) { id desiredStatus } }\"}"; then
    _RUNPOD_STATE=$(jq -r "if .data.pod == null then \"GONE\" else .data.pod | $word end" "$CORE_TMP/runpodctl.answer")
  fi
  case $_RUNPOD_STATE in
    EXITED | PAUSED) _RUNPOD_STATE=stopped ;;
    GONE | TERMINATED) _RUNPOD_STATE=gone ;;
    ENDED) _RUNPOD_STATE=ended ;;
    UNKNOWN | unknown | '') _RUNPOD_STATE=unknown ;;
    *) _RUNPOD_STATE=running ;;
  esac
}
