# SPDX-License-Identifier: Apache-2.0
"""What one memory gives, another takes in."""

from firedamp.context.host import HostContext
from firedamp.context.process import Process
from firedamp.context.snapshot import adopt, known
from firedamp.events.model import (
    CgroupNamed,
    ConnectionOpened,
    DnsAnswered,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessKey,
    UserNamed,
)

INIT, SHELL, DEAD, CHILD, GONE = (ProcessKey(pid, pid * 10) for pid in (1, 20, 30, 40, 50))


def executed(key, parent, image):
    """An exec."""
    return ProcessExecuted(
        at_ns=5, process=key, parent=parent, image=image, filename=image, argv=(image, "a"),
        argv_cut=False, cwd="/", comm="x", uid=7, gid=7, loginuid=7, device=1, inode=2,
        link_count=1, mode=0o755, image_uid=0, cgroup_id=9, mount_ns=1, pid_ns=1, net_ns=1,
    )  # fmt: skip


def forked(key, parent):
    """A fork."""
    return ProcessForked(at_ns=4, process=key, parent=parent, uid=7, cgroup_id=9, comm="x")


def exited(key):
    """An end."""
    return ProcessExited(at_ns=6, process=key, exit_code=0, cpu_ns=1)


def host():
    """A memory with all kinds of things in it."""
    made = HostContext()
    for event in (
        CgroupNamed(at_ns=1, process=INIT, cgroup_id=9, path="/a.service"),
        UserNamed(at_ns=1, process=INIT, uid=7, name="seven"),
        executed(INIT, ProcessKey(0, 0), "/usr/lib/systemd/systemd"),
        executed(SHELL, INIT, "/bin/bash"),
        forked(DEAD, SHELL),
        executed(CHILD, DEAD, "/tmp/x"),
        exited(DEAD),
        executed(GONE, SHELL, "/bin/true"),
        exited(GONE),
        # It becomes another program: whoever it started before keeps the actor.
        executed(SHELL, INIT, "/usr/sbin/cron"),
        ConnectionOpened(
            at_ns=7, process=CHILD, cookie=3, transport="tcp", address="203.0.113.7", port=1,
            uid=7, denied=False,
        ),
        DnsAnswered(
            at_ns=8, process=CHILD, name="old.example", record_type="A",
            response_code="NOERROR", addresses=("203.0.113.7",), aliases=(),
        ),
        DnsAnswered(
            at_ns=9, process=CHILD, name="new.example", record_type="A",
            response_code="NOERROR", addresses=("203.0.113.7",), aliases=("alias.example",),
        ),
    ):  # fmt: skip
        made.observe(event)
    return made


def taken_over(before):
    """Another memory that has been told everything."""
    after = HostContext()
    for one in known(before):
        adopt(after, one)
    return after


def facts(process: Process):
    """All there is of a process."""
    return {name: getattr(process, name) for name in Process.__slots__}


def test_processes_are_the_same():
    """
    Also the dead who have living descendants; not those who left nobody.
    """
    before = host()

    after = taken_over(before)

    for key in (INIT, DEAD, CHILD, SHELL):
        mine, theirs = facts(after.tree.get(key)), facts(before.tree.get(key))
        mine["children"].discard(GONE)
        theirs["children"].discard(GONE)
        assert mine == theirs
    assert after.tree.get(GONE).image == ""
    assert [one.key for one in after.tree.ancestors(CHILD)] == [DEAD, SHELL, INIT]


def test_actor_is_taken_as_it_was_settled():
    """
    It cannot be worked out again, since ancestors have become other programs.
    """
    after = taken_over(host())

    assert after.tree.get(CHILD).actor == SHELL
    after.observe(executed(ProcessKey(60, 600), CHILD, "/bin/ls"))
    assert after.tree.get(ProcessKey(60, 600)).actor == SHELL


def test_names_and_sockets_are_the_same():
    """
    In the same order: the name that was last asked for counts.
    """
    before = host()

    after = taken_over(before)

    assert after.sockets.get(3) == before.sockets.get(3)
    assert after.names.of("203.0.113.7") == "new.example"
    assert after.names.all_of("203.0.113.7") == before.names.all_of("203.0.113.7")
    assert (after.users, after.cgroups) == (before.users, before.cgroups)


def test_the_dead_are_forgotten_in_time():
    """
    A memory that was taken over does not keep them for ever.
    """
    after = taken_over(host())

    late = ProcessExited(at_ns=10**12, process=CHILD, exit_code=0, cpu_ns=1)
    after.observe(late)

    assert DEAD not in [one.key for one in after.tree.ancestors(CHILD)]
