# shellcheck shell=bash
# autopod.bash - completion for Bash 3.2 and later. `make install` puts it where bash-completion finds
# it; without that: eval "$(autopod completion bash)".
# Written by `make completions`, from the --help of each command. Do not edit.

# _autopod_table COMMAND - sets what it takes: its options; the values, NAME=KIND for each option that has one (with :
# before KIND it may be left out, with = it stands only behind a =); the arguments, a KIND for each of them.
_autopod_table() {
  options='' values='' arguments=''
  case $1 in
    autopod)
      options='--version -h --help'
      ;;
    autopod-attach)
      options='-C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='RUN|JOB'
      ;;
    autopod-cancel)
      options='--all --timeout -C -q --quiet -v --verbose --debug --version -h --help'
      values='--timeout=- -C=DIR'
      arguments='RUN|JOB...'
      ;;
    autopod-connect)
      options='--gpu --gpu-count --datacenter --cloud --volume-id --volume-mount --image --template --disk --name
        --provider --max-price --max-cost --timeout --no-limit --require-guard -y --yes --no-tunnel -n --dry-run
        --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--gpu=- --gpu-count=- --datacenter=- --cloud=secure|community|secure,community --volume-id=-
        --volume-mount=- --image=- --template=- --disk=- --name=- --provider=local|runpod --max-price=- --max-cost=-
        --timeout=- -C=DIR'
      ;;
    autopod-cost)
      options='--since --by --reconcile --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--since=- --by=pod|day|job|template -C=DIR'
      ;;
    autopod-doctor)
      options='--fix --provider --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--provider=local|runpod -C=DIR'
      ;;
    autopod-extend)
      options='--timeout --max-cost --no-limit --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--timeout=- --max-cost=- -C=DIR'
      arguments='POD'
      ;;
    autopod-gpus)
      options='--provider --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--provider=local|runpod -C=DIR'
      arguments='-'
      ;;
    autopod-info)
      options='--json -C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='POD'
      ;;
    autopod-kill)
      options='--all -y --yes -C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='POD...'
      ;;
    autopod-logs)
      options='-f --follow -n --lines --pod --guard -C -q --quiet -v --verbose --debug --version -h --help'
      values='-n=- --lines=- -C=DIR'
      arguments='RUN|JOB|POD'
      ;;
    autopod-ls)
      options='--provider --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--provider=local|runpod -C=DIR'
      ;;
    autopod-ssh)
      options='-C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='POD --'
      ;;
    autopod-start)
      options='--max-cost --timeout --no-limit --require-guard -C -q --quiet -v --verbose --debug --version -h --help'
      values='--max-cost=- --timeout=- -C=DIR'
      arguments='POD'
      ;;
    autopod-status)
      options='--all --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='RUN|JOB'
      ;;
    autopod-stop)
      options='--all -y --yes -C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='POD...'
      ;;
    autopod-sweep)
      options='-y --yes --enforce --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      ;;
    autopod-tunnel)
      options='--port --status --stop --all --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--port=- -C=DIR'
      arguments='POD'
      ;;
    autopod-volumes)
      options='--provider --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--provider=local|runpod -C=DIR'
      ;;
    comfy-check)
      options='--url --header-file --auth-file --pod --object-info --set --input --prompt --negative --seed --json -C
        -q --quiet -v --verbose --debug --version -h --help'
      values='--url=- --header-file=FILE --auth-file=FILE --pod=POD --object-info=FILE --set=- --input=- --prompt=-
        --negative=- --seed=- -C=DIR'
      arguments='JOB.json...'
      ;;
    comfy-convert)
      options='-o --output --object-info --plain-text -C -q --quiet -v --verbose --debug --version -h --help'
      values='-o=FILE --output=FILE --object-info=FILE -C=DIR'
      arguments='-'
      ;;
    comfy-fetch)
      options='-o --output-dir --local-output --overwrite --json -C -q --quiet -v --verbose --debug --version -h
        --help'
      values='-o=DIR --output-dir=DIR --local-output=DIR -C=DIR'
      arguments='RUN|JOB...'
      ;;
    comfy-info)
      options='--json -C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='POD'
      ;;
    comfy-open)
      options='-C -q --quiet -v --verbose --debug --version -h --help'
      values='-C=DIR'
      arguments='POD'
      ;;
    comfy-params)
      options='--object-info --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--object-info=FILE -C=DIR'
      arguments='FILE'
      ;;
    comfy-run)
      options='-j --job --job-file --jobs -w --workflow --resume -C --prompt --negative --seed --width --height
        --batch-size --steps --cfg --denoise --input --set --image-id --output-folder --plain-text --pod --provider -y
        --yes --url --proxy --header-file --auth-file --no-tunnel --after --require-guard -o --output-dir
        --no-download --download --overwrite --allow-partial --timeout --max-cost --no-limit --stall-timeout
        --on-stall --object-info --no-check -n --dry-run --json -q --quiet -v --verbose --debug --version -h --help'
      values='-j=JOB.json --job=JOB.json --job-file=JOB.json --jobs=FILE -w=FILE --workflow=FILE --resume=RUN -C=DIR
        --prompt=- --negative=- --seed=- --width=- --height=- --batch-size=- --steps=- --cfg=- --denoise=- --input=-
        --set=- --image-id=- --output-folder=- --pod=POD --provider=local|runpod --url=- --header-file=FILE
        --auth-file=FILE --after=terminate|stop|keep -o=DIR --output-dir=DIR --timeout=- --max-cost=-
        --stall-timeout=- --on-stall=warn|cancel|stop --object-info=FILE --json==final'
      arguments='JOB.json...'
      ;;
    comfy-status)
      options='--wait --json -C -q --quiet -v --verbose --debug --version -h --help'
      values='--wait==- -C=DIR'
      arguments='POD'
      ;;
  esac
  values=" ${values//$'\n'/ } "
}

