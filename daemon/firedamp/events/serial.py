# SPDX-License-Identifier: Apache-2.0
"""Events as plain mappings that JSON can carry, and back again.

    {"event": "ProcessExited", "at_ns": 12, "process": [4711, 100], "exit_code": 0, "cpu_ns": 9}

What comes back is equal to what went in, whatever bytes paths and arguments are made of: text
that is no UTF-8 is carried in lone surrogates, as `os.fsdecode` makes them and JSON escapes
them; `bytes` are carried as Base64. What comes from a file is checked field by field, since
anybody may have written it.
"""

import dataclasses
import math
import typing
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from firedamp.errors import DecodeError
from firedamp.events import model
from firedamp.events.model import Event, ProcessKey

T = TypeVar("T")
Plain = dict[str, object]
Convert = Callable[[object], object]

KIND: Final = "event"
"""The key that names the class."""
_INT_MIN: Final = -(1 << 63)
_INT_END: Final = 1 << 64


class Codec(Generic[T]):
    """One dataclass to mappings and back."""

    def __init__(self, cls: type[T], *, without: Iterable[str] = ()) -> None:
        """`without` names fields that are left at their default."""
        hints = typing.get_type_hints(cls)
        fields = [one for one in dataclasses.fields(cls) if one.name not in {*without}]  # type: ignore[arg-type]
        self._cls = cls
        self._names = (KIND, *(one.name for one in fields))
        self._values: Callable[[T], tuple[object, ...]] = attrgetter(*self._names[1:])
        self._binary = tuple(one.name for one in fields if hints[one.name] is bytes)
        self._required = tuple(
            (one.name, _convert(hints[one.name])) for one in fields if _must(one)
        )
        self._optional = {one.name: _convert(hints[one.name]) for one in fields if not _must(one)}

    def to_plain(self, one: T) -> Plain:
        """The mapping. Tuples stay tuples, which JSON writes as lists."""
        plain: Plain = dict(zip(self._names, (self._cls.__name__, *self._values(one)), strict=True))
        for name in self._binary:
            data = typing.cast("bytes", plain[name])
            plain[name] = b2a_base64(data, newline=False).decode("ascii")
        return plain

    def from_plain(self, plain: Mapping[str, object]) -> T:
        """What the mapping was made from.

        Raises:
            DecodeError: a field is missing, unknown, or of the wrong type.
        """
        values: dict[str, Any] = {}
        try:
            for name, convert in self._required:
                values[name] = convert(plain[name])
            if len(plain) > len(values) + 1:
                for name in plain.keys() - values.keys() - {KIND}:
                    values[name] = self._optional[name](plain[name])
        except KeyError as error:
            what = "unknown" if error.args[0] in plain else "missing"
            raise DecodeError(f"{self._cls.__name__}: {error.args[0]} is {what}") from None
        except (ValueError, TypeError) as error:
            raise DecodeError(f"{self._cls.__name__}: {name}: {error}") from None
        return self._cls(**values)


def to_plain(event: Event) -> Plain:
    """The event as a mapping."""
    return _CODECS[type(event).__name__].to_plain(event)


def from_plain(plain: object) -> Event:
    """The event that the mapping was made from.

    Raises:
        DecodeError: it is not a mapping that an event can be made from.
    """
    if not isinstance(plain, dict):
        raise DecodeError("an event is a mapping")
    kind = plain.get(KIND)
    codec = _CODECS.get(kind) if isinstance(kind, str) else None
    if codec is None:
        raise DecodeError("not an event of a known class")
    event: Event = codec.from_plain(plain)
    return event


def _must(one: "dataclasses.Field[Any]") -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _convert(hint: Any) -> Convert:
    if typing.get_origin(hint) is typing.Literal:
        return _choice(frozenset(typing.get_args(hint)))
    return _CONVERTS[hint]


def _choice(known: frozenset[str]) -> Convert:
    def convert(value: object) -> object:
        if not isinstance(value, str) or value not in known:
            raise ValueError("not one of its values")
        return value

    return convert


def _text(value: object) -> object:
    if type(value) is not str:
        raise TypeError("not text")
    return value


def _number(value: object) -> object:
    if type(value) is not int or not _INT_MIN <= value < _INT_END:
        raise TypeError("not a whole number of 64 bits")
    return value


def _flag(value: object) -> object:
    if type(value) is not bool:
        raise TypeError("not true or false")
    return value


def _real(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value):
        return value
    return float(typing.cast("int", _number(value)))


def _texts(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    for one in value:
        if type(one) is not str:
            raise TypeError("not a list of texts")
    return tuple(value)


def _key(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError("not a PID and a start time")
    _number(value[0])
    _number(value[1])
    return ProcessKey(value[0], value[1])


def _binary(value: object) -> object:
    if type(value) is not str:
        raise TypeError("not Base64")
    try:
        return a2b_base64(value.encode("ascii"), strict_mode=True)
    except (Base64Error, ValueError):
        raise ValueError("not Base64") from None


_CONVERTS: Final[Mapping[object, Convert]] = MappingProxyType(
    {
        str: _text,
        int: _number,
        bool: _flag,
        float: _real,
        bytes: _binary,
        ProcessKey: _key,
        tuple[str, ...]: _texts,
    }
)

EVENTS: Final = tuple(
    one
    for one in vars(model).values()
    if isinstance(one, type) and issubclass(one, Event) and one is not Event
)
"""Every class of events."""

_CODECS: Final[Mapping[str, Codec[Any]]] = {one.__name__: Codec(one) for one in EVENTS}
