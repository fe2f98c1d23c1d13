# SPDX-License-Identifier: Apache-2.0
"""Who may never be touched, whatever a policy says.

Hard rules, which no setting switches off:

1. PID 1, the daemon, its keeper and whatever it names as its own, and all its ancestors.
2. Kernel threads, and whatever our PID namespace shows no number for.
3. systemd and its parts, D-Bus, sshd, and what logs people in.
4. The login shell of a session: that is where an administrator sits.
5. The packaged program of a service of this host; see `response.services`.

Settings add to these: allowed images and units, and the scope. Everything is checked against
the process as it is now, not as the event described it.

What a process can choose (its name, its arguments) protects nobody. An image protects if it
is the very file that we see at its path, or if the process sees the same mounts as we do:
so neither a look-alike in a container nor a private bind mount passes for sshd, while an sshd
that runs on after its package was upgraded still does.
"""

import os
import re
from collections.abc import Callable, Collection

from firedamp.errors import Refused, Spared
from firedamp.events.model import ProcessKey
from firedamp.response.host import Host, Image, ProcessStat
from firedamp.response.packages import Packages
from firedamp.response.scope import ScopeCheck
from firedamp.response.services import ServicePrograms
from firedamp.settings import Settings

_PROTECTED = re.compile(
    r"(/usr)?(/sbin/init"
    r"|/lib/systemd/systemd[^/]*|/bin/systemd[^/]*"
    r"|/bin/dbus-(daemon|broker|broker-launch)"
    r"|/sbin/(sshd|agetty|getty|sulogin|auditd)|/bin/(login|su|sudo)"
    r"|/lib(exec)?/(openssh|ssh)/[^/]+)"
)
_LONG_OPTION = re.compile(r"--[a-z-]+")

Ours = Callable[[], Collection[int]]


class ProcessGuard:
    """Raises Refused for processes that are protected; called for each before each response."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        *,
        ours: Ours = frozenset,
        packages: Packages | None = None,
    ) -> None:
        """`ours` gives the PIDs of the daemon's helpers as they are at the moment."""
        self._host = host
        self._ours = ours
        self._ancestors = _lineage(host, os.getpid())
        self._images = frozenset(settings.allow.images)
        self._units = frozenset(settings.allow.units)
        self._scope = ScopeCheck(settings.scope, host)
        self._shells = _login_shells()
        self._services = ServicePrograms(host, packages or Packages())

    def __call__(self, key: ProcessKey) -> None:
        """Return if the process may be acted on.

        Raises:
            Refused: it may not; the text says why.
            ActionError: it is gone.
        """
        if key.pid <= 0:
            raise Refused("it is outside the daemon's PID namespace")
        stat = self._host.stat(key)
        self._check_identity(stat)
        image = self._host.image(key)
        self._check_image(stat, image)
        self._check_unit(key)
        self._scope.check(key)
        unit = self._services.unit(key, image) if self._is_genuine(key, image) else ""
        if unit:
            raise Spared(f"{image.path} is the packaged program of {unit}")

    def _check_identity(self, stat: ProcessStat) -> None:
        pid = stat.key.pid
        if pid == 1:
            raise Refused("PID 1 is never acted on")
        if stat.is_kernel_thread:
            raise Refused("kernel threads are never acted on")
        if pid in self._ancestors or pid in self._ours():
            raise Refused("it is the daemon itself, or what the daemon runs from")

    def _check_image(self, stat: ProcessStat, image: Image) -> None:
        if _PROTECTED.fullmatch(image.path) and self._is_genuine(stat.key, image):
            raise Refused(f"{image.path} keeps the system and its administrators in touch")
        if image.path in self._images and self._is_genuine(stat.key, image):
            raise Refused(f"{image.path} is among the allowed images")
        if self._is_login_shell(stat, image):
            raise Refused("it is the login shell of a session")

    def _is_genuine(self, key: ProcessKey, image: Image) -> bool:
        return is_same_file(image) or self._host.shares_mounts(key)

    def _is_login_shell(self, stat: ProcessStat, image: Image) -> bool:
        if stat.key.pid != stat.session or stat.tty == 0:
            return False
        if image.path not in self._shells or not self._is_genuine(stat.key, image):
            return False
        # A shell with something to run is a program: any process can open a terminal for one.
        return all(word.startswith("-") and "c" not in word for word in self._words(stat.key))

    def _words(self, key: ProcessKey) -> tuple[str, ...]:
        words = self._host.argv(key)[1:]
        return tuple(word for word in words if not _LONG_OPTION.fullmatch(word))

    def _check_unit(self, key: ProcessKey) -> None:
        if not self._units:
            return
        for path in self._host.cgroups(key):
            for unit in self._units.intersection(path.split("/")):
                raise Refused(f"processes of {unit} are only alerted on")


def is_same_file(image: Image) -> bool:
    """The image is the file that we see at its path ourselves."""
    try:
        status = os.stat(image.path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (image.device, image.inode)


def _lineage(host: Host, pid: int) -> frozenset[int]:
    parents = {stat.key.pid: stat.parent_pid for stat in host.everyone()}
    lineage = set()
    while pid and pid not in lineage:
        lineage.add(pid)
        pid = parents.get(pid, 0)
    return frozenset(lineage)


def _login_shells(path: str = "/etc/shells") -> frozenset[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError:
        lines = ["/bin/sh", "/bin/bash"]
    return frozenset(os.path.realpath(line) for line in lines if line.startswith("/"))
