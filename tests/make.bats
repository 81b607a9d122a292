#!/usr/bin/env bats
# The Makefile: help, install, uninstall, and a clone whose path has blanks.

load test_helper

setup() {
  autopod_setup
  command -v make >/dev/null || skip "no make"
}

# clone - copies what install and help need into `my clone`, and goes there
clone() {
  mkdir 'my clone'
  cp -R "$ROOT"/{Makefile,VERSION,bin,lib,helpers,templates,completions,scripts} 'my clone/'
  cd 'my clone' || return
}

# targets - what .PHONY of the Makefile lists, one a line
targets() { sed -n 's/^\.PHONY: //p' "$ROOT/Makefile" | tr ' ' '\n'; }

@test "make alone lists every target with a line of what it does" {
  local target
  run make -s -C "$ROOT"
  assert_status 0
  while read -r target; do
    assert_matches "(^|"$'\n'")  make $target +[a-z]"
  done < <(targets)
  assert_equal "${#lines[@]}" "$(($(targets | wc -l)))"
}

@test "every recipe is one line" {
  run awk '/^[a-z-]+:/ { n = 0 } /^\t/ { if (++n > 1) print FILENAME ":" FNR ": " $0 }' "$ROOT/Makefile"
  assert_equal "$output" ''
}

@test "run wants to know which jobs" {
  run make -s -C "$ROOT" run
  assert_status 2
  assert_contains "make run JOBS='jobs/*.json'"
}

@test "run passes JOBS and ARGS on, unexpanded" {
  clone
  mkdir jobs
  printf '{}\n' >'jobs/a b.json'
  printf '#!/usr/bin/env bash\nprintf "<%%s>" "$@"\n' >bin/comfy-run
  chmod +x bin/comfy-run
  run make -s run JOBS='jobs/*.json' ARGS='--dry-run -v'
  assert_status 0
  assert_equal "$output" '<--jobs><jobs/*.json><--dry-run><-v>'
}

@test "install puts commands, man pages, completions and templates there, and uninstall leaves nothing behind" {
  local name stage="$PWD/the stage"
  clone
  # What is there already stays.
  mkdir -p "$stage/opt/my apps/bin"
  printf 'other\n' >"$stage/opt/my apps/bin/other"
  make -s install PREFIX='/opt/my apps' DESTDIR="$stage"
  refute_exists dist # sudo make install must not leave files of root in a clone
  for name in bin/*; do
    name=${name##*/}
    assert_file "$stage/opt/my apps/bin/$name"
    [ -x "$stage/opt/my apps/bin/$name" ]
    assert_file "$stage/opt/my apps/share/bash-completion/completions/$name"
    assert_equal "$(cat "$stage/opt/my apps/share/man/man1/$name.1")" "$(bash "$ROOT/scripts/man.sh" "$name")"
  done
  assert_file "$stage/opt/my apps/share/zsh/site-functions/_autopod"
  for name in templates/*.json; do
    assert_file "$stage/opt/my apps/share/autopod/$name"
  done
  cd "$HOME" # what was installed needs nothing of the clone
  mv "$stage/../my clone" "$TMPDIR/gone"
  run "$stage/opt/my apps/bin/comfy-run" --version
  assert_status 0
  assert_contains "$(cat "$ROOT/VERSION")"
  for name in "$TMPDIR"/gone/bin/*-*; do
    name=${name##*/}
    assert_equal "$("$stage/opt/my apps/bin/autopod" "$name" --help)" "$("$stage/opt/my apps/bin/$name" --help)"
  done
  assert_equal "$("$stage/opt/my apps/bin/autopod" completion zsh)" "$(cat "$ROOT/completions/_autopod")"
  cd "$TMPDIR/gone"
  make -s uninstall PREFIX='/opt/my apps' DESTDIR="$stage"
  assert_equal "$(cd "$stage" && find . -type f)" './opt/my apps/bin/other'
  refute_exists "$stage/opt/my apps/share/autopod"
}

@test "uninstall where nothing is installed is no error" {
  clone
  run make -s uninstall PREFIX=/opt DESTDIR="$PWD/stage"
  assert_status 0
}

@test "completions writes them anew" {
  clone
  printf 'old\n' >completions/autopod.bash
  rm completions/_autopod
  make -s completions
  cmp completions/autopod.bash "$ROOT/completions/autopod.bash"
  cmp completions/_autopod "$ROOT/completions/_autopod"
}

@test "clean removes the builds" {
  clone
  mkdir dist
  run make -s clean
  assert_status 0
  refute_exists dist
}
