# SPDX-License-Identifier: Apache-2.0
"""CPU samples, stores that only the inode shows, and what is said of the hooks."""

import json
import mmap
import os
import subprocess
import sys
import time

import pytest

from firedamp.events.decode import InodeDirtied
from firedamp.sources.bpf.spawn import run_loader

from .conftest import key_of, load

pytestmark = pytest.mark.live

SPIN = "while True: pass"


def test_busy_process_is_sampled_and_an_idle_one_is_not(probes):
    """Samples go with the CPU time that the task really had."""
    busy = subprocess.Popen([sys.executable, "-I", "-S", "-c", SPIN])
    idle = subprocess.Popen(["/bin/sleep", "60"])
    try:
        keys = key_of(busy.pid), key_of(idle.pid)
        probes.source.busy()
        ticks = os.sysconf("SC_CLK_TCK")
        started = cpu_ticks(busy.pid)
        time.sleep(2)
        used_s = (cpu_ticks(busy.pid) - started) / ticks
        found = dict(probes.source.busy())
    finally:
        for child in (busy, idle):
            child.kill()
            child.wait()

    assert found[keys[0]] == pytest.approx(49 * used_s, rel=0.3, abs=5)
    assert keys[1] not in found


def cpu_ticks(pid: int) -> int:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def device_of(path) -> int:
    """A file's device as the kernel encodes it."""
    device = path.stat().st_dev
    return os.major(device) << 20 | os.minor(device)


def test_store_through_a_mapping_is_told(probes, tmp_path):
    """A watched file that is changed without a write call, and whose neighbour is not told of."""
    watched, other = tmp_path / "watched", tmp_path / "other"
    for path in (watched, other):
        path.write_text("before")
    os.sync()
    entry = (device_of(watched), watched.stat().st_ino)
    probes.source.watch_inodes([entry], [])
    probes.collect()
    probes.seen.clear()
    for path in (other, watched):
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 6) as mapping:
            mapping[:5] = b"after"
            mapping.flush()

    event = probes.until(lambda e: isinstance(e, InodeDirtied))
    probes.source.watch_inodes([], [entry])

    assert (event.device, event.inode) == entry
    assert event.process == key_of(os.getpid())
    assert {e.inode for e in probes.seen if isinstance(e, InodeDirtied)} == {entry[1]}


def test_writeback_is_not_taken_for_a_write(probes, tmp_path):
    """
    A file system that puts off finding places for blocks dirties the inode again when it does:
    a kernel thread did not change the file.
    """
    grown = tmp_path / "grown"
    grown.write_text("")
    os.sync()
    entry = (device_of(grown), grown.stat().st_ino)
    probes.source.watch_inodes([entry], [])
    probes.collect()
    probes.seen.clear()
    with grown.open("ab") as file:
        file.write(bytes(100_000))
    os.sync()
    time.sleep(0.2)

    told = {e.process for e in probes.collect() if isinstance(e, InodeDirtied)}
    probes.source.watch_inodes([], [entry])

    assert told == {key_of(os.getpid())}


def test_each_capability_says_which_hook_it_uses(loaded):
    """On a kernel that runs probes at all, every capability has a hook."""
    assert {a.capability: a.hook for a in loaded.attempts if not a.hook} == {}


def test_refused_hook_says_why(bpf_host):
    """A capability without a hook carries the kernel's reason, and the others stand."""
    source = load({"connect": "cgroup connect4/6, sendmsg4/6", "exec": "no such hook"})
    try:
        found = {a.capability: a.hook for a in source.attempts}
    finally:
        source.close()

    assert found["exec"] == ""
    assert found["connect"] == "cgroup connect4/6, sendmsg4/6"


def test_no_cgroup_v2_leaves_the_shallower_hooks(bpf_host, tmp_path):
    """Without cgroup v2 connects come from the TCP state; payload and denial are given up."""
    from firedamp.paths import probes_dir

    loaded = run_loader(
        probes=probes_dir(), cgroup_root="", deny_cgroups=[], cpu_hz=49, scope_uids=False
    )
    attempts = {a.capability: a for a in loaded.attempts}
    loaded.close()

    assert attempts["connect"].hook == "raw tracepoint inet_sock_set_state"
    assert attempts["connect"].failures
    assert attempts["payload"].hook == ""
    assert attempts["payload"].failures


def test_masked_kallsyms_costs_no_capability(bpf_host):
    """Containers hide /proc/kallsyms, from which bcc would guess what the kernel can do."""
    doctor = f"{sys.executable} -Im firedamp doctor --json"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"mount --bind /dev/null /proc/kallsyms && {doctor}"],
        capture_output=True,
        text=True,
        check=False,
    )

    states = {one["capability"]: one["state"] for one in json.loads(tried.stdout)["hooks"]}

    assert set(states.values()) == {"ok"}, states
    assert "deny" in states
