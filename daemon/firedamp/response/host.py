# SPDX-License-Identifier: Apache-2.0
"""The one door through which responses look at processes and signal them.

There is one real implementation, `system_host`, and a fake one for tests. A process is
always named by its `ProcessKey`: every call that takes one either concerns exactly that
process or raises `ActionError`, also after its PID went to somebody else.
"""

import signal
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey

PF_KTHREAD = 0x00200000

Standing = Literal["running", "blocked", "stopped"]
"""running: some thread runs, or would if it were its turn or something woke it. blocked: what
does not stand still sleeps in the kernel where no signal reaches it, and does nothing there.
stopped: no thread runs until it is continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStat:
    """What /proc/PID/stat says."""

    key: ProcessKey
    comm: str
    state: str
    parent_pid: int
    group: int
    session: int
    tty: int
    """Device number of the controlling terminal; 0: none."""
    flags: int

    @property
    def is_kernel_thread(self) -> bool:
        return bool(self.flags & PF_KTHREAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The executable that a process runs."""

    path: str
    """Where the kernel says it is, without the ` (deleted)` that may follow."""
    device: int
    inode: int
    """As stat(2) gives them, for comparing with other files on this host."""
    link_count: int
    is_named: bool
    """False: the name was removed, or there never was one (`/memfd:x`)."""


class Host(Protocol):
    """Processes, as responses see them."""

    def now_ns(self) -> int:
        """The boot-time clock, the one that events are stamped with."""

    def urgent(self) -> AbstractContextManager[None]:
        """While in here, run before everybody else, if that can be had.

        Who has a hundred processes that all want to run has a hundred times our share of the
        processor: too much to be stopped faster than they fork.
        """

    def pin(self, key: ProcessKey) -> None:
        """Take hold of the process, so that its PID cannot become somebody else's."""

    def pidfd(self, key: ProcessKey) -> int:
        """The descriptor by which it is pinned; the host owns it."""

    def release(self, keys: Iterable[ProcessKey]) -> None:
        """Let go. Keys that are not pinned are ignored."""

    def send_signal(self, key: ProcessKey, signum: signal.Signals) -> None:
        """Signal exactly this pinned process."""

    def await_deaths(self, keys: Collection[ProcessKey], timeout_s: float) -> set[ProcessKey]:
        """Wait until the pinned processes have ended; return those that have not in time."""

    def stat(self, key: ProcessKey) -> ProcessStat: ...

    def standing(self, key: ProcessKey) -> Standing:
        """What its threads do; a process that ended counts as stopped."""

    def children(self, key: ProcessKey) -> tuple[ProcessKey, ...]: ...

    def everyone(self) -> Iterable[ProcessStat]:
        """Every process of this PID namespace. Takes milliseconds."""

    def image(self, key: ProcessKey) -> Image: ...

    def open_image(self, key: ProcessKey) -> int:
        """A descriptor of the image itself, also when it has no name; the caller closes it."""

    def root(self, key: ProcessKey) -> str:
        """A path by which the process's root directory can be reached."""

    def names_here(self, key: ProcessKey, path: str) -> tuple[str, ...]:
        """What a path of the process may be called in the daemon's own mounts.

        These are guesses, the likeliest first.
        """

    def cwd(self, key: ProcessKey) -> str: ...

    def argv(self, key: ProcessKey) -> tuple[str, ...]:
        """What the process shows as its arguments, which it can change at will."""

    def cgroups(self, key: ProcessKey) -> tuple[str, ...]:
        """Its cgroup paths below their mounts.

        That of cgroup v2 comes first where there is one, then systemd's of version 1.
        """

    def cgroup_members(self, key: ProcessKey) -> tuple[ProcessKey, ...]:
        """All processes of its cgroup of version 2; none where there is no version 2."""

    def users(self, key: ProcessKey) -> frozenset[int]:
        """Its real, effective and saved UIDs."""

    def shares_mounts(self, key: ProcessKey) -> bool:
        """It sees the same mounts as the daemon, so that a path means the same to both."""


def describe(host: Host, key: ProcessKey) -> str:
    """The process in words that a person reads: `pid 4711 (/tmp/.x/kswapd0)`."""
    try:
        image = host.image(key)
    except ActionError:
        return f"pid {key.pid}"
    return f"pid {key.pid} ({image.path}{'' if image.is_named else ', deleted'})"


def describe_all(host: Host, keys: tuple[ProcessKey, ...]) -> str:
    """The first of them, and how many more there are."""
    if not keys:
        return "no process"
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return describe(host, keys[0]) + more
