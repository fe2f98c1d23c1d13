# SPDX-License-Identifier: Apache-2.0
"""Remembers which starts of programs no policy has anything to say about.

A server starts the same few programs with the same arguments from the same parents all day. What
no rule matched once, none will match again, as long as the rules ask only for what the key below
holds. It is silence alone that is remembered: a match is worked out anew each time, since it has
an actor, an incident and a time.
"""

from collections.abc import Iterable
from typing import Final

from firedamp.events.model import ProcessFound
from firedamp.policy.ir import And, Comparison, Condition, Not, Or, Rule, SameAs
from firedamp.policy.view import FieldView

CATEGORY: Final = "process_creation"
MAX_REMEMBERED: Final = 8192
"""Some 2 MiB, the texts being shared with the process tree."""

SETTLED: Final = frozenset(
    {
        "CommandLine",
        "CurrentDirectory",
        "Image",
        "ImageLinkCount",
        "ImageOrigin",
        "ImageOwner",
        "ImagePlace",
        "IsFound",
        "LoginUser",
        "LogonId",
        "Masquerade",
        "ParentCommandLine",
        "ParentImage",
        "ParentProcessName",
        "ProcessName",
        "ScriptPath",
        "ScriptPlace",
        "User",
        "UserId",
        "WalletKind",
    }
)
"""Fields whose value the key settles. A rule about any other makes this remember nothing."""

Key = tuple[object, ...]


class Silence:
    """What was judged and matched nothing."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        wanted = {name for rule in rules for name in fields_of(rule.condition)}
        self.is_possible = wanted <= SETTLED
        """False where a rule asks for a field that the key does not settle."""
        self._known: dict[Key, None] = {}

    def key(self, view: FieldView) -> Key:
        """All that the rules may depend on."""
        process = view.observed.process
        parent = view.observed.host.parent_of(process)
        return (
            process.image,
            process.argv,
            process.filename,
            process.cwd,
            process.comm,
            process.uid,
            process.loginuid,
            process.link_count,
            process.inode == 0,
            process.image_uid,
            parent.image,
            parent.argv,
            parent.comm,
            type(view.observed.event) is ProcessFound,
        )

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def remember(self, key: Key) -> None:
        """No rule matched. Whoever makes up arguments all the time pays with his own CPU time."""
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[key] = None


def fields_of(condition: Condition) -> frozenset[str | None]:
    """Every field that a condition can look at; None among them where it may be any."""
    match condition:
        case Comparison(field, SameAs(other)):
            return frozenset({field, other})
        case Comparison(field, _):
            return frozenset({field})
        case Not(item):
            return fields_of(item)
        case And(items) | Or(items):
            return frozenset().union(*map(fields_of, items))
