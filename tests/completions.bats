#!/usr/bin/env bats
# The completions are what scripts/completions.sh makes of the headers in bin/: they know every command, every option
# that --help names and no other, and what its value may be.

load test_helper

# header LINE... - sets RECORDS to what scripts/header.awk makes of a command with this header
header() {
  mkdir -p bin
  { printf '#!/usr/bin/env bash\n#\n' && printf '# %s\n' "$@" | sed 's/ *$//' && printf '\nmain() { :; }\n'; } >bin/autopod-x
  RECORDS=$(awk -f "$ROOT/scripts/header.awk" bin/autopod-x)
}

# table LINE... - prints the lines about a command with this header in autopod.bash
table() {
  header "$@"
  printf '@TABLE@\n' >skeleton
  awk -f "$ROOT/scripts/completions.awk" -v providers='one|two' <(printf '%s\n' "$RECORDS") skeleton
}

# specs LINE... - the same in _autopod
specs() {
  header "$@"
  printf '@SPECS@\n' >skeleton
  awk -f "$ROOT/scripts/completions.awk" -v providers='one|two' <(printf '%s\n' "$RECORDS") skeleton
}

# commands - the commands there are, one a line
commands() { (cd "$ROOT/bin" && printf '%s\n' * | sort); }

# names - the same as `autopod NAME` takes them
names() { commands | sed -nE 's/^(autopod|comfy)-//p' | sort -u; }

# comfy_names - those of `autopod comfy NAME`
comfy_names() { commands | sed -n 's/^comfy-//p' | sort; }

# options - the options in the text on stdin, each once, sorted
options() { grep -oE '(^|[^A-Za-z0-9-])--?[A-Za-z][A-Za-z-]*' | sed -E 's/^[^-]+//' | sort -u; }

# help_options COMMAND - those of its option lines, where --help describes them
help_options() { "$AUTOPOD_BIN/$1" --help | grep -E '^ +-|^-[A-Za-z]' | options; }

# zsh_options COMMAND - those in completions/_autopod, without their texts
zsh_options() {
  sed -n -e '/^_autopod_specs()/,/^}/p' "$ROOT/completions/_autopod" | sed -n -e "/^    $1)/,/;;/p" |
    grep '^        ' | sed -E 's/[:[].*//' | options
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
  assert_equal "$(completions autopod '' | grep -v '^-' | sort)" \
    "$({ names && printf '%s\n' comfy completion help; } | sort)"
  assert_equal "$(completions autopod help '' | sort)" "$({ names && printf '%s\n' comfy; } | sort)"
  assert_equal "$(completions autopod help comfy '' | sort)" "$(comfy_names)"
  assert_equal "$(completions autopod completion '')" $'bash\nzsh'
  assert_equal "$(completions autopod comfy '' | sort)" "$(comfy_names)"
  assert_equal "$(completions autopod conn)" connect
  for name in $(names); do
    [ ! -e "$ROOT/bin/autopod-$name" ] ||
      assert_equal "$(completions autopod "$name" -)" "$(completions "autopod-$name" -)" "$name"
  done
  for name in $(comfy_names); do
    assert_equal "$(completions autopod comfy "$name" -)" "$(completions "comfy-$name" -)" "comfy $name"
    assert_equal "$(completions autopod "comfy-$name" -)" "$(completions "comfy-$name" -)" "comfy-$name"
    [ -e "$ROOT/bin/autopod-$name" ] ||
      assert_equal "$(completions autopod "$name" -)" "$(completions "comfy-$name" -)" "$name"
  done
  assert_equal "$(completions autopod run --provider '')" $'local\nrunpod'
}

