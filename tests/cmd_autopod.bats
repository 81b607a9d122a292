# autopod, the dispatcher: it becomes the command that stands beside it, and knows what there is.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load cmd_helper

# autopod_ ARG... - `run`s it, its two outputs apart
autopod_() { run --separate-stderr "$AUTOPOD_BIN/autopod" "$@"; }

# commands - the other commands, one a line
commands() { (cd "$AUTOPOD_BIN" && printf '%s\n' autopod-* comfy-*); }

# called COMMAND - how `autopod` is told to run it: comfy-NAME by `comfy NAME` where there is an autopod-NAME
called() {
  case $1 in
    autopod-*) printf '%s\n' "${1#*-}" ;;
    *) if [ -e "$AUTOPOD_BIN/autopod-${1#*-}" ]; then printf '%s\n' "comfy ${1#*-}"; else printf '%s\n' "${1#*-}"; fi ;;
  esac
}

# alone - puts a copy of it into ./my tree/bin, with what it needs and without other commands
alone() {
  mkdir -p 'my tree/bin'
  cp "$AUTOPOD_BIN/autopod" 'my tree/bin'
  if [ -d "$ROOT/lib" ]; then ln -s "$ROOT/lib" "$ROOT/VERSION" "$ROOT/completions" 'my tree'; fi
}

# beside NAME - makes a command beside the copy; its Bash source is on stdin
beside() {
  { printf '#!/usr/bin/env bash\n#\n# Usage: %s\n#\n# Does %s. And more.\n\n' "$1" "$1" && cat; } >"my tree/bin/$1"
  chmod +x "my tree/bin/$1"
}

# --- help -----------------------------------------------------------------------------------------

@test "--help: usage, and a line for each command that is there, in 80 columns, without a cut word" {
  local name does shown
  autopod_ --help
  assert_status 0
  assert_equal "$stderr" ''
  assert_contains 'Usage: autopod COMMAND'
  assert_equal "$(awk 'length > 80' <<<"$output")" ''
  refute_contains ' ...'
  refute_contains 'More:'
  for name in $(commands); do
    shown=$(called "$name")
    assert_equal "$(grep -cE "^  $shown  +[A-Z]" <<<"$output")" 1 "lines about $name"
    does=$(sed -nE "s/^  $shown  +//p" <<<"$output")
    assert_contains "${does%[, ]*}" "$("$AUTOPOD_BIN/$name" --help | tr '\n' ' ')"
  done
  assert_equal "$(grep -cE '^  [a-z ]*[a-z]  +[A-Z]' <<<"$output")" "$(($(commands | wc -l)))" 'commands in the help'
  assert_equal "$("$AUTOPOD_BIN/autopod" -h)" "$output"
  assert_equal "$("$AUTOPOD_BIN/autopod" help)" "$output"
}

@test "help NAME, --help NAME and NAME --help are the command's own" {
  local name text called
  for name in $(commands); do
    text=$("$AUTOPOD_BIN/$name" --help)
    read -r -a called <<<"$(called "$name")"
    assert_contains "Usage: $name" "$text"
    assert_equal "$("$AUTOPOD_BIN/autopod" help "${called[@]}")" "$text"
    assert_equal "$("$AUTOPOD_BIN/autopod" help "$name")" "$text"
    assert_equal "$("$AUTOPOD_BIN/autopod" --help "${called[@]}")" "$text"
    assert_equal "$("$AUTOPOD_BIN/autopod" "${called[@]}" --help)" "$text"
  done
  assert_equal "$("$AUTOPOD_BIN/autopod" help comfy run)" "$("$AUTOPOD_BIN/comfy-run" --help)"
  assert_equal "$("$AUTOPOD_BIN/autopod" help help)" "$("$AUTOPOD_BIN/autopod" --help)"
  autopod_ help lss
  assert_status 2
  assert_contains 'did you mean ls?' "$stderr"
}

@test "a command that we do not know, and one whose first sentence is too long for a line" {
  alone
  beside autopod-ls <<<exit
  beside autopod-mine <<<exit
  printf '%s\n' '#!/bin/sh' '#' '# Usage: x' '#        y' '#' \
    '# Looks here, there: at each thing, at every thing that there is in the world,' \
    '# and under it. More' '#' '# And more.' >'my tree/bin/autopod-long'
  printf '%s\n' '#!/bin/sh' '#' '# Looks here, there, at each and every thing there is in the city, yes, yes' \
    >'my tree/bin/autopod-commas'
  printf '#!/bin/sh\n#\n# %s\n' "$(printf 'word%.0s ' $(seq 30))" >'my tree/bin/comfy-words'
  printf 'no program\n' >'my tree/bin/autopod-text'
  mkdir 'my tree/bin/autopod-directory'
  chmod +x 'my tree/bin/'{autopod-long,autopod-commas,comfy-words}
  run 'my tree/bin/autopod' --help
  assert_status 0
  assert_contains $'Pods:\n  ls            Does autopod-ls\n\nMore:\n'
  assert_contains '  mine          Does autopod-mine'
  assert_contains $'  long          Looks here, there\n'
  assert_contains $'  commas        Looks here, there, at each and every thing there is in the city\n'
  assert_matches '  words         word(word| )*\.\.\.'
  assert_equal "$(awk 'length > 80' <<<"$output")" ''
  refute_contains '  text'
  refute_contains '  directory'
}

