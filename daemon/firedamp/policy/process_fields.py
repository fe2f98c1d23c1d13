# SPDX-License-Identifier: Apache-2.0
"""The fields that say who did it: the process, its parent, its actor, where it runs.

Every category that is bound to a process has them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from firedamp.analysis.base import DerivedField, FieldValue
from firedamp.context.process import NO_LOGIN, Observed, Process
from firedamp.context.units import placement
from firedamp.events.model import UNKNOWN_PROCESS, ProcessKey

_MINOR_BITS: Final = 20


def _parent(observed: Observed) -> Process:
    return observed.host.parent_of(observed.process)


def _number(value: int) -> int | None:
    return None if value == NO_LOGIN else value


def _account(uid: int, observed: Observed) -> str | None:
    return None if uid == NO_LOGIN else observed.host.user_name(uid)


def _pid(key: ProcessKey) -> int | None:
    return None if key == UNKNOWN_PROCESS else key.pid


def _command_line(process: Process) -> str | None:
    """Empty for a program that was started without even its own name; None if not seen."""
    return process.command_line if process.argv or process.image else None


def _image_inode(observed: Observed) -> FieldValue:
    return observed.process.inode or None


def _image_device(observed: Observed) -> FieldValue:
    """As `ls` shows it: major:minor."""
    device = observed.process.device
    if not observed.process.inode:
        return None
    return f"{device >> _MINOR_BITS}:{device & ((1 << _MINOR_BITS) - 1)}"


def _image_link_count(observed: Observed) -> FieldValue:
    return observed.process.link_count if observed.process.inode else None


def _actor_id(observed: Observed) -> FieldValue:
    """None for a process that nobody knows: all of those are not one actor."""
    actor = observed.process.actor
    return None if actor == UNKNOWN_PROCESS else str(actor)


def _actor_image(observed: Observed) -> FieldValue:
    return observed.host.tree.get(observed.process.actor).image or None


def _cgroup(observed: Observed) -> str:
    return observed.host.cgroups.get(observed.process.cgroup_id, "")


PROCESS_FIELDS: Final[Mapping[str, DerivedField]] = MappingProxyType(
    {
        "Image": lambda o: o.process.image or None,
        "CommandLine": lambda o: _command_line(o.process),
        "CurrentDirectory": lambda o: o.process.cwd or None,
        "ProcessName": lambda o: o.process.comm or None,
        "ProcessId": lambda o: _pid(o.process.key),
        "User": lambda o: _account(o.process.uid, o),
        "UserId": lambda o: _number(o.process.uid),
        "LoginUser": lambda o: _account(o.process.loginuid, o),
        "LogonId": lambda o: _number(o.process.loginuid),
        "ParentImage": lambda o: _parent(o).image or None,
        "ParentCommandLine": lambda o: _command_line(_parent(o)),
        "ParentProcessId": lambda o: _pid(o.process.parent),
        "ParentProcessName": lambda o: _parent(o).comm or None,
        "ActorId": _actor_id,
        "ActorImage": _actor_image,
        "CgroupPath": lambda o: _cgroup(o) or None,
        "Unit": lambda o: placement(_cgroup(o)).unit or None,
        "ContainerId": lambda o: placement(_cgroup(o)).container or None,
        "ImageLinkCount": _image_link_count,
        "ImageInode": _image_inode,
        "ImageDevice": _image_device,
        "ImageOwner": lambda o: _account(o.process.image_uid, o),
    }
)
