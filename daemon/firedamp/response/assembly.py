# SPDX-License-Identifier: Apache-2.0
"""Puts the response stage together from the settings."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from firedamp.errors import ActionError
from firedamp.policy.types import ActionName
from firedamp.response.addresses import AddressGuard
from firedamp.response.base import Action
from firedamp.response.block import Block, DenyMap
from firedamp.response.capture import Capture
from firedamp.response.clean import Clean
from firedamp.response.clean_finds import PlaceOf
from firedamp.response.executor import Executor, OnReceipt
from firedamp.response.freeze import Freeze
from firedamp.response.guard import Ours, ProcessGuard
from firedamp.response.host import Host
from firedamp.response.keeper import Keeper
from firedamp.response.kill import Kill
from firedamp.response.ledger import Ledger
from firedamp.response.members import Keeper as Care
from firedamp.response.nft import NftTable
from firedamp.response.packages import Packages
from firedamp.response.quarantine import Quarantine
from firedamp.response.system_host import SystemHost
from firedamp.response.vault import Vault
from firedamp.settings import Settings


def no_places() -> PlaceOf:
    """For who only undoes: no path is watched, so none is cleaned."""
    return lambda _: None


def all_actions(
    settings: Settings,
    host: Host,
    keeper: Care,
    deny_map: DenyMap | None,
    places: Callable[[], PlaceOf] = no_places,
) -> Mapping[ActionName, Action]:
    """Every action that this version has."""
    state, response = settings.state_directory, settings.response
    vault = Vault(f"{state}/vault", max_bytes=response.vault_max_mb << 20)
    vault.tidy()
    packages = Packages()
    quarantine = Quarantine(host, vault, packages)
    nft = NftTable(settings.scope, cgroup_root=settings.sources.cgroup_root)
    return {
        "freeze": Freeze(host, keeper),
        "block": Block(AddressGuard(settings.allow), nft, deny_map, block_s=response.block_s),
        "capture": Capture(host, f"{state}/incidents"),
        "quarantine": quarantine,
        "clean": Clean(quarantine, vault, packages, places=places),
        "kill": Kill(host, deadline_s=response.kill_deadline_s),
    }


def open_ledger(settings: Settings, *, make: bool = True) -> Ledger:
    """Open the ledger in the state directory, which is made if it is not there.

    Raises:
        ActionError: it cannot be opened; or it is not there, and `make` is not set.
    """
    path = Path(settings.state_directory) / "ledger.db"
    try:
        if make:
            os.makedirs(settings.state_directory, mode=0o700, exist_ok=True)
        else:
            path.stat()
    except OSError as error:
        raise ActionError(f"{path}: {error.strerror}") from error
    return Ledger(path)


def assemble(
    settings: Settings,
    keeper: Keeper,
    *,
    on_receipt: OnReceipt,
    on_breaker: Callable[[str], None],
    deny_map: DenyMap | None = None,
    ours: Ours = frozenset,
    places: Callable[[], PlaceOf] = no_places,
) -> Executor:
    """The executor of a daemon. `keeper` is started as early as possible, by the caller.

    `places` tells which paths are watched, as things are.

    Raises:
        ActionError: the ledger cannot be opened.
        ConfigError: the settings name what is not there.
    """
    host = SystemHost()
    return Executor(
        settings,
        host,
        open_ledger(settings),
        all_actions(settings, host, keeper, deny_map, places),
        keeper=keeper,
        guard=ProcessGuard(settings, host, ours=lambda: {keeper.pid, *ours()}),
        on_receipt=on_receipt,
        on_breaker=on_breaker,
    )
