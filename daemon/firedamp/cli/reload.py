# SPDX-License-Identifier: Apache-2.0
"""`firedamp reload`: settings and policies anew, in the running daemon."""

import argparse
from typing import Final

from firedamp.cli.exits import OK
from firedamp.cli.options import add_json, ask, new_parser, print_json, settings_of

_EXAMPLES: Final = """\
  firedamp reload
  firedamp check && firedamp reload
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "reload",
        description="Have the daemon load settings and policies anew. They are checked and tested "
        "first: if anything is wrong, it is said, and those in force stay.",
        examples=_EXAMPLES,
        run=run,
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if the new ones are in force."""
    answer = ask(settings_of(arguments), "reload")
    if arguments.json:
        print_json(answer)
    else:
        print(f"{answer['policies']} policies are in force")
    return OK
