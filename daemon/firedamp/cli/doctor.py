# SPDX-License-Identifier: Apache-2.0
"""`firedamp doctor`: each capability, the hook in use, what it cannot see, what would help."""

import argparse
import shutil
from typing import TYPE_CHECKING, Final

from firedamp.alerts.plain import plain
from firedamp.cli.exits import OK, PROBLEM
from firedamp.cli.options import add_json, ask, new_parser, print_json, settings_of
from firedamp.cli.table import table
from firedamp.errors import ControlUnavailable

if TYPE_CHECKING:
    from firedamp.settings import Settings

_EXAMPLES: Final = """\
  firedamp doctor                  ask the daemon, or try the hooks where none runs
  firedamp doctor --json | jq -r '.hooks[] | select(.state != "ok") | .capability'
"""
_COLUMNS: Final = (
    ("capability", "CAPABILITY"),
    ("state", "STATE"),
    ("hook", "HOOK IN USE"),
    ("blind", "WHAT IT CANNOT SEE"),
    ("better", "WHAT WOULD MAKE IT BETTER"),
)
Row = dict[str, object]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "doctor",
        description="Show each thing that the daemon watches, the hook by which it does, what "
        "that hook cannot see, and what would make it better. Where no daemon runs, "
        "the hooks are tried and taken out again, which needs root.",
        examples=_EXAMPLES,
        run=run,
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if every capability has a hook, 1 if one is missing."""
    settings = settings_of(arguments)
    try:
        origin, hooks = "daemon", _rows(ask(settings, "doctor").get("hooks"))
    except ControlUnavailable:
        origin, hooks = "dry start", _dry_start(settings)
    if arguments.json:
        print_json({"origin": origin, "hooks": hooks})
    else:
        _show(origin, hooks)
    return PROBLEM if any(row.get("state") == "missing" for row in hooks) else OK


def _dry_start(settings: "Settings") -> list[Row]:
    from firedamp.sources import doctor

    return _rows(doctor.report(settings))


def _rows(value: object) -> list[Row]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _show(origin: str, hooks: list[Row]) -> None:
    cells = [[plain(row.get(key) or "-", limit=1000) for key, _ in _COLUMNS] for row in hooks]
    width = max(80, shutil.get_terminal_size((160, 24)).columns)
    for line in table([title for _, title in _COLUMNS], cells, width=width):
        print(line)
    if origin != "daemon":
        print("\nNo daemon is running: the hooks were tried, and taken out again.")
