# SPDX-License-Identifier: Apache-2.0
"""What correlations refer to: names and ids become ids, in an order that has no way back."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from firedamp.policy.correlations import ParsedCorrelation
from firedamp.policy.fields import unknown_fields
from firedamp.policy.ir import Correlation, Inapplicable, Member
from firedamp.policy.metadata import Heads
from firedamp.policy.model import Extension
from firedamp.policy.rules import ParsedRule, no_such_field, raises_alone

MAX_DEPTH: Final = 8
_NS_PER_S: Final = 1_000_000_000

Parsed = ParsedRule | ParsedCorrelation


class Resolver:
    """Turns parsed correlations into those that run."""

    def __init__(
        self, policies: Mapping[str, Parsed], disabled: Mapping[str, str], heads: Heads
    ) -> None:
        self.silenced: set[str] = set()
        """Ids of policies whose alerts a correlation takes the place of."""
        self._policies = policies
        self._disabled = disabled
        self._heads = heads
        self._by_name = {one.head.name: key for key, one in policies.items() if one.head.name}
        self._done: dict[str, Correlation] = {}
        self._obstacles: dict[str, str] = {}
        self._open: list[str] = []

    @property
    def correlations(self) -> tuple[Correlation, ...]:
        """Those that can run, each after those that it refers to."""
        return tuple(one for key, one in self._done.items() if not self._obstacles.get(key))

    @property
    def inapplicable(self) -> tuple[Inapplicable, ...]:
        summaries = {key: self._policies[key].head.summary for key in self._obstacles}
        return tuple(
            Inapplicable(id=key, title=one.title, path=one.path, reason=self._obstacles[key])
            for key, one in summaries.items()
            if self._obstacles[key]
        )

    def resolve(self) -> None:
        for key, parsed in self._policies.items():
            if isinstance(parsed, ParsedCorrelation):
                self._resolve(key, parsed)
        for key, parsed in self._policies.items():
            if isinstance(parsed, ParsedCorrelation) and not parsed.generate and key in self._done:
                self.silenced.update(one.policy_id for one in self._done[key].members)
        for key, one in list(self._done.items()):
            parsed = self._policies[key]
            if key in self.silenced and not (parsed.head.extension or one.summary.response):
                self._done[key] = replace(one, raises=False)

    def _resolve(self, key: str, parsed: ParsedCorrelation) -> None:
        if key in self._done:
            return
        if key in self._open or len(self._open) >= MAX_DEPTH:
            text = "refers to itself" if key in self._open else "is too deep a chain"
            self._problem(parsed, f"{text}: {' -> '.join(self._titles(key))}")
            return
        self._open.append(key)
        obstacle = parsed.obstacle
        members: list[Member] = []
        for reference in parsed.references:
            found, why = self._find(parsed, reference)
            obstacle = obstacle or why
            if found:
                members.append(self._member(parsed, reference, found))
        self._open.pop()
        self._obstacles[key] = obstacle
        if obstacle and parsed.head.extension:
            self._problem(parsed, obstacle)
        self._done[key] = self._correlation(parsed, tuple(members))

    def _titles(self, key: str) -> list[str]:
        return [self._policies[one].head.summary.title for one in [*self._open, key]]

    def _find(self, parsed: ParsedCorrelation, reference: str) -> tuple[str, str]:
        """The id that is meant, and why the correlation cannot run, if so."""
        key = self._by_name.get(reference, reference.lower())
        if reference in self._disabled or key in self._disabled:
            return "", f"refers to {reference}, which is disabled"
        other = self._policies.get(key)
        if other is None:
            self._problem(parsed, f"there is no policy {reference}")
            return "", ""
        if isinstance(other, ParsedCorrelation):
            self._resolve(key, other)
            obstacle = self._obstacles.get(key, "")
        else:
            obstacle = other.obstacle
        return key, f"refers to {reference}, which {obstacle}" if obstacle else ""

    def _member(self, parsed: ParsedCorrelation, reference: str, key: str) -> Member:
        fields = tuple(
            parsed.aliases.get(name, {}).get(reference, name) for name in parsed.group_by
        )
        other = self._policies[key]
        if isinstance(other, ParsedRule) and other.rule:
            category = other.rule.category
            for name, near in unknown_fields(category, (*fields, *parsed.values)).items():
                self._problem(parsed, no_such_field(name, near, category), "group-by")
        return Member(policy_id=key, group_by=fields)

    def _correlation(self, parsed: ParsedCorrelation, members: tuple[Member, ...]) -> Correlation:
        extension = parsed.head.extension or Extension()
        return Correlation(
            summary=parsed.head.summary,
            name=parsed.head.name,
            raises=raises_alone(parsed.head),
            every_s=extension.every,
            cases=parsed.cases,
            kind=parsed.kind,
            members=members,
            timespan_ns=parsed.timespan_s * _NS_PER_S,
            thresholds=parsed.thresholds,
            expression=parsed.expression,
            values=parsed.values,
        )

    def _problem(self, parsed: ParsedCorrelation, text: str, key: str = "rules") -> None:
        self._heads.problems.append(parsed.source.problem(("correlation", key), text))
