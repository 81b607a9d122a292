"""Commands, flags, arguments and help, as cobra and pflag have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from .base import CliError

BOOL = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class UsageError(CliError):
    """Wrong flags or arguments of a command, whose usage is printed after it."""

    def __init__(self, text: str, command: Command, hint: str = ""):
        super().__init__(text, "usage_error")
        self.command = command
        self.hint = hint


@dataclass
class Flag:
    """A flag: its kind (string, strings, int, float32 or bool), default and help."""

    name: str
    kind: str
    default: Any
    usage: str
    short: str = ""

    def left(self) -> str:
        """The left column of the help."""
        kind = "" if self.kind == "bool" else f" {self.kind}"
        return (f"  -{self.short}, " if self.short else "      ") + f"--{self.name}{kind}"

    def right(self) -> str:
        """The right column: what it is for, and a default that isn't nothing."""
        if not self.default:
            return self.usage
        shown = {"string": f'"{self.default}"', "bool": "true"}.get(self.kind, self.default)
        return f"{self.usage} (default {shown})"

    def parse(self, text: str, command: Command) -> Any:
        """The value of the flag; UsageError when that kind can't have it."""
        try:
            if self.kind == "int":
                return int(text, 0)
            if self.kind == "float32":
                return float(text)
            if self.kind == "bool":
                return BOOL[text.lower()]
        except (ValueError, KeyError) as error:
            call = {"int": "ParseInt", "float32": "ParseFloat", "bool": "ParseBool"}[self.kind]
            named = f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"
            raise UsageError(
                f'invalid argument "{text}" for "{named}" flag: '
                f'strconv.{call}: parsing "{text}": invalid syntax',
                command,
            ) from error
        return text


@dataclass
class Call:
    """What a command was called with."""

    args: list[str]
    flags: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        """A flag's value, its dashes written as underscores."""
        return self.flags[name.replace("_", "-")]


@dataclass
class Command:
    """A command, or (without run) a group of them.

    `use` is its name and arguments as help shows them; `args` the least and most of them.
    """

    use: str
    short: str
    run: Callable[[Call], None] | None = None
    long: str = ""
    args: tuple[int, int] = (0, 0)
    flags: list[Flag] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)  # flags that must be given
    refused: list[str] = field(default_factory=list)  # flags that this stand-in doesn't act on
    children: list[Command] = field(default_factory=list)
    parent: Command | None = None

    def __post_init__(self) -> None:
        self.flags.append(Flag("help", "bool", False, f"help for {self.name}", "h"))

    def adopt(self, *children: Command) -> Command:
        """Makes this the group of those commands; returns it."""
        self.children = list(children)
        for child in children:
            child.parent = self
        return self

    @property
    def name(self) -> str:
        return self.use.split()[0]

    @property
    def path(self) -> str:
        return f"{self.parent.path} {self.name}" if self.parent else self.name

    def root(self) -> Command:
        """The program itself."""
        return self.parent.root() if self.parent else self

    def child(self, name: str) -> Command | None:
        """The child of that name or alias."""
        return next((c for c in self.children if name == c.name or name in c.aliases), None)

    def global_flags(self) -> list[Flag]:
        """The root's flags that every command inherits."""
        return [flag for flag in self.root().flags if self.parent and flag.name == "output"]

    def usage(self) -> str:
        """The usage text that help ends with and that follows wrong usage."""
        text = "Usage:\n"
        if self.run:
            where = f"{self.parent.path} {self.use}" if self.parent else self.use
            text += f"  {where} [flags]\n"
        if self.children:
            text += f"  {self.path} [command]\n"
        if self.aliases:
            text += f"\nAliases:\n  {', '.join([self.name, *self.aliases])}\n"
        if self.children:
            width = max(11, *(len(child.name) for child in self.children))
            text += "\nAvailable Commands:\n"
            for child in sorted(self.children, key=lambda c: c.name):
                text += f"  {child.name:<{width}} {child.short}\n"
        text += "\nFlags:\n" + flag_lines(self.flags)
        if self.global_flags():
            text += "\nGlobal Flags:\n" + flag_lines(self.global_flags())
        if self.children:
            text += f'\nUse "{self.path} [command] --help" for more information about a command.\n'
        return text

    def help(self) -> None:
        """Prints what --help prints."""
        print((self.long or self.short).rstrip() + "\n\n" + self.usage(), end="")


