# header.awk - takes the header comments of commands (their --help) apart: awk -f scripts/header.awk bin/COMMAND...
#
# Prints a record a line, its fields separated by TABs; the first field is the command, the others are:
#   summary TEXT                what the command does, in at most 67 characters
#   usage TEXT                  a line of the usage
#   text TEXT                   a paragraph
#   code LINE                   a line to be shown as it is
#   section TITLE               what the options from here on are about; - at the end of such a group
#   option NAMES METAVAR TEXT   its names with blanks between them; METAVAR is - when it takes no value
#   exits TEXT                  the paragraph of exit codes

BEGIN { SUMMARY = 67 }

function put(fields) { print command "\t" fields }

function flush_paragraph(   first) {
  if (paragraph == "") return
  if (summarized != command) {
    first = paragraph
    sub(/\. .*/, "", first)
    sub(/\.$/, "", first)
    put("summary\t" shorten(first))
    summarized = command
  }
  if (sub(/^Exit codes: /, "", paragraph)) put("exits\t" paragraph)
  else put("text\t" paragraph)
  paragraph = ""
}

# The first words of TEXT that fit: without the details behind its colon, or up to a comma, or to a blank.
function shorten(text,   part) {
  if (length(text) <= SUMMARY) return text
  part = substr(text, 1, SUMMARY + 1)
  if (match(part, /[:;] /)) return substr(part, 1, RSTART - 1)
  if (part ~ /, /) {
    sub(/, [^,]*$/, "", part)
    return part
  }
  part = substr(text, 1, SUMMARY - 3)
  sub(/ [^ ]*$/, "", part)
  return part " ..."
}

function flush_option() {
  if (names != "") put("option\t" names "\t" metavar "\t" text)
  names = ""
}

function flush() {
  flush_option()
  flush_paragraph()
}

# `-o, --output-dir DIR   for outputs`, `--json[=FORMAT]   one object`, `--stop [POD]   close it`
function begin_option(rest,   word) {
  flush_option()
  metavar = "-"
  while (match(rest, /^--?[A-Za-z][A-Za-z-]*/)) {
    names = names (names == "" ? "" : " ") substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
    if (!sub(/^, /, "", rest)) break
  }
  word = rest
  if (word ~ /^\[?=/) {
    sub(/ .*/, "", word)
    metavar = word
    rest = substr(rest, length(word) + 1)
  } else if (sub(/^ /, "", word) && word !~ /^ /) {
    sub(/ .*/, "", word)
    if (word ~ /^['"\[]*[A-Z][A-Z0-9_]*([^A-Za-z]|$)/ || word ~ /^JOB\.json/ || word ~ /^[a-z]+\|/) {
      metavar = word
      rest = substr(rest, length(word) + 2)
    }
  }
  sub(/^ +/, "", rest)
  text = rest
  # `(also --job-file, or just FILE)` names it once more
  if (match(text, /\(also --[a-z-]+[,;)]/)) names = names " " substr(text, RSTART + 6, RLENGTH - 7)
}

FNR == 1 {
  flush()
  command = FILENAME
  sub(/.*\//, "", command)
  over = section = 0
}
FNR <= 2 || over { next }
!/^#/ {
  flush()
  over = 1
  next
}

{
  line = substr($0, 2)
  sub(/^ /, "", line)
}

FNR == 3 || usage {
  usage = sub(/^Usage: /, "", line) || sub(/^       /, "", line)
  if (usage) {
    put("usage\t" line)
    next
  }
}

line == "" {
  flush()
  if (section) put("section\t-")
  section = 0
  next
}

# What stands further to the right is the middle of an explanation.
(line ~ /^ +--?[A-Za-z]/ && line !~ /^        /) || line ~ /^-[A-Za-z]/ {
  if (paragraph ~ /:$/) {
    sub(/:$/, "", paragraph)
    put("section\t" paragraph)
    paragraph = ""
    section = 1
  }
  flush_paragraph()
  sub(/^ +/, "", line)
  begin_option(line)
  next
}

names != "" && line ~ /^          / {
  sub(/^ +/, "", line)
  text = text (text == "" ? "" : " ") line
  next
}

line ~ /^  / {
  flush()
  put("code\t" substr(line, 3))
  next
}

{
  flush_option()
  paragraph = paragraph (paragraph == "" ? "" : " ") line
}

END { flush() }
