# Reads what strace -f wrote of execve and the fork family. Prints three lines: programs started,
# processes made (threads left out), and the programs by name.
{
  call = $2
  sub(/\(.*/, "", call)
}
call ~ /^(clone3?|v?fork)$/ && !/CLONE_THREAD/ && !/= -1 / { forks++ }
call == "execve" {
  split($0, part, "\"")
  sub(/.*\//, "", part[2])
  name[$1] = part[2]
}
/execve/ && / = 0$/ {
  execs++
  count[name[$1]]++
}
END {
  print execs + 0
  print forks + 0
  while (1) {
    most = ""
    for (program in count) if (most == "" || count[program] > count[most] ||
      (count[program] == count[most] && program < most)) most = program
    if (most == "") break
    printf "%s%s %d", separator, most, count[most]
    separator = ", "
    delete count[most]
  }
  print ""
}
