# completions.awk - fills a skeleton of scripts/completions/ with what the commands take.
#
#   awk -f scripts/completions.awk -v shell=bash -v providers='local|runpod' RECORDS SKELETON
#
# RECORDS is what scripts/header.awk says of all commands. What may stand for a value or an argument follows from its
# name in the header: `kinds` below; other names stand for anything.

BEGIN {
  FS = "\t"
  WIDTH = 119
  kinds["POD"] = "POD"           # a pod that autopod knows
  kinds["RUN"] = "RUN"           # a run, by its name
  kinds["JOB"] = "JOB"           # a job that was run, by its id
  kinds["JOB.json"] = "JOB.json" # a job file
  kinds["FILE"] = kinds["GLOB"] = "FILE"
  kinds["DIR"] = "DIR"
  kinds["PROVIDER"] = providers
  kinds["CLOUD"] = "secure|community|secure,community"
  kinds["RULE"] = "warn|cancel|stop"
  kinds["END"] = "terminate|stop|keep"
  # These may be given more than once.
  again["JOB.json"] = again["GLOB"] = again["NAME=VALUE"] = 1
  # What zsh does for a kind, and the function by which several are offered together.
  action["POD"] = "_autopod_pods"
  action["RUN"] = "_autopod_runs"
  action["JOB"] = "_autopod_jobs"
  action["JOB.json"] = "_files -g \"*.json\""
  action["FILE"] = "_files"
  action["DIR"] = "_files -/"
}

