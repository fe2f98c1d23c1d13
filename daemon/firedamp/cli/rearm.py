# SPDX-License-Identifier: Apache-2.0
"""`firedamp rearm`: let policies act again after the breaker has tripped."""

import argparse
from typing import Final

from firedamp.cli.exits import OK
from firedamp.cli.options import add_json, ask, new_parser, print_json, settings_of

_EXAMPLES: Final = """\
  firedamp alerts --since 1h       look first at what was killed, and why
  firedamp rearm
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "rearm",
        description="Let policies act again. More kills than response.breaker allows have made the "
        "daemon observe only, until a person has looked: that is you.",
        examples=_EXAMPLES,
        run=run,
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if they may act again, or might all along."""
    answer = ask(settings_of(arguments), "rearm")
    if arguments.json:
        print_json(answer)
    else:
        print("policies act again" if answer["was_tripped"] else "the breaker had not tripped")
    return OK
