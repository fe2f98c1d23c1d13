# SPDX-License-Identifier: Apache-2.0
"""Which events a Sigma file is about, and whether there are any here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firedamp.policy.fields import CATEGORIES, nearest_category


@dataclass(frozen=True, slots=True)
class Logsource:
    """What a rule or filter says of its log source; None where it says nothing."""

    category: str | None
    product: str | None
    service: str | None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Logsource":
        """Take from a parsed file.

        Raises:
            ValueError: there is none, or it is not one.
        """
        section = data.get("logsource")
        if not isinstance(section, dict):
            raise ValueError("must be a map of category, product or service")  # noqa: TRY004 - of a file
        found = [section.get(name) for name in ("category", "product", "service")]
        if not any(found):
            raise ValueError("names neither category, product nor service")
        if not all(one is None or isinstance(one, str) for one in found):
            raise ValueError("category, product and service must be text")
        return cls(*found)

    def covers(self, other: "Logsource") -> bool:
        """Everything that this one names, the other names alike."""
        mine = (self.category, self.product, self.service)
        its = (other.category, other.product, other.service)
        return all(a is None or a == b for a, b in zip(mine, its, strict=True))

    def obstacle(self) -> str:
        """Why no event here can match; empty where events of the category are seen."""
        if self.product not in {None, "linux"}:
            return f"is for {self.product}, not for linux"
        if self.service == "auditd":
            return "reads raw audit records, which are not matched yet"
        if self.service:
            return f"reads what the service {self.service} logs, which is not matched yet"
        if self.category is None:
            return "names no category of events"
        if self.category not in CATEGORIES:
            near = nearest_category(self.category)
            hint = f"; did you mean {near}?" if near else ""
            return f"there are no events of category {self.category}{hint}"
        return ""
