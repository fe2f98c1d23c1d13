# SPDX-License-Identifier: Apache-2.0
"""Whether a process is the packaged program that a service of this host is made of.

A proxy that carries a miner's words to a pool speaks as the miner does, and so does a database
into which code was loaded. To kill it is to kill the business: PostgreSQL restarts whole when one
backend dies. Such a process is alerted on, and its pool blocked, but it is left running.

Rules:

1. Its cgroup is that of a systemd service, and it runs the same image as the service's oldest
   process. So what the service was made to start (a shell, a download) is not meant.
2. A package owns that image, and it is the very file that we see there. So a service that a
   trojan installed is not meant either.
3. It is no interpreter: of those, the script is the program.

Blind spot: containers. What runs in one is judged like any other process.
"""

from firedamp.context.units import placement
from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey
from firedamp.response.host import Host, Image
from firedamp.response.packages import Packages
from firedamp.response.suspects import is_interpreter


class ServicePrograms:
    """Answers for this host."""

    def __init__(self, host: Host, packages: Packages) -> None:
        self._host = host
        self._packages = packages

    def unit(self, key: ProcessKey, image: Image) -> str:
        """The service whose program it is; empty where it is none's.

        Asked last: the other rules cost little, to ask for a package some milliseconds.
        """
        unit = self._unit(key)
        if not unit or is_interpreter(image.path):
            return ""
        if not self._is_same(self._oldest(key), image):
            return ""
        return unit if self._packages.owner(image.path) else ""

    def _unit(self, key: ProcessKey) -> str:
        for path in self._host.cgroups(key):
            found = placement(path)
            if found.unit.endswith(".service") and not found.container:
                return found.unit
        return ""

    def _oldest(self, key: ProcessKey) -> ProcessKey:
        members = self._host.cgroup_members(key)
        return min(members, key=lambda one: one.started_ticks, default=key)

    def _is_same(self, key: ProcessKey, image: Image) -> bool:
        try:
            other = self._host.image(key)
        except ActionError:
            return False
        return (other.device, other.inode) == (image.device, image.inode)
