#!/usr/bin/env bats
# The completions know every command that is in bin/ and every option that --help names, and no other.

load test_helper

# commands - the commands there are, one a line
commands() { (cd "$ROOT/bin" && printf '%s\n' * | sort); }

# names - the same as `autopod NAME` takes them
names() { commands | sed -nE 's/^(autopod|comfy)-//p' | sort; }

# options - the options in the text on stdin, each once, sorted
options() { grep -oE '(^|[^A-Za-z0-9-])--?[A-Za-z][A-Za-z-]*' | sed -E 's/^[^-]+//' | sort -u; }

# help_options COMMAND - those of its option lines, where --help describes them
help_options() { "$AUTOPOD_BIN/$1" --help | grep -E '^ +-|^-[A-Za-z]' | options; }

# zsh_options COMMAND - those in completions/_autopod, common ones included, without their texts
zsh_options() {
  if [ "$1" = autopod ]; then
    sed -n '/own=(/,/)$/p' "$ROOT/completions/_autopod"
  else
    sed -n '/common=(/,/^  )/p' "$ROOT/completions/_autopod"
    awk -v name="$1" '/^    (autopod-|comfy-|\*)[a-z |-]*\)/ {
        here = index(" " $0, " " name " ") + index(" " $0, " " name ")")
      }
      here' "$ROOT/completions/_autopod"
  fi | sed -E 's/[:[].*//' | options
}

# completions WORD... - what Bash would offer for the last word of this command line
completions() {
  bash -c '
    . "$ROOT/completions/autopod.bash"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _autopod "$1"
    printf "%s\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}' completions "$@"
}

# zsh_completions WORD... - what zsh's own functions are told to offer for the last word
zsh_completions() {
  zsh -f -c '
    _arguments() { print -rl -- "$@" }
    _describe() { print -rl -- ${(P)2} }
    _values() { print -rl -- "${@:2}" }
    compdef() { }
    . "$ROOT/completions/_autopod"
    words=("$@") CURRENT=$# service=$1
    _autopod' completions "$@"
}

@test "every command has completions" {
  local list
  list=$(sed -n -e '/^complete /,$p' "$ROOT/completions/autopod.bash" | tr ' ' '\n' | grep -E '^(autopod|comfy)')
  assert_equal "$(sort <<<"$list")" "$(commands)" 'complete in autopod.bash'
  list=$(sed -n -e '1s/#compdef //p' "$ROOT/completions/_autopod" | tr ' ' '\n')
  assert_equal "$(sort <<<"$list")" "$(commands)" '#compdef in _autopod'
  list=$(sed -n -e '/^  compdef _autopod /,/^fi/p' "$ROOT/completions/_autopod" | tr ' ' '\n' |
    grep -E '^(autopod|comfy)')
  assert_equal "$(sort <<<"$list")" "$(commands)" 'compdef in _autopod'
}

@test "Bash offers the options that --help names" {
  local name
  for name in $(commands); do
    assert_contains --help "$(help_options "$name")"
    assert_equal "$(completions "$name" - | sort)" "$(help_options "$name")" "$name"
  done
}

@test "zsh offers the options that --help names" {
  local name
  for name in $(commands); do
    assert_equal "$(zsh_options "$name")" "$(help_options "$name")" "$name"
  done
}

@test "the dispatcher: its commands, then what the command takes" {
  local name
  mkdir run # no slash behind the command of this name
  assert_equal "$(completions autopod '' | grep -v '^-' | sort)" "$({ names && printf '%s\n' completion help; } | sort)"
  assert_equal "$(completions autopod help '' | sort)" "$(names)"
  assert_equal "$(completions autopod completion '')" $'bash\nzsh'
  assert_equal "$(completions autopod comfy '')" run
  assert_equal "$(completions autopod conn)" connect
  for name in $(names); do
    [ "$name" = run ] || assert_equal "$(completions autopod "$name" -)" "$(completions "autopod-$name" -)" "$name"
  done
  for name in run comfy-run 'comfy run'; do
    # shellcheck disable=SC2086 # two words
    assert_equal "$(completions autopod $name -)" "$(completions comfy-run -)" "$name"
  done
  assert_equal "$(completions autopod run --provider '')" $'local\nrunpod'
}

@test "values: job files, directories, providers, pods, runs" {
  mkdir -p 'my jobs' "$AUTOPOD_HOME/runs/sunset.1"
  touch 'a job.json' 'picture.png'
  echo '{"pods": {"local-abc": {}, "local-abd": {}, "local-xyz": {}}}' >"$AUTOPOD_HOME/pods.json"
  assert_equal "$(completions comfy-run --job a)" 'a job.json'
  assert_equal "$(completions comfy-run a)" 'a job.json'
  assert_equal "$(completions comfy-run --job = a)" 'a job.json'
  assert_equal "$(completions comfy-run -C my)" 'my jobs'
  assert_equal "$(completions comfy-run --provider l)" local
  assert_equal "$(completions autopod-connect --cloud = c)" community
  assert_equal "$(completions autopod-connect --max-price '')" ''
  assert_equal "$(completions comfy-run --pod local-a)" $'local-abc\nlocal-abd'
  assert_equal "$(completions comfy-run --resume s)" sunset.1
  assert_equal "$(completions comfy-run --set '')" ''
  assert_equal "$(completions autopod-kill local-x)" local-xyz
  assert_equal "$(completions autopod-ssh local-x)" local-xyz
  assert_equal "$(completions autopod-ssh local-xyz -- -)" ''
  assert_equal "$(completions autopod ssh -- l)" ''
  assert_equal "$(completions autopod-ls '')" ''
  rm "$AUTOPOD_HOME/pods.json"
  assert_equal "$(completions autopod-kill '')" ''
}

@test "zsh: the dispatcher's commands, then what the command takes" {
  command -v zsh >/dev/null || skip "no zsh on this machine"
  local name
  zsh -n "$ROOT/completions/_autopod"
  assert_equal "$(zsh_completions autopod help '' | sed 's/:.*//' | sort)" "$(names)"
  assert_contains ':command:_autopod_commands' "$(zsh_completions autopod '')"
  assert_equal "$(zsh_completions autopod completion '')" $'bash\nzsh'
  assert_matches '^run' "$(zsh_completions autopod comfy '')"
  for name in $(names); do
    [ "$name" != run ] || continue
    assert_equal "$(zsh_completions autopod "$name" '')" "$(zsh_completions "autopod-$name" '')" "$name"
  done
  for name in run comfy-run 'comfy run'; do
    # shellcheck disable=SC2086 # two words
    assert_equal "$(zsh_completions autopod $name '')" "$(zsh_completions comfy-run '')" "$name"
  done
}

@test "autopod completion prints these files, and the shells take them by eval" {
  run "$AUTOPOD_BIN/autopod" completion bash
  assert_equal "$output" "$(cat "$ROOT/completions/autopod.bash")"
  assert_equal "$(bash -c 'eval "$1" && complete -p autopod-ls' bash "$output")" \
    'complete -o filenames -F _autopod autopod-ls'
  run "$AUTOPOD_BIN/autopod" completion zsh
  assert_equal "$output" "$(cat "$ROOT/completions/_autopod")"
  command -v zsh >/dev/null || skip "no zsh on this machine"
  zsh -f -c 'compdef() { print -r -- "$*" }; eval "$1"' zsh "$output" >said
  assert_contains '_autopod autopod ' "$(cat said)"
}