@test "values: job files, directories, providers, pods, runs" {
  mkdir -p 'my jobs' "$AUTOPOD_HOME/runs/sunset.1" "$AUTOPOD_HOME/runs/.new.1.2" \
    "$AUTOPOD_HOME"/runs/sunset.20260101T000000Z.{00ab,00ac}
  touch 'a job.json' 'picture.png'
  echo '{"pods": {"local-abc": {}, "local-abd": {}, "local-xyz": {}}}' >"$AUTOPOD_HOME/pods.json"
  assert_equal "$(completions comfy-run --job a)" 'a job.json'
  assert_equal "$(completions comfy-run a)" 'a job.json'
  assert_equal "$(completions comfy-run '' | sort)" $'a job.json\nmy jobs'
  assert_equal "$(completions comfy-run --job = a)" 'a job.json'
  assert_equal "$(completions comfy-run --job=a)" 'a job.json' # one word, so Bash 3.2
  assert_equal "$(completions comfy-run --jobs p)" picture.png
  assert_equal "$(completions comfy-run -C my)" 'my jobs'
  assert_equal "$(completions comfy-run --provider l)" local
  assert_equal "$(completions autopod-connect --cloud = c)" community
  assert_equal "$(completions autopod-connect --cloud =)" $'secure\ncommunity\nsecure,community'
  assert_equal "$(completions autopod-connect --max-price '')" ''
  assert_equal "$(completions comfy-run --pod local-a)" $'local-abc\nlocal-abd'
  assert_equal "$(completions comfy-run --resume sunset.1)" sunset.1
  assert_equal "$(completions comfy-run --resume '')" \
    $'sunset.1\nsunset.20260101T000000Z.00ab\nsunset.20260101T000000Z.00ac'
  assert_equal "$(completions autopod-status s | grep -v '\.2' | sort -u)" $'sunset\nsunset.1'
  assert_equal "$(completions comfy-run --set '')" ''
  assert_equal "$(completions comfy-run --json =)" final
  assert_equal "$(completions comfy-run --json a)" 'a job.json'
  assert_equal "$(completions autopod-kill local-x)" local-xyz
  assert_equal "$(completions autopod-kill local-abc -y local-x)" local-xyz
  assert_equal "$(completions autopod-ssh local-x)" local-xyz
  assert_equal "$(completions autopod-ssh local-xyz l)" '' # it takes one pod
  assert_equal "$(completions autopod-ssh -C . l | head -n 1)" local-abc
  assert_equal "$(completions autopod-ssh local-xyz -- -)" ''
  assert_equal "$(completions autopod ssh -- l)" ''
  assert_equal "$(completions autopod-kill -- l | head -n 1)" local-abc
  assert_equal "$(completions autopod-ls '')" ''
  rm "$AUTOPOD_HOME/pods.json"
  assert_equal "$(completions autopod-kill '')" ''
}

@test "what the record says is offered, not run" {
  mkdir -p "$AUTOPOD_HOME"
  echo '{"pods": {"$(touch pwned)": {}, "*": {}}}' >"$AUTOPOD_HOME/pods.json"
  assert_equal "$(completions autopod-kill '')" '$(touch pwned)
*'
  refute_exists pwned
}

@test "zsh: the dispatcher's commands, then what the command takes" {
  command -v zsh >/dev/null || skip "no zsh on this machine"
  local name
  zsh -n "$ROOT/completions/_autopod"
  assert_equal "$(zsh_completions autopod help '' | sed 's/:.*//' | sort)" "$({ names && printf 'comfy\n'; } | sort)"
  assert_equal "$(zsh_completions autopod help comfy '' | sed 's/:.*//' | sort)" "$(comfy_names)"
  assert_contains ':command:_autopod_commands' "$(zsh_completions autopod '')"
  assert_equal "$(zsh_completions autopod completion '')" $'bash\nzsh'
  assert_equal "$(zsh_completions autopod comfy '' | sed 's/:.*//' | sort)" "$(comfy_names)"
  for name in $(names); do
    [ ! -e "$ROOT/bin/autopod-$name" ] ||
      assert_equal "$(zsh_completions autopod "$name" '')" "$(zsh_completions "autopod-$name" '')" "$name"
  done
  for name in $(comfy_names); do
    assert_equal "$(zsh_completions autopod comfy "$name" '')" "$(zsh_completions "comfy-$name" '')" "comfy $name"
    [ -e "$ROOT/bin/autopod-$name" ] ||
      assert_equal "$(zsh_completions autopod "$name" '')" "$(zsh_completions "comfy-$name" '')" "$name"
  done
}

