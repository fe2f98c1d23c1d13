# SPDX-License-Identifier: Apache-2.0
"""What stands at the head of every Sigma file: title, id, level, status, tags, and ours."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from firedamp.policy.files import Source
from firedamp.policy.model import Extension, Strict, explain
from firedamp.policy.types import Level, PolicySummary
from firedamp.strict_yaml import Problem

M = TypeVar("M", bound=Strict)

_KEY_OF: Final = {
    "Identifier": "id",
    "Tag": "tags",
    "Type": "name",
    "FalsePositives": "falsepositives",
}
"""Where pySigma's errors are not named after the key that they are about."""
_SHIPPED: Final = ("id", "status", "level", "description", "author", "date", "tags")
"""What a reader needs at three in the morning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a file, checked."""

    summary: PolicySummary
    """Its level is that of the file, or medium; see `has_level`."""
    name: str
    has_level: bool
    extension: Extension | None

    @property
    def retired(self) -> str:
        """Why it is kept only to be read; empty otherwise."""
        status = self.summary.status
        return f"has status {status}" if status in {"deprecated", "unsupported"} else ""


@dataclass(slots=True)
class Heads:
    """Reads heads, and remembers what is wrong with them."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def read(self, source: Source) -> Head | None:
        """The head, or None if it has problems."""
        before = len(self.problems)
        known = self._common(source)
        extension = self.extension(source, Extension)
        if source.shipped:
            self._complete(source, extension)
        if extension and extension.response and known.get("status") is None:
            self._problem(source, "status", "a policy with a response must have one")
        if len(self.problems) > before:
            return None
        return Head(
            summary=self._summary(source, known, extension),
            name=known["name"] or "",
            has_level=known["level"] is not None,
            extension=extension,
        )

    def extension(self, source: Source, model: type[M]) -> M | None:
        """What stands under `firedamp:`, or None if nothing does, or nothing sound."""
        data = source.data.get("firedamp")
        if "firedamp" not in source.data:
            return None
        try:
            # As JSON: lists become tuples although conversions are otherwise off.
            return model.model_validate_json(json.dumps(data), strict=True)
        except ValidationError as error:
            for place, text in explain(error):
                self.problems.append(source.problem(("firedamp", *place), text))
        return None

    def _common(self, source: Source) -> dict[str, Any]:
        """What pySigma makes of the keys that all Sigma files share."""
        try:
            known, errors = SigmaRule.from_dict_common_params(source.data, collect_errors=True)
        except (SigmaError, TypeError, ValueError, AttributeError) as error:
            # Some wrong types pySigma does not expect.
            self._problem(source, "id", f"the head cannot be read: {error}")
            return {}
        for one in errors:
            kind = type(one).__name__.removeprefix("Sigma").removesuffix("Error")
            self._problem(source, _KEY_OF.get(kind, kind.lower()), str(one))
        if source.data.get("action") is not None:
            self._problem(source, "action", "collections are not supported: write each rule out")
        return dict(known)

    def _complete(self, source: Source, extension: Extension | None) -> None:
        for key in _SHIPPED:
            if not source.data.get(key):
                self._problem(source, key, "is missing; a policy that comes with firedamp has it")
        if extension is None:
            if "firedamp" not in source.data:
                self._problem(source, "firedamp", "is missing")
            return
        if not extension.blind_spots:
            self._problem(source, "firedamp", "must say its blind_spots")
        for expected in (True, False):
            if not any(test.expect.alert is expected for test in extension.tests):
                text = f"must have a test that expects alert: {str(expected).lower()}"
                self._problem(source, "firedamp", text)

    def _summary(
        self, source: Source, known: dict[str, Any], extension: Extension | None
    ) -> PolicySummary:
        level = known["level"]
        status = known["status"]
        return PolicySummary(
            id=self._id(source, known),
            title=known["title"],
            level=Level[level.name] if level is not None else Level.MEDIUM,
            status=status.name.lower() if status is not None else "",
            tags=tuple(str(tag) for tag in known["tags"]),
            response=extension.ordered_response if extension else (),
            description=(known["description"] or "").strip(),
            falsepositives=tuple(str(one) for one in known["falsepositives"] or ()),
            path=source.path,
            observe_only=extension is not None and extension.mode == "observe",
        )

    def _id(self, source: Source, known: dict[str, Any]) -> str:
        if known["id"] is not None:
            return str(known["id"])
        # Sigma allows files without one; ours is the same wherever the file lies.
        if not known["name"]:
            warning = source.problem((), "has no id: nothing can refer to it or replace it")
            self.warnings.append(warning)
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{known['name']}/{known['title']}"))

    def _problem(self, source: Source, key: str, text: str) -> None:
        self.problems.append(source.problem((key,) if key else (), text))
