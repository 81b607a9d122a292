# shellcheck shell=bash
# autopod.bash - completion for Bash 3.2 and later. `make install` puts it where bash-completion finds
# it; without that: eval "$(autopod completion bash)". tests/completions.bats compares the options with
# each --help.

# _autopod_options COMMAND - prints its options
_autopod_options() {
  printf '%s ' --version -h --help
  [ "$1" != autopod ] || return 0
  printf '%s ' -C -q --quiet -v --verbose --debug
  case $1 in
    autopod-connect)
      printf '%s ' --gpu --gpu-count --datacenter --cloud --volume-id --volume-mount --image --template \
        --disk --name --provider --max-price --max-cost --timeout -y --yes --no-tunnel -n --dry-run --json
      ;;
    autopod-ls | autopod-gpus | autopod-volumes) printf '%s ' --provider --json ;;
    autopod-info) printf '%s ' --json ;;
    autopod-stop | autopod-kill) printf '%s ' --all -y --yes ;;
    autopod-doctor) printf '%s ' --fix --provider --json ;;
    autopod-sweep) printf '%s ' -y --yes --json ;;
    comfy-run)
      printf '%s ' -j --job --job-file --jobs --resume --set --pod --provider -y --yes --url --no-tunnel \
        -o --output-dir --overwrite --allow-partial --timeout -n --dry-run --json
      ;;
  esac
}

# _autopod_pods - prints the ids of the pods that autopod knows, from its record: a key press asks nobody's API
_autopod_pods() { jq -r '.pods // {} | keys[]' "${AUTOPOD_HOME:-$HOME/.autopod}/pods.json" 2>/dev/null; }

# _autopod_runs - prints the names of the runs
_autopod_runs() {
  local run
  for run in "${AUTOPOD_HOME:-$HOME/.autopod}"/runs/*/; do
    run=${run%/}
    case $run in *'*') ;; *) printf '%s\n' "${run##*/}" ;; esac
  done
}

# _autopod_program - prints which program the command line means, `autopod` while that is open
_autopod_program() {
  local program=${COMP_WORDS[0]##*/}
  if [ "$program" = autopod ] && [ "$COMP_CWORD" -gt 1 ]; then
    case ${COMP_WORDS[1]} in
      autopod-* | comfy-*) program=${COMP_WORDS[1]} ;;
      run) program=comfy-run ;;
      comfy) [ "$COMP_CWORD" = 2 ] || program=comfy-${COMP_WORDS[2]} ;;
      help | completion | -*) ;;
      *) program=autopod-${COMP_WORDS[1]} ;;
    esac
  fi
  printf '%s\n' "$program"
}

# _autopod_words PREVIOUS CURRENT - prints what may stand behind PREVIOUS, which `autopod` itself takes
_autopod_words() {
  local commands='connect ls info ssh start stop kill gpus volumes doctor sweep run'
  case $1 in
    help | -h | --help) compgen -W "$commands" -- "$2" ;;
    completion) compgen -W 'bash zsh' -- "$2" ;;
    comfy) compgen -W run -- "$2" ;;
    *) [ "$COMP_CWORD" != 1 ] || compgen -W "$commands help completion $(_autopod_options autopod)" -- "$2" ;;
  esac
}

# _autopod_candidates PROGRAM PREVIOUS CURRENT - prints what may stand there, one a line
_autopod_candidates() {
  local word
  [ "$1" != autopod ] || {
    _autopod_words "$2" "$3"
    return
  }
  if [ "$1" = autopod-ssh ]; then # behind -- the words are the pod's business
    for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do [ "$word" != -- ] || return 0; done
  fi
  case $2 in
    -C | -o | --output-dir) compgen -d -- "$3" && return ;;
    --provider) compgen -W 'local runpod' -- "$3" && return ;;
    --cloud) compgen -W 'secure community secure,community' -- "$3" && return ;;
    --pod) compgen -W "$(_autopod_pods)" -- "$3" && return ;;
    --resume) compgen -W "$(_autopod_runs)" -- "$3" && return ;;
    --url | --set | --timeout | --gpu | --gpu-count | --datacenter | --volume-id | --volume-mount | --image | \
      --template | --disk | --name | --max-price | --max-cost) return ;;
  esac
  case $1:$3 in
    *:-*) compgen -W "$(_autopod_options "$1")" -- "$3" ;;
    comfy-run:*) compgen -f -X '!*.json' -- "$3" || compgen -d -- "$3" ;;
    autopod-info:* | autopod-ssh:* | autopod-start:* | autopod-stop:* | autopod-kill:*)
      compgen -W "$(_autopod_pods)" -- "$3"
      ;;
  esac
}

# _autopod - the completion function
_autopod() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} program line
  # --name=value comes as three words, since = is in COMP_WORDBREAKS.
  if [ "$current" = = ]; then
    current=''
  elif [ "$previous" = = ] && [ "$COMP_CWORD" -ge 2 ]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  program=$(_autopod_program)
  # A name of ours is not to get a slash because a directory here has the same. (Bash 3.2 has no compopt.)
  [ "$program" != autopod ] || compopt +o filenames 2>/dev/null || :
  while IFS= read -r line; do
    COMPREPLY[${#COMPREPLY[@]}]=$line
  done < <(_autopod_candidates "$program" "$previous" "$current")
}

complete -o filenames -F _autopod autopod autopod-connect autopod-ls autopod-info autopod-ssh autopod-start \
  autopod-stop autopod-kill autopod-gpus autopod-volumes autopod-doctor autopod-sweep comfy-run
