# check-house.awk - the rules of the house; see check-house.sh. POSIX awk (macOS, mawk, gawk).
#
# One pass reads every file and notes includes, functions and words; END draws the graph from them.

BEGIN {
  # Who stands above whom. A file may include what has its own rank or a lower one.
  split("batch=5 job=4 prompt=4 load=4 " \
    "pod=3 nodes=3 tunnel=3 target=3 comfy=3 upload=3 collect=3 watch=3 remote=3 budget=3 guard=3 " \
    "progress=3 panel=3 stall=3 tunnels=3 server=3 logs=3 attach=6 cancel=6 fetch=6 " \
    "guards=3 watcher=3 enforce=3 idle=3 limits=3 release=3 ledger=3 bill=3 report=3 record=3 cap=3 wish=3 rent=3 runs=3 survey=3 doctor=3 cli=1 ui=1 screen=1 keys=1 events=1 feed=1 config=1 state=1 helper=1 http=1 runpodctl=1 ssh=1 later=1 os=1 core=1", pairs, " ")
  for (i in pairs) {
    split(pairs[i], pair, "=")
    rank["lib/" pair[1] ".sh"] = pair[2]
  }
  PROVIDER_RANK = 2
  BIN_RANK = 9

  # Programs that only one file may call.
  owner["curl"] = "lib/http.sh"
  split("ssh scp sftp ssh-keygen ssh-keyscan ssh-agent ssh-add", names, " ")
  for (i in names) owner[names[i]] = "lib/ssh.sh"
  owner["sshd"] = "lib/providers/local.sh"
  owner["runpodctl"] = "lib/runpodctl.sh"
  # GNU and BSD (or Linux and macOS) differ in these, or only one of them has it.
  split("stat uname realpath greadlink sha256sum shasum md5sum md5 nproc getconf sysctl timeout gtimeout " \
    "gdate gsed gstat flock setsid lsof fuser ss netstat getent base64 xdg-open open tac shuf numfmt pidof", names, " ")
  for (i in names) owner[names[i]] = "lib/os.sh"

  MAX_FUNCTION = 60
  MAX_CODE = 300
  WORD = "[A-Za-z_][A-Za-z0-9_]*"
  # What may stand before a program's name: the start of a command, or what runs another one.
  BEFORE = "(^|[|;&({!`]|(^|[^A-Za-z0-9_])(then|do|else|elif|if|while|until|exec|command|nohup|env|time|" \
    "core_wait|os_(spawn|timeout)[ \t]+[^ \t]+))[ \t]*"
  AFTER = "([ \t;|&)]|$)"
}

function wrong(line, text) {
  printf "%s:%s: %s\n", file, line, text
  faults++
}

