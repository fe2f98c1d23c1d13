# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, exit status out.

Each verb is a module of its own, imported when it is the one that was asked for, since
`firedamp run` must not hold what the others need. Such a module has

    add_parser(subparsers)   which adds its parser, with `set_defaults(run=…)`
    run(arguments) -> int    the exit status, one of `firedamp.cli.exits`

and may raise any `FiredampError`, whose text the user then sees.
"""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from firedamp import __version__
from firedamp.cli.exits import OK, PROBLEM, UNREACHABLE
from firedamp.errors import ControlUnavailable, FiredampError

VERBS: Final[dict[str, str]] = {
    "run": "watch this machine from the foreground",
    "check": "say whether settings and policies are sound",
    "status": "show on one screen how the daemon is doing",
    "doctor": "show what the daemon can see on this host, and what it cannot",
    "alerts": "show alerts, and what was done about them",
    "policy": "check, test, list and explain policies",
    "undo": "take back what was done",
    "rearm": "let policies act again after the breaker has tripped",
    "reload": "load settings and policies anew",
    "record": "write what is seen to a file for a while",
    "replay": "judge what was recorded, by these policies or others",
}

_EXAMPLES: Final = """\
examples:
  firedamp run --console           watch, and show alerts to whoever looks on
  firedamp check                   after a change of /etc/firedamp
  firedamp alerts --follow         see alerts as they come
  firedamp undo --since 1h         take back all of the last hour

exit status: 0 all is well, 1 a problem was found, 2 wrong use, 3 no daemon to ask
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name."""
    argv = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser(argv).parse_args(argv)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        status = run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough; nor can the interpreter flush at its end.
        _discard_output()
        return OK
    except ControlUnavailable as error:
        _complain(error)
        return UNREACHABLE
    except FiredampError as error:
        _complain(error)
        return PROBLEM
    except PermissionError as error:
        print(f"firedamp: {error.filename}: {error.strerror}", file=sys.stderr)
        return PROBLEM
    except KeyboardInterrupt:
        return 130
    return status


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="firedamp",
        description="Sees cryptomining trojans as they act, and stops them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"firedamp {__version__}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    chosen = next((one for one in argv if not one.startswith("-")), "")
    for verb, text in VERBS.items():
        if verb == chosen:
            importlib.import_module(f"firedamp.cli.{verb}").add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=text)
    return parser


def _complain(error: FiredampError) -> None:
    for line in str(error).splitlines():
        print(f"firedamp: {line}", file=sys.stderr)


def _discard_output() -> None:
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
