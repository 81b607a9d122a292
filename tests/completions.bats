#!/usr/bin/env bats
# The completions know every option that --help names, and no other.

load test_helper

COMMANDS=(autopod-connect autopod-ls autopod-info autopod-kill comfy-run)

# options - the options in the text on stdin, each once, sorted
options() { grep -oE '(^|[^A-Za-z0-9-])--?[A-Za-z][A-Za-z-]*' | sed -E 's/^[^-]+//' | sort -u; }

# help_options COMMAND - those of its option lines, where --help describes them
help_options() { "$AUTOPOD_BIN/$1" --help | grep -E '^ *-' | options; }

# zsh_options COMMAND - those in completions/_autopod, common ones included, without their texts
zsh_options() {
  {
    sed -n '/common=(/,/^  )/p' "$ROOT/completions/_autopod"
    sed -n "/^    $1)/,/;;/p" "$ROOT/completions/_autopod"
  } | sed -E 's/[:[].*//' | options
}

# completions WORD... - what Bash would offer for the last word of this command line
completions() {
  bash -c '
    . "$ROOT/completions/autopod.bash"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _autopod "$1"
    printf "%s\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}' completions "$@"
}

@test "every command has completions" {
  assert_equal "$(cd "$ROOT/bin" && printf '%s\n' *)" "$(printf '%s\n' "${COMMANDS[@]}" | sort)"
  assert_contains "complete -o filenames -F _autopod ${COMMANDS[*]}" "$(cat "$ROOT/completions/autopod.bash")"
  assert_contains "#compdef ${COMMANDS[*]}" "$(sed 1q "$ROOT/completions/_autopod")"
}

@test "Bash offers the options that --help names" {
  local name
  for name in "${COMMANDS[@]}"; do
    assert_contains --help "$(help_options "$name")"
    assert_equal "$(completions "$name" - | sort)" "$(help_options "$name")" "$name"
  done
}

@test "zsh offers the options that --help names" {
  local name
  for name in "${COMMANDS[@]}"; do
    assert_equal "$(zsh_options "$name")" "$(help_options "$name")" "$name"
  done
}

@test "values: job files, directories, providers, pods, runs" {
  mkdir -p 'my jobs' "$AUTOPOD_HOME/runs/sunset.1"
  touch 'a job.json' 'picture.png'
  stub autopod-ls <<<"printf '{\"id\":\"local-%s\"}\n' abc abd xyz"
  assert_equal "$(completions comfy-run --job a)" 'a job.json'
  assert_equal "$(completions comfy-run a)" 'a job.json'
  assert_equal "$(completions comfy-run --job = a)" 'a job.json'
  assert_equal "$(completions comfy-run -C my)" 'my jobs'
  assert_equal "$(completions comfy-run --provider l)" local
  assert_equal "$(completions comfy-run --pod local-a)" $'local-abc\nlocal-abd'
  assert_equal "$(completions comfy-run --resume s)" sunset.1
  assert_equal "$(completions comfy-run --set '')" ''
  assert_equal "$(completions autopod-kill local-x)" local-xyz
  assert_equal "$(completions autopod-ls '')" ''
}

@test "zsh reads its file" {
  command -v zsh >/dev/null || skip "no zsh on this machine"
  zsh -n "$ROOT/completions/_autopod"
}
