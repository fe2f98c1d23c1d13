# SPDX-License-Identifier: Apache-2.0
"""Whether the one who restarts a miner goes with it."""

import dataclasses

import pytest

from firedamp.context.host import HostContext
from firedamp.events.model import Event, ProcessExecuted, ProcessForked, ProcessKey
from firedamp.policy.respawn import WINDOW_NS, Respawners
from firedamp.policy.types import Alert, Decision, Level, PolicySummary


def key(pid: int) -> ProcessKey:
    """A process that started when its number says."""
    return ProcessKey(pid, pid)


def start(host: HostContext, pid: int, image: str, parent: int, *argv: str) -> None:
    """`parent` forks `pid`, which runs `image`."""
    host.observe(
        ProcessForked(at_ns=pid, process=key(pid), parent=key(parent), uid=0, cgroup_id=1, comm="x")
    )
    host.observe(
        ProcessExecuted(
            at_ns=pid,
            process=key(pid),
            parent=key(parent),
            image=image,
            filename=image,
            argv=argv or (image,),
            argv_cut=False,
            cwd="/",
            comm="x",
            uid=0,
            gid=0,
            loginuid=0,
            device=1,
            inode=1,
            link_count=1,
            mode=0o755,
            image_uid=0,
            cgroup_id=1,
            mount_ns=1,
            pid_ns=1,
            net_ns=1,
        )
    )


def kill(host: HostContext, pid: int, at_ns: int = 0) -> Decision:
    """The decision to kill a process."""
    policy = PolicySummary(
        id="p", title="t", level=Level.CRITICAL, status="stable", tags=(), response=("kill",)
    )
    alert = Alert(
        at_ns=at_ns,
        policy=policy,
        category="mining_protocol",
        event=Event(at_ns=at_ns, process=key(pid)),
        process=key(pid),
        actor=host.tree.get(key(pid)).actor,
        incident="I",
        fields=(),
    )
    return Decision(
        alert=alert,
        actions=("kill",),
        mode="enforce",
        target=key(pid),
        related=(),
        addresses=(),
        files=(),
        reason="",
    )


@pytest.fixture
def host() -> HostContext:
    """PID 1, a service below it, and a watchdog of the service's."""
    made = HostContext()
    start(made, 1, "/usr/lib/systemd/systemd", 0)
    start(made, 10, "/usr/sbin/nginx", 1)
    return made


def test_first_kill_takes_nobody_along(host):
    """
    A parent alone is not guilty.
    """
    start(host, 20, "/bin/sh", 10)
    start(host, 30, "/tmp/m", 20)

    assert Respawners().extend(kill(host, 30), host).related == ()


def test_shell_that_starts_it_again_goes_with_it(host):
    """
    The second process of the same shell takes the shell along, not what started the shell.
    """
    respawners = Respawners()
    start(host, 20, "/usr/bin/bash", 10)
    for miner in (30, 31):
        start(host, miner, "/tmp/m", 20)
    respawners.extend(kill(host, 30), host)

    assert respawners.extend(kill(host, 31), host).related == (key(20),)


def test_watchdog_behind_a_subshell_is_found(host):
    """
    Each miner has a parent of its own; what they have in common is above.
    """
    respawners = Respawners()
    start(host, 20, "/usr/bin/bash", 10)
    for between, miner in ((21, 31), (22, 32)):
        start(host, between, "/usr/bin/bash", 20)
        start(host, miner, "/tmp/m", between)
    respawners.extend(kill(host, 31), host)

    assert respawners.extend(kill(host, 32), host).related == (key(20),)


def test_server_that_was_broken_into_twice_is_spared(host):
    """
    Two miners below one web server do not make it a watchdog, nor what is above it.
    """
    respawners = Respawners()
    for miner in (30, 31):
        start(host, miner, "/tmp/m", 10)
    respawners.extend(kill(host, 30), host)

    assert respawners.extend(kill(host, 31), host).related == ()


def test_script_in_a_doubtful_place_is_a_watchdog(host):
    """
    An interpreter is what it runs.
    """
    respawners = Respawners()
    start(host, 20, "/usr/bin/python3.11", 10, "python3", "/tmp/.x/guard.py")
    for miner in (30, 31):
        start(host, miner, "/tmp/m", 20)
    respawners.extend(kill(host, 30), host)

    assert respawners.extend(kill(host, 31), host).related == (key(20),)


def test_same_process_twice_is_not_a_respawn(host):
    """
    Two alerts about one miner are one miner.
    """
    respawners = Respawners()
    start(host, 20, "/usr/bin/bash", 10)
    start(host, 30, "/tmp/m", 20)
    respawners.extend(kill(host, 30), host)

    assert respawners.extend(kill(host, 30), host).related == ()


def test_long_ago_is_forgotten(host):
    """
    Two miners in a day are two incidents.
    """
    respawners = Respawners()
    start(host, 20, "/usr/bin/bash", 10)
    for miner in (30, 31):
        start(host, miner, "/tmp/m", 20)
    respawners.extend(kill(host, 30), host)

    assert respawners.extend(kill(host, 31, at_ns=WINDOW_NS + 1), host).related == ()


def test_decision_that_kills_nobody_is_left_alone(host):
    """
    A freeze is no kill, and counts as none.
    """
    respawners = Respawners()
    start(host, 20, "/usr/bin/bash", 10)
    for miner in (30, 31):
        start(host, miner, "/tmp/m", 20)
    frozen = dataclasses.replace(kill(host, 30), actions=("freeze",))

    assert respawners.extend(frozen, host) is frozen
    assert respawners.extend(kill(host, 31), host).related == ()
