# man.awk - prints the man page of a command.
#
#   awk -f scripts/man.awk -v command=autopod-ls -v version=1.2.3 RECORDS
#
# RECORDS is what scripts/header.awk says of all commands.

BEGIN { FS = "\t" }

# Text as roff wants it: no character has a meaning of its own, and `this` is set in bold.
function roff(text,   out, word) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  gsub(/'/, "\\(aq", text)
  gsub(/\^/, "\\(ha", text)
  gsub(/~/, "\\(ti", text)
  while (match(text, /`[^`]+`/)) {
    word = substr(text, RSTART + 1, RLENGTH - 2)
    out = out substr(text, 1, RSTART - 1) "\\fB" word "\\fR"
    text = substr(text, RSTART + RLENGTH)
  }
  gsub(/`/, "\\(ga", text)
  out = out text
  return (out ~ /^\./ ? "\\&" : "") out
}

# A line of the usage, or a value: what is typed as it stands in bold, what stands for something in italics.
function typeset(line,   out, word, before) {
  while (match(line, /[A-Za-z-][A-Za-z0-9_.-]*/)) {
    before = substr(line, 1, RSTART - 1)
    word = substr(line, RSTART, RLENGTH)
    line = substr(line, RSTART + RLENGTH)
    if (sub(/\.\.\.$/, "", word)) line = "..." line
    out = out roff(before) (word ~ /^[A-Z]/ || word == "options" ? "\\fI" : "\\fB") roff(word) "\\fR"
  }
  return out roff(line)
}

!($1 in known) {
  known[$1] = 1
  commands[++count] = $1
}
$2 == "summary" {
  gsub(/`/, "", $3) # plain letters: whatis reads it
  summary[$1] = tolower(substr($3, 1, 1)) substr($3, 2)
}
$1 != command { next }
$2 == "usage" { usage[++usages] = $3 }
($2 == "usage" || $2 == "option") && /\t[^\t]*(RUN|JOB\.json)/ { runs = 1 }
$2 == "text" { add(".PP", roff($3)) }
$2 == "code" { add_code(roff($3)) }
$2 == "section" {
  title = $3 == "-" ? "Other options" : $3
  titled = 0
}
$2 == "option" { add_option($3, $4, $5) }
$2 == "exits" { exits = $3 }

function add(macro, text) {
  description = description code_end() macro "\n" text "\n"
}

function add_code(line) {
  if (!in_code) description = description ".PP\n.RS 4\n.nf\n"
  in_code = 1
  description = description line "\n"
}

function code_end() {
  if (!in_code) return ""
  in_code = 0
  return ".fi\n.RE\n"
}

function add_option(names, metavar, text,   name, n, i, line) {
  if (title != "" && !titled) options = options ".SS \"" quoted(title) "\"\n"
  titled = 1
  n = split(names, name, " ")
  for (i = 1; i <= n; i++) line = line (i > 1 ? ", " : "") "\\fB" roff(name[i]) "\\fR"
  if (metavar != "-") line = line (metavar ~ /^\[?=/ ? "" : " ") typeset(metavar)
  options = options ".TP\n" line "\n" roff(text) "\n"
}

function quoted(text) {
  text = roff(text)
  gsub(/"/, "\\(dq", text)
  return text
}

# `0 done, 2 usage, no such GPU, 3 something missing.`: a code and its meaning each
function print_exits(text,   first, rest) {
  sub(/\.$/, "", text)
  print ".SH EXIT STATUS"
  while (text != "") {
    rest = ""
    if (match(text, /[,;] [0-9]+(\+n)? /)) {
      rest = substr(text, RSTART + 2)
      text = substr(text, 1, RSTART - 1)
    }
    first = text
    sub(/ .*/, "", first)
    if (first ~ /^[0-9]/) print ".TP\n.B " roff(first) "\n" roff(substr(text, length(first) + 2))
    else print roff(text)
    text = rest
  }
}

function print_commands(   i) {
  print ".SH COMMANDS"
  for (i = 1; i <= count; i++)
    if (commands[i] != command) print ".TP\n.BR \\%" roff(commands[i]) " (1)\n" roff(summary[commands[i]])
}

function print_files() {
  print ".SH FILES"
  if (runs) {
    print ".TP\n.I \\(ti/.autopod/runs/JOB.TIME.RAND/"
    print "What a run keeps, a file a step; its result is in result.json."
  }
  print ".TP\n.I \\(ti/.autopod/logs/autopod.log"
  print "Everything that was said, with times."
  print ".TP\n.I \\(ti/.autopod/config.json\\fR, \\fI./.env"
  print "Settings."
  print ".SH ENVIRONMENT"
  print ".TP\n.B AUTOPOD_HOME"
  print "The directory that takes the place of \\fI\\(ti/.autopod\\fR."
  print ".PP"
  print "Every setting may also stand in the environment, under its name in .env: \\fBAUTOPOD_PORT=8190\\fR."
  print "An option goes before it, and it goes before the files."
}

function print_see_also(   i, line) {
  print ".SH SEE ALSO\n.ad l"
  for (i = 1; i <= count; i++)
    if (commands[i] != command) line = line (line == "" ? "" : " ,\n") ".BR \\%" roff(commands[i]) " (1)"
  print line
}

END {
  description = description code_end()
  print ".\\\" Written by scripts/man.sh, from the --help of the command."
  print ".TH " toupper(roff(command)) " 1 \"\" \"autopod " roff(version) "\" \"autopod\""
  print ".SH NAME\n" roff(command) " \\- " roff(summary[command])
  print ".SH SYNOPSIS"
  for (i = 1; i <= usages; i++) print (i > 1 ? ".br\n" : "") typeset(usage[i])
  printf ".SH DESCRIPTION\n%s", description
  if (command == "autopod") print_commands()
  printf ".SH OPTIONS\n%s", options
  if (exits != "") print_exits(exits)
  print_files()
  print_see_also()
}