@test "no command: the help on stderr, and exit 2" {
  autopod_
  assert_status 2
  assert_equal "$output" ''
  assert_equal "$stderr" "$("$AUTOPOD_BIN/autopod" --help)"
  autopod_ ''
  assert_status 2
}

@test "--version, with nothing read or written" {
  printf 'AUTOPOD_PORT="\n' >.env
  autopod_ --version
  assert_status 0
  assert_matches '^autopod [0-9]+\.[0-9]+\.[0-9]+$'
  assert_equal "$("$AUTOPOD_BIN/autopod" ls --version)" "${output/autopod/autopod-ls}"
  autopod_ --help
  assert_status 0
  refute_exists "$AUTOPOD_HOME"
}

# --- becoming a command ---------------------------------------------------------------------------

@test "every name of a command" {
  local name called
  for name in $(commands); do
    read -r -a called <<<"$(called "$name")"
    assert_equal "$("$AUTOPOD_BIN/autopod" "${called[@]}" --version)" "$("$AUTOPOD_BIN/$name" --version)"
    case $name in comfy-*)
      assert_equal "$("$AUTOPOD_BIN/autopod" comfy "${name#*-}" --version)" "$("$AUTOPOD_BIN/$name" --version)"
      ;;
    esac
    assert_equal "$("$AUTOPOD_BIN/autopod" "$name" --version)" "$("$AUTOPOD_BIN/$name" --version)"
  done
  assert_matches '^comfy-run ' "$("$AUTOPOD_BIN/autopod" run --version)"
  assert_matches '^comfy-run ' "$("$AUTOPOD_BIN/autopod" comfy run --version)"
  assert_matches '^comfy-run ' "$("$AUTOPOD_BIN/autopod" comfy-run --version)"
}

@test "two commands of the same name: autopod-NAME is NAME, comfy-NAME is comfy NAME, each is listed once" {
  local name
  alone
  for name in autopod-x comfy-x comfy-y autopod-xylophone; do beside "$name" <<<"echo $name"; done
  assert_equal "$('my tree/bin/autopod' x)" autopod-x
  assert_equal "$('my tree/bin/autopod' comfy x)" comfy-x
  assert_equal "$('my tree/bin/autopod' comfy-x)" comfy-x
  assert_equal "$('my tree/bin/autopod' y)" comfy-y
  assert_equal "$('my tree/bin/autopod' comfy y)" comfy-y
  assert_equal "$('my tree/bin/autopod' --help | sed -n '/^More:/,$p')" 'More:
  x             Does autopod-x
  xylophone     Does autopod-xylophone
  comfy x       Does comfy-x
  y             Does comfy-y'
  run --separate-stderr 'my tree/bin/autopod' xylofone
  assert_contains 'did you mean xylophone?' "$stderr"
  run --separate-stderr 'my tree/bin/autopod' comfyx
  assert_status 2
  assert_contains 'did you mean comfy x?' "$stderr"
  run --separate-stderr 'my tree/bin/autopod' comfy xy
  assert_contains 'did you mean comfy x or comfy y?' "$stderr"
}

@test "arguments, standard files and the exit code are the command's; so is the process" {
  alone
  beside autopod-show <<'SH'
printf '<%s>' "$@"
cat
echo talk >&2
echo "$$" >pid
exit 7
SH
  run --separate-stderr 'my tree/bin/autopod' show 'a b' '' '*' --help -- '$HOME' <<<data
  assert_status 7
  assert_equal "$output" '<a b><><*><--help><--><$HOME>data'
  assert_equal "$stderr" talk
  'my tree/bin/autopod' show </dev/null >/dev/null 2>&1 3>&- &
  local pid=$!
  wait "$pid" || assert_equal "$?" 7
  assert_equal "$(cat pid)" "$pid" 'process of the command'
}

@test "a signal ends the command, and the caller sees it" {
  local signal
  alone
  beside autopod-wait <<'SH'
trap 'echo caught; exit 9' HUP
: >ready
while :; do sleep 0.1; done
SH
  for signal in TERM HUP; do
    rm -f ready
    'my tree/bin/autopod' wait >said 2>&1 </dev/null 3>&- &
    COMMAND_PID=$!
    wait_until 10 test -e ready
    kill_command "$signal"
    status=0
    wait "$COMMAND_PID" || status=$?
    COMMAND_PID=''
    case $signal in
      TERM) assert_status 143 ;;
      HUP)
        assert_status 9
        assert_equal "$(cat said)" caught
        ;;
    esac
  done
}

