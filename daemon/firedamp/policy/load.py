# SPDX-License-Identifier: Apache-2.0
"""Policy files to a policy set: all of them or none, with everything that is wrong at once.

What is loaded needs pySigma and pydantic, so this runs in a process that ends; what comes out
needs neither. Sound policies that cannot apply here are listed with the reason, never dropped
in silence.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from firedamp.errors import PolicyError
from firedamp.policy.correlations import ParsedCorrelation, read_correlation
from firedamp.policy.files import Files, Place, Source, read_places
from firedamp.policy.filters import ParsedFilter, apply_filters, read_filter
from firedamp.policy.ir import Inapplicable, PolicySet, Rule
from firedamp.policy.metadata import Heads
from firedamp.policy.references import Resolver
from firedamp.policy.rules import ParsedRule, read_rule

Parsed = ParsedRule | ParsedCorrelation


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A sound policy set."""

    policies: PolicySet
    unfiltered: PolicySet
    """The same without this site's filters: what the policies' own tests are about."""
    warnings: tuple[str, ...] = ()


def load_policies(
    places: Iterable[Place],
    *,
    filters: Iterable[Place] = (),
    disable: Sequence[str] = (),
    today: dt.date | None = None,
) -> Loaded:
    """Read, check and join all policies.

    Args:
        places: of two policies with the same id, the one in the later place is taken.
        filters: filters may lie in `places` as well.
        disable: ids of policies that are left out.
        today: filters that expired before this day are not applied; None: all are.

    Raises:
        PolicyError: with every problem, one a line: `file:line: key: text`.
    """
    loader = _Loader()
    files = read_places([*places, *filters])
    loader.read(files)
    loader.leave_out(disable)
    loaded = loader.join(files.digest, today)
    problems = [*files.problems, *loader.heads.problems]
    if problems:
        ordered = sorted(set(problems), key=lambda one: (one.file, one.line))
        raise PolicyError("\n".join(map(str, ordered)))
    return loaded


@dataclass(slots=True)
class _Loader:
    heads: Heads = field(default_factory=Heads)
    _policies: dict[str, Parsed] = field(default_factory=dict)
    _filters: dict[str, ParsedFilter] = field(default_factory=dict)
    _disabled: dict[str, str] = field(default_factory=dict)

    def read(self, files: Files) -> None:
        for source in files.sources:
            if "filter" in source.data:
                if one := read_filter(source, self.heads):
                    self._add_filter(one)
                continue
            is_correlation = "correlation" in source.data
            parsed: Parsed | None
            parsed = (read_correlation if is_correlation else read_rule)(source, self.heads)
            if parsed:
                self._add(parsed)

    def leave_out(self, disable: Iterable[str]) -> None:
        for identity in disable:
            parsed = self._policies.pop(identity, None)
            if parsed:
                self._disabled[identity] = identity
                if parsed.head.name:
                    self._disabled[parsed.head.name] = identity

    def join(self, digest: str, today: dt.date | None) -> Loaded:
        self._check_names()
        rules = [one for one in self._policies.values() if isinstance(one, ParsedRule)]
        resolver = Resolver(self._policies, self._disabled, self.heads)
        resolver.resolve()
        filtered = apply_filters(rules, self._filters.values(), self.heads, today=today)
        policies = self._set([*filtered], resolver, digest)
        unfiltered = self._set(rules, resolver, digest)
        warnings = dict.fromkeys(map(str, self.heads.warnings))
        return Loaded(policies=policies, unfiltered=unfiltered, warnings=tuple(warnings))

    def _set(self, rules: list[ParsedRule], resolver: Resolver, digest: str) -> PolicySet:
        voiced = [self._voiced(one, one.rule, resolver) for one in rules if one.rule]
        missing = [_inapplicable(one) for one in rules if one.obstacle]
        return PolicySet(
            rules=tuple(voiced),
            correlations=resolver.correlations,
            inapplicable=(*missing, *resolver.inapplicable),
            digest=digest,
        )

    def _voiced(self, parsed: ParsedRule, rule: Rule, resolver: Resolver) -> Rule:
        """The rule, silent where a correlation takes its place, as the specification has it.

        Unless it says otherwise itself, or has a response: that somebody adds a correlation must
        not switch a response off.
        """
        head = parsed.head
        explicit = head.extension is not None and head.extension.alert is not None
        if head.summary.id in resolver.silenced and not explicit and not head.summary.response:
            return replace(rule, raises=False)
        return rule

    def _add(self, parsed: Parsed) -> None:
        identity = parsed.head.summary.id
        before = self._policies.get(identity)
        if before and before.source.place == parsed.source.place:
            text = f"is also the id of {_where(before.source)}"
            self.heads.problems.append(parsed.source.problem(("id",), text))
            return
        self._policies[identity] = parsed

    def _add_filter(self, one: ParsedFilter) -> None:
        before = self._filters.get(one.id)
        if before and before.source.place == one.source.place:
            text = f"is also the id of {_where(before.source)}"
            self.heads.problems.append(one.source.problem(("id",), text))
            return
        self._filters[one.id] = one

    def _check_names(self) -> None:
        taken: dict[str, Source] = {}
        for parsed in self._policies.values():
            name = parsed.head.name
            if name and name in taken:
                text = f"is also the name of {_where(taken[name])}"
                self.heads.problems.append(parsed.source.problem(("name",), text))
            taken[name] = parsed.source


def _where(source: Source) -> str:
    return f"{source.path}:{source.document.line_of(())}"


def _inapplicable(parsed: ParsedRule) -> Inapplicable:
    summary = parsed.head.summary
    return Inapplicable(
        id=summary.id, title=summary.title, path=summary.path, reason=parsed.obstacle
    )
