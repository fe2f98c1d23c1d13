# SPDX-License-Identifier: Apache-2.0
"""The field sets of an ECS document that tell of the process, the network and the file."""

from collections.abc import Callable, Mapping

from firedamp.alerts.plain import unicode_text
from firedamp.context.process import NO_LOGIN, Process
from firedamp.events.model import NS_PER_TICK, UNKNOWN_PROCESS, ProcessKey

Document = dict[str, object]
Timestamp = Callable[[int], str]
"""A boot-time clock reading in nanoseconds as text."""


def process_part(fields: Mapping[str, object], process: Process, timestamp: Timestamp) -> Document:
    """`process`, `user` and `container`; nothing for a process that nobody knows."""
    part = named(process.key)
    if part:
        part["start"] = timestamp(process.key.started_ticks * NS_PER_TICK)
    _put(part, "executable", fields.get("Image"))
    _put(part, "name", fields.get("ProcessName"))
    _put(part, "command_line", fields.get("CommandLine"))
    _put(part, "working_directory", fields.get("CurrentDirectory"))
    if process.argv:
        part["args"] = [unicode_text(one) for one in process.argv]
        part["args_count"] = len(process.argv)
    _put(part, "parent", _parent_part(fields, process))
    user: Document = {"id": str(process.uid)} if process.uid != NO_LOGIN else {}
    _put(user, "name", fields.get("User"))
    _put(part, "user", user)
    document: Document = {}
    _put(document, "process", part)
    _put(document, "user", user)
    if container := fields.get("ContainerId"):
        document["container"] = {"id": container}
    return document


def _parent_part(fields: Mapping[str, object], process: Process) -> Document:
    parent = named(process.parent)
    _put(parent, "executable", fields.get("ParentImage"))
    _put(parent, "name", fields.get("ParentProcessName"))
    _put(parent, "command_line", fields.get("ParentCommandLine"))
    return parent


def named(key: ProcessKey) -> Document:
    return {"pid": key.pid, "entity_id": str(key)} if key != UNKNOWN_PROCESS else {}


def network_part(category: str, fields: Mapping[str, object]) -> Document:
    part: Document = {}
    destination: Document = {}
    _put(destination, "ip", fields.get("DestinationIp"))
    _put(destination, "address", fields.get("DestinationIp"))
    _put(destination, "port", fields.get("DestinationPort"))
    _put(destination, "domain", _first(fields.get("DestinationHostname")))
    _put(part, "destination", destination)
    protocol = fields.get("Protocol")
    if category == "network_connection" and protocol:
        part["network"] = {"transport": protocol, "direction": "egress"}
    elif category == "mining_protocol" and protocol:
        direction = "ingress" if fields.get("Direction") == "in" else "egress"
        part["network"] = {"protocol": protocol, "direction": direction}
    if name := fields.get("QueryName"):
        dns: Document = {"question": {"name": name, "type": fields.get("QueryType")}}
        dns["type"] = "answer" if category == "dns_answer" else "query"
        _put(dns, "response_code", fields.get("QueryStatus"))
        part["dns"] = dns
    return part


def file_part(fields: Mapping[str, object]) -> Document:
    path = fields.get("TargetFilename")
    if not isinstance(path, str):
        return {}
    directory, _, name = path.rpartition("/")
    return {"file": {"path": path, "directory": directory or "/", "name": name}}


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value


def _put(into: Document, name: str, value: object) -> None:
    if value not in (None, "", {}, []):
        into[name] = value


def as_json(value: object) -> object:
    """A field's value in JSON's types."""
    if isinstance(value, str):
        return unicode_text(value)
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
