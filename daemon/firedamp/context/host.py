# SPDX-License-Identifier: Apache-2.0
"""All that is remembered about the host: processes, sockets, names, cgroups and accounts."""

from firedamp.context.indicators import Indicators
from firedamp.context.names import Names
from firedamp.context.process import Observed, Process
from firedamp.context.process_tree import ProcessTree
from firedamp.context.sockets import Sockets
from firedamp.events.model import (
    CgroupNamed,
    ConnectionOpened,
    DnsAnswered,
    Event,
    UserNamed,
)


class HostContext:
    """The memory that analysers and policies read; `observe` is its only way to change."""

    def __init__(self, indicators: Indicators | None = None) -> None:
        self.indicators = indicators or Indicators()
        self.tree = ProcessTree()
        self.sockets = Sockets()
        self.names = Names()
        self.users: dict[int, str] = {0: "root"}
        self.cgroups: dict[int, str] = {}

    def observe(self, event: Event) -> Observed:
        """Remember what the event says, and say who did it."""
        process = self.tree.observe(event)
        match event:
            case ConnectionOpened():
                self.sockets.opened(event)
            case DnsAnswered():
                self.names.answered(event)
            case CgroupNamed():
                self.cgroups[event.cgroup_id] = event.path
            case UserNamed():
                self.users[event.uid] = event.name
        return Observed(event=event, process=process, host=self)

    def user_name(self, uid: int) -> str:
        """The account's name, or the number where no name was seen."""
        return self.users.get(uid) or str(uid)

    def parent_of(self, process: Process) -> Process:
        """Who started it; a bare Process where that is not known."""
        return self.tree.get(process.parent)