def flag_lines(flags: list[Flag]) -> str:
    """The flags in alphabetical order, their explanations in one column."""
    width = max(len(flag.left()) for flag in flags)
    ordered = sorted(flags, key=lambda flag: flag.name)
    return "".join(f"{flag.left():<{width}}   {flag.right()}".rstrip() + "\n" for flag in ordered)


def find(root: Command, argv: list[str]) -> tuple[Command, list[str]]:
    """The command that argv names, and argv without the words that name it."""
    command = root
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        child = command.child(word)
        if child:
            command = child
            continue
        rest.append(word)
        if word in ("-o", "--output"):  # the one flag with a value that may stand between names
            rest += [value for value in [next(words, None)] if value is not None]
        elif not word.startswith("-") or word == "--":
            break
    return command, rest + list(words)


class Parser:
    """Takes a command's words apart as pflag does: flags anywhere, none after --."""

    def __init__(self, command: Command, argv: list[str]):
        self.command = command
        self.words: Iterator[str] = iter(argv)
        self.flags = [*command.flags, *command.global_flags()]
        self.call = Call([], {flag.name: flag.default for flag in self.flags})

    def parse(self) -> Call:
        """What the command was called with; UsageError for what it doesn't know."""
        for word in self.words:
            if word == "--":
                self.call.args += self.words
            elif word.startswith("--"):
                self.long(word)
            elif word.startswith("-") and word != "-":
                self.short(word)
            else:
                self.call.args.append(word)
        return self.call

    def long(self, word: str) -> None:
        """--name, --name VALUE or --name=VALUE."""
        name, equals, text = word[2:].partition("=")
        flag = next((flag for flag in self.flags if flag.name == name), None)
        if not flag:
            raise UsageError(f"unknown flag: --{name}", self.command)
        self.put(flag, text if equals else self.value(flag, f"--{name}"))

    def short(self, word: str) -> None:
        """-x, -x VALUE, -xVALUE or -x=VALUE."""
        flag = next((flag for flag in self.flags if flag.short == word[1]), None)
        shown = f"'{word[1]}' in {word}"
        if not flag:
            raise UsageError(f"unknown shorthand flag: {shown}", self.command)
        text = word[3:] if word[2:3] == "=" else word[2:]
        self.put(flag, text if len(word) > 2 else self.value(flag, shown))

    def value(self, flag: Flag, shown: str) -> str:
        """The value of a flag that has none in its word."""
        text = "true" if flag.kind == "bool" else next(self.words, None)
        if text is None:
            raise UsageError(f"flag needs an argument: {shown}", self.command)
        return text

    def put(self, flag: Flag, text: str) -> None:
        """Keeps a flag's value; a list grows."""
        values = self.call.flags
        if flag.kind == "strings":
            values[flag.name] = [*(values[flag.name] or []), *text.split(",")]
        else:
            values[flag.name] = flag.parse(text, self.command)


def check_args(command: Command, call: Call) -> None:
    """Refuses the wrong number of arguments, and of flags those that are only known by name."""
    least, most = command.args
    count = len(call.args)
    if count and most == 0:
        raise UsageError(f'unknown command "{call.args[0]}" for "{command.path}"', command)
    if not least <= count <= most:
        most_text = f"{most}" if least == most else f"at most {most}"
        raise UsageError(f"accepts {most_text} arg(s), received {count}", command)
    missing = [f'"{name}"' for name in command.required if not call.flags[name]]
    if missing:
        raise UsageError(f"required flag(s) {', '.join(missing)} not set", command)
    for flag in command.flags:
        if flag.name in command.refused and call.flags[flag.name] != flag.default:
            raise CliError(f"this stand-in for runpodctl does not do --{flag.name}")
