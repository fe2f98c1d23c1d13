# SPDX-License-Identifier: Apache-2.0
"""What several verbs have in common: their options, and whom they ask."""

import argparse
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from firedamp import paths
from firedamp.control.client import request
from firedamp.control.protocol import Result

if TYPE_CHECKING:
    from firedamp.settings import Settings


def new_parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    verb: str,
    *,
    description: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """A verb's parser, with `--config` and `--json`."""
    from firedamp.cli import VERBS

    parser = subparsers.add_parser(
        verb,
        help=VERBS[verb],
        description=textwrap.fill(description, 78),
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"settings other than {paths.config_file()}",
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def settings_of(arguments: argparse.Namespace) -> "Settings":
    """The settings that the arguments name.

    Raises:
        ConfigError: they are not sound.
    """
    from firedamp.config import load_settings
    from firedamp.settings import Settings

    # Parsing takes a quarter of a second, which defaults need not cost.
    dropins = paths.config_dropins_dir()
    if arguments.config is None and not paths.config_file().exists() and not dropins.is_dir():
        return Settings()
    return load_settings(arguments.config)


def ask(settings: "Settings", verb: str) -> Result:
    """What the daemon with these settings answers.

    Raises:
        ControlUnavailable: there is none.
        ControlError: it refused.
    """
    return request(verb, at=paths.control_socket(Path(settings.runtime_directory)))


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
