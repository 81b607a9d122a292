# shellcheck shell=bash
# server.sh - how ComfyUI of the loaded pod is: whether it answers, what it does, what it has; and how that is shown.
# What a server says may be anything: all of it goes through one pass of jq, which takes what has the right shape and
# leaves nothing in a text that a terminal would obey.

[ -z "${_AUTOPOD_SERVER_SH:-}" ] || return 0 # @guard
_AUTOPOD_SERVER_SH=1                         # @guard

. "$AUTOPOD_LIB/core.sh"
. "$AUTOPOD_LIB/os.sh"
. "$AUTOPOD_LIB/screen.sh"
. "$AUTOPOD_LIB/ui.sh"
. "$AUTOPOD_LIB/ssh.sh"
. "$AUTOPOD_LIB/http.sh"
. "$AUTOPOD_LIB/pod.sh"
. "$AUTOPOD_LIB/tunnel.sh"
. "$AUTOPOD_LIB/comfy.sh"

SERVER_MAX_BYTES=$((32 << 20)) # of one answer
SERVER_FOLDERS=200             # model folders that are looked into
SERVER_SECONDS=5               # for its answers, where somebody only wants to know how it is,
SERVER_LOGIN_SECONDS=8         # and for ssh
SERVER_INFO_SECONDS=30         # for all the answers of server_info
SERVER_PAUSE_LAST=15           # seconds between the later looks of server_wait

# What the last look has found: ready; starting; silent (it should have started by now); other (what answers is no
# ComfyUI); stopped (the pod does not run); unreachable (no ssh). Then in words, and what to do.
SERVER_STATE='' SERVER_TITLE='' SERVER_NOW='' SERVER_TODO=''
SERVER_GPU_BUSY='' # percent, by server_gpu

# What is asked; the first three are enough to know how it is. An unknown route is 404; /ws says 400 to a plain GET.
_SERVER_PATHS=(/system_stats /queue /prompt /features /models /embeddings /extensions '/history?max_items=1'
  /object_info/KSampler /internal/logs '/api/jobs?limit=1' /ws)

