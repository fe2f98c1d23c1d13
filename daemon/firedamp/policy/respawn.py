# SPDX-License-Identifier: Apache-2.0
"""Who keeps starting what is killed: the watchdog goes with its miner, and nobody else does.

A miner's parent is not guilty of the miner: it may be the web server that was broken into. It is
another matter when what it started was killed, and it starts the like again. So the first kill
takes the miner alone; the second under the same ancestor takes the nearest such ancestor along.

Rules:

1. Only the nearest ancestor that both have in common, and only inside their actor: above it are
   the service, the session, the container.
2. Only a shell, or what lies in a doubtful place itself. A server that starts a miner twice was
   broken into twice; to kill it would be the attacker's work.
3. The guards of the response decide about it as about everybody else.

Blind spot: a watchdog that is a program of an ordinary place and no shell is not taken along;
what it starts is stopped each time, until the breaker says that a person has to look.
"""

from collections import OrderedDict
from dataclasses import replace

from firedamp.analysis.places import place_of
from firedamp.analysis.script import script_path
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.events.model import ProcessKey
from firedamp.policy.types import Decision

WINDOW_NS = 600_000_000_000
MAX_REMEMBERED = 4096
SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox"})


class Respawners:
    """Remembers under whom something was killed."""

    def __init__(self) -> None:
        self._killed: OrderedDict[ProcessKey, tuple[int, ProcessKey]] = OrderedDict()

    def extend(self, decision: Decision, host: HostContext) -> Decision:
        """The decision, with the respawner among its processes where there is one."""
        if "kill" not in decision.actions:
            return decision
        target, at_ns = decision.target, decision.alert.at_ns
        ancestors = self._ancestors(decision, host)
        common = next((a for a in ancestors if self._killed_below(a.key, target, at_ns)), None)
        for ancestor in ancestors:
            self._killed[ancestor.key] = (at_ns, target)
            self._killed.move_to_end(ancestor.key)
        while len(self._killed) > MAX_REMEMBERED:
            self._killed.popitem(last=False)
        if common is None or common.exited_ns or not _may_be_watchdog(common, decision, host):
            return decision
        return replace(decision, related=(*decision.related, common.key))

    def _ancestors(self, decision: Decision, host: HostContext) -> list[Process]:
        actor = decision.alert.actor
        return [one for one in host.tree.ancestors(decision.target) if one.actor == actor]

    def _killed_below(self, ancestor: ProcessKey, target: ProcessKey, at_ns: int) -> bool:
        when, who = self._killed.get(ancestor, (0, target))
        return who != target and at_ns - when < WINDOW_NS


def _may_be_watchdog(process: Process, decision: Decision, host: HostContext) -> bool:
    if process.image.rpartition("/")[2] in SHELLS or place_of(process.image):
        return True
    script = script_path(Observed(event=decision.alert.event, process=process, host=host))
    return isinstance(script, str) and bool(place_of(script))