# _autopod_add WORD... - offers those that begin with what stands there
_autopod_add() {
  local word
  for word in "$@"; do
    case $word in "$current"*) COMPREPLY[${#COMPREPLY[@]}]=$word ;; esac
  done
}

# _autopod_add_files ARG... - offers what compgen ARG... finds
_autopod_add_files() {
  local file
  files=1
  while IFS= read -r file; do
    COMPREPLY[${#COMPREPLY[@]}]=$file
  done < <(compgen "$@" -- "$current")
}

# _autopod_add_pods - offers the pods that autopod knows, from its record: a key press asks nobody's API
_autopod_add_pods() {
  local pod
  while IFS= read -r pod; do
    _autopod_add "$pod"
  done < <(jq -r '.pods // {} | keys[]' "${AUTOPOD_HOME:-$HOME/.autopod}/pods.json" 2>/dev/null)
}

# _autopod_add_runs [JOBS] - offers the runs, or the jobs that they are of, from their directories
_autopod_add_runs() {
  local run before=''
  while IFS= read -r run; do
    if [ -n "${1-}" ]; then run=${run%.*.*}; fi
    if [ "$run" != "$before" ]; then _autopod_add "$run"; fi
    before=$run
  done < <(LC_ALL=C command ls "${AUTOPOD_HOME:-$HOME/.autopod}/runs" 2>/dev/null)
}

# _autopod_offer KIND - offers what is of that kind; several kinds have a | between them
_autopod_offer() {
  local kind IFS='|'
  # shellcheck disable=SC2086 # a list
  set -- $1
  IFS=$' \t\n'
  for kind in "$@"; do
    case $kind in
      POD) _autopod_add_pods ;;
      RUN) _autopod_add_runs ;;
      JOB) _autopod_add_runs jobs ;;
      DIR) _autopod_add_files -d ;;
      FILE) _autopod_add_files -f ;;
      JOB.json)
        _autopod_add_files -f -X '!*.json'
        _autopod_add_files -d
        ;;
      [a-z]*) _autopod_add "$kind" ;;
    esac
  done
}

# _autopod_program - sets which program the command line means, `autopod` while that is open, and where its words begin
_autopod_program() {
  local word=${COMP_WORDS[1]-}
  program=${COMP_WORDS[0]##*/}
  if [ "$program" != autopod ] || [ "$COMP_CWORD" -lt 2 ]; then return; fi
  first=2
  case $word in
    autopod-* | comfy-*) program=$word ;;
    help | completion | -*) ;;
    comfy)
      if [ "$COMP_CWORD" -gt 2 ]; then program=comfy-${COMP_WORDS[2]} first=3; fi
      ;;
    check | convert | fetch | open | params | run) program=comfy-$word ;;
    *) program=autopod-$word ;;
  esac
}

