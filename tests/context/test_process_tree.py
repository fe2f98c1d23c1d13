# SPDX-License-Identifier: Apache-2.0
"""The memory of who started whom."""

from firedamp.context import process_tree
from firedamp.context.process_tree import ProcessTree
from firedamp.events.model import (
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessKey,
    ProcessRenamed,
)

S = 1_000_000_000


def key(pid: int) -> ProcessKey:
    """A process that started when its number says."""
    return ProcessKey(pid, pid)


def fork(parent: int, child: int, at_s: float = 0) -> ProcessForked:
    """`parent` forks `child`."""
    return ProcessForked(
        at_ns=round(at_s * S), process=key(child), parent=key(parent), uid=0, cgroup_id=1, comm="c"
    )


def execute(pid: int, image: str, parent: int = 0, at_s: float = 0) -> ProcessExecuted:
    """`pid` runs `image`."""
    return ProcessExecuted(
        at_ns=round(at_s * S),
        process=key(pid),
        parent=key(parent),
        image=image,
        filename=image,
        argv=(image, "-x"),
        argv_cut=False,
        cwd="/",
        comm=image.rpartition("/")[2],
        uid=33,
        gid=33,
        loginuid=1000,
        device=1,
        inode=2,
        link_count=1,
        mode=0o755,
        image_uid=0,
        cgroup_id=1,
        mount_ns=1,
        pid_ns=1,
        net_ns=1,
    )


def leave(pid: int, at_s: float) -> ProcessExited:
    """`pid` ends."""
    return ProcessExited(at_ns=round(at_s * S), process=key(pid), exit_code=0, cpu_ns=0)


def tree_of(*events) -> ProcessTree:
    """A tree that has seen these."""
    tree = ProcessTree()
    for event in events:
        tree.observe(event)
    return tree


def test_fork_runs_its_parents_image():
    """Until it executes one of its own."""
    tree = tree_of(execute(10, "/usr/bin/dropper"), fork(10, 11))

    child = tree.get(key(11))

    assert (child.image, child.argv, child.executed) == (
        "/usr/bin/dropper",
        ("/usr/bin/dropper", "-x"),
        False,
    )


def test_double_fork_does_not_cut_the_lineage():
    """The middle process is dead and forgotten by the kernel; the actor is still the first."""
    tree = tree_of(
        execute(10, "/tmp/dropper"), fork(10, 11), fork(11, 12), leave(11, 1), execute(12, "/tmp/m")
    )

    assert tree.get(key(12)).actor == key(10)
    assert key(12) in tree.living_descendants(key(10))


def test_lineage_holds_after_the_middle_is_forgotten():
    """Long after, the grandchild hangs on the grandparent."""
    tree = tree_of(
        execute(10, "/tmp/dropper"),
        fork(10, 11),
        fork(11, 12),
        leave(11, 1),
        fork(10, 13, 90),
        leave(13, 100),
    )

    assert tree.get(key(11)).image == ""
    assert set(tree.living_descendants(key(10))) == {key(12)}
    assert [p.key for p in tree.ancestors(key(12))] == [key(10)]


def test_boundary_starts_new_actors():
    """
    What two cron jobs do is not one actor's doing; cron's own fork is still cron.
    """
    tree = tree_of(execute(5, "/usr/sbin/cron"), fork(5, 6), fork(6, 7))
    tree.observe(execute(7, "/bin/sh", parent=6))
    for event in (fork(7, 8), fork(5, 20), fork(20, 21)):
        tree.observe(event)

    assert tree.get(key(8)).actor == tree.get(key(7)).actor == key(7)
    assert tree.get(key(21)).actor == key(21)


def test_actor_stays_when_the_image_changes():
    """An exec is the same process, and the same actor."""
    tree = tree_of(execute(10, "/bin/sh"), fork(10, 11), execute(11, "/tmp/m", parent=10))

    assert tree.get(key(11)).actor == key(10)


def test_dead_process_is_remembered_for_late_events():
    """A file event may name a process that has just ended, by its PID alone."""
    tree = tree_of(execute(10, "/tmp/dropper"), leave(10, 1))

    assert tree.get(ProcessKey(10, 0)).image == "/tmp/dropper"
    assert tree.get(key(10)).exited_ns == S


def test_dead_process_is_forgotten_in_time():
    """A minute later there is nothing left of it, in any table."""
    tree = tree_of(execute(10, "/bin/true"), leave(10, 1), fork(1, 20, 70), leave(20, 70))

    assert tree.get(key(10)).image == ""
    assert len(tree) == 1


def test_storm_of_short_lives_is_bounded(monkeypatch):
    """However fast processes come and go, only so many dead are kept."""
    monkeypatch.setattr(process_tree, "MAX_DEAD", 100)
    tree = ProcessTree()

    for pid in range(10, 1010):
        tree.observe(fork(1, pid))
        tree.observe(leave(pid, 0))

    assert len(tree) == 100


def test_recycled_pid_is_another_process():
    """The same number with another start is somebody else, and the newest answers to it."""
    tree = tree_of(execute(10, "/tmp/first"), leave(10, 1))
    second = ProcessKey(10, 999)
    tree.observe(
        ProcessForked(at_ns=2 * S, process=second, parent=key(1), uid=0, cgroup_id=1, comm="s")
    )

    assert tree.get(second).image == ""
    assert tree.get(ProcessKey(10, 0)).key == second
    assert tree.get(key(10)).image == "/tmp/first"


def test_fork_told_late_changes_nothing():
    """Rings are read one after the other: the exec may come first."""
    tree = tree_of(execute(10, "/bin/sh"), execute(11, "/tmp/m", parent=10))

    tree.observe(fork(10, 11))

    assert tree.get(key(11)).image == "/tmp/m"
    assert tree.get(key(11)).parent == key(10)


def test_unknown_process_is_bare_and_not_kept():
    """Asking for what was never seen gives a process without facts, and adds none."""
    tree = ProcessTree()

    found = tree.get(key(99))

    assert (found.key, found.image, found.actor) == (key(99), "", key(99))
    assert len(tree) == 0


def test_rename_is_remembered():
    """The name that the process gave itself is its name from then on."""
    tree = tree_of(execute(10, "/tmp/m"))

    tree.observe(ProcessRenamed(at_ns=1, process=key(10), comm="kworker/0:1", old_comm="m"))

    assert tree.get(key(10)).comm == "kworker/0:1"
