# SPDX-License-Identifier: Apache-2.0
"""`firedamp run`: the daemon, in the foreground, until SIGTERM or SIGINT."""

import argparse
from typing import Final

from firedamp.cli.options import new_parser

_EXAMPLES: Final = """\
  firedamp run --console           watch, and show alerts to whoever looks on
  firedamp run --config ./my.yaml  with other settings
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "run",
        description="Watch this machine from the foreground until SIGTERM or SIGINT. SIGHUP "
        "loads settings and policies anew. Needs root.",
        examples=_EXAMPLES,
        run=run,
    )
    parser.add_argument("--console", action="store_true", help="show alerts to a person")


def run(arguments: argparse.Namespace) -> int:
    from firedamp import service

    return service.run(arguments.config, console=arguments.console)
