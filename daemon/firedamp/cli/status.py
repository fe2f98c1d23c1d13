# SPDX-License-Identifier: Apache-2.0
"""`firedamp status`: the daemon's health on one screen."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Final

from firedamp.alerts.plain import plain
from firedamp.cli.exits import OK
from firedamp.cli.options import add_json, ask, new_parser, print_json, settings_of

_EXAMPLES: Final = """\
  firedamp status
  firedamp status --json | jq .mode
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "status",
        description="Show how the daemon is doing: its mode, what it has seen, lost and done.",
        examples=_EXAMPLES,
        run=run,
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if the daemon answers."""
    status = ask(settings_of(arguments), "status")
    if arguments.json:
        print_json(status)
    else:
        for line in lines(status):
            print(line)
    return OK


def lines(status: Mapping[str, object]) -> Iterator[str]:
    """The status as aligned lines: single values first, then a block for each group."""
    single = {key: value for key, value in status.items() if not isinstance(value, dict)}
    yield from _block(single, indent="")
    for key, value in status.items():
        if isinstance(value, dict):
            yield f"{_title(key)}:" if value else f"{_title(key)}: none"
            yield from _block(value, indent="  ")


def _block(values: Mapping[str, object], *, indent: str) -> Iterator[str]:
    widest = max((len(_title(key)) for key in values), default=0)
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{_title(key)}:"
            yield from _block(value, indent=f"{indent}  ")
        else:
            yield f"{indent}{_title(key):<{widest}}  {_shown(key, value)}"


def _title(key: str) -> str:
    return plain(key.removesuffix("_s").replace("_", " "), limit=60)


def _shown(key: str, value: object) -> str:
    if key.endswith("_s") and isinstance(value, int | float):
        return _duration(int(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return ", ".join(map(plain, value)) or "none"
    return "-" if value is None else plain(value)


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or "0 s"
