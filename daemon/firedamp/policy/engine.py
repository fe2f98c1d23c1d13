# SPDX-License-Identifier: Apache-2.0
"""Events to alerts: rules, then the correlations that their matches feed, then rate limits."""

import hashlib
from collections.abc import Iterator

from firedamp.events.model import ProcessExecuted, ProcessKey
from firedamp.policy.compile import CompiledPolicies
from firedamp.policy.correlate import Correlator
from firedamp.policy.evidence import address_of, evidence_of, file_of, sentence
from firedamp.policy.ir import Policy
from firedamp.policy.ratelimit import RateLimit, Subject
from firedamp.policy.silence import CATEGORY, Silence
from firedamp.policy.types import Alert, Evidence
from firedamp.policy.view import FieldView


class Engine:
    """Runs one compiled policy set. Its state is the correlations' and the rate limits'."""

    def __init__(
        self, compiled: CompiledPolicies, *, boot_id: str, before: "Engine | None" = None
    ) -> None:
        """`before` is the engine that this one replaces.

        What it remembers of correlations that have not changed, and of alerts that were raised,
        lives on.
        """
        self.compiled = compiled
        self._shortlists = compiled.shortlists
        self._boot_id = boot_id.encode()
        silence = Silence(one.rule for one in compiled.by_category.get(CATEGORY, ()))
        self._silence = silence if silence.is_possible else None
        self.limit: RateLimit = before.limit if before else RateLimit()
        kept = {one.correlation: one for one in before.correlators} if before else {}
        self.correlators: list[Correlator] = [
            kept[one] if one in kept else Correlator(one) for one in compiled.correlations
        ]
        self._fed_by: dict[str, list[tuple[Correlator, int]]] = {}
        for correlator in self.correlators:
            for index, member in enumerate(correlator.correlation.members):
                self._fed_by.setdefault(member.policy_id, []).append((correlator, index))

    @property
    def suppressed(self) -> int:
        """Alerts that rate limits held back."""
        return self.limit.suppressed

    @property
    def evicted(self) -> int:
        """Groups of correlations that were forgotten before their time, for want of room."""
        return sum(one.evicted for one in self.correlators)

    @property
    def remembered(self) -> int:
        """Matches that correlations hold on to."""
        return sum(map(len, self.correlators))

    def feed(self, view: FieldView) -> list[Alert]:
        """Take one event in one category; give back the alerts that it completes."""
        alerts: list[Alert] = []
        shortlist = self._shortlists.get(view.category)
        if shortlist is None:
            return alerts
        silence = self._silence if isinstance(view.observed.event, ProcessExecuted) else None
        key = silence.key(view) if silence else ()
        if silence and key in silence:
            return alerts
        matched = False
        for compiled in shortlist.of(view):
            if compiled.matches(view):
                matched = True
                alerts.extend(self._matched(compiled.rule, view))
        if silence and not matched:
            silence.remember(key)
        return alerts

    def incident(self, actor: ProcessKey) -> str:
        """The name of everything that one actor does while the host is up."""
        digest = hashlib.blake2s(self._boot_id + str(actor).encode(), digest_size=4)
        return f"I{digest.hexdigest()}"

    def _matched(self, policy: Policy, view: FieldView) -> Iterator[Alert]:
        if policy.raises:
            yield from self._raised(policy, view, ())
        fed = self._fed_by.get(policy.summary.id)
        if fed:
            yield from self._correlated(fed, view, (evidence_of(policy, view),))

    def _correlated(
        self,
        fed: list[tuple[Correlator, int]],
        view: FieldView,
        evidence: tuple[Evidence, ...],
    ) -> Iterator[Alert]:
        for correlator, member in fed:
            joined = correlator.feed(member, view, evidence)
            if not joined:
                continue
            correlation = correlator.correlation
            if correlation.raises:
                yield self._alert(correlation, view, joined, suppressed=0)
            outer = self._fed_by.get(correlation.summary.id)
            if outer:
                yield from self._correlated(outer, view, joined)

    def _raised(
        self, policy: Policy, view: FieldView, evidence: tuple[Evidence, ...]
    ) -> Iterator[Alert]:
        observed = view.observed
        subject: Subject = ()
        if policy.summary.response:
            subject = (observed.event.process, address_of(view), file_of(view))
        held = self.limit.admit(policy, observed.process.actor, subject, at_ns=observed.event.at_ns)
        if held is not None:
            yield self._alert(policy, view, evidence, suppressed=held)

    def _alert(
        self,
        policy: Policy,
        view: FieldView,
        evidence: tuple[Evidence, ...],
        *,
        suppressed: int,
    ) -> Alert:
        observed = view.observed
        actor = observed.process.actor
        return Alert(
            at_ns=observed.event.at_ns,
            policy=policy.summary,
            category=view.category,
            event=observed.event,
            process=observed.event.process,
            actor=actor,
            incident=self.incident(actor),
            fields=tuple(view.present()),
            evidence=evidence,
            suppressed=suppressed,
            summary=sentence(view),
        )
