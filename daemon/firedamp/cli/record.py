# SPDX-License-Identifier: Apache-2.0
"""`firedamp record`: what the daemon sees, in a file, for a while."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firedamp import paths
from firedamp.cli.exits import OK, PROBLEM
from firedamp.cli.options import add_json, new_parser, print_json, settings_of
from firedamp.control.client import request

if TYPE_CHECKING:
    from firedamp.control.protocol import Result
    from firedamp.settings import Settings

_EXAMPLES: Final = """\
  firedamp record now.jsonl.gz                     for a minute
  firedamp record --seconds 3600 noon.jsonl.gz     Ctrl-C ends it before
  firedamp replay noon.jsonl.gz                    what is said about it
"""
_POLL_S: Final = 0.25


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "record",
        description="Have the daemon write what it sees to a new file, for `firedamp replay`. "
        "Secrets in command lines are masked as far as they can be recognised. To record all "
        "the time, set `record.directory`.",
        examples=_EXAMPLES,
        run=run,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a new file, or a directory")
    parser.add_argument(
        "--seconds", type=_positive, default=60, metavar="N", help="how long; by default 60"
    )
    parser.add_argument(
        "--max-mb", type=_positive, default=256, metavar="N", help="how much; by default 256"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when the recording is whole; 1 when it ended before its time."""
    settings = settings_of(arguments)
    state = _ask(
        settings,
        "record",
        path=str(arguments.file.absolute()),
        seconds=arguments.seconds,
        max_mb=arguments.max_mb,
    )
    if not arguments.json:
        print(f"recording for {arguments.seconds} s; Ctrl-C ends it", flush=True)
    try:
        while state.get("recording"):
            time.sleep(_POLL_S)
            state = _ask(settings, "record-state")
    except KeyboardInterrupt:
        state = _ask(settings, "record-stop")
    if arguments.json:
        print_json(state)
    else:
        print(_sentence(state))
    return OK if state.get("ended") in {"time is up", "stopped"} else PROBLEM


def _ask(settings: "Settings", verb: str, **arguments: object) -> "Result":
    socket = paths.control_socket(Path(settings.runtime_directory))
    return request(verb, at=socket, within_s=10.0, **arguments)


def _sentence(state: Mapping[str, object]) -> str:
    size = state.get("bytes")
    kib = size // 1024 if isinstance(size, int) else "?"
    return f"{state.get('events')} events, {kib} KiB, {state.get('path')}: {state.get('ended')}"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
