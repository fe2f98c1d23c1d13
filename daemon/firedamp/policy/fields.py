# SPDX-License-Identifier: Apache-2.0
"""Every category that policies can name, and its fields under their Sigma names.

A field is an accessor from an `Observed`; the value None means that the event has no such
field, for unknown too: policies cannot match what was not seen.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from firedamp.analysis.base import DerivedField, FieldValue
from firedamp.analysis.registry import DERIVED_FIELDS
from firedamp.context.process import Observed
from firedamp.events.model import (
    ConnectionFound,
    ConnectionOpened,
    CpuSustained,
    DnsAnswered,
    DnsAsked,
    Event,
    FileChanged,
    FileOperation,
    MiningProtocolSpoken,
    ProcessExecuted,
    ProcessExited,
    ProcessFound,
    ProcessRenamed,
    RecordsLost,
)
from firedamp.policy.process_fields import PROCESS_FIELDS
from firedamp.policy.view import Fields, FieldView

Table = Mapping[str, DerivedField]
E = TypeVar("E", bound=Event)

NS_PER_S: Final = 1_000_000_000


def views_of(observed: Observed) -> tuple[FieldView, ...]:
    """The event as each category that it belongs to; none for events that policies do not see."""
    event = observed.event
    category = _CATEGORY_OF.get(type(event))
    if category is not None:
        return (FieldView(category, observed, _FIELDS[category]),)
    if isinstance(event, FileChanged):
        categories = _FILE_CATEGORIES[event.operation]
        return tuple([FieldView(name, observed, _FIELDS[name]) for name in categories])
    return ()


def categories_of(kind: type[Event]) -> frozenset[str]:
    """Every category to which events of a class can belong."""
    if issubclass(kind, FileChanged):
        return frozenset(name for names in _FILE_CATEGORIES.values() for name in names)
    category = _CATEGORY_OF.get(kind)
    return frozenset() if category is None else frozenset({category})


def unknown_fields(category: str, names: Iterable[str]) -> dict[str, str]:
    """Those of the names that the category does not have, each with the nearest that it has.

    The nearest is empty where nothing resembles it.
    """
    known = CATEGORIES[category]
    lower = {name.lower(): name for name in known}
    unknown = {}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), lower, n=1)
            unknown[name] = lower[near[0]] if near else ""
    return unknown


def nearest_category(name: str) -> str:
    """The category that the name resembles most, or nothing."""
    near = difflib.get_close_matches(name, CATEGORIES, n=1)
    return near[0] if near else ""


def _of(kind: type[E], read: Callable[[E, Observed], FieldValue]) -> DerivedField:
    """An accessor for a field of one event class; None on any other."""

    def accessor(observed: Observed) -> FieldValue:
        event = observed.event
        return read(event, observed) if isinstance(event, kind) else None

    return accessor


def _hostname(address: str, observed: Observed) -> FieldValue:
    """Names that were asked for and answered with this address."""
    return observed.host.names.all_of(address) or None


_CONNECTION: Final[Table] = {
    "DestinationIp": _of(ConnectionOpened, lambda e, _: e.address),
    "DestinationPort": _of(ConnectionOpened, lambda e, _: e.port),
    "DestinationHostname": _of(ConnectionOpened, lambda e, o: _hostname(e.address, o)),
    "Protocol": _of(ConnectionOpened, lambda e, _: e.transport),
    "Initiated": _of(ConnectionOpened, lambda _e, _o: True),
    "Denied": _of(ConnectionOpened, lambda e, _: e.denied),
    "IsFound": _of(ConnectionOpened, lambda e, _: isinstance(e, ConnectionFound)),
}

_DNS_QUERY: Final[Table] = {
    "QueryName": _of(DnsAsked, lambda e, _: e.name),
    "QueryType": _of(DnsAsked, lambda e, _: e.record_type),
    "DestinationIp": _of(DnsAsked, lambda e, _: e.server),
}

_DNS_ANSWER: Final[Table] = {
    "QueryName": _of(DnsAnswered, lambda e, _: e.name),
    "QueryType": _of(DnsAnswered, lambda e, _: e.record_type),
    "QueryStatus": _of(DnsAnswered, lambda e, _: e.response_code),
    "QueryResults": _of(DnsAnswered, lambda e, _: e.addresses + e.aliases or None),
}

_FILE: Final[Table] = {
    "TargetFilename": _of(FileChanged, lambda e, _: e.path),
    "SourceFilename": _of(FileChanged, lambda e, _: e.old_path or None),
    "Operation": _of(FileChanged, lambda e, _: e.operation),
    "Place": _of(FileChanged, lambda e, _: e.place or None),
    "AddedLines": _of(FileChanged, lambda e, _: e.added_lines or None),
}

_MINING: Final[Table] = {
    "Protocol": _of(MiningProtocolSpoken, lambda e, _: e.protocol),
    "Method": _of(MiningProtocolSpoken, lambda e, _: e.method or None),
    "Login": _of(MiningProtocolSpoken, lambda e, _: e.login or None),
    "Agent": _of(MiningProtocolSpoken, lambda e, _: e.agent or None),
    "Algorithms": _of(MiningProtocolSpoken, lambda e, _: e.algorithms or None),
    "Direction": _of(MiningProtocolSpoken, lambda e, _: e.direction),
    "DestinationIp": _of(MiningProtocolSpoken, lambda e, _: e.address),
    "DestinationPort": _of(MiningProtocolSpoken, lambda e, _: e.port),
    "DestinationHostname": _of(MiningProtocolSpoken, lambda e, o: _hostname(e.address, o)),
}

_RENAME: Final[Table] = {
    "ProcessName": _of(ProcessRenamed, lambda e, _: e.comm),
    "OldProcessName": _of(ProcessRenamed, lambda e, _: e.old_comm),
}

_TERMINATION: Final[Table] = {
    "ExitCode": _of(ProcessExited, lambda e, _: e.exit_code >> 8),
    "ExitSignal": _of(ProcessExited, lambda e, _: e.exit_code & 0x7F or None),
    "CpuSeconds": _of(ProcessExited, lambda e, _: e.cpu_ns / NS_PER_S),
}

_CPU: Final[Table] = {
    "Cores": _of(CpuSustained, lambda e, _: e.cores),
    "WindowSeconds": _of(CpuSustained, lambda e, _: e.window_s),
    "Threads": _of(CpuSustained, lambda e, _: e.threads),
}

_LOST: Final[Table] = {
    "Source": _of(RecordsLost, lambda e, _: e.source),
    "Kind": _of(RecordsLost, lambda e, _: e.kind),
    "Count": _of(RecordsLost, lambda e, _: e.count),
}


def _by_process(own: Table) -> Table:
    return MappingProxyType({**PROCESS_FIELDS, **DERIVED_FIELDS, **own})


CATEGORIES: Final[Mapping[str, Table]] = MappingProxyType(
    {
        "process_creation": _by_process({}),
        "process_termination": _by_process(_TERMINATION),
        "process_rename": _by_process(_RENAME),
        "network_connection": _by_process(_CONNECTION),
        "dns_query": _by_process(_DNS_QUERY),
        "dns_answer": _by_process(_DNS_ANSWER),
        "file_event": _by_process(_FILE),
        "file_delete": _by_process(_FILE),
        "file_rename": _by_process(_FILE),
        "file_change": _by_process(_FILE),
        "mining_protocol": _by_process(_MINING),
        "process_cpu": _by_process(_CPU),
        "records_lost": MappingProxyType(dict(_LOST)),
    }
)

_FILE_CATEGORIES: Final[Mapping[FileOperation, tuple[str, ...]]] = {
    "create": ("file_event",),
    "write": ("file_event",),
    "open": ("file_event",),
    "link": ("file_event",),
    "rename": ("file_event", "file_rename"),
    "delete": ("file_delete",),
    "attributes": ("file_change",),
}

_FIELDS: Final = {name: Fields(table) for name, table in CATEGORIES.items()}

_CATEGORY_OF: Final[Mapping[type[Event], str]] = {
    ProcessExecuted: "process_creation",
    ProcessFound: "process_creation",
    ProcessExited: "process_termination",
    ProcessRenamed: "process_rename",
    ConnectionOpened: "network_connection",
    ConnectionFound: "network_connection",
    DnsAsked: "dns_query",
    DnsAnswered: "dns_answer",
    MiningProtocolSpoken: "mining_protocol",
    CpuSustained: "process_cpu",
    RecordsLost: "records_lost",
}
