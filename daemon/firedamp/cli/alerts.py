# SPDX-License-Identifier: Apache-2.0
"""`firedamp alerts`: what was found, and what was done about it."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firedamp.cli.exits import OK, PROBLEM
from firedamp.cli.options import add_json, new_parser, settings_of
from firedamp.cli.when import point_in_time

if TYPE_CHECKING:
    from firedamp.alerts.stored import Store
    from firedamp.settings import Settings

_EXAMPLES: Final = """\
  firedamp alerts                          the last twenty entries
  firedamp alerts --follow --level high    serious ones, as they come
  firedamp alerts --since yesterday --json | jq -r .message
  firedamp alerts --file ./alerts.jsonl    of another machine
"""
_LEVELS: Final = ("informational", "low", "medium", "high", "critical")
_DEFAULT_COUNT: Final = 20


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "alerts",
        description="Show alerts and what was done about them, oldest first: from the journal "
        "where one runs, else from the file that the settings name.",
        examples=_EXAMPLES,
        run=run,
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as new ones come")
    parser.add_argument(
        "--since", type=_since, metavar="T", help="an age or a time: 2h, 12:30, yesterday"
    )
    parser.add_argument(
        "-n",
        dest="count",
        type=_count,
        metavar="N",
        help=f"how many; without --since {_DEFAULT_COUNT}",
    )
    parser.add_argument(
        "--level", choices=_LEVELS, help="alerts of this level and above, and their actions"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="read this JSON-lines file")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0, also if there are no alerts; 1 if the file that was named is not there."""
    if arguments.file and not arguments.file.is_file():
        print(f"firedamp: there is no file {arguments.file}", file=sys.stderr)
        return PROBLEM
    store = _store(arguments)
    wanted = _wanted(arguments.level)
    count = arguments.count
    if count is None and arguments.since is None:
        count = _DEFAULT_COUNT
    show = _as_json if arguments.json else _as_text
    _print(show(store.last(count, arguments.since, wanted)))
    if arguments.follow:
        _print(show(store.follow(wanted)))
    return OK


def _store(arguments: argparse.Namespace) -> "Store":
    from firedamp.alerts.journal import is_answering
    from firedamp.alerts.stored import FileStore, JournalStore

    if arguments.file:
        return FileStore(arguments.file)
    settings = settings_of(arguments)
    if settings.alerts.journal != "no" and is_answering():
        return JournalStore()
    return FileStore(_file(settings))


def _file(settings: "Settings") -> Path:
    return Path(settings.alerts.file or f"{settings.state_directory}/alerts.jsonl")


def _wanted(level: str | None) -> Callable[[Mapping[str, object]], bool]:
    if level is None:
        return lambda _document: True
    enough = _LEVELS[_LEVELS.index(level) :]

    def is_wanted(document: Mapping[str, object]) -> bool:
        own = document.get("firedamp")
        return isinstance(own, dict) and own.get("level") in enough

    return is_wanted


def _as_json(documents: Iterable[Mapping[str, object]]) -> Iterator[str]:
    for document in documents:
        yield json.dumps(document, separators=(",", ":"))


def _as_text(documents: Iterable[Mapping[str, object]]) -> Iterator[str]:
    from firedamp.alerts.console import readable

    for document in documents:
        yield from readable(document, colour=sys.stdout.isatty(), dates=True)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _since(text: str) -> datetime:
    try:
        return point_in_time(text, datetime.now(tz=UTC).astimezone())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)
