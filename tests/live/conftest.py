# SPDX-License-Identifier: Apache-2.0
"""What the tests on a real kernel share, and why they may be skipped: what the host lacks.

A probe that does not load where everything it needs is there is a failure, never a skip.
"""

import ctypes
import os
import platform
import select
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firedamp.cgroups import cgroup2_mount
from firedamp.events.decode import Decoded
from firedamp.events.model import ProcessKey
from firedamp.paths import probes_dir
from firedamp.sources import fanotify
from firedamp.sources.bpf.source import BpfSource
from firedamp.sources.bpf.spawn import run_loader

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
WAIT_S = 10.0


def missing_for_bpf() -> str:
    """What this host lacks for kernel probes; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "needs root"
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("=IIII", 2, 4, 8, 1).ljust(64, b"\0")  # BPF_MAP_TYPE_ARRAY
    fd = libc.syscall(_SYS_BPF[platform.machine()], 0, attributes, 64)
    if fd < 0:
        return f"needs bpf(2): {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    if (
        not Path("/sys/kernel/btf/vmlinux").exists()
        and not Path(f"/lib/modules/{os.uname().release}/build").exists()
    ):
        return "needs the kernel's BTF or its headers"
    tried = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", "import bcc"], capture_output=True, check=False
    )
    return "needs the distribution's python3-bpfcc" if tried.returncode else ""


def missing_for_fanotify() -> str:
    """What this host lacks for watching files; empty where it lacks nothing."""
    try:
        fanotify.Group(fanotify.REPORT_DIR_FID | fanotify.REPORT_NAME).close()
    except OSError as error:
        return f"needs fanotify: {error.strerror}"
    return ""


def missing_for_network() -> str:
    """What this host lacks for networks of the tests' own."""
    command = [
        "unshare",
        "--net",
        "ip",
        "link",
        "add",
        "fd0",
        "type",
        "veth",
        "peer",
        "name",
        "fd1",
    ]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"needs network namespaces with veth: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture(scope="session")
def fanotify_host() -> None:
    """Skip where files cannot be watched."""
    if missing := missing_for_fanotify():
        pytest.skip(missing)


@pytest.fixture(scope="session")
def network_host() -> None:
    """Skip where networks cannot be made."""
    if missing := missing_for_network():
        pytest.skip(missing)


@pytest.fixture(scope="session")
def bpf_host() -> None:
    """Skip where kernel probes cannot be had."""
    missing = missing_for_bpf()
    if missing:
        pytest.skip(missing)


class Probes:
    """The probes, loaded, and what they have told so far."""

    def __init__(self, source: BpfSource) -> None:
        self.source = source
        self.seen: list[Decoded] = []
        self._epoll = select.epoll()
        for fd in source.filenos():
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def until(self, wanted: Callable[[Decoded], bool]) -> Decoded:
        """Wait for an event; fail where it does not come."""
        deadline = time.monotonic() + WAIT_S
        looked_at = 0
        while time.monotonic() < deadline:
            for event in self.seen[looked_at:]:
                if wanted(event):
                    return event
            looked_at = len(self.seen)
            self._epoll.poll(0.05)
            self.collect()
        pytest.fail("the event did not come")

    def collect(self) -> list[Decoded]:
        """Read all that is there."""
        more = True
        while more:
            batch, more = self.source.read()
            self.seen += batch
        return self.seen

    def close(self) -> None:
        """Stop waiting; the probes stay."""
        self._epoll.close()


def load(force: dict[str, str] | None = None) -> BpfSource:
    """The probes on this kernel, refusing connects nowhere but in cgroups made later."""
    root = cgroup2_mount()
    return BpfSource(
        run_loader(
            probes=probes_dir(),
            cgroup_root=root,
            deny_cgroups=[],
            cpu_hz=49,
            scope_uids=False,
            force=force,
        )
    )


@pytest.fixture(scope="module")
def loaded(bpf_host: None) -> Iterator[BpfSource]:
    """The probes, loaded once for a module."""
    source = load()
    yield source
    source.close()


@pytest.fixture
def probes(loaded: BpfSource) -> Iterator[Probes]:
    """The probes with nothing read yet."""
    watched = Probes(loaded)
    watched.collect()
    watched.seen.clear()
    yield watched
    watched.close()


def key_of(pid: int) -> ProcessKey:
    """The identity of a living process, read from /proc."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return ProcessKey(pid, int(stat.rpartition(")")[2].split()[19]))
