# SPDX-License-Identifier: Apache-2.0
"""Runs the tests that policies carry.

A rule's test asks whether any of its events matches; a correlation's events go, in order of
time, through the whole engine with all policies. `alert: true` means that the policy matched,
for evidence-only policies too. This site's filters are left out: a test is about the policy.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from firedamp.policy.compile import CompiledPolicies, compile_policies
from firedamp.policy.engine import Engine
from firedamp.policy.ir import Case, CaseEvent, Policy, PolicySet, Rule
from firedamp.policy.view import FieldView


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A test that its policy does not pass."""

    path: str
    line: int
    policy: str
    case: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.policy}: {self.case}: {self.text}"


class Cases:
    """The tests of one policy set."""

    def __init__(self, policies: PolicySet) -> None:
        self._policies = policies

    def policies(self, paths: Collection[str] = ()) -> Iterator[Policy]:
        """Those that have tests, of these files or of all."""
        for policy in (*self._policies.rules, *self._policies.correlations):
            if policy.cases and (not paths or policy.summary.path in paths):
                yield policy

    def failures(self, paths: Collection[str] = ()) -> list[Failure]:
        """Run the tests of these files, or all."""
        return [
            failure
            for policy in self.policies(paths)
            for case in policy.cases
            if (failure := self.run(policy, case))
        ]

    def run(self, policy: Policy, case: Case) -> Failure | None:
        """Run one test."""
        views = [_view(one) for one in sorted(case.events, key=lambda one: one.at_s)]
        fired = self._fires(policy, views)
        texts = []
        if fired != case.alert:
            texts.append(f"expected {_word(fired=case.alert)}, got {_word(fired=fired)}")
        response = policy.summary.response if fired else ()
        if case.response is not None and set(case.response) != set(response):
            texts.append(f"expected response {_list(case.response)}, got {_list(response)}")
        if not texts:
            return None
        return Failure(
            path=policy.summary.path,
            line=case.line,
            policy=policy.summary.title,
            case=case.name,
            text="; ".join(texts),
        )

    def _fires(self, policy: Policy, views: list[FieldView]) -> bool:
        if isinstance(policy, Rule):
            [rule] = compile_policies(PolicySet(rules=(policy,))).by_category[policy.category]
            return any(rule.matches(view) for view in views if view.category == policy.category)
        engine = Engine(self._aloud, boot_id="")
        alerts = [alert for view in views for alert in engine.feed(view)]
        return any(alert.policy.id == policy.summary.id for alert in alerts)

    @cached_property
    def _aloud(self) -> CompiledPolicies:
        """All policies, compiled once, with every correlation raising alerts."""
        correlations = tuple(replace(one, raises=True) for one in self._policies.correlations)
        return compile_policies(replace(self._policies, correlations=correlations))


def _view(event: CaseEvent) -> FieldView:
    return FieldView.from_mapping(event.category, dict(event.fields), at_s=event.at_s)


def _word(*, fired: bool) -> str:
    return "an alert" if fired else "silence"


def _list(actions: Collection[str]) -> str:
    return ", ".join(actions) or "none"
