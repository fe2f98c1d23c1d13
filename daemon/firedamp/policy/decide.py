# SPDX-License-Identifier: Apache-2.0
"""From an alert to the request for what is to be done about it, and whether it may be done.

A policy acts only if all of these hold:

- its status is `stable`, or it is `test` and policies.enforce names it;
- policies.observe does not name it, and it does not say `mode: observe` itself
  (policies.enforce overrides the latter);
- the mode is enforce, or policies.enforce names it.

Otherwise the same decision says what would have been done. The guards are not here: who acts
checks them.
"""

from collections.abc import Iterator

from firedamp.context.host import HostContext
from firedamp.events.model import UNKNOWN_PROCESS, ProcessKey
from firedamp.policy.types import ACTION_ORDER, Alert, Decision, Mode, PolicySummary
from firedamp.settings import Settings

Address = tuple[str, int]
_WITH_REMOTE = frozenset({"mining_protocol", "network_connection"})


def decide(alert: Alert, settings: Settings, host: HostContext) -> Decision | None:
    """What the alert's policy wants done; None where it has no response."""
    wanted = alert.policy.response
    if not wanted:
        return None
    related = tuple(_related(alert, host))
    return Decision(
        alert=alert,
        actions=tuple(action for action in ACTION_ORDER if action in wanted),
        mode=mode_of(alert.policy, settings),
        target=alert.process,
        related=related,
        addresses=tuple(dict.fromkeys(_addresses(alert, related))),
        files=tuple(dict.fromkeys(_files(alert, host))),
        reason=f"{alert.policy.title}: {alert.summary}",
        changes=host.changes.of(alert.actor) if "clean" in wanted else (),
    )


def mode_of(policy: PolicySummary, settings: Settings) -> Mode:
    """Whether the policy may act."""
    chosen = policy.id in settings.policies.enforce
    if policy.id in settings.policies.observe:
        return "observe"
    if policy.status != "stable" and not (policy.status == "test" and chosen):
        return "observe"
    if chosen:
        return "enforce"
    return "observe" if policy.observe_only else settings.mode


def _related(alert: Alert, host: HostContext) -> Iterator[ProcessKey]:
    """Processes that the evidence names, of this actor: never the whole actor."""
    for key in dict.fromkeys(one.process for one in alert.evidence):
        if key in {alert.process, UNKNOWN_PROCESS}:
            continue
        if host.tree.get(key).actor == alert.actor:
            yield key


def _addresses(alert: Alert, related: tuple[ProcessKey, ...]) -> Iterator[Address]:
    """Remote ends that the alert or its evidence names.

    Not those of the processes' other sockets: a miner could connect to whatever the business
    depends on, and have us cut it off.
    """
    fields = dict(alert.fields)
    address, port = fields.get("DestinationIp"), fields.get("DestinationPort")
    if alert.category in _WITH_REMOTE and isinstance(address, str) and isinstance(port, int):
        yield address, port
    for one in alert.evidence:
        named = one.category in _WITH_REMOTE and one.process in {alert.process, *related}
        if one.address and named:
            yield one.address


def _files(alert: Alert, host: HostContext) -> Iterator[str]:
    """Files that the alert or its evidence says this actor changed."""
    path = dict(alert.fields).get("TargetFilename")
    if alert.category in {"file_event", "file_rename", "file_change"} and isinstance(path, str):
        yield path
    for one in alert.evidence:
        if one.file and host.tree.get(one.process).actor == alert.actor:
            yield one.file
