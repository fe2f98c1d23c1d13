# SPDX-License-Identifier: Apache-2.0
"""What a setting must be beyond its type, as sentences for whoever has to correct it."""

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from firedamp.settings import Settings
from firedamp.sources.masks import why_not
from firedamp.strict_yaml import YamlPath

_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope|slice|socket|timer|mount)")
_PLACE: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CONTAINER: Final = re.compile(r"[0-9a-f]{12,64}")

Rule = Callable[[str], str]
"""What is wrong with a value; empty if nothing is."""


def broken_rules(settings: Settings) -> Iterator[tuple[YamlPath, str]]:
    """Every value that cannot work, and why."""
    for path, values, rule in _checks(settings):
        places = (
            [(path, values)]
            if isinstance(values, str)
            else [((*path, index), value) for index, value in enumerate(values)]
        )
        for place, value in places:
            if complaint := rule(value):
                yield place, f"{complaint}: {value}"
    for index, policy in enumerate(settings.policies.enforce):
        if policy in settings.policies.observe:
            yield ("policies", "enforce", index), f"is under policies.observe as well: {policy}"


def _checks(settings: Settings) -> Iterable[tuple[YamlPath, str | tuple[str, ...], Rule]]:
    policies, scope, allow = settings.policies, settings.scope, settings.allow
    yield ("scope", "cgroups"), scope.cgroups, _cgroup
    yield ("scope", "users"), scope.users, _user
    yield ("scope", "containers"), scope.containers, _container
    yield ("policies", "directories"), policies.directories, _absolute
    yield ("policies", "filters"), policies.filters, _absolute
    yield ("policies", "enforce"), policies.enforce, _identifier
    yield ("policies", "observe"), policies.observe, _identifier
    yield ("policies", "disable"), policies.disable, _identifier
    yield ("watch", "roots"), settings.watch.roots, _absolute
    for index, extra in enumerate(settings.watch.extra):
        yield ("watch", "extra", index, "place"), extra.place, _place
        yield ("watch", "extra", index, "paths"), extra.paths, _watched
    yield ("sources", "cgroup_root"), settings.sources.cgroup_root, _absolute_or_empty
    yield ("allow", "addresses"), allow.addresses, _network
    yield ("allow", "images"), allow.images, _absolute
    yield ("allow", "units"), allow.units, _unit
    yield ("alerts", "file"), settings.alerts.file, _absolute_or_empty
    yield ("control", "group"), settings.control.group, _group
    yield ("record", "directory"), settings.record.directory, _absolute_or_empty
    yield ("record", "mask"), settings.record.mask, why_not
    yield ("state_directory",), settings.state_directory, _absolute
    yield ("runtime_directory",), settings.runtime_directory, _absolute


def _absolute(value: str) -> str:
    return "" if value.startswith("/") and ".." not in value.split("/") else "not an absolute path"


def _absolute_or_empty(value: str) -> str:
    return _absolute(value) if value else ""


def _cgroup(value: str) -> str:
    if value.startswith("/sys/fs/cgroup"):
        return "is written from the cgroup mount on, such as /system.slice/redis.service"
    return _absolute(value)


def _watched(value: str) -> str:
    if value.startswith("~") and not value.startswith("~/"):
        return "~ stands for every account's home: write ~/ and a path"
    return "" if value.startswith("~/") else _absolute(value)


def _user(value: str) -> str:
    return "" if value and not re.search(r"[\s:/]", value) else "not an account's name or UID"


def _group(value: str) -> str:
    return "not a group's name" if re.search(r"[\s:/]", value) else ""


def _container(value: str) -> str:
    return "" if _CONTAINER.fullmatch(value) else "not 12 to 64 hexadecimal digits"


def _identifier(value: str) -> str:
    try:
        return "" if str(uuid.UUID(value)) == value else "not a UUID in its usual, lower-case form"
    except ValueError:
        return "not the id of a policy, which is a UUID"


def _place(value: str) -> str:
    return "" if _PLACE.fullmatch(value) else "not a name of lower-case letters, digits and _"


def _unit(value: str) -> str:
    return "" if _UNIT.fullmatch(value) else "not the name of a unit, such as redis.service"


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        if "has host bits set" in str(error):
            near = ipaddress.ip_network(value, strict=False)
            return f"has host bits set, did you mean {near}?"
        return "not an address or a network"
    return ""