# Words for both programs below. Whatever is to be shown is a title and rows of [label, text].
_SERVER_WORDS='
  # Without what moves a cursor, turns the direction of writing, or has no width.
  def printable: explode | map(if . < 32 or (. >= 127 and . < 160) or (. >= 8203 and . <= 8207)
    or (. >= 8232 and . <= 8238) or (. >= 8288 and . <= 8303) or . == 65279 then 32 else . end) | implode;
  def words: if type == "string" then .[0:200] | printable else null end;
  def parsed: try fromjson catch null;
  def object: if type == "object" then . else {} end;
  def list: if type == "array" then . else null end;
  def names: if type == "array" then map(strings) else null end;
  def count: if type == "array" then length else null end;
  def whole: if type == "number" and . >= 0 and . < 1e15 then floor else null end;
  def decimal: . * 10 | floor | "\(. / 10 | floor).\(. % 10)";
  def gib: . / 1073741824 | decimal;
  def used($total; $free):
    if $total == null then "" elif $free == null or $free > $total then "\($total | gib) GiB"
    else "\($total - $free | gib) of \($total | gib) GiB in use" end;
  def device: object
    | {name: (.name | words), type: (.type | words), index: (.index | whole),
       vram_total: (.vram_total | whole), vram_free: (.vram_free | whole)}
    | select(.name or .type or .vram_total);
  def device_row: . as $device | (.name // .type // "a device without a name" | sub(" : .*$"; ""))
    | [., used($device.vram_total; $device.vram_free)] | map(select(. != "")) | join(": ")
    | [(if $device.type == "cpu" then "Memory" else "GPU memory" end), .];
  def queue_text:
    if .running != null and .pending != null then
      if .running + .pending == 0 then "idle" else "\(.running) running, \(.pending) waiting" end
    elif .remaining != null then "\(.remaining) running or waiting"
    else "not told" end;
  def version_text:
    [if .python then "Python \(.python)" else empty end, if .pytorch then "PyTorch \(.pytorch)" else empty end] as $by
    | if $by == [] then .version else "\(.version) (\($by | join(", ")))" end;

  ($stats | parsed | object) as $stats | ($stats.system | object) as $system | ($queue | parsed | object) as $queue
  | {version: ($system.comfyui_version | words // $version),
     python: ($system.python_version | words // "" | split(" ")[0]),
     pytorch: ($system.pytorch_version | words),
     frontend: ($system.required_frontend_version | words),
     ram: {total: ($system.ram_total | whole), free: ($system.ram_free | whole)},
     devices: [($stats.devices | list // [])[:32][] | device],
     queue: {running: ($queue.queue_running | count), pending: ($queue.queue_pending | count),
       remaining: ($prompt | parsed | object | .exec_info | object | .queue_remaining | whole)}} as $server
  | ([$server.devices[] | device_row] | if . == [] then [["Memory", "not told"]] else . end) as $memory_rows
  | [["Version", ($server | version_text)]] as $version_row
  | [["Queue", ($server.queue | queue_text)]] as $queue_row
  | [["Pod", $pod]] as $pod_row
  | [["Tunnel", if $url == "" then "none" else "\($url) → port \($port) on the pod" end]] as $tunnel_row'

# The end of both: an object, plain lines, or a box. Wide characters take two columns, combining ones none.
_SERVER_SHOW='
  def wide: . >= 4352 and (. <= 4447 or (. >= 11904 and . <= 42191) or (. >= 44032 and . <= 55203)
    or (. >= 63744 and . <= 64255) or (. >= 65072 and . <= 65135) or (. >= 65280 and . <= 65376)
    or (. >= 65504 and . <= 65510) or (. >= 127744 and . <= 129791) or (. >= 131072 and . <= 262141));
  def cell: if (. >= 768 and . <= 879) or (. >= 65024 and . <= 65039) then 0 elif wide then 2 else 1 end;
  def width: explode | map(cell) | add // 0;
  def arrows: if $utf8 != "" then . else gsub("→"; "->") | gsub("×"; "x") end;
  def fit: arrows | if $utf8 != "" then . else explode | map(if . > 126 and . != 160 then 63 else . end) | implode end;
  def spaced: gsub("\u00a0"; " "); # it has kept together what belongs together
  def chopped($most):
    reduce explode[] as $char ({done: [], now: [], n: 0}; ($char | cell) as $cells
      | if .n + $cells > $most then .done += [.now] | .now = [$char] | .n = $cells
        else .now += [$char] | .n += $cells end)
    | .done + [.now] | map(implode)[];
  def wrapped($most):
    reduce (split(" ")[] | chopped($most)) as $word ({done: [], now: null};
      if .now == null then .now = $word
      elif (.now | width) + 1 + ($word | width) > $most then .done += [.now] | .now = $word
      else .now += " " + $word end)
    | .done + [.now // ""];
  def filled($to): . + " " * ([$to - width, 0] | max);
  def box($columns):
    (if $utf8 != "" then "┌┐└┘─│├┤" else "++++-|++" end | split("")) as $line
    | ([$columns, 100] | min - 4) as $most
    | ([.rows[][0] | width] | max // 0) as $left
    | (.title | wrapped($most)) as $title
    | [.rows[] | . as $row | ($row[1] | wrapped($most - $left - 2)) | to_entries[]
        | (if .key == 0 then $row[0] else "" end | filled($left)) + "  " + .value] as $texts
    | ([$title[], $texts[] | width] | max) as $inner
    | def rule($from; $to): $line[$from] + $line[4] * ($inner + 2) + $line[$to];
      def side: $line[5] + " " + filled($inner) + " " + $line[5];
      rule(0; 1), ($title[] | side), rule(6; 7), ($texts[] | side), rule(2; 3);
  .rows |= map(select(.[1] != ""))
  | if $json != "" then .data
    elif ($columns | tonumber) >= 24 then
      {title: ("\($mark) \(.title)" | printable | fit), rows: (.rows | map(map(printable | fit)))}
      | box($columns | tonumber) | spaced
    else (.title | printable | arrows), (.rows[] | map(printable | arrows | spaced) | join(": ")) end'

_SERVER_STATUS='
  {title: $title,
   rows: ($pod_row + (if $state == "ready" then $version_row else [] end) + $tunnel_row
     + (if $state == "ready" then $queue_row + $memory_rows else [] end) + [["Now", $now], ["Help", $todo]]),
   data: ({ready: ($state == "ready"), state: $state, pod: $id, seconds_up: ($up | tonumber? // null),
     url: (if $url == "" then null else $url end), says: $title, now: $now, todo: $todo}
     + if $state == "ready" then $server else {} end)}'

# The model folders: the names that were asked for in $folders, what they hold in files whose names end in their number.
_SERVER_INFO='
  def brief($most):
    if length > $most then .[:$most] + ["and \(length - $most) more"] else . end | join(", ");
  def told(told): if . == null then "not told" elif . == [] then "none" else told end;
  def answers: .value == 200 or (.key == "/ws" and .value == 400);
  def pack: split("/") | map(select(. != "" and . != "extensions"))[0] // "" | words; # /extensions/PACK/file.js

  ($folders | split("\n") | map(select(. != ""))) as $folders
  | (reduce inputs as $line ({}; .[input_filename | split(".") | last] += $line + "\n")) as $held
  | ([range($folders | length) as $i | {key: $folders[$i], value: ($held["\($i)"] // "" | parsed | count)}]
     | from_entries) as $models
  | ($codes | split(" ") | map(tonumber)) as $codes
  | ([$paths | split(" ") | to_entries[] | {key: (.value | split("?")[0]), value: $codes[.key]}]
     | from_entries) as $endpoints
  | ($extensions | parsed | names) as $extensions
  | ($embeddings | parsed | names) as $embeddings
  | ($features | parsed | object | .max_upload_size | whole) as $limit
  | def ask(which): [$endpoints | to_entries[] | select(which) | .key] | join(" ");
    def folders(which): [$models | to_entries[] | select(.value | which) | .key | words] | brief(60);
    {title: $title,
     rows: ($pod_row + $version_row + $tunnel_row + $memory_rows
       + [["RAM", used($server.ram.total; $server.ram.free)]] + $queue_row
       + [["Uploads", if $limit then "at most \($limit / 1000000 | decimal) MB each" else "not told" end],
          ["Endpoints", ask(answers)],
          ["No answer", ask(answers | not)],
          ["Extensions", ($extensions
            | told(map(pack) | group_by(.) | map("\(.[0])\u00a0\(length)") | brief(30)))],
          ["Embeddings", ($embeddings | told("\(length): \(map(words) | brief(20))"))],
          ["Models", ([$models | to_entries[] | select(.value > 0) | "\(.key | words)\u00a0\(.value)"]
            | if $models == {} then null else . end | told(brief(60)))],
          ["Empty", folders(. == 0)],
          ["Not told", folders(. == null)]]),
     data: ({pod: $id, url: $url} + $server + {upload_limit_bytes: $limit, endpoints: $endpoints,
       extensions: $extensions, embeddings: $embeddings, models: $models})}'

# --- how it is ------------------------------------------------------------------------------------

# server_look - asks ComfyUI of the loaded pod how it is, once, through its tunnel, which is opened when there is none;
# sets SERVER_STATE and what goes with it. 0 unless nothing could be found out: EX_MISSING, EX_FAIL.
server_look() {
  local status=0 TUNNEL_LOGIN_SECONDS=$SERVER_LOGIN_SECONDS TUNNEL_PAUSE=_server_pause
  SERVER_STATE=ready SERVER_TITLE='ComfyUI: Ready' SERVER_NOW='' SERVER_TODO=''
  core_tmpdir || return
  if tunnel_find && _server_ask 3 "$SERVER_SECONDS"; then return; fi
  core_quietly tunnel_ensure 0 || status=$?
  # Asked once more in any case: what tunnel_ensure was told is not known here.
  if [ -n "$TUNNEL_URL" ] && _server_ask 3 "$SERVER_SECONDS"; then return; fi
  case $status in
    "$EX_POD")
      _server_is stopped "ComfyUI: Stopped ($CORE_ERROR)" '' \
        "${CORE_HINT:-autopod-start $POD_ID starts it again; autopod-ls shows all pods}"
      ;;
    0 | "$EX_TUNNEL") _server_is_not_ready ;;
    *) core_fail "$status" "$CORE_ERROR" "$CORE_HINT" || return ;;
  esac
  core_forget_error
}

# _server_pause SECONDS - for TUNNEL_PAUSE: the login is waited for, but nothing that a booting pod may still do.
_server_pause() { [ "$1" != "$POD_PACE" ] && core_sleep "$1"; }

# _server_is STATE TITLE NOW TODO
_server_is() { SERVER_STATE=$1 SERVER_TITLE=$2 SERVER_NOW=$3 SERVER_TODO=$4; }

# _server_is_not_ready - there is no ComfyUI at the other end of the tunnel, or no tunnel: is it still to come?
_server_is_not_ready() {
  local now=$CORE_ERROR look="autopod-logs --pod $POD_ID shows its log, autopod-ssh $POD_ID lets you look"
  if [ -n "$TUNNEL_URL" ] && [ "${HTTP_CODES[0]}" -gt 0 ] && [ "${HTTP_CODES[0]}" -lt 500 ]; then
    _server_is other \
      "ComfyUI: Not there (what answers at port $POD_COMFY_PORT is no ComfyUI, HTTP ${HTTP_CODES[0]})" '' \
      "is it the port of this image (AUTOPOD_COMFY_PORT)? autopod-ssh $POD_ID lets you look"
    return
  elif [ -n "$TUNNEL_URL" ]; then
    now="the tunnel is open, ComfyUI does not answer yet"
  else
    case $SSH_REASON in
      denied | hostkey | local)
        _server_is unreachable "ComfyUI: Unreachable ($CORE_ERROR)" '' "$CORE_HINT"
        return
        ;;
    esac
  fi
  pod_up
  if [ "${POD_UP:-0}" -gt "$AUTOPOD_BOOT_TIMEOUT" ]; then
    ui_duration "$POD_UP"
    _server_is silent "ComfyUI: Silent (the pod has run for $UI_TIME)" "$now" "$look"
  else
    _server_is starting "ComfyUI: Starting (container still initializing${POD_UP:+, $POD_UP s})" "$now" "$look"
  fi
}

# _server_ask N SECONDS - asks ComfyUI at TUNNEL_URL the first N of _SERVER_PATHS; 1 when it is not there.
_server_ask() {
  local HTTP_JSON_MAX=$SERVER_MAX_BYTES HTTP_TIMEOUT=$2 path urls=()
  for path in "${_SERVER_PATHS[@]:0:$1}"; do urls[${#urls[@]}]=$TUNNEL_URL$path; done
  http_get_many "$CORE_TMP/server" "${urls[@]}" && [ "${HTTP_CODES[0]}" = 200 ] && comfy_is_comfy "$CORE_TMP/server.0"
}

# server_wait SECONDS - looks until ComfyUI is ready, or can't become it by waiting, or the time is up; the pauses grow.
server_wait() {
  local began pause=1 deadline status=0
  os_now
  began=$OS_NOW deadline=$((OS_NOW + $1))
  ui_step ComfyUI
  while :; do
    server_look || {
      status=$?
      break
    }
    os_now
    case $SERVER_STATE in
      ready)
        ui_duration $((OS_NOW - began))
        ui_done "ready after $UI_TIME"
        return
        ;;
      stopped | unreachable) break ;;
    esac
    [ "$OS_NOW" -lt "$deadline" ] || break
    ui_duration $((OS_NOW - began))
    ui_progress "${SERVER_NOW:-$SERVER_TITLE}, $UI_TIME"
    [ "$pause" -le $((deadline - OS_NOW)) ] || pause=$((deadline - OS_NOW))
    core_sleep "$pause"
    pause=$((pause * 2 < SERVER_PAUSE_LAST ? pause * 2 : SERVER_PAUSE_LAST))
  done
  ui_duration $((OS_NOW - began))
  ui_failed "not ready after $UI_TIME"
  return "$status"
}

# server_need - 0 when ComfyUI of the loaded pod is ready, with its tunnel at TUNNEL_URL; EX_POD or EX_TUNNEL, told.
server_need() {
  local code=$EX_TUNNEL
  server_look || return
  [ "$SERVER_STATE" != ready ] || return 0
  [ "$SERVER_STATE" != stopped ] || code=$EX_POD
  core_fail "$code" "$SERVER_TITLE${SERVER_NOW:+: $SERVER_NOW}" "${SERVER_TODO}"
}

# server_show_status [json] - prints what the last look has found.
server_show_status() { _server_show "$_SERVER_STATUS" "${1:-}" </dev/null; }

# --- what it has ----------------------------------------------------------------------------------

# server_info - asks ComfyUI of the loaded pod, which is ready, for all that server_show_info shows; EX_TUNNEL.
server_info() {
  local HTTP_JSON_MAX=$SERVER_MAX_BYTES HTTP_TIMEOUT=$SERVER_INFO_SECONDS folder name urls=()
  _server_ask ${#_SERVER_PATHS[@]} "$SERVER_INFO_SECONDS" ||
    core_fail "$EX_TUNNEL" "ComfyUI of pod $POD_ID does not answer any more" \
      "comfy-status $POD_ID shows how it is" || return
  _SERVER_CODES="${HTTP_CODES[*]}"
  jq -n -r --rawfile models "$CORE_TMP/server.4" --argjson most "$SERVER_FOLDERS" \
    '$models | try fromjson catch null | if type == "array" then . else [] end
     | [.[] | strings | select(test("^(?!\\.\\.?$)[^\\p{C}/]{1,100}$"))] | unique | .[:$most][] | "\(@uri) \(.)"' \
    >"$CORE_TMP/folders" 2>/dev/null || : >"$CORE_TMP/folders"
  : >"$CORE_TMP/folder.names"
  while read -r folder name; do
    urls[${#urls[@]}]=$TUNNEL_URL/models/$folder
    printf '%s\n' "$name" >>"$CORE_TMP/folder.names"
  done <"$CORE_TMP/folders"
  [ "${#urls[@]}" = 0 ] || http_get_many "$CORE_TMP/folder" "${urls[@]}" || :
  _SERVER_FOLDERS=${#urls[@]}
}

# server_show_info [json] - prints what server_info has found.
server_show_info() {
  local i files=()
  for ((i = 0; i < _SERVER_FOLDERS; i++)); do
    files[i]=$CORE_TMP/folder.$i
    printf '\n' >>"${files[i]}" # else jq takes its last line and the first one of the next file for one
  done
  SERVER_TITLE="ComfyUI $COMFY_VERSION"
  _server_show "$_SERVER_INFO" "${1:-}" --arg codes "$_SERVER_CODES" --arg paths "${_SERVER_PATHS[*]}" \
    --rawfile features "$CORE_TMP/server.3" --rawfile embeddings "$CORE_TMP/server.5" \
    --rawfile extensions "$CORE_TMP/server.6" --rawfile folders "$CORE_TMP/folder.names" \
    -- ${files[@]+"${files[@]}"} </dev/null
}

# _server_show PROGRAM JSON [JQ_ARG...] - one pass of jq over all that was answered: an object when JSON is set, a box
# at a terminal, else plain lines; EX_FAIL.
_server_show() {
  local program="$_SERVER_WORDS | $1 | $_SERVER_SHOW" json=$2 i columns=0 format=-r
  shift 2
  for i in 0 1 2; do [ -e "$CORE_TMP/server.$i" ] || : >"$CORE_TMP/server.$i"; done
  [ -z "$json" ] || format=-ac # -a: also what only some terminals obey is written as an escape
  if [ -z "$json" ] && [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
    os_columns 2>&1 # the width of that terminal, not of the one for messages
    columns=$OS_COLUMNS
  fi
  case $SERVER_STATE in ready) ui_mark ok ;; starting) ui_mark warn ;; *) ui_mark bad ;; esac
  pod_price
  pod_up
  case $POD_STATUS in running | creating) ;; *) POD_UP='' ;; esac
  jq -n -R "$format" --rawfile stats "$CORE_TMP/server.0" --rawfile queue "$CORE_TMP/server.1" \
    --rawfile prompt "$CORE_TMP/server.2" --arg version "$COMFY_VERSION" --arg title "$SERVER_TITLE" \
    --arg state "$SERVER_STATE" --arg now "$SERVER_NOW" --arg todo "$SERVER_TODO" --arg id "$POD_ID" \
    --arg pod "$POD_ID, $POD_GPU, $POD_PRICE" --arg url "$TUNNEL_URL" --arg port "$POD_COMFY_PORT" \
    --arg up "$POD_UP" --arg json "$json" --arg columns "$columns" \
    --arg mark "$UI_MARK" --arg utf8 "$SCREEN_UTF8" "$program" "$@" 2>"$CORE_TMP/server.error" || {
    ui_log error "jq: $(<"$CORE_TMP/server.error")"
    core_fail "$EX_FAIL" "the answers of ComfyUI could not be shown" "is the disk of ${TMPDIR:-/tmp} full?"
  }
}

# --- its GPU --------------------------------------------------------------------------------------

# server_gpu - asks the loaded pod over ssh how busy its GPU is; sets SERVER_GPU_BUSY to percent (of the busiest one); 1
# when it can't be said: no nvidia-smi, no connection.
server_gpu() {
  local busy _rest shape='^[0-9]{1,3}$'
  SERVER_GPU_BUSY=''
  [ -n "$POD_ID" ] && [ -n "$POD_SSH_PORT" ] && core_tmpdir || return 1
  # nvidia-smi hangs when the driver does.
  ssh_run "$POD_ID" "$POD_SSH_HOST" "$POD_SSH_PORT" "$POD_SSH_USER" "${POD_SSH_KEY:-$AUTOPOD_SSH_KEY}" \
    "timeout 10 nvidia-smi --query-gpu=utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits" \
    </dev/null >"$CORE_TMP/gpu" 2>/dev/null || return 1
  while IFS=', ' read -r busy _rest; do
    [[ $busy =~ $shape ]] || continue
    [ "$((10#$busy))" -le "${SERVER_GPU_BUSY:--1}" ] || SERVER_GPU_BUSY=$((10#$busy))
  done <"$CORE_TMP/gpu"
  [ -n "$SERVER_GPU_BUSY" ]
}