# The module that a path belongs to: lib/providers/local.sh is provider_local.
function module(path) {
  sub(/^lib\//, "", path)
  sub(/\.sh$/, "", path)
  sub(/^providers\//, "provider_", path)
  return path
}

function rank_of(path) {
  if (path ~ /^bin\//) return BIN_RANK
  if (path ~ /^lib\/providers\//) return PROVIDER_RANK
  return (path in rank) ? rank[path] : 0
}

# `CODE` and `BARE` for a line: CODE is without its comment, BARE without quoted text as well (but
# with the commands inside "$( )"). `nest` remembers open quotes from line to line.
function scan(line,   i, n, c, top, previous) {
  CODE = BARE = ""
  n = length(line)
  previous = " "
  for (i = 1; i <= n; i++) {
    c = substr(line, i, 1)
    top = substr(nest, length(nest))
    if (top != "'" && c == "\\") {
      CODE = CODE c substr(line, ++i, 1)
      if (top != "\"") BARE = BARE "_"
      previous = "_"
      continue
    }
    if (top == "'") {
      if (c == "'") nest = substr(nest, 1, length(nest) - 1)
    } else if (top == "\"") {
      if (c == "\"") nest = substr(nest, 1, length(nest) - 1)
      else if (c == "$" && substr(line, i + 1, 1) == "(") {
        nest = nest "("
        CODE = CODE "$"
        BARE = BARE "$("
        c = "("
        i++
      }
    } else {
      if (c == "#" && previous ~ /[ \t;(]/) break
      if (c == "'" || c == "\"") nest = nest c
      else if (c == "(" && top == "(") nest = nest "("
      else if (c == ")" && top == "(") nest = substr(nest, 1, length(nest) - 1)
      BARE = BARE c
    }
    CODE = CODE c
    previous = c
  }
}

# Is one of the words of BARE, at a place where commands stand, a program of another file?
function check_programs(   name, text) {
  text = BARE
  sub(/^[ \t]*[^()$&;=]+\)([ \t]|$)/, " ; ", text) # the label of a case
  for (name in owner) {
    if (owner[name] == file || index(text, name) == 0) continue
    if (text ~ (BEFORE name AFTER))
      wrong(FNR, name " may be called only in " owner[name])
  }
  if (file == "lib/os.sh") return
  if (CODE ~ /OSTYPE|\/proc\// || BARE ~ /(^|[^A-Za-z_])([Dd]arwin|[Ll]inux|GNU|BSD)([^A-Za-z_]|$)/)
    wrong(FNR, "only lib/os.sh may know which system this is")
  if (text ~ (BEFORE "sed[ \t]+(-[a-zA-Z]+[ \t]+)*-[a-zA-Z]*i") ||
      text ~ (BEFORE "date[ \t].*-[a-z]*[drjvI]([ \t]|$)") ||
      text ~ (BEFORE "readlink[ \t]+-"))
    wrong(FNR, "GNU and BSD differ here: use a function of lib/os.sh")
}

function check_include(   target) {
  if (CODE !~ /^[ \t]*(\.|source)[ \t]/) return 0
  if (CODE !~ /^\. "\$AUTOPOD_LIB\/[a-z_\/]+\.sh"$/) {
    wrong(FNR, "an include is spelled . \"$AUTOPOD_LIB/x.sh\", at the start of a line")
    return 1
  }
  target = CODE
  sub(/^\. "\$AUTOPOD_LIB\//, "lib/", target)
  sub(/"$/, "", target)
  includes[file] = includes[file] " " target
  included[file, target] = FNR
  return 1
}

function check_function(name,   prefix, lines, n, i, found) {
  prefix = module(file) "_"
  found = index(name, prefix) == 1 || index(name, "_" prefix) == 1
  # Private functions of a provider may leave out `provider_`.
  if (!found && sub(/^provider_/, "", prefix)) found = index(name, "_" prefix) == 1
  if (!found) wrong(FNR, name ": its name must begin with " module(file) "_ or _" prefix)
  n = split(synopsis, lines, "\n")
  found = 0
  for (i = 1; i <= n; i++)
    if (lines[i] ~ ("^# " name "( |$)")) found = 1
  if (!found) wrong(FNR, name ": no synopsis comment above it: # " name " ARG... - what it does")
  defined[name] = file
  began = FNR
  inside = name
}

function end_function() {
  if (FNR - began + 1 > MAX_FUNCTION)
    wrong(began, inside " is " (FNR - began + 1) " lines long; " MAX_FUNCTION " is the limit")
  inside = ""
}

# Nothing runs when a library is sourced: outside of functions only plain assignments may stand.
function check_toplevel(   text) {
  text = BARE
  gsub(/\$\(\(/, "", text)
  if (CODE !~ ("^" WORD "(\\[[^]]*\\])?\\+?=") || text ~ /\$\(|`/)
    wrong(FNR, "a library may only assign and define; this runs when it is sourced")
}

function note_words(   text, word) {
  text = CODE
  while (match(text, WORD)) {
    word = substr(text, RSTART, RLENGTH)
    text = substr(text, RSTART + RLENGTH)
    if (!((file, word) in used)) {
      used[file, word] = FNR
      words[file] = words[file] " " word
    }
  }
}

function end_file() {
  if (file ~ /^lib\// && code > MAX_CODE)
    wrong(1, code " lines of code; " MAX_CODE " is the limit")
}

FNR == 1 {
  if (file != "") end_file()
  file = FILENAME
  files[++file_count] = file
  is_file[file] = 1
  code = 0
  nest = synopsis = inside = heredoc = ""
  if (file ~ /^lib\// && !rank_of(file))
    wrong(1, "has no rank: say in scripts/check-house.awk where it stands")
}

file ~ /^helpers\// {
  if ($1 == "import" || $1 == "from") imported[file, $2] = FNR
  next
}

/^# @asset helpers\// { asset[file, $3] = FNR }

heredoc != "" {
  code++
  text = $0
  sub(/^\t+/, "", text)
  if (text == heredoc) heredoc = ""
  next
}

nest == "" && /^[ \t]*#/ {
  synopsis = synopsis "\n" $0
  next
}

/^[ \t]*$/ {
  if (nest == "") synopsis = ""
  next
}

{
  # A quote that this scanner misread must not reach beyond its function.
  if ($0 ~ ("^" WORD "\\(\\)")) nest = ""
  open_before = nest
  scan($0)
  code++
}

/# @guard$/ { next }

{
  if (open_before == "" && match(BARE, /<<-?_?['"]*_?[A-Za-z_]+/) && BARE !~ /<<</) {
    heredoc = CODE
    sub(/.*<<-?[ \t]*/, "", heredoc)
    gsub(/['"\\]/, "", heredoc)
    sub(/[^A-Za-z0-9_].*/, "", heredoc)
  }
  if (open_before == "" && check_include()) next
  check_programs()
  note_words()
  if (file !~ /^lib\//) next
  if ($0 ~ ("^" WORD "\\(\\)")) {
    name = $0
    sub(/\(\).*/, "", name)
    check_function(name)
    if ($0 ~ /[})]([ \t]*#.*)?$/) end_function()
  } else if (inside != "") {
    if ($0 ~ /^[})]/) end_function()
  } else if (open_before == "" && !in_array) {
    check_toplevel()
  }
  in_array = inside == "" && BARE !~ /\)[ \t]*$/ && (in_array || BARE ~ /=\(/)
  synopsis = ""
}

# Depth first; `path` is the way here.
function find_circle(at, path,   list, n, i) {
  if (index(path " ", " " at " ")) {
    sub(".* " at, at, path)
    gsub(/ /, " -> ", path)
    file = at
    wrong(1, "includes itself: " path " -> " at)
    return
  }
  if (at in walked) return
  n = split(includes[at], list, " ")
  for (i = 1; i <= n; i++) find_circle(list[i], path " " at)
  walked[at] = 1
}

function check_arrows(   list, n, i) {
  n = split(includes[file], list, " ")
  for (i = 1; i <= n; i++) {
    if (rank_of(list[i]) > rank_of(file))
      wrong(included[file, list[i]], "includes " list[i] ", which stands above it")
  }
}

# A library includes every other one whose functions it calls, and no more. (A command includes the
# topmost ones.) Nobody calls what is private to another file.
function check_words(   list, n, i, word, home, needs) {
  n = split(words[file], list, " ")
  for (i = 1; i <= n; i++) {
    word = list[i]
    needs[module_of_word(word)] = 1
    if (!(word in defined) || defined[word] == file) continue
    home = defined[word]
    if (word ~ /^_/)
      wrong(used[file, word], word " is private to " home)
    else if (file ~ /^lib\// && !((file, home) in included))
      wrong(used[file, word], word " is from " home ", which is not included")
  }
  if (file !~ /^lib\//) return
  n = split(includes[file], list, " ")
  for (i = 1; i <= n; i++) {
    if (list[i] ~ /^lib\/providers\//) continue # called by names made up at run time
    if (!(list[i] in needs))
      wrong(included[file, list[i]], "includes " list[i] " but uses nothing of it")
  }
}

# core_die, CORE_TMP and EX_USAGE are of lib/core.sh
function module_of_word(word) {
  word = tolower(word)
  if (word ~ /^ex_/) return "lib/core.sh"
  sub(/_.*/, "", word)
  return "lib/" word ".sh"
}

# A helper may use another one; then every command that embeds it must embed that one too.
function check_imports(   key, part, name, i) {
  for (key in imported) {
    split(key, part, SUBSEP)
    name = "helpers/" part[2] ".py"
    for (i = 1; i <= file_count; i++)
      if ((files[i], part[1]) in asset && is_file[name] && !((files[i], name) in asset)) {
        file = files[i]
        wrong(asset[files[i], part[1]], "embeds " part[1] ", but not " name ", which that imports")
      }
  }
}

END {
  if (file != "") end_file()
  for (f = 1; f <= file_count; f++) {
    file = files[f]
    if (file ~ /^helpers\//) continue
    check_arrows()
    check_words()
  }
  for (f = 1; f <= file_count; f++) find_circle(files[f], "")
  check_imports()
  exit faults > 0
}
