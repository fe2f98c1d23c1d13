# SPDX-License-Identifier: Apache-2.0
"""`firedamp undo`: take back what was done."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from firedamp.errors import ActionError, ConfigError, ControlError, ControlUnavailable

if TYPE_CHECKING:
    from firedamp.events.model import ProcessKey
    from firedamp.settings import Settings

_EXAMPLES = """\
examples:
  firedamp undo 17                 the action that the ledger and the alert call 17
  firedamp undo 8d1f…              everything that was done about an incident
  firedamp undo --since 2h         everything that was done in the last two hours
  firedamp undo --since 2026-11-23T03:00 --dry-run
"""
_AGO = re.compile(r"(\d+)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NS_PER_S = 1_000_000_000
_WITHIN_S = 120.0
_WELL = frozenset({"undone", "would", "nothing-to-do"})


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "undo",
        help="take back what was done",
        description="Take back one action, all of an incident, or all since a time, last first. "
        "Frozen processes go on, files come back as they were, addresses are let through. "
        "Killed processes stay dead, and evidence is kept.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("what", nargs="?", metavar="ACTION|INCIDENT", help="number or incident")
    what.add_argument("--since", type=_time, metavar="T", help="time, or age such as 90s, 2h, 1d")
    parser.add_argument("--force", action="store_true", help="overwrite what is there by now")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--config", type=Path, help="settings other than the installed ones")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; 0 if all was taken back, 1 if something was not."""
    from firedamp.config import load_settings

    try:
        receipts = _undo(load_settings(args.config), args)
    except (ActionError, ConfigError, ControlError) as error:
        print(error, file=sys.stderr)
        return 1
    _show(receipts, as_json=args.json)
    return 0 if all(receipt.get("outcome") in _WELL for receipt in receipts) else 1


def _undo(settings: "Settings", args: argparse.Namespace) -> list[Mapping[str, object]]:
    """By the daemon where one runs, for it holds what is frozen; else here."""
    from firedamp.control.client import request
    from firedamp.paths import control_socket

    selection = _selection(args)
    try:
        answer = request(
            "undo",
            at=control_socket(Path(settings.runtime_directory)),
            within_s=_WITHIN_S,
            force=args.force,
            dry_run=args.dry_run,
            **selection,
        )
    except ControlUnavailable:
        return _undo_here(settings, selection, args)
    receipts = answer.get("receipts")
    return receipts if isinstance(receipts, list) else []


def _selection(args: argparse.Namespace) -> dict[str, object]:
    if args.since is not None:
        return {"since_ns": args.since}
    return {"number": int(args.what)} if args.what.isdecimal() else {"incident": args.what}


def _undo_here(
    settings: "Settings", selection: Mapping[str, object], args: argparse.Namespace
) -> list[Mapping[str, object]]:
    from firedamp.response.assembly import all_actions, open_ledger
    from firedamp.response.system_host import SystemHost
    from firedamp.response.undo import Selection, undo

    ledger = open_ledger(settings, make=False)
    try:
        receipts = undo(
            ledger,
            all_actions(settings, SystemHost(), _NobodyFrozen(), None),
            Selection.from_arguments(selection),
            force=args.force,
            dry_run=args.dry_run,
        )
    finally:
        ledger.close()
    return [receipt.to_json() for receipt in receipts]


class _NobodyFrozen:
    """The keeper of a daemon that does not run: what it held went on when it ended."""

    def hold(self, pidfds: "Mapping[ProcessKey, int]") -> None:
        raise ActionError("no daemon runs that could hold a process frozen")

    def forget(self, keys: "Iterable[ProcessKey]") -> None:
        """Nobody is held."""

    def held(self) -> "tuple[ProcessKey, ...]":
        return ()


def _show(receipts: list[Mapping[str, object]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(receipts, indent=2))
        return
    if not receipts:
        print("nothing was done that could be taken back")
    for receipt in receipts:
        reason = f": {receipt['reason']}" if receipt.get("reason") else ""
        print(f"{receipt['action']} {receipt['target']}: {receipt['outcome']}{reason}")


def _time(text: str) -> int:
    """A wall-clock time in nanoseconds, from an age or a date."""
    ago = _AGO.fullmatch(text)
    if ago:
        return time.time_ns() - int(ago[1]) * _SECONDS[ago[2]] * _NS_PER_S
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; 90s, 2h, 1d or 2026-11-23T03:00 are"
        ) from None
    return int(moment.timestamp() * _NS_PER_S)
