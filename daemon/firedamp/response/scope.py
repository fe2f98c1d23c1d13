# SPDX-License-Identifier: Apache-2.0
"""Where the daemon may act: `scope` in the settings, checked against a process as it is now."""

import pwd
from collections.abc import Iterable

from firedamp.context.units import placement
from firedamp.errors import ConfigError, Refused
from firedamp.events.model import ProcessKey
from firedamp.response.host import Host
from firedamp.settings import Scope


class ScopeCheck:
    """Raises Refused for processes outside the scope. What is set must all be met."""

    def __init__(self, scope: Scope, host: Host) -> None:
        """Look up what the settings name.

        Raises:
            ConfigError: the scope names an account that does not exist.
        """
        self._host = host
        self._cgroups = tuple(path.strip("/") for path in scope.cgroups)
        self._users = user_ids(scope.users)
        self._containers = tuple(scope.containers)

    def check(self, key: ProcessKey) -> None:
        # The first is that of cgroup v2, or on a host without it, systemd's own.
        if self._cgroups and not self._in_cgroups(self._host.cgroups(key)[:1]):
            raise Refused("its cgroup is outside the scope")
        if self._users and not self._users & self._host.users(key):
            raise Refused("its user is outside the scope")
        if self._containers and not self._in_containers(self._host.cgroups(key)):
            raise Refused("it is in no container of the scope")

    def _in_cgroups(self, paths: Iterable[str]) -> bool:
        return any(
            f"{path.strip('/')}/".startswith(f"{inside}/") or not inside
            for path in paths
            for inside in self._cgroups
        )

    def _in_containers(self, paths: Iterable[str]) -> bool:
        found = [placement(path).container for path in paths]
        return any(name.startswith(prefix) for name in found for prefix in self._containers)


def user_ids(users: Iterable[str]) -> frozenset[int]:
    """UIDs of account names or numbers.

    Raises:
        ConfigError: there is no such account.
    """
    return frozenset(int(user) if user.isdigit() else _user_id(user) for user in users)


def _user_id(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"scope.users: there is no account {name!r}") from None
