# SPDX-License-Identifier: Apache-2.0
"""Brings the sources up, and tells what was there before them.

The order is what makes the start without a gap: the probes are attached first, the host is looked
at second, and only then are the probes' records read; see `sources.merge`.
"""

import gc
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from firedamp import log
from firedamp.cgroups import cgroup2_mount
from firedamp.errors import ConfigError, SourceError
from firedamp.events.model import ConnectionFound, Event, ProcessFound
from firedamp.paths import probes_dir
from firedamp.settings import Scope, Settings
from firedamp.sources import doctor, merge, procfs, sockdiag
from firedamp.sources.bpf.source import BpfSource
from firedamp.sources.bpf.spawn import run_loader
from firedamp.sources.collector import Collector
from firedamp.sources.files import FileWatch
from firedamp.sources.inspect import Inspector


@dataclass(slots=True)
class Started:
    """The sources, and the table of their hooks for `doctor`."""

    bpf: BpfSource
    collector: Collector
    hooks: list[doctor.Row]


def start_sources(settings: Settings) -> Started:
    """Attach the probes and mark the watched files.

    Raises:
        ConfigError: the host cannot run the probes, or the scope names what does not exist.
    """
    root = settings.sources.cgroup_root or cgroup2_mount()
    try:
        loaded = run_loader(
            probes=Path(probes_dir()),
            cgroup_root=root,
            deny_cgroups=_deny_cgroups(settings.scope, root),
            cpu_hz=settings.sources.cpu_hz,
            scope_uids=bool(settings.scope.users),
        )
    except SourceError as error:
        raise ConfigError(str(error)) from error
    bpf = BpfSource(loaded)
    bpf.scope_uids(_uids(settings.scope))
    files = _file_watch(settings)
    collector = Collector(bpf, files, Inspector(root), settings.sources.cpu_hz)
    hooks = doctor.rows(bpf.attempts, files.hook if files else "")
    return Started(bpf, collector, hooks)


def first_events(started: Started, cgroup_root: str) -> list[Event]:
    """What ran and was connected already, joined with what the probes have queued since."""
    found: list[Event] = []
    processes = procfs.snapshot(cgroup_root)
    found += processes
    connections = _connections(processes)
    started.bpf.adopt(connections)
    found += connections
    queued: list[Event] = []
    more = True
    while more:
        batch, more = started.collector.read()
        queued += batch
    return started.collector.named(merge.merge(found, queued))


def _connections(processes: Iterable[ProcessFound]) -> list[ConnectionFound]:
    try:
        return sockdiag.connections(processes)
    except SourceError as error:
        log.get_logger().error("connections_not_listed", error=str(error))
        return []


def settle_memory() -> None:
    """What is loaded by now stays: the collector need not look at it again.

    Events make no cycles, so looking for some can be rare; in a storm it would be a third of
    the cost of an event.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _file_watch(settings: Settings) -> FileWatch | None:
    try:
        return FileWatch(settings.watch)
    except SourceError as error:
        log.get_logger().error("file_watch_failed", error=str(error))
        return None


def _deny_cgroups(scope: Scope, root: str) -> list[str]:
    """The cgroups in which connects can be refused: those in scope, or all.

    A cgroup in scope that does not exist yet is reported: it is in the daemon's scope once it
    does, but connects from it are refused by nftables alone until the next start.
    """
    if not root:
        return []
    if not scope.cgroups:
        return [] if scope.containers else [root]
    wanted = [root + "/" + path.strip("/") for path in scope.cgroups]
    for path in wanted:
        if not Path(path).is_dir():
            log.get_logger().warning("scope_cgroup_absent", path=path)
    return [path for path in wanted if Path(path).is_dir()]


def _uids(scope: Scope) -> list[int]:
    uids = []
    for name in scope.users:
        try:
            uids.append(int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise ConfigError(f"scope.users: there is no account {name!r}") from None
    return uids
