# SPDX-License-Identifier: Apache-2.0
"""What this host lets the daemon see, by which hook, and what that hook cannot see."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from firedamp.cgroups import cgroup2_mount
from firedamp.errors import FiredampError, SourceError
from firedamp.paths import probes_dir
from firedamp.settings import Settings
from firedamp.sources.bpf.spawn import Attempt, run_loader
from firedamp.sources.files import FileWatch

Row = dict[str, str]


class Limits(NamedTuple):
    """What a hook cannot see, and what would be better."""

    blind: str
    better: str = ""


_CGROUP2: Final = "mount cgroup v2"
_LIMITS: Final[Mapping[str, Mapping[str, Limits]]] = {
    "exec": {"": Limits("arguments after the first 4,096 bytes; path parts above the 32nd")},
    "fork": {"": Limits("threads, which are not processes")},
    "exit": {"": Limits("nothing known")},
    "rename": {"": Limits("names of threads other than the first; argv rewritten in memory")},
    "connect": {
        "cgroup connect4/6, sendmsg4/6": Limits(
            "raw and packet sockets; a process that asks for the same address and port again "
            "within a second is told of once"
        ),
        "raw tracepoint inet_sock_set_state": Limits("UDP; the owner of packets", _CGROUP2),
    },
    "payload": {
        "": Limits(
            "what does not begin like JSON or an HTTP POST in the first 4 segments each way; "
            "what TLS hides; DNS over TCP, TLS or HTTPS"
        )
    },
    "deny": {"": Limits("connections already open; raw and packet sockets")},
    "cpu": {"": Limits("work below 5 % of a core; the GPU")},
    "file store": {
        "raw tracepoints writeback_mark_inode_dirty, ext4_mark_inode_dirty": Limits(
            "stores to files on file systems without writeback (tmpfs)"
        ),
        "raw tracepoint writeback_mark_inode_dirty": Limits(
            "attributes set by ioctl; stores on tmpfs"
        ),
    },
}


def rows(attempts: Iterable[Attempt], file_hook: str) -> list[Row]:
    """The table for probes that are loaded. `file_hook` empty: changes of files are not seen."""
    table = [_row(attempt) for attempt in attempts]
    table.append(
        {
            "capability": "file change",
            "state": "ok" if file_hook else "missing",
            "hook": file_hook,
            "blind": "stores through a mapping until the file is closed (see file store)"
            if file_hook
            else "all changes of watched files",
            "better": "" if file_hook else "a kernel with fanotify that reports names (5.9)",
        }
    )
    return table


def report(settings: Settings) -> list[Row]:
    """The same, by trying it now; everything is taken out again.

    Raises:
        ConfigError: the probes' sources are not where they should be.
    """
    root = settings.sources.cgroup_root or cgroup2_mount()
    try:
        loaded = run_loader(
            probes=Path(probes_dir()),
            cgroup_root=root,
            deny_cgroups=[root] if root else [],
            cpu_hz=settings.sources.cpu_hz,
            scope_uids=False,
        )
    except SourceError as error:
        attempts: tuple[Attempt, ...] = tuple(
            Attempt(capability, "", (str(error),)) for capability in _LIMITS
        )
    else:
        attempts = loaded.attempts
        loaded.close()
    return rows(attempts, _file_hook(settings))


def _file_hook(settings: Settings) -> str:
    try:
        watch = FileWatch(settings.watch)
    except (FiredampError, OSError):
        return ""
    hook = watch.hook
    watch.close()
    return hook


def _row(attempt: Attempt) -> Row:
    if not attempt.hook:
        return {
            "capability": attempt.capability,
            "state": "missing",
            "hook": "",
            "blind": "; ".join(attempt.failures),
            "better": _better(attempt),
        }
    by_hook = _LIMITS.get(attempt.capability, {})
    limits = by_hook.get(attempt.hook) or by_hook.get("") or Limits("")
    return {
        "capability": attempt.capability,
        "state": "fallback" if attempt.failures else "ok",
        "hook": attempt.hook,
        "blind": limits.blind,
        "better": limits.better or "; ".join(attempt.failures),
    }


def _better(attempt: Attempt) -> str:
    if any("cgroup v2" in failure for failure in attempt.failures):
        return _CGROUP2
    return "a kernel, or a container's limits, that lets this program load"
