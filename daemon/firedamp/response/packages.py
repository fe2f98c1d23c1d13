# SPDX-License-Identifier: Apache-2.0
"""Which distribution package owns a file; asked of the package database only when needed.

dpkg's database is text that can be searched in place (some ten milliseconds the first time),
so no process is started for it. rpm's is not, so there `rpm -qf` is asked.

A database that is there but cannot be read owns everything: rather a trojan's file is left
where it is than a package's file moved.
"""

import os
import subprocess

_DPKG = "/var/lib/dpkg/info"
_RPM = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_RPM_TIMEOUT_S = 5.0
_REMEMBERED = 512


class Packages:
    """Answers for one root directory; remembers answers until the database changes."""

    def __init__(self, root: str = "") -> None:
        """`root` is prefixed to the databases' places: `/proc/PID/root` for a container."""
        self._root = root
        self._answers: dict[str, str] = {}
        self._stamp = 0

    def owner(self, path: str) -> str:
        """The package that owns the file at this absolute path; empty: none does."""
        self._forget_if_changed()
        if path not in self._answers:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[path] = self._ask_dpkg(path) or self._ask_rpm(path)
        return self._answers[path]

    def _forget_if_changed(self) -> None:
        try:
            stamp = os.stat(self._root + _DPKG).st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._stamp:
            self._answers.clear()
            self._stamp = stamp

    def _ask_dpkg(self, path: str) -> str:
        wanted = [os.fsencode(f"\n{alias}\n") for alias in aliases(path)]
        directory = self._root + _DPKG
        try:
            lists = [name for name in os.listdir(directory) if name.endswith(".list")]
        except FileNotFoundError:
            return ""
        except OSError:
            return "dpkg, whose database cannot be read"
        for name in lists:
            try:
                with open(f"{directory}/{name}", "rb") as file:
                    owned = b"\n" + file.read() + b"\n"
            except FileNotFoundError:
                continue  # removed meanwhile, with its package
            except OSError:
                return "dpkg, whose database cannot be read"
            if any(line in owned for line in wanted):
                return name.removesuffix(".list").partition(":")[0]
        return ""

    def _ask_rpm(self, path: str) -> str:
        if not any(os.path.isdir(self._root + place) for place in _RPM):
            return ""
        command = ["/usr/bin/rpm", *(["--root", self._root] if self._root else [])]
        try:
            answer = subprocess.run(
                [*command, "-qf", "--queryformat", "%{NAME}\n", *aliases(path)],
                capture_output=True,
                text=True,
                timeout=_RPM_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            return ""  # a stray directory: no rpm manages this host
        except (OSError, subprocess.SubprocessError):
            return "rpm, which does not answer"
        # It says of each alias which package owns it, or that none does.
        owned = [line for line in answer.stdout.splitlines() if " " not in line]
        return owned[0] if owned else ""


def aliases(path: str) -> tuple[str, ...]:
    """All names of a path on a system where /bin is a link to /usr/bin, this one first.

    Packages list files under either name, the kernel names them by where they really are.
    """
    head, _, rest = path.lstrip("/").partition("/")
    if head in _MERGED:
        return (path, f"/usr/{head}/{rest}")
    if head == "usr" and rest.partition("/")[0] in _MERGED:
        return (path, f"/{rest}")
    return (path,)