@test "through symbolic links, by PATH, and by its bare name" {
  alone
  beside autopod-where <<<'echo here'
  ln -s "$PWD/my tree/bin/autopod" absolute
  ln -s 'my tree/bin/autopod' relative
  mkdir links
  ln -s ../relative links/ap
  local way
  for way in ./absolute ./relative links/ap; do
    assert_equal "$("$way" where)" here "$way"
    assert_contains '  where         Does autopod-where' "$("$way" --help)"
  done
  assert_equal "$(PATH="$PWD/links:$PATH" ap where)" here
  assert_equal "$(cd 'my tree/bin' && bash autopod where)" here
  assert_equal "$(CDPATH="$PWD/my tree" && export CDPATH && cd 'my tree' && bin/autopod where)" here
}

@test "shell options of the caller change nothing" {
  local options
  for options in SHELLOPTS=noglob:noclobber BASHOPTS=nullglob:failglob:nocasematch:dotglob; do
    run env "$options" "$AUTOPOD_BIN/autopod" ls --version
    assert_status 0
    assert_matches '^autopod-ls [0-9]'
    assert_equal "$(env "$options" "$AUTOPOD_BIN/autopod" --help)" "$("$AUTOPOD_BIN/autopod" --help)" "$options"
  done
}

# --- what there is not ----------------------------------------------------------------------------

@test "an unknown command: exit 2, and which one may have been meant" {
  local name meant
  while read -r name meant; do
    autopod_ "$name" --json
    assert_status 2
    assert_equal "$output" ''
    assert_contains "autopod: error: there is no command \"$name\"" "$stderr"
    assert_contains "did you mean $meant?" "$stderr"
    assert_contains 'autopod help lists them' "$stderr"
  done <<'NAMES'
lss ls
LS ls
inof info
kil kill
conect connect
comp completion
stauts status
canecl cancel
NAMES
  autopod_ comfy
  assert_status 2
  for name in "$AUTOPOD_BIN"/comfy-*; do
    assert_matches "did you mean .*comfy ${name##*/comfy-}( or|\?)" "$stderr"
  done
  autopod_ comfy rnu one.json
  assert_status 2
  assert_contains 'there is no command "comfy rnu"' "$stderr"
  assert_contains 'did you mean comfy run?' "$stderr"
  autopod_ frobnicate
  assert_status 2
  refute_contains 'did you mean' "$stderr"
}

@test "a name that is a path, a pattern or a command is none" {
  local name
  alone
  beside autopod-ls <<<'echo real'
  mkdir 'my tree/bin/autopod-x'
  printf '#!/bin/sh\ntouch pwned\n' >'my tree/evil'
  chmod +x 'my tree/evil'
  for name in x/../../evil ../evil ./ls 'l?' '*' '$(touch pwned)' ';touch pwned' 'ls ' $'ls\n' .; do
    run --separate-stderr 'my tree/bin/autopod' "$name"
    assert_status 2
    assert_contains 'there is no command' "$stderr"
  done
  refute_exists pwned
}

@test "an unknown option: which one may have been meant, and where options stand" {
  local name
  autopod_ --versoin
  assert_status 2
  assert_contains 'unknown option: --versoin' "$stderr"
  assert_contains 'did you mean --version?' "$stderr"
  autopod_ -q ls
  assert_status 2
  assert_contains 'behind its name' "$stderr"
  local called
  for name in $(commands); do # each knows its own by its --help
    read -r -a called <<<"$(called "$name")"
    autopod_ "${called[@]}" --quite
    assert_status 2
    assert_contains "$name: error: unknown option: --quite" "$stderr"
    assert_contains "did you mean --quiet? $name --help lists them" "$stderr"
  done
  autopod_ ls --josn
  assert_contains 'did you mean --json?' "$stderr"
  autopod_ run --dry
  assert_contains 'did you mean --dry-run?' "$stderr"
  autopod_ ls --xyz
  assert_status 2
  refute_contains 'did you mean' "$stderr"
}

@test "a build without the others beside it" {
  grep -q AUTOPOD_BUNDLED=1 "$AUTOPOD_BIN/autopod" || skip "only a build can be copied alone"
  alone
  run --separate-stderr 'my tree/bin/autopod' ls
  assert_status 3
  assert_contains 'no commands stand beside autopod in my tree/bin' "$stderr"
  run --separate-stderr 'my tree/bin/autopod' --help
  assert_status 0
  assert_contains 'No commands stand beside it'
  run --separate-stderr bash -s -- ls <"$AUTOPOD_BIN/autopod"
  assert_status 3
  assert_contains 'piped into bash' "$stderr"
}

# --- completion -----------------------------------------------------------------------------------

@test "completion: the script for bash or zsh; for no other shell" {
  autopod_ completion bash
  assert_status 0
  assert_equal "$(bash -c 'eval "$1" && complete -p autopod' bash "$output")" \
    'complete -o filenames -F _autopod autopod'
  autopod_ completion zsh
  assert_status 0
  assert_matches '^#compdef autopod '
  autopod_ completion --help
  assert_status 0
  assert_contains 'eval "$(autopod completion bash)"'
  autopod_ completion
  assert_status 2
  assert_contains 'for bash and for zsh' "$stderr"
  autopod_ completion fish
  assert_status 2
  assert_equal "$output" ''
  assert_contains 'not for "fish"' "$stderr"
}
