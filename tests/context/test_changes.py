# SPDX-License-Identifier: Apache-2.0
"""What an actor put where it would come back from is remembered, within bounds."""

import pytest

from firedamp.context import changes
from firedamp.context.changes import ActorChanges
from firedamp.context.host import HostContext
from firedamp.events.model import UNKNOWN_PROCESS, FileChanged, ProcessForked, ProcessKey

DROPPER, CHILD, OTHER = ProcessKey(100, 5), ProcessKey(101, 6), ProcessKey(200, 7)


def changed(path="/etc/crontab", *lines, operation="write", process=DROPPER, inode=7, at_ns=1):
    """A change of a watched file."""
    return FileChanged(
        at_ns=at_ns,
        process=process,
        path=path,
        old_path="",
        operation=operation,
        place="cron",
        inode=inode,
        device=1,
        uid=0,
        added_lines=lines,
    )


@pytest.fixture
def memory():
    """An empty memory."""
    return ActorChanges()


def test_changes_of_all_the_actors_processes_are_the_actors():
    """
    The dropper's child writes the cron line; both are one actor.
    """
    host = HostContext()
    for key, parent in ((DROPPER, ProcessKey(1, 0)), (CHILD, DROPPER)):
        forked = ProcessForked(at_ns=0, process=key, parent=parent, uid=0, cgroup_id=1, comm="x")
        host.observe(forked)

    host.observe(changed("/etc/crontab", "evil", process=CHILD))

    [one] = host.changes.of(DROPPER)
    assert (one.process, one.path, one.lines) == (CHILD, "/etc/crontab", ("evil",))


@pytest.mark.parametrize("operation", ["open", "attributes", "delete"])
def test_what_brings_nothing_in_is_not_remembered(memory, operation):
    """
    There is nothing to take out.
    """
    memory.observe(DROPPER, changed(operation=operation))

    assert memory.of(DROPPER) == ()


def test_what_nobody_did_is_nobodys(memory):
    """
    Else one unknown writer's line would be taken out with another's.
    """
    memory.observe(UNKNOWN_PROCESS, changed("/etc/crontab", "a"))

    assert memory.of(UNKNOWN_PROCESS) == ()


def test_file_that_the_actor_took_away_is_forgotten(memory):
    """
    What comes to be at the path later is somebody else's.
    """
    memory.observe(DROPPER, changed("/etc/cron.d/x", "a"))
    memory.observe(DROPPER, changed("/etc/crontab", "b"))

    memory.observe(DROPPER, changed("/etc/cron.d/x", operation="delete"))

    assert [one.path for one in memory.of(DROPPER)] == ["/etc/crontab"]


@pytest.mark.parametrize(("at_ns", "operation"), [(0, "create"), (2, "write")])
def test_file_that_somebody_else_has_made_anew_is_not_the_actors(memory, at_ns, operation):
    """
    Even if it happens to have the same inode; the actor's lines may be in it.
    """
    memory.observe(DROPPER, changed("/etc/cron.d/x", "a", operation="create"))

    memory.observe(OTHER, changed("/etc/cron.d/x", "b", operation="create", at_ns=at_ns))

    assert [(one.operation, one.lines) for one in memory.of(DROPPER)] == [(operation, ("a",))]


def test_busy_actor_forgets_its_own_oldest(memory):
    """
    And nobody else's.
    """
    memory.observe(OTHER, changed("/etc/crontab", "mine"))
    for number in range(changes.MAX_CHANGES + 1):
        memory.observe(DROPPER, changed(f"/etc/cron.d/{number}", "a"))

    assert len(memory.of(OTHER)) == 1
    assert memory.of(DROPPER)[0].path == "/etc/cron.d/1"
    assert len(memory.of(DROPPER)) == changes.MAX_CHANGES
    assert memory.evicted == 1


def test_actors_are_bounded(memory):
    """
    The one that changed something longest ago goes.
    """
    for number in range(changes.MAX_ACTORS + 1):
        memory.observe(ProcessKey(1000 + number, 1), changed("/etc/crontab", "a"))

    assert len(memory) == changes.MAX_ACTORS
    assert memory.of(ProcessKey(1000, 1)) == ()


def test_text_is_bounded(memory):
    """
    Long lines of many actors do not fill the memory.
    """
    line = "x" * 8192
    for number in range(200):
        memory.observe(ProcessKey(1000 + number, 1), changed("/etc/crontab", line))

    assert len(memory) <= changes.MAX_CHARS // 8192
    assert memory.of(ProcessKey(1199, 1)) != ()
