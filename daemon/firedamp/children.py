# SPDX-License-Identifier: Apache-2.0
"""How a module of ours is run as a process of its own."""

import sys
from pathlib import Path
from typing import Final

_ROOT: Final = str(Path(__file__).resolve().parents[1])

# Not `-m`: the directory that holds us can be a private one, which `-I` leaves off the path.
_START: Final = """\
import runpy, sys
{root!r} in sys.path or sys.path.insert(0, {root!r})
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def command(module: str, *arguments: str) -> list[str]:
    """The argument list that runs a module of this very installation, isolated.

    It needs nothing from the environment, and finds no module that lies in the directory in
    which it is started.
    """
    code = _START.format(root=_ROOT, module=module)
    return [sys.executable, "-I", "-c", code, *arguments]
