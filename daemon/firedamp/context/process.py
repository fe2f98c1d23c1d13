# SPDX-License-Identifier: Apache-2.0
"""One process as the daemon remembers it, and an event together with who did it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firedamp.events.model import UNKNOWN_PROCESS, Event, ProcessKey

if TYPE_CHECKING:
    from firedamp.context.host import HostContext

NO_LOGIN = 0xFFFFFFFF


@dataclass(slots=True, kw_only=True, eq=False)
class Process:
    """What is known of a process. Only the process tree changes one."""

    key: ProcessKey
    parent: ProcessKey = UNKNOWN_PROCESS
    """Who started it, as the trace shows it: a later reparenting does not change it."""
    actor: ProcessKey = UNKNOWN_PROCESS
    """The oldest ancestor below the session, service or container; names the lineage."""
    image: str = ""
    filename: str = ""
    argv: tuple[str, ...] = ()
    argv_cut: bool = False
    cwd: str = ""
    comm: str = ""
    uid: int = NO_LOGIN
    gid: int = NO_LOGIN
    loginuid: int = NO_LOGIN
    device: int = 0
    inode: int = 0
    link_count: int = 1
    mode: int = 0
    image_uid: int = NO_LOGIN
    cgroup_id: int = 0
    mount_ns: int = 0
    pid_ns: int = 0
    net_ns: int = 0
    executed: bool = False
    """It replaced its image itself; False for a fork that still runs its parent's image."""
    exited_ns: int = 0
    """When it ended; 0 while it lives. Remembered for a while for events that come late."""
    children: set[ProcessKey] = field(default_factory=set)

    @property
    def command_line(self) -> str:
        """The arguments joined with single spaces, as Sigma's `CommandLine` is."""
        return " ".join(self.argv)


@dataclass(slots=True, kw_only=True, eq=False)
class Observed:
    """An event, who did it, and the memory of the host at that moment.

    `process` is never None: for a process that was never seen it is a bare `Process` with
    only a key, so that analysers and accessors need no special case.
    """

    event: Event
    process: Process
    host: "HostContext"
