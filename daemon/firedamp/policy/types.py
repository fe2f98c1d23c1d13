# SPDX-License-Identifier: Apache-2.0
"""What policies say: an alert, and the decision that may come of it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from firedamp.context.changes import Change
from firedamp.events.model import Event, ProcessKey

ActionName = Literal["freeze", "block", "capture", "quarantine", "clean", "kill", "isolate"]
ACTION_ORDER: tuple[ActionName, ...] = (
    "freeze", "block", "isolate", "capture", "quarantine", "clean", "kill",
)  # fmt: skip
"""The order in which a response is carried out, whatever order a policy names it in: first
nothing may run or talk any more, then evidence is taken, then things are taken away."""

Mode = Literal["observe", "enforce"]


class Level(IntEnum):
    """Sigma's levels, in their order."""

    INFORMATIONAL = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySummary:
    """What an alert says about the policy that raised it."""

    id: str
    title: str
    level: Level
    status: str
    tags: tuple[str, ...]
    response: tuple[ActionName, ...]
    description: str = ""
    falsepositives: tuple[str, ...] = ()
    path: str = ""
    observe_only: bool = False
    """It says itself that it never acts, whatever the settings' mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One match that a correlation joined: which policy, when, by whom, and in a sentence."""

    policy_id: str
    title: str
    at_ns: int
    process: ProcessKey
    category: str
    summary: str
    address: tuple[str, int] | None = None
    """Remote (address, port) that the event names, for `block`."""
    file: str = ""
    """File that the event names as changed, for `clean`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A policy matched. `event` is the event that completed the match."""

    at_ns: int
    policy: PolicySummary
    category: str
    event: Event
    process: ProcessKey
    actor: ProcessKey
    incident: str
    fields: tuple[tuple[str, object], ...]
    """The event's fields under their Sigma names, without the empty ones."""
    evidence: tuple[Evidence, ...] = ()
    """For a correlation: what it joined, oldest first. Else empty."""
    suppressed: int = 0
    """How many like it were not raised since the last one, by the policy's rate limit."""
    summary: str = ""
    """Who did what, as a sentence without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A request to act. The executor checks the guards itself and trusts nothing else of it."""

    alert: Alert
    actions: tuple[ActionName, ...]
    """In ACTION_ORDER."""
    mode: Mode
    """observe: say what would be done. enforce: do it."""
    target: ProcessKey
    related: tuple[ProcessKey, ...]
    """Processes of the same actor that the evidence names or that the trace shows were started
    by those; the executor adds what it finds alive below any of them."""
    addresses: tuple[tuple[str, int], ...]
    """(address, port) pairs of the evidence's connections, for `block`."""
    files: tuple[str, ...]
    """Persistence files that the evidence names."""
    reason: str
    changes: tuple[Change, ...] = ()
    """What the actor put where it would come back from, as far as it was seen, for `clean`."""
