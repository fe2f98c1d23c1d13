# SPDX-License-Identifier: Apache-2.0
"""What the path of a control group says: systemd unit, container, login session.

Only root can move a process to another control group, and systemd and the container runtimes
put each process into one before it runs: for a process without root's rights, these names are
nothing it can choose. Paths are those below the mount point of cgroup v2.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket|mount|swap)")
_HEX_ID = re.compile(r"[0-9a-f]{64}")
_RUNTIME_SCOPE = re.compile(
    # docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope (and its
    # libpod-conmon-ID.scope, which holds the monitor and not the container)
    r"(?:docker|cri-containerd|nerdctl|containerd|crio|libpod|buildah)-([0-9a-f]{64})(?:\.scope)?"
)
_LXC = re.compile(r"(?:lxc\.payload\.|lxc/)([^/]+)")
_NSPAWN = re.compile(r"/machine\.slice/(?:machine-|systemd-nspawn@)([^/]+?)\.(?:scope|service)")
_SESSION = re.compile(r"/user\.slice/user-(\d+)\.slice/session-([^/]+)\.scope")


class Placement(NamedTuple):
    """Where a process belongs; "" where the path does not say."""

    unit: str
    """The innermost unit that systemd of the host or of the user made: nginx.service,
    session-3.scope. Slices only group units and are none."""
    container: str
    """Container id of 64 hex digits, or the name where the runtime uses names."""
    session: str
    """Id of the login session, as `loginctl` lists it."""


@lru_cache(maxsize=1024)
def placement(cgroup_path: str) -> Placement:
    """Read one path. Never raises, whatever the path."""
    container = _container(cgroup_path)
    session = _SESSION.match(cgroup_path)
    return Placement(_unit(cgroup_path), container, session[2] if session else "")


def _unit(path: str) -> str:
    for part in reversed(path.split("/")):
        if _UNIT.fullmatch(part):
            return _unescape(part)
    return ""


def _container(path: str) -> str:
    for part in reversed(path.split("/")):
        scope = _RUNTIME_SCOPE.fullmatch(part)
        if scope:
            return scope[1]
        if _HEX_ID.fullmatch(part):
            return part
    named = _LXC.search(path) or _NSPAWN.match(path)
    return _unescape(named[1]) if named else ""


def _unescape(name: str) -> str:
    """Undo systemd's escapes (backslash, x2d for a hyphen), as `systemctl` shows names."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)