@test "zsh: a real one takes every list of what a command takes, and knows pods, runs and jobs" {
  command -v zsh >/dev/null || skip "no zsh on this machine"
  mkdir -p "$AUTOPOD_HOME"/runs/{sunset.20260101T000000Z.00ab,other.20260101T000000Z.00ac}
  echo '{"pods": {"local-abc": {}}}' >"$AUTOPOD_HOME/pods.json"
  # What _arguments takes its list apart with works only in a completion that is under way, so at a terminal. A list is
  # not shown while more is typed, so the next word waits for the headline of each.
  cat >ask.zsh <<'ZSH'
zmodload zsh/zpty || exit 9
zpty z "TERM=dumb HOME=$HOME AUTOPOD_HOME=$AUTOPOD_HOME zsh -f -i"
hear() {
  local chunk
  said=''
  for ((tries = 0; tries < 600; tries++)); do
    while zpty -r -t z chunk; do said+=$chunk; done
    [[ $said != ${~1} ]] || return 0
    sleep 0.05
  done
}
zpty -w z "PS1=; unsetopt zle; fpath=($ROOT/completions \$fpath); autoload -U compinit; compinit -D -u; setopt zle"
zpty -w z 'zstyle ":completion:*" format "<%d>"; bindkey "^I" list-choices; LISTMAX=0; PS1=READ""Y'
hear '*READY*'
for line; do
  zpty -w -n z "$line"$'\t'
  hear '*<*>*'
  print -r -- "== $line" "$said"
  zpty -w z $'\C-uprint -r -- "_"next'
  hear '*_next*'
  print -r -- "$said"
done
zpty -d z
ZSH
  zsh -f ask.zsh 'autopod-kill ' 'comfy-run --resume=' 'autopod-status ' 'comfy-run --json=' 'autopod comfy ' \
    'autopod ssh x -- ' 'comfy-run --provider=' 2>&1 </dev/null | tr -d '\r' >said
  grep -q '^== ' said || skip "this zsh has no zpty"
  assert_contains local-abc "$(sed -n '/^== autopod-kill/,/_next/p' said)"
  assert_contains sunset.20260101T000000Z.00ab "$(sed -n '/^== comfy-run --resume/,/_next/p' said)"
  assert_matches 'other +sunset' "$(sed -n '/^== autopod-status/,/_next/p' said)"
  assert_contains '<final>' "$(sed -n '/^== comfy-run --json/,/_next/p' said)"
  assert_contains 'status' "$(sed -n '/^== autopod comfy/,/_next/p' said)"
  assert_contains '<no more arguments>' "$(sed -n '/^== autopod ssh/,/_next/p' said)"
  assert_matches 'local +runpod' "$(sed -n '/^== comfy-run --provider/,/_next/p' said)"
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

# --- the generator --------------------------------------------------------------------------------

@test "they are what scripts/completions.sh makes of bin/" {
  local file
  bash "$ROOT/scripts/completions.sh" made
  assert_equal "$(cd made && echo *)" '_autopod autopod.bash'
  for file in made/*; do
    cmp -s "$file" "$ROOT/completions/${file##*/}" || {
      diff "$ROOT/completions/${file##*/}" "$file" || :
      printf 'completions/%s is not what the headers of bin/ say now: run make completions\n' "${file##*/}"
      return 1
    }
  done
}

@test "a file that is as it should be is not written again" {
  bash "$ROOT/scripts/completions.sh" made
  touch -t 200001010000 made/*
  rm made/_autopod
  bash "$ROOT/scripts/completions.sh" made
  assert_equal "$(find made -newer "$ROOT/VERSION")" "$(find made -name _autopod -o -name made)"
}

@test "no line of the Bash file is longer than 120" {
  assert_equal "$(awk 'length > 120' "$ROOT/completions/autopod.bash")" ''
}

@test "the kind of a value and of an argument follows from its name in the header" {
  assert_equal "$(table 'Usage: autopod-x [options] RUN|JOB [POD...]' '' 'Does x.' '' \
    '-a, --all            all' '-o, --out DIR        there' '    --rate USD       dollars' \
    '    --from PROVIDER  from there' '    --mode a|b       either' "    --jobs 'GLOB'    these" \
    '    --set N=V        so' '    --stop [POD]     it' '    --json[=final]   an object')" \
    "    autopod-x)
      options='-a --all -o --out --rate --from --mode --jobs --set --stop --json'
      values='-o=DIR --out=DIR --rate=- --from=one|two --mode=a|b --jobs=FILE --set=- --stop=:POD --json==final'
      arguments='RUN|JOB POD...'
      ;;"
}

@test "an option of two lines is one; usages of several lines are joined; -- ends what is known" {
  assert_equal "$(table 'Usage: autopod-x [options] [POD]' '       autopod-x --stop [--port N [--more]] RUN' \
    '       autopod-x --at POD FILE [-- CMD [ARG...]]' '' 'Does x.' '' '    --json       all' '    --json=final the last' \
    '    --at POD     there')" "    autopod-x)
      options='--json --at'
      values='--json==final --at=POD'
      arguments='POD|RUN|FILE --'
      ;;"
}

@test "an option in the middle of a text is none; (also --other) is a name more" {
  assert_equal "$(table 'Usage: autopod-x' '' 'Does x with its' '--max and so on.' '' \
    '-j, --job FILE       a job (also --job-file, or just' '                     --none (also --quiet --json))' '' \
    '  autopod-x --code' '' 'Exit codes: 0 done.')" "    autopod-x)
      options='-j --job --job-file'
      values='-j=FILE --job=FILE --job-file=FILE'
      ;;"
}

@test "zsh: groups, texts and quotes" {
  assert_equal "$(specs 'Usage: autopod-x [POD]' '' 'Does x.' '' "-y, --yes            don't [ask] (as ever); never" \
    '    --set NAME=VALUE so' '-h, --help           this' '    --from PROVIDER  from: there' \
    '    --json[=final]   an object' '    --stop [POD]     it')" "    autopod-x)
      specs=(
        '(-y --yes)'{-y,--yes}'[don'\\''t \\[ask\\]]'
        '*--set=[so]:name=value:'
        '(- *)'{-h,--help}'[this]'
        '--from=[from: there]:provider:(one two)'
        '--json=-[an object]::final:(final)'
        '--stop=[it]::pod:_autopod_pods'
        '::pod:_autopod_pods'
      )
      ;;"
}