# `[POD]`, `[=final]`, `'GLOB'`, `JOB.json...`, `TYPE[,TYPE...]`: the name in it
function bare(word) {
  gsub(/['"]/, "", word)
  sub(/^\[?=?/, "", word)
  sub(/\.\.\.\]?$/, "", word)
  sub(/\[.*/, "", word)
  sub(/\]$/, "", word)
  return word
}

# The kind of a value or argument: several with | between them, literal words too, or - when it can be anything.
function kind_of(word,   part, n, i, one, all) {
  n = split(bare(word), part, "|")
  for (i = 1; i <= n; i++) {
    one = (part[i] in kinds) ? kinds[part[i]] : part[i] ~ /^[a-z][a-z-]*$/ ? part[i] : ""
    all = joined(all, one)
  }
  return all == "" ? "-" : all
}

# Two lists with | between their words as one, each word once.
function joined(all, more,   part, n, i) {
  n = split(more, part, "|")
  for (i = 1; i <= n; i++)
    if (part[i] != "" && index("|" all "|", "|" part[i] "|") == 0) all = all (all == "" ? "" : "|") part[i]
  return all
}

# :KIND may be left out, =KIND stands only behind a =
function marked(word) { return (word ~ /^\[?=/ ? "=" : word ~ /^\[/ ? ":" : "") kind_of(word) }

# --- the records ----------------------------------------------------------------------------------

FNR == NR && !($1 in known) {
  known[$1] = 1
  commands[++command_count] = $1
}

FNR == NR && $2 == "summary" { summary[$1] = $3 }

FNR == NR && $2 == "usage" { note_arguments($1, $3) }

# An option that stands in two lines of the header, as --json and --json=final, is one.
FNR == NR && $2 == "option" {
  n = split($3, name, " ")
  if (($1, name[1]) in place) {
    if ($4 != "-") metavar[$1, place[$1, name[1]]] = "[" $4 "]"
    next
  }
  i = ++options[$1]
  names[$1, i] = $3
  metavar[$1, i] = $4
  text[$1, i] = $5
  for (k = 1; k <= n; k++) {
    place[$1, name[k]] = i
    if ($4 != "-" && $4 !~ /^\[/) valued[$1, name[k]] = 1
  }
  next
}

# `autopod-ssh [options] [POD] [-- CMD [ARGUMENT...]]`: the words that are arguments, each with its kind in `argument`
# and its name in `title`. An option here has its value behind it, which is none.
function note_arguments(command, line,   word, n, i, depth, count, kind, dots) {
  n = split(line, word, " ")
  for (i = 2; i <= n; i++) {
    if (word[i] == "[options]") continue
    if (word[i] ~ /^\[?--$/) {
      dashed[command] = 1
      return
    }
    if (word[i] ~ /^\[-/) {
      for (depth = balance(word[i]); depth > 0 && i < n; depth += balance(word[++i]));
      continue
    }
    if (word[i] ~ /^-/) {
      if (i < n && word[i + 1] ~ /^[A-Z]/) i++
      continue
    }
    kind = kind_of(word[i])
    dots = word[i] ~ /\.\.\.\]?$/
    count++
    if (count > arguments[command]) {
      arguments[command] = count
      argument[command, count] = kind
      title[command, count] = bare(word[i])
      optional[command, count] = word[i] ~ /^\[/
    } else {
      title[command, count] = joined(title[command, count], bare(word[i]))
      argument[command, count] = joined(argument[command, count], kind)
      if (word[i] ~ /^\[/) optional[command, count] = 1
    }
    if (dots) repeated[command] = 1
  }
  for (count++; count <= arguments[command]; count++) optional[command, count] = 1
}

function balance(word,   opened) {
  opened = gsub(/\[/, "[", word)
  return opened - gsub(/\]/, "]", word)
}

# --- what is printed ------------------------------------------------------------------------------

# Prints `BEFORE WORDS AFTER` in lines that fit, each after the first indented and ended as told.
function fold(before, words, after, indent, eol,   word, n, i, line) {
  n = split(words, word, " ")
  line = before
  for (i = 1; i <= n; i++) {
    if (length(line) + length(word[i]) + length(eol after) + 1 > WIDTH) {
      print line eol
      line = indent word[i]
    } else line = line (line ~ /[ ']$/ ? "" : " ") word[i]
  }
  print line after
}

# The names behind `autopod`, and those behind `autopod comfy`; a name of both kinds is that of autopod-NAME.
function note_names(   i, name) {
  for (i = 1; i <= command_count; i++) {
    name = commands[i]
    all = all (all == "" ? "" : " ") name
    if (sub(/^autopod-/, "", name)) own = own (own == "" ? "" : " ") name
    else if (sub(/^comfy-/, "", name)) comfy = comfy (comfy == "" ? "" : " ") name
  }
  count = split(comfy, list, " ")
  for (i = 1; i <= count; i++)
    if (!(("autopod-" list[i]) in known)) {
      alone = alone (alone == "" ? "" : " | ") list[i]
      own = own " " list[i]
    }
}

function bash_table(   i, k, n, c, name, values, list, kind) {
  for (i = 1; i <= command_count; i++) {
    c = commands[i]
    print "    " c ")"
    list = values = ""
    for (k = 1; k <= options[c]; k++) {
      list = list " " names[c, k]
      if (metavar[c, k] == "-") continue
      n = split(names[c, k], name, " ")
      kind = marked(metavar[c, k])
      for (n = 1; n in name; n++) values = values " " name[n] "=" kind
    }
    fold("      options='", list, "'", "        ", "")
    if (values != "") fold("      values='", values, "'", "        ", "")
    list = ""
    for (k = 1; k <= arguments[c]; k++) list = list " " argument[c, k] (k == arguments[c] && repeated[c] ? "..." : "")
    if (dashed[c]) list = list " --"
    if (list != "" && c != "autopod") fold("      arguments='", list, "'", "        ", "")
    print "      ;;"
  }
}

function quoted(word) {
  gsub(/'/, "'\\''", word)
  return "'" word "'"
}

# The first words about an option, as zsh wants them.
function explained(words) {
  gsub(/ \([^()]*\)/, "", words)
  sub(/[;.] .*/, "", words)
  if (length(words) > 60) sub(/: .*/, "", words)
  sub(/, or$/, "", words)
  gsub(/\\/, "\\\\", words)
  gsub(/\[/, "\\[", words)
  gsub(/\]/, "\\]", words)
  return words
}

# What zsh does for a kind.
function action_of(kind,   part, n, i, functions, words) {
  n = split(kind, part, "|")
  if (n == 1 && (kind in action)) return action[kind]
  for (i = 1; i <= n; i++) {
    if (part[i] in action) functions = functions " " action[part[i]]
    else if (part[i] != "-") words = words (words == "" ? "" : " ") part[i]
  }
  if (functions != "") return "_autopod_several" functions
  return words == "" ? "" : "(" words ")"
}

function said(word) {
  word = tolower(word)
  gsub(/\|/, " or ", word)
  return word
}

function zsh_option(c, k,   n, i, name, spec, value, excluded, bunch) {
  n = split(names[c, k], name, " ")
  value = metavar[c, k] == "-" ? "" : marked(metavar[c, k])
  if (value != "") {
    spec = ":" said(bare(metavar[c, k])) ":" action_of(substr(value, value ~ /^[:=]/ ? 2 : 1))
    if (value ~ /^[:=]/) spec = ":" spec
  }
  spec = "[" explained(text[c, k]) "]" spec
  for (i = 1; i <= n; i++)
    bunch = bunch (i > 1 ? "," : "") name[i] (value == "" || name[i] !~ /^--/ ? "" : value ~ /^=/ ? "=-" : "=")
  excluded = names[c, k] ~ /--(help|version)$/ ? "(- *)" : (bare(metavar[c, k]) in again) ? "*" : n > 1 ? "(" names[c, k] ")" : ""
  if (n == 1) print "        " quoted(excluded bunch spec)
  else print "        " quoted(excluded) "{" bunch "}" quoted(spec)
}

function zsh_specs(   i, k, c, last) {
  for (i = 1; i <= command_count; i++) {
    c = commands[i]
    print "    " c ")"
    print "      specs=("
    for (k = 1; k <= options[c]; k++) zsh_option(c, k)
    for (k = 1; k <= arguments[c] && c != "autopod"; k++) {
      last = k == arguments[c] && repeated[c]
      print "        " quoted((last ? "*:" : optional[c, k] ? "::" : ":") said(title[c, k]) ":" action_of(argument[c, k]))
    }
    print "      )"
    print "      ;;"
  }
}

function zsh_names(list_of, prefix,   n, i, name, command, does) {
  n = split(list_of, name, " ")
  for (i = 1; i <= n; i++) {
    command = ((prefix name[i]) in known) ? prefix name[i] : "comfy-" name[i]
    does = summary[command]
    gsub(/:/, "\\:", does)
    print "    " quoted(name[i] ":" tolower(substr(does, 1, 1)) substr(does, 2))
  }
}

FNR == NR { next }

FNR == 1 { note_names() }

/^@TABLE@$/ { bash_table(); next }
/^@SPECS@$/ { zsh_specs(); next }
/^@NAMES_TEXTS@$/ { zsh_names(own, "autopod-"); next }
/^@COMFY_TEXTS@$/ { zsh_names(comfy, "comfy-"); next }
/@COMFY_ALONE@/ { sub(/@COMFY_ALONE@/, alone) }
/'@NAMES@'/ {
  sub(/@NAMES@'/, "")
  fold($0, own, "'", "    ", "")
  next
}
/@COMFY@/ { sub(/@COMFY@/, comfy) }
/^#compdef/ { sub(/@COMMANDS@/, all) } # zsh reads one line
/ @COMMANDS@$/ {
  sub(/ @COMMANDS@/, "")
  match($0, /^ */)
  fold($0, all, "", substr($0, 1, RLENGTH) "  ", " \\")
  next
}
{ print }
