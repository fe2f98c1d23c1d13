# SPDX-License-Identifier: Apache-2.0
"""Units of systemd that a trojan left: what else belongs to one, and having systemd forget it.

A unit is not disabled by `systemctl disable`: its links go to the vault one by one, so that each
can be put back. It is stopped first, without waiting for it: what it runs may be frozen.
"""

import glob
import os
import subprocess
from collections.abc import Iterator

_SYSTEMCTL = "/usr/bin/systemctl"
_RUNS = "/run/systemd/system"
"""Is there where systemd is PID 1; see sd_booted(3)."""
_TIMEOUT_S = 10.0
_UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/transient",
    "/usr/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
)
_KINDS = (".service", ".timer", ".socket", ".path", ".mount", ".automount", ".target", ".swap")


class Systemd:
    """The host's own, if it runs."""

    def __init__(self, command: str = _SYSTEMCTL, runs: str = _RUNS) -> None:
        self._command = command
        self._runs = runs

    def stop(self, path: str) -> str:
        """Have the unit stopped that this file describes; returns what went wrong, if anything."""
        directory, unit = os.path.split(path)
        if directory not in _UNIT_DIRECTORIES or not unit.endswith(_KINDS) or "@." in unit:
            return ""
        return self._ask("--no-block", "stop", "--", unit)

    def reload(self, path: str) -> str:
        """Have it read its units again, if this is or was one of them."""
        if not path.startswith(_UNIT_DIRECTORIES):
            return ""
        return self._ask("daemon-reload")

    def _ask(self, *words: str) -> str:
        if not os.path.isdir(self._runs):
            return ""
        try:
            asked = subprocess.run(
                [self._command, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"systemctl {words[0]}: {error}"
        said = asked.stderr.decode("utf-8", "replace").strip()
        return f"systemctl: {said}" if asked.returncode else ""


def links_of(path: str) -> Iterator[str]:
    """Links by which the unit at this path is started, whoever made them: systemd itself does."""
    directory, unit = os.path.split(path)
    if not unit.endswith(_KINDS):
        return
    known = next((one for one in _UNIT_DIRECTORIES if directory.endswith(one)), "")
    root = directory.removesuffix(known) if known else ""
    places = (directory, f"{root}/etc/systemd/system") if known else (directory,)
    for place in dict.fromkeys(places):
        for how in ("wants", "requires", "upholds"):
            for link in glob.glob(f"{glob.escape(place)}/*.{how}/{glob.escape(unit)}"):
                if os.path.islink(link):
                    yield link
