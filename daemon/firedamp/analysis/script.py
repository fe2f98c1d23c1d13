# SPDX-License-Identifier: Apache-2.0
"""Which script a process runs, where its image is only an interpreter.

Acting on a process that runs a script must not touch the interpreter, which others use: the
script is the file that matters. The kernel starts a `#!` script by running the interpreter with
the script's path among its arguments; a person starts one by naming it first after the options.

`ScriptPath` comes from arguments. Those of an exec are what the interpreter acted on; those of a
process that was found running may have been rewritten by it since, so that whoever moves or
removes a file by this field must check that the file is one that may be moved.

Blind spots: scripts that are piped in or given on the command line have no path; a shell that
sources a file; interpreters that are not listed here; programs that embed one.
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from firedamp.analysis.base import FieldValue
from firedamp.analysis.places import place_of
from firedamp.context.process import Observed, Process


@dataclass(frozen=True, slots=True)
class Options:
    """How an interpreter reads its command line, as far as finding the script needs it."""

    inline: str = ""
    """Letters of options after which there is no script: code on the command line, stdin."""
    with_value: str = ""
    """Letters of options that take the next argument, unless their value is joined to them."""
    long_inline: tuple[str, ...] = ()
    long_with_value: tuple[str, ...] = ()
    file: str = ""
    """Letter of an option whose value is the script."""


_SHELL = Options(inline="cs", with_value="oO", long_with_value=("--rcfile", "--init-file"))
INTERPRETERS: Mapping[str, Options] = {
    **dict.fromkeys(("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash"), _SHELL),
    "python": Options(inline="cm", with_value="WX", long_with_value=("--check-hash-based-pycs",)),
    "pypy": Options(inline="cm", with_value="WX"),
    "perl": Options(inline="eEvV", with_value="I"),
    "ruby": Options(inline="e", with_value="ICrEK"),
    "node": Options(
        inline="ep",
        with_value="rC",
        long_inline=("--eval", "--print"),
        long_with_value=("--require", "--import", "--loader", "--env-file"),
    ),
    "php": Options(inline="r", with_value="cdtSz", file="f"),
    "lua": Options(inline="e", with_value="l"),
    "tclsh": Options(),
    "java": Options(
        long_with_value=("-cp", "-classpath", "--class-path", "-p", "--module-path"), file="jar"
    ),
}
_ALIASES = {"nodejs": "node", "luajit": "lua", "php-cli": "php", "busybox": "sh"}
_VERSION = re.compile(r"[-.]?\d[\d.]*[a-z]?$")


def script_path(observed: Observed) -> FieldValue:
    """Absolute path of the script; None where the process runs none that has a path."""
    process = observed.process
    if not process.image or not process.argv:
        return None
    script = _by_hash_bang(process) or _by_argument(process)
    return _absolute(script, process.cwd) if script else None


def script_place(observed: Observed) -> FieldValue:
    """All that is doubtful about the script's place, as `ImagePlace` is about the image's."""
    script = script_path(observed)
    return place_of(script) or None if isinstance(script, str) else None


def _by_hash_bang(process: Process) -> str | None:
    # The kernel puts the path that was asked for behind the interpreter and its one option.
    if process.filename and process.filename != process.image:
        for argument in process.argv[1:3]:
            if argument == process.filename:
                return argument
    return None


def _by_argument(process: Process) -> str | None:
    options = _options_of(process.image)
    if options is None:
        return None
    arguments = list(process.argv[1:])
    if process.image.endswith("/busybox") and not _is_shell(process.argv[0]):
        if not _is_shell("".join(arguments[:1])):
            return None  # another of its applets
        del arguments[0]
    return _first_operand(arguments, options)


@lru_cache(maxsize=1024)
def _options_of(image: str) -> Options | None:
    name = _VERSION.sub("", posixpath.basename(image))
    return INTERPRETERS.get(_ALIASES.get(name, name))


def _is_shell(argument: str) -> bool:
    return posixpath.basename(argument).lstrip("-") in {"sh", "ash"}


def _first_operand(arguments: list[str], options: Options) -> str | None:
    """The first argument that is neither an option nor an option's value."""
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument == "--":
            return arguments[position] if position < len(arguments) else None
        if argument == "-":
            return None
        if not argument.startswith(("-", "+")):
            return None if options.file == "jar" else argument
        if options.file and argument.lstrip("-") == options.file:
            return arguments[position] if position < len(arguments) else None
        if _has_no_script(argument, options):
            return None
        if _takes_next(argument, options):
            position += 1
    return None


def _has_no_script(argument: str, options: Options) -> bool:
    if argument.startswith("--"):
        return argument.partition("=")[0] in options.long_inline
    for letter in argument[1:]:
        if letter in options.inline:
            return True
        if letter in options.with_value:  # the rest of the argument is its value
            return False
    return False


def _takes_next(argument: str, options: Options) -> bool:
    if argument in options.long_with_value:
        return True
    if argument.startswith("--"):
        return False
    positions = [argument.find(letter, 1) for letter in options.with_value]
    first = min((at for at in positions if at > 0), default=0)
    return first == len(argument) - 1 and first > 0


def _absolute(script: str, cwd: str) -> str | None:
    if not script.startswith("/"):
        if not cwd.startswith("/"):
            return None
        script = f"{cwd}/{script}"
    return posixpath.normpath(script).replace("//", "/", 1)
