# SPDX-License-Identifier: Apache-2.0
"""`firedamp replay`: what is said about what was recorded, by these policies or by others."""

import argparse
import gc
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firedamp.cli.exits import OK, PROBLEM
from firedamp.cli.options import add_json, new_parser, print_json, settings_of

if TYPE_CHECKING:
    from firedamp.alerts.entries import Entry
    from firedamp.events.model import ProcessKey
    from firedamp.replay import Difference, Replay, Told
    from firedamp.sources.recorded import Item, Recorded

_EXAMPLES: Final = """\
  firedamp replay noon.jsonl.gz                          by the policies in force
  firedamp replay noon.jsonl.gz --policies ./policies    by others
  firedamp replay noon.jsonl.gz --compare ./old ./new    what a change would have done
  firedamp replay /var/lib/firedamp/recording --json     one ECS document a line
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "replay",
        description="Judge a recording again, on any machine and without root: alerts are as "
        "they were or would have been. Nothing is done. A directory of policies stands for "
        "itself alone, with the filters and the indicators in it.",
        examples=_EXAMPLES,
        run=run,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, or its directory")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--policies", type=Path, metavar="DIR", help="judge by these and no others")
    group.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("OLD", "NEW"),
        help="alerts that appear and vanish, and what would have been killed",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0, whatever was found; 1 if the recording or the policies cannot be read."""
    from firedamp.replay import Replay, rules
    from firedamp.sources.recorded import Recorded

    wanted = arguments.compare or [arguments.policies]
    for path in (arguments.file, *wanted):
        if path is not None and not path.exists():
            print(f"firedamp: there is no {path}", file=sys.stderr)
            return PROBLEM
    settings = settings_of(arguments)
    recorded = Recorded(arguments.file)
    replays = [Replay(rules(settings, directory)) for directory in wanted]
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # events make no cycles
    began = time.perf_counter()
    if arguments.compare:
        _compare(recorded, *replays, as_json=arguments.json)
    else:
        _replay(recorded, *replays, as_json=arguments.json)
    print(_summary(recorded, replays[0], time.perf_counter() - began), file=sys.stderr)
    return OK


def _replay(items: "Iterable[Item]", replay: "Replay", *, as_json: bool) -> None:
    for item in items:
        for told in replay.take(item):
            if as_json:
                print(_entry(told).text, flush=True)
            else:
                print("\n".join(_lines(told)), flush=True)


def _compare(items: "Iterable[Item]", old: "Replay", new: "Replay", *, as_json: bool) -> None:
    from firedamp.replay import compare

    found = compare(items, old, new)
    if as_json:
        print_json(_document(found))
        return
    for sign, several in (("-", found.vanish), ("+", found.appear)):
        for told in several:
            first, *rest = _lines(told)
            print("\n".join([f"{sign} {first}", *(f"  {line}" for line in rest)]))
    for sign, killed in (("-", found.killed_by_old), ("+", found.killed_by_new)):
        for key, image in killed.items():
            print(f"{sign} would be killed: pid {key.pid} ({_plain(image)})")
    print(
        f"{len(found.appear)} alerts appear, {len(found.vanish)} vanish, {found.stay} stay; "
        f"{len(found.killed_by_new)} processes would be killed that were not, "
        f"{len(found.killed_by_old)} would be spared, {len(found.killed_by_both)} killed by both"
    )


def _document(found: "Difference") -> Mapping[str, object]:
    return {
        "appear": [_entry(one).document for one in found.appear],
        "vanish": [_entry(one).document for one in found.vanish],
        "stay": found.stay,
        "killed_by_old": _named(found.killed_by_old),
        "killed_by_new": _named(found.killed_by_new),
        "killed_by_both": _named(found.killed_by_both),
    }


def _named(killed: "Mapping[ProcessKey, str]") -> list[dict[str, object]]:
    return [{"pid": key.pid, "process": str(key), "image": one} for key, one in killed.items()]


def _entry(told: "Told") -> "Entry":
    from firedamp.alerts.entries import alert_entry

    return alert_entry(told.alert, told.process, told.origin, decision=told.decision, receipts=())


def _lines(told: "Told") -> Iterator[str]:
    from firedamp.alerts.console import readable

    yield from readable(_entry(told).document, colour=sys.stdout.isatty(), dates=True)


def _plain(text: str) -> str:
    from firedamp.alerts.plain import plain

    return plain(text)


def _summary(recorded: "Recorded", replay: "Replay", elapsed_s: float) -> str:
    rate = replay.events / elapsed_s if elapsed_s else 0
    parts = [f"{replay.events} events in {elapsed_s:.1f} s, {rate:.0f} a second"]
    if replay.lost:
        parts.append(f"{replay.lost} records had been lost when this was recorded")
    if recorded.malformed:
        parts.append(f"{recorded.malformed} lines cannot be read and were left out")
    if recorded.broken_off:
        parts.append("the recording breaks off: what was written last is missing")
    if replay.not_judged:
        parts.append(f"{replay.not_judged} events make no sense and were left out")
    return "; ".join(parts)
