# shellcheck shell=bash
# autopod.bash - completion for Bash 3.2 and later. Source it, or let `make install` put it where
# bash-completion finds it. tests/completions.bats compares the options with each --help.

# _autopod_options COMMAND - prints its options
_autopod_options() {
  printf '%s ' -C -q --quiet -v --verbose --debug --version -h --help
  case $1 in
    autopod-connect) printf '%s ' --provider --no-tunnel --json ;;
    autopod-ls) printf '%s ' --provider --json ;;
    autopod-info) printf '%s ' --json ;;
    autopod-kill) printf '%s ' --all ;;
    comfy-run)
      printf '%s ' -j --job --job-file --jobs --resume --set --pod --provider --url --no-tunnel \
        -o --output-dir --overwrite --allow-partial --timeout -n --dry-run --json
      ;;
  esac
}

# _autopod_pods - prints the ids of the pods that autopod knows
_autopod_pods() { autopod-ls --json 2>/dev/null | jq -r .id 2>/dev/null; }

# _autopod_runs - prints the names of the runs
_autopod_runs() {
  local run
  for run in "${AUTOPOD_HOME:-$HOME/.autopod}"/runs/*/; do
    run=${run%/}
    case $run in *'*') ;; *) printf '%s\n' "${run##*/}" ;; esac
  done
}

# _autopod_candidates COMMAND PREVIOUS CURRENT - prints what may stand there, one a line
_autopod_candidates() {
  case $2 in
    -C | -o | --output-dir) compgen -d -- "$3" && return ;;
    --provider) compgen -W local -- "$3" && return ;;
    --pod) compgen -W "$(_autopod_pods)" -- "$3" && return ;;
    --resume) compgen -W "$(_autopod_runs)" -- "$3" && return ;;
    --url | --set | --timeout) return ;;
  esac
  case $1:$3 in
    *:-*) compgen -W "$(_autopod_options "$1")" -- "$3" ;;
    comfy-run:*) compgen -f -X '!*.json' -- "$3" || compgen -d -- "$3" ;;
    autopod-info:* | autopod-kill:*) compgen -W "$(_autopod_pods)" -- "$3" ;;
  esac
}

# _autopod COMMAND - the completion function
_autopod() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} line
  # --name=value comes as three words, since = is in COMP_WORDBREAKS.
  if [ "$current" = = ]; then
    current=''
  elif [ "$previous" = = ] && [ "$COMP_CWORD" -ge 2 ]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY[${#COMPREPLY[@]}]=$line
  done < <(_autopod_candidates "${1##*/}" "$previous" "$current")
}

complete -o filenames -F _autopod autopod-connect autopod-ls autopod-info autopod-kill comfy-run
