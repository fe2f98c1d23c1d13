# SPDX-License-Identifier: Apache-2.0
"""All that is remembered about the host: processes, sockets, names, files, cgroups and accounts."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from firedamp.context.changes import ActorChanges
from firedamp.context.indicators import Indicators
from firedamp.context.names import Names
from firedamp.context.process import Observed, Process
from firedamp.context.process_tree import ProcessTree
from firedamp.context.sockets import Sockets
from firedamp.events.model import (
    CgroupNamed,
    ConnectionFound,
    ConnectionOpened,
    DnsAnswered,
    Event,
    FileChanged,
    UserNamed,
)


class HostContext:
    """The memory that analysers and policies read; `observe` is its only way to change."""

    def __init__(self, indicators: Indicators | None = None) -> None:
        self.indicators = indicators or Indicators()
        self.tree = ProcessTree()
        self.sockets = Sockets()
        self.names = Names()
        self.changes = ActorChanges()
        self.users: dict[int, str] = {0: "root"}
        self.cgroups: dict[int, str] = {}

    def observe(self, event: Event) -> Observed:
        """Remember what the event says, and say who did it."""
        process = self.tree.observe(event)
        remember = _REMEMBER.get(type(event))  # a look-up: this runs for each event
        if remember is not None:
            remember(self, event)
        return Observed(event=event, process=process, host=self)

    def user_name(self, uid: int) -> str:
        """The account's name, or the number where no name was seen."""
        return self.users.get(uid) or str(uid)

    def parent_of(self, process: Process) -> Process:
        """Who started it; a bare Process where that is not known."""
        return self.tree.get(process.parent)


def _connection(host: HostContext, event: ConnectionOpened) -> None:
    host.sockets.opened(event)


def _answer(host: HostContext, event: DnsAnswered) -> None:
    host.names.answered(event)


def _change(host: HostContext, event: FileChanged) -> None:
    host.changes.observe(host.tree.get(event.process).actor, event)


def _cgroup(host: HostContext, event: CgroupNamed) -> None:
    host.cgroups[event.cgroup_id] = event.path


def _user(host: HostContext, event: UserNamed) -> None:
    host.users[event.uid] = event.name


_REMEMBER: Mapping[type[Event], Callable[[HostContext, Any], None]] = MappingProxyType(
    {
        ConnectionOpened: _connection,
        ConnectionFound: _connection,
        DnsAnswered: _answer,
        FileChanged: _change,
        CgroupNamed: _cgroup,
        UserNamed: _user,
    }
)
