#!/usr/bin/env bats
# scripts/man.sh: the header of a command becomes a man page in which nothing of it is missing, and which no reader of
# man pages complains about.

load test_helper

# commands - the commands there are, one a line
commands() { (cd "$ROOT/bin" && printf '%s\n' *); }

# page COMMAND - prints its page's source
page() { bash "$ROOT/scripts/man.sh" "$1"; }

# shown COMMAND - prints the page as one reads it, in long lines of plain letters
shown() { page "$1" | groff -man -Tascii -P-c -P-b -P-u -P-o -rLL=500n -rHY=0; }

# words - stdin as one line, blanks as single ones
words() { tr -s ' \n' ' '; }

# of LINE... - the page of a command with this header
of() {
  mkdir -p tree/bin tree/scripts
  cp "$ROOT"/scripts/{man.sh,man.awk,header.awk} tree/scripts/
  printf '1.2.3\n' >tree/VERSION
  { printf '#!/usr/bin/env bash\n#\n' && printf '# %s\n' "$@" | sed 's/ *$//' && printf '\nmain() { :; }\n'; } >tree/bin/autopod-x
  printf '#!/usr/bin/env bash\n#\n# Usage: autopod\n#\n# Runs them.\n' >tree/bin/autopod
  bash tree/scripts/man.sh autopod-x
}

@test "every command has a page with the sections that one looks for" {
  local name text section
  for name in $(commands); do
    text=$(page "$name")
    for section in NAME SYNOPSIS DESCRIPTION OPTIONS FILES ENVIRONMENT 'SEE ALSO'; do
      assert_equal "$(grep -c "^\.SH $section\$" <<<"$text")" 1 "$section of $name"
    done
    [ "$name" = autopod ] || assert_contains '.SH EXIT STATUS' "$text"
    assert_contains "$(cat "$ROOT/VERSION")" "$(grep '^\.TH ' <<<"$text")"
  done
  assert_contains '.SH COMMANDS' "$(page autopod)"
}

@test "groff and mandoc have nothing to complain about" {
  local name
  command -v groff >/dev/null || command -v mandoc >/dev/null || skip "neither groff nor mandoc on this machine"
  for name in $(commands); do
    page "$name" >"$name.1"
    ! command -v groff >/dev/null || assert_equal "$(groff -man -ww -Tutf8 -z "$name.1" 2>&1)" '' "groff about $name"
    ! command -v mandoc >/dev/null || assert_equal "$(mandoc -T lint -W warning "$name.1" 2>&1 |
      grep -v 'missing date' || :)" '' "mandoc about $name"
  done
}

@test "what --help says is on the page" {
  command -v groff >/dev/null || skip "no groff on this machine"
  local name text line
  for name in $(commands); do
    text=$(shown "$name" | words)
    while IFS=$'\t' read -r _ what first second third; do
      case $what in
        option) line="${first// /, } ${second/#-/}" && line="${line% }" ;;
        code | text) line=$first ;;
        section) line=${first#-} ;;
        exits) line=${first##*, } && line="${line%%[!0-9]*} " ;;
        *) continue ;;
      esac
      line=${line// \[=/[=} line=${line// =/=}
      assert_contains "$(words <<<"${line//\`/}" | sed 's/ $//')" "$text"
      [ "$what" != option ] || assert_contains "$(words <<<"${third//\`/}" | sed 's/ $//')" "$text"
    done < <(awk -f "$ROOT/scripts/header.awk" "$ROOT/bin/$name")
  done
}

@test "a header becomes this page" {
  assert_equal "$(of 'Usage: autopod-x [options] [POD...] [-- CMD]' '       autopod-x help a|b' '' \
    'Shows `all` of it: ~/.x\y, ^C.' ".dot isn't a macro" '' '  autopod-x -- '"'a b'" '' 'Which "pod":' \
    '    --from PROVIDER  from' '                     there' '' '-y, --yes            yes' '    --json[=final]   an object' '' \
    "Exit codes: 0 done, 2 usage, no such pod; 128+n signal n." | sed -e '/^\.SH FILES/,$d' -e 1d)" \
    '.TH AUTOPOD\-X 1 "" "autopod 1.2.3" "autopod"
.SH NAME
autopod\-x \- shows all of it: \(ti/.x\ey, \(haC
.SH SYNOPSIS
\fBautopod\-x\fR [\fIoptions\fR] [\fIPOD\fR\&...] [\fB\-\-\fR \fICMD\fR]
.br
\fBautopod\-x\fR \fBhelp\fR \fBa\fR|\fBb\fR
.SH DESCRIPTION
.PP
Shows \fBall\fR of it: \(ti/.x\ey, \(haC. .dot isn\(aqt a macro
.PP
.RS 4
.nf
autopod\-x \-\- \(aqa b\(aq
.fi
.RE
.SH OPTIONS
.SS "Which \(dqpod\(dq"
.TP
\fB\-\-from\fR \fIPROVIDER\fR
from there
.SS "Other options"
.TP
\fB\-y\fR, \fB\-\-yes\fR
yes
.TP
\fB\-\-json\fR[=\fBfinal\fR]
an object
.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 2
usage, no such pod
.TP
.B 128+n
signal n'
}

@test "a line that begins with a dot is text" {
  assert_contains '\&.dot' "$(of 'Usage: autopod-x' '' '.dot')"
}

@test "--all writes a page for each command; what is no command is refused" {
  local name
  bash "$ROOT/scripts/man.sh" --all pages
  assert_equal "$(cd pages && printf '%s\n' * | sort)" "$(commands | sed 's/$/.1/' | sort)"
  cmp pages/comfy-run.1 <(page comfy-run)
  for name in '' nothing ../bin/autopod --all; do
    run bash "$ROOT/scripts/man.sh" "$name"
    assert_status 2
    assert_contains 'usage: scripts/man.sh'
  done
}
