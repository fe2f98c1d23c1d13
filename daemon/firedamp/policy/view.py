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
from typing import Final, Self

from firedamp.analysis.base import DerivedField, FieldValue
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.events.model import Event, ProcessKey, fact

TEXT: Final = "\x01"
FOLDED: Final = "\x02"

_TEST_PID: Final = 1000
_NS_PER_S: Final = 1_000_000_000


@fact
class StatedEvent(Event):
    """An event of which a test says only this."""

    category: str
    fields: tuple[tuple[str, str], ...]


class Fields:
    """The fields of a category, with accessors for each form of each."""

    __slots__ = ("forms", "names")

    def __init__(self, accessors: Mapping[str, DerivedField]) -> None:
        self.names = tuple(accessors)
        self.forms: dict[str, DerivedField] = {}
        for name, accessor in accessors.items():
            self.forms[name] = accessor
            self.forms[TEXT + name] = _as_text(accessor)
            self.forms[FOLDED + name] = _as_folded(accessor)


class FieldView(dict[str, FieldValue]):
    """The fields of one event in one category. A field that it does not have is None."""

    __slots__ = ("_fields", "category", "observed")

    def __init__(self, category: str, observed: Observed, fields: Fields) -> None:
        # Not super().__init__(): it is empty, and this runs for every event.
        self.category = category
        self.observed = observed
        self._fields = fields

    @classmethod
    def from_mapping(
        cls, category: str, mapping: Mapping[str, object], *, at_s: float = 0.0
    ) -> Self:
        """The view of an event of which only these fields are known, as policies' tests have it.

        Where the mapping does not say who did it, it is always the same process and actor.
        """
        stated = {"ActorId": "1:1", **mapping}
        pid = stated.get("ProcessId")
        key = ProcessKey(pid if isinstance(pid, int) else _TEST_PID, 1)
        event = StatedEvent(
            at_ns=round(at_s * _NS_PER_S),
            process=key,
            category=category,
            fields=tuple((name, str(value)) for name, value in mapping.items()),
        )
        process = Process(key=key, actor=_actor_key(str(stated["ActorId"])))
        observed = Observed(event=event, process=process, host=HostContext())
        fields = Fields({name: _constant(value) for name, value in stated.items()})
        return cls(category, observed, fields)

    def present(self) -> Iterator[tuple[str, FieldValue]]:
        """The fields that the event has, with their values."""
        for name in self._fields.names:
            value = self[name]
            if value is not None:
                yield name, value

    def __missing__(self, name: str) -> FieldValue:
        form = self._fields.forms.get(name)
        if form is not None:
            value = form(self.observed)
        elif name in {TEXT, FOLDED}:
            value = tuple(self._all_texts(name))
        else:
            value = None
        self[name] = value
        return value

    def _all_texts(self, form: str) -> Iterator[str]:
        for name in self._fields.names:
            value = self[form + name]
            if isinstance(value, tuple):
                yield from value
            elif value is not None:
                yield str(value)


def _as_text(accessor: DerivedField) -> DerivedField:
    return lambda observed: _text(accessor(observed))


def _as_folded(accessor: DerivedField) -> DerivedField:
    def folded(observed: Observed) -> FieldValue:
        value = accessor(observed)
        return fold(value) if type(value) is str else _fold(_text(value))

    return folded


def _text(value: FieldValue) -> str | tuple[str, ...] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def fold(text: str) -> str:
    """The text with every letter in lower case, each by itself, so that lengths stay.

    `str.lower` looks at neighbours (a final sigma) and makes two letters of some: then a part
    of a text would no longer be a part of it, nor `?` stand for one letter.
    """
    return text.lower() if text.isascii() else "".join(map(_lower, text))


def _lower(letter: str) -> str:
    lower = letter.lower()
    return lower if len(lower) == 1 else letter


def _fold(value: FieldValue) -> FieldValue:
    if isinstance(value, str):
        return fold(value)
    if isinstance(value, tuple):
        return tuple([fold(one) for one in value])
    return value


def _constant(value: object) -> DerivedField:
    fixed: FieldValue
    if isinstance(value, list | tuple):
        fixed = tuple(str(one) for one in value) or None
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
