# SPDX-License-Identifier: Apache-2.0
"""What was found at the start and what the probes saw meanwhile: each once, none missed."""

import dataclasses

import pytest

from firedamp.context.process_tree import ProcessTree
from firedamp.events.model import (
    ConnectionFound,
    ConnectionOpened,
    Event,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessFound,
    ProcessKey,
    UserNamed,
)
from firedamp.sources.merge import merge

INIT = ProcessKey(1, 10)
SHELL = ProcessKey(100, 1000)
CHILD = ProcessKey(101, 1001)


def found(key: ProcessKey, at_ns: int, inode: int = 5, parent: ProcessKey = INIT) -> ProcessFound:
    """What the look at /proc shows."""
    return ProcessFound(
        at_ns=at_ns,
        process=key,
        parent=parent,
        image=f"/bin/{inode}",
        filename=f"/bin/{inode}",
        argv=("x",),
        argv_cut=False,
        cwd="/",
        comm="x",
        uid=0,
        gid=0,
        loginuid=0,
        device=1,
        inode=inode,
        link_count=1,
        mode=0o100755,
        image_uid=0,
        cgroup_id=1,
        mount_ns=1,
        pid_ns=1,
        net_ns=1,
    )


def executed(
    key: ProcessKey, at_ns: int, inode: int = 5, parent: ProcessKey = INIT
) -> ProcessExecuted:
    """What the exec probe tells."""
    facts = found(key, at_ns, inode, parent)
    return ProcessExecuted(
        **{field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    )


def forked(key: ProcessKey, at_ns: int, parent: ProcessKey) -> ProcessForked:
    """What the fork probe tells."""
    return ProcessForked(at_ns=at_ns, process=key, parent=parent, uid=0, cgroup_id=1, comm="x")


def exited(key: ProcessKey, at_ns: int) -> ProcessExited:
    """What the exit probe tells."""
    return ProcessExited(at_ns=at_ns, process=key, exit_code=0, cpu_ns=0)


def opened(cookie: int, *, is_found: bool = False, port: int = 3333) -> ConnectionOpened:
    """A connection, told or found."""
    return (ConnectionFound if is_found else ConnectionOpened)(
        at_ns=1,
        process=SHELL,
        cookie=cookie,
        transport="tcp",
        address="203.0.113.7",
        port=port,
        uid=0,
        denied=False,
    )


def test_what_only_one_of_them_saw_is_told():
    """
    Found first, so that parents are known; then the records, in their order.
    """
    shell, child = found(SHELL, 50), executed(CHILD, 20, parent=SHELL)

    assert merge([shell], [child]) == [shell, child]


def test_an_exec_that_was_found_as_well_is_judged_once():
    """
    The record says more: what execve() was asked for, and all of the arguments.
    """
    record = executed(SHELL, 20)

    assert merge([found(SHELL, 50)], [record]) == [record]


def test_an_exec_after_the_look_is_another_program():
    """
    Both images ran, and both are judged, in order.
    """
    before, after = found(SHELL, 50, inode=5), executed(SHELL, 60, inode=6)

    assert merge([before], [after]) == [before, after]


def test_an_exec_of_the_same_program_after_the_look_is_another_exec():
    """
    Its arguments can be different.
    """
    before, after = found(SHELL, 50), executed(SHELL, 60)

    assert merge([before], [after]) == [before, after]


def test_an_image_without_its_record_comes_last():
    """
    The record of the second exec was lost: the process must not end up as the first.
    """
    first, now = executed(SHELL, 20, inode=5), found(SHELL, 50, inode=6)

    assert merge([now], [first]) == [first, now]


def test_a_process_that_ended_during_the_look_is_not_told_as_running():
    """
    Its exit is told, for who remembers it.
    """
    end = exited(SHELL, 40)

    assert merge([found(SHELL, 50)], [end]) == [end]


def test_a_process_that_ended_later_is_told():
    """
    It ran when it was looked at.
    """
    process, end = found(SHELL, 50), exited(SHELL, 60)

    assert merge([process], [end]) == [process, end]


def test_the_parent_is_who_forked_it():
    """
    By the time of the look it may belong to init; the fork's record knows better.
    """
    child = found(CHILD, 50, parent=INIT)

    merged = merge([found(SHELL, 40), child], [forked(CHILD, 30, SHELL)])

    assert merged == [found(SHELL, 40), dataclasses.replace(child, parent=SHELL)]


def test_a_pid_that_came_round_is_another_process():
    """
    The start time tells them apart.
    """
    new = ProcessKey(SHELL.pid, 2000)
    process, record = found(SHELL, 50), executed(new, 20)

    assert merge([process], [record]) == [process, record]


def test_a_connection_that_was_found_as_well_is_judged_once():
    """
    By its cookie, which no other socket ever has.
    """
    record = opened(7)

    assert merge([opened(7, is_found=True), opened(8, is_found=True)], [record]) == [
        opened(8, is_found=True),
        record,
    ]


def test_a_connection_without_a_cookie_is_known_by_its_ends():
    """
    Not every hook can read cookies.
    """
    record = opened(0)

    assert merge([opened(0, is_found=True)], [record]) == [record]
    assert len(merge([opened(0, is_found=True, port=4444)], [record])) == 2


@pytest.mark.parametrize("records", range(4))
def test_the_tree_ends_up_with_what_runs(records):
    """
    Whichever of the records came before the look, the tree shows the last image and the lineage.
    """
    story: list[Event] = [
        forked(CHILD, 10, SHELL),
        executed(CHILD, 20, inode=6, parent=SHELL),
        executed(CHILD, 30, inode=7, parent=SHELL),
    ]
    looked_at = records * 10 + 5
    shell = found(SHELL, 1)
    child = found(CHILD, looked_at, inode=(5, 5, 6, 7)[records], parent=INIT)
    tree = ProcessTree()

    for event in merge([shell, *([child] if records else [])], story):
        tree.observe(event)

    process = tree.get(CHILD)
    assert (process.inode, process.parent) == (7, SHELL)


def test_names_come_before_what_needs_them():
    """
    A name that the first record brought is that of a process found earlier, too.
    """
    name = UserNamed(at_ns=20, process=SHELL, uid=0, name="root")
    process, record = found(SHELL, 50), executed(CHILD, 20)

    assert merge([process], [name, record]) == [name, process, record]
