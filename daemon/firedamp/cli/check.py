# SPDX-License-Identifier: Apache-2.0
"""`firedamp check`: would the daemon start with what is under /etc/firedamp?"""

import argparse
from typing import TYPE_CHECKING, Final

from firedamp.cli.exits import OK, PROBLEM
from firedamp.cli.options import add_json, new_parser, print_json
from firedamp.errors import ConfigError, PolicyError

if TYPE_CHECKING:
    from firedamp.compiled import Compiled

_EXAMPLES: Final = """\
  firedamp check                        what the daemon would load
  firedamp check --config ./my.yaml     before it is installed
  firedamp check && systemctl reload firedamp
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = new_parser(
        subparsers,
        "check",
        description="Read the settings, the policies, the filters and the indicators as the "
        "daemon would, and run the tests that the policies carry. Every problem is listed.",
        examples=_EXAMPLES,
        run=run,
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if the daemon would start with them, 1 and all that is wrong if not."""
    from firedamp.compiled import load_in_child

    try:
        compiled = load_in_child(arguments.config)
    except (ConfigError, PolicyError) as error:
        _show([*str(error).splitlines()], [], None, as_json=arguments.json)
        return PROBLEM
    _show([], list(compiled.warnings), compiled, as_json=arguments.json)
    return OK


def _show(
    problems: list[str], warnings: list[str], compiled: "Compiled | None", *, as_json: bool
) -> None:
    mode = compiled.settings.mode if compiled else None
    count = len(compiled.policies) if compiled else None
    if as_json:
        print_json(
            {
                "ok": compiled is not None,
                "problems": problems,
                "warnings": warnings,
                "mode": mode,
                "policies": count,
            }
        )
        return
    for problem in problems:
        print(problem)
    for warning in warnings:
        print(f"warning: {warning}")
    if compiled:
        print(f"settings and {count} policies are sound; mode {mode}")
    else:
        print(f"{len(problems)} problem(s)")