# _autopod_words - offers what `autopod` itself takes
_autopod_words() {
  local commands comfy
  commands='attach cancel connect cost doctor extend gpus info kill logs ls ssh start status stop sweep tunnel volumes
    check convert fetch open params run'
  comfy='check convert fetch info open params run status'
  # shellcheck disable=SC2086 # lists
  case $COMP_CWORD:${COMP_WORDS[1]-} in
    1:*) _autopod_add $commands comfy help completion $options ;;
    2:help | 2:-h | 2:--help) _autopod_add $commands comfy ;;
    2:completion) _autopod_add bash zsh ;;
    2:comfy) _autopod_add $comfy ;;
    3:*) if [ "${COMP_WORDS[2]}" = comfy ]; then _autopod_add $comfy; fi ;;
  esac
}

# _autopod_begin OPTION - this option stands there: sets the kind of its value
_autopod_begin() {
  option=$1 kind='' attached=''
  case $values in *" $1="*) kind=${values#*" $1="} kind=${kind%% *} ;; esac
}

# _autopod_takes WORD - is it the value of the option before it
_autopod_takes() {
  case $attached$kind in
    '' | =*) return 1 ;;
    :*) case $1 in -*) return 1 ;; esac ;;
  esac
}

# _autopod_pass WORD - goes past a word before the one at hand
_autopod_pass() {
  if [ -n "$dashes" ]; then
    count=$((count + 1))
  elif [ "$1" = = ] && [ -n "$option" ]; then
    attached=1
  elif _autopod_takes "$1"; then
    option='' kind='' attached=''
  else
    option='' kind=''
    case $1 in
      --) dashes=1 ;;
      --*=*) ;;
      -?*) _autopod_begin "$1" ;;
      *) count=$((count + 1)) ;;
    esac
  fi
}

# _autopod_value - offers the value of the option that stands before the word; 1 when something else may stand there
_autopod_value() {
  if [ -n "$dashes" ]; then return 1; fi
  case $current in
    =) if [ -n "$option" ]; then attached=1 current=''; fi ;;
    --*=*) # Bash 3.2 takes --name=value for one word, later ones for three
      _autopod_begin "${current%%=*}"
      attached=1 current=${current#*=}
      ;;
  esac
  case $attached$kind in
    '' | =*) return 1 ;;
    :*) case $current in -*) return 1 ;; esac ;;
  esac
  _autopod_offer "${kind#[:=]}"
  # A value that may be left out is no reason to offer nothing.
  case $attached$kind in :*) [ "${#COMPREPLY[@]}" -gt 0 ] ;; esac
}

# _autopod_argument - offers the argument that the word may be
_autopod_argument() {
  local argument last=''
  # shellcheck disable=SC2086 # a list
  for argument in $arguments; do
    if [ "$argument" = -- ]; then continue; fi
    last=$argument
    if [ "$count" = 0 ]; then break; fi
    count=$((count - 1)) argument=''
  done
  case $last in *...) argument=$last ;; esac
  _autopod_offer "${argument%...}"
}

# _autopod - the completion function
_autopod() {
  local IFS=$' \t\n' current=${COMP_WORDS[COMP_CWORD]} program='' first=1 options values arguments files=''
  local option='' kind='' attached='' dashes='' count=0 i
  COMPREPLY=()
  _autopod_program
  _autopod_table "$program"
  if [ "$program" = autopod ]; then
    _autopod_words
  else
    for ((i = first; i < COMP_CWORD; i++)); do _autopod_pass "${COMP_WORDS[i]}"; done
    if ! _autopod_value; then
      # shellcheck disable=SC2086 # a list
      case $dashes:$current:" $arguments " in
        1:*" -- "*) ;; # behind -- the words are the pod's business
        :-*) _autopod_add $options ;;
        *) _autopod_argument ;;
      esac
    fi
  fi
  # A name of ours is not to get a slash because a directory here has the same. (Bash 3.2 has no compopt.)
  if [ -z "$files" ]; then compopt +o filenames 2>/dev/null || :; fi
}

complete -o filenames -F _autopod autopod autopod-attach autopod-cancel autopod-connect autopod-cost autopod-doctor \
  autopod-extend autopod-gpus autopod-info autopod-kill autopod-logs autopod-ls autopod-ssh autopod-start \
  autopod-status autopod-stop autopod-sweep autopod-tunnel autopod-volumes comfy-check comfy-convert comfy-fetch \
  comfy-info comfy-open comfy-params comfy-run comfy-status
