# SPDX-License-Identifier: Apache-2.0
"""`python -m firedamp.demo`: an attack without harm, and what firedamp does about it."""

import os
import shutil
import signal
import sys
import time
from contextlib import closing
from types import FrameType
from typing import Final, NoReturn

from firedamp.cgroups import cgroup2_mount
from firedamp.demo.narrator import Narrator
from firedamp.demo.play import SETTINGS, Play
from firedamp.demo.stage import Stage
from firedamp.demo.watcher import WatcherError
from firedamp.errors import FiredampError

_PROGRAMS: Final = {"ip": "iproute2", "setpriv": "util-linux"}
_ABOUT: Final = (
    "A harmless attack, in a corner of this machine that is made for it: a cgroup, a network, and "
    "the directory {}, below written as …. The daemon is the real one, and acts there only."
)
_ENDS: Final = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """0: everything was seen and done as promised. 1: not. 2: this machine cannot play it."""
    lacking = missing()
    if lacking:
        print(f"The demo cannot be played here. It needs {'; '.join(lacking)}.", file=sys.stderr)
        return 2
    for number in _ENDS:
        signal.signal(number, _end)
    try:
        return _perform()
    except (OSError, FiredampError, WatcherError) as error:
        print(f"\nThe demo broke off: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted. All that the demo had made is gone again.", file=sys.stderr)
    return 1


def missing() -> list[str]:
    """What this machine lacks, in words; empty where the demo can be played."""
    lacking = []
    if os.geteuid() != 0:
        lacking.append("root: `sudo make demo` (kernel probes, a cgroup and a network of its own)")
    for program, package in _PROGRAMS.items():
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            lacking.append(f"`{program}` ({package})")
    if not cgroup2_mount():
        lacking.append("cgroup v2, which is not mounted")
    return lacking


def _perform() -> int:
    began = time.monotonic()
    with Stage() as stage:
        narrator = Narrator(sys.stdout)
        narrator.line(_ABOUT.format(stage.directory))
        narrator.short[str(stage.directory)] = "…"
        watcher = stage.watcher(**SETTINGS)
        try:
            with closing(Play(stage, watcher, narrator)) as play:
                watcher.start()
                narrator.aside(f"watching after {time.monotonic() - began:.1f} s")
                play.perform()
        finally:
            for number in (signal.SIGINT, *_ENDS):  # whoever is impatient must not stop the mop
                signal.signal(number, signal.SIG_IGN)
    return _conclude(narrator, time.monotonic() - began)


def _conclude(narrator: Narrator, took_s: float) -> int:
    narrator.line()
    if narrator.failures:
        narrator.line(f"Not all went as it should: {len(narrator.failures)} line(s) say NO.")
        return 1
    narrator.line(f"That took {took_s:.0f} s. Corner, daemon, firewall table and files are gone.")
    narrator.line("Next: `make run` watches this machine, observing; `firedamp doctor` tells how.")
    return 0


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
