# SPDX-License-Identifier: Apache-2.0
"""An event as policies see it: fields by their Sigma names, worked out when first asked for.

A compiled policy reads three forms of a field, each worked out at most once for an event:

    view["Image"]            the value as it is
    view[TEXT + "Image"]     as text: None, a str, or a tuple of str
    view[FOLDED + "Image"]   the same in lower case, for comparing without regard to case

TEXT or FOLDED alone stand for all fields of the event together, as a tuple.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from firedamp.analysis.base import DerivedField, FieldValue
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.events.model import Event, ProcessKey

TEXT: Final = "\x01"
FOLDED: Final = "\x02"

_TEST_PID: Final = 1000
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedEvent(Event):
    """An event of which a test says only this."""

    category: str
    fields: tuple[tuple[str, str], ...]


class FieldView(dict[str, FieldValue]):
    """The fields of one event in one category. A field that it does not have is None."""

    __slots__ = ("_accessors", "category", "observed")

    def __init__(
        self, category: str, observed: Observed, accessors: Mapping[str, DerivedField]
    ) -> None:
        self.category = category
        self.observed = observed
        self._accessors = accessors

    @classmethod
    def from_mapping(
        cls, category: str, mapping: Mapping[str, object], *, at_s: float = 0.0
    ) -> Self:
        """The view of an event of which only these fields are known, as policies' tests have it.

        Where the mapping does not say who did it, it is always the same process and actor.
        """
        fields = {"ActorId": "1:1", **mapping}
        pid = fields.get("ProcessId")
        key = ProcessKey(pid if isinstance(pid, int) else _TEST_PID, 1)
        stated = tuple((name, str(value)) for name, value in mapping.items())
        at_ns = round(at_s * _NS_PER_S)
        event = StatedEvent(at_ns=at_ns, process=key, category=category, fields=stated)
        process = Process(key=key, actor=_actor_key(str(fields["ActorId"])))
        observed = Observed(event=event, process=process, host=HostContext())
        return cls(category, observed, {name: _constant(value) for name, value in fields.items()})

    def present(self) -> Iterator[tuple[str, FieldValue]]:
        """The fields that the event has, with their values."""
        for name in self._accessors:
            value = self[name]
            if value is not None:
                yield name, value

    def __missing__(self, name: str) -> FieldValue:
        form = name[:1]
        if form == FOLDED:
            value = _fold(self[TEXT + name[1:]])
        elif form != TEXT:
            accessor = self._accessors.get(name)
            value = accessor(self.observed) if accessor else None
            if value == ():
                value = None
        elif len(name) == 1:
            value = tuple(self._all_texts())
        else:
            value = _text(self[name[1:]])
        self[name] = value
        return value

    def _all_texts(self) -> Iterator[str]:
        for name in self._accessors:
            value = self[TEXT + name]
            if isinstance(value, tuple):
                yield from value
            elif value is not None:
                yield str(value)


def _text(value: FieldValue) -> str | tuple[str, ...] | None:
    if value is None or isinstance(value, str | tuple):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _fold(value: FieldValue) -> FieldValue:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, tuple):
        return tuple([one.lower() for one in value])
    return value


def _constant(value: object) -> DerivedField:
    fixed: FieldValue
    if isinstance(value, list | tuple):
        fixed = tuple(str(one) for one in value)
    elif value is None or isinstance(value, str | int | float):
        fixed = value
    else:
        raise TypeError(f"not a field's value: {value!r}")
    return lambda _observed: fixed


def _actor_key(text: str) -> ProcessKey:
    pid, _, ticks = text.partition(":")
    if pid.isdecimal() and ticks.isdecimal():
        return ProcessKey(int(pid), int(ticks))
    return ProcessKey(zlib.crc32(text.encode()), 0)
