# SPDX-License-Identifier: Apache-2.0

import pytest

from firedamp.errors import ActionError, Refused
from firedamp.events.model import ProcessKey
from firedamp.response.members import Members


@pytest.fixture
def protected():
    """PIDs that a guard protects."""
    return set()


@pytest.fixture
def members(host, keeper, protected):
    """Nobody yet."""

    def guard(key):
        if key.pid in protected:
            raise Refused(f"{key.pid} is protected")

    return Members(host, guard, keeper)


def pids(members):
    """Who is a member, as numbers."""
    return [key.pid for key in members.keys]


def test_freeze_stops_all_generations(host, members):
    """
    Children, and their children, are stopped along with the root.
    """
    root = host.add(10)
    host.add(11, parent=10)
    host.add(12, parent=11)
    members.admit(root)

    assert members.freeze(1.0)

    assert host.asked == [("SIGSTOP", 10), ("SIGSTOP", 11), ("SIGSTOP", 12)]
    assert pids(members) == [10, 11, 12]


def test_children_are_listed_only_when_the_parent_stands(host, members):
    """
    A process that forks whenever it is looked at is stopped before it is looked at.
    """
    root = host.add(10, forks=[11, 12, 13])
    members.admit(root)

    assert members.freeze(1.0)

    assert pids(members) == [10]


def test_process_that_never_stops_is_looked_at_until_the_deadline(host, members):
    """
    What it forks meanwhile is found, and the caller learns that it still runs.
    """
    root = host.add(10, stops=False, forks=[11])
    members.admit(root)

    assert not members.freeze(0.05)

    assert pids(members) == [10, 11]
    assert ("SIGSTOP", 11) in host.asked


def test_blocked_process_does_not_hold_up_the_rest(host, members):
    """
    One in an uninterruptible sleep cannot stop, and cannot fork either.
    """
    root = host.add(10, stops=False, standing="blocked")
    host.add(11, parent=10)
    members.admit(root)

    assert members.freeze(5.0)

    assert pids(members) == [10, 11]


def test_everybody_is_in_care_before_being_stopped(host, keeper, members):
    """
    A daemon that dies between the two leaves nobody frozen; the fakes check the order.
    """
    root = host.add(10)
    host.add(11, parent=10)
    members.admit(root)

    members.freeze(1.0)

    assert {key.pid for key in keeper.held()} == {10, 11}


def test_nobody_is_stopped_without_a_keeper(host, keeper, members):
    """
    Rather not frozen than frozen for ever.
    """
    members.admit(host.add(10))
    keeper.fails = True

    with pytest.raises(ActionError):
        members.freeze(1.0)

    assert host.asked == []


def test_protected_child_is_spared_with_all_below_it(host, members, protected):
    """
    What a guard protects is not descended into.
    """
    protected.add(11)
    root = host.add(10)
    host.add(11, parent=10)
    host.add(12, parent=11)
    members.admit(root)

    members.freeze(1.0)

    assert pids(members) == [10]
    assert list(members.refused.values()) == ["11 is protected"]


def test_recycled_pid_is_left_alone(host, members):
    """
    The number alone is nobody's name.
    """
    host.add(10, started=5000)

    assert not members.admit(ProcessKey(10, 4000))

    assert members.keys == ()
    assert members.gone == {ProcessKey(10, 4000)}
    assert host.pinned == set()


def test_orphans_in_a_members_group_are_found(host, members):
    """
    A process group outlives its leader, so that a double fork does not lead out of it.
    """
    members.admit(host.add(10))
    host.add(20, parent=1, group=10, started=2000)
    host.add(21, parent=1, session=10, started=2000)

    members.sweep()

    assert pids(members) == [10, 20, 21]


def test_older_process_is_no_orphan_of_a_younger_leader(host, members):
    """
    Whoever was there before the leader started cannot come from it.
    """
    members.admit(host.add(10, started=3000))
    host.add(20, parent=1, group=10, started=2000)

    members.sweep()

    assert pids(members) == [10]


def test_group_of_a_recycled_leader_means_nothing(host, members):
    """
    Once the leader's number went to somebody else, its group is somebody else's too.
    """
    members.admit(host.add(10, started=1000))
    host.add(10, started=9000)
    host.add(20, parent=1, group=10, started=9001)

    members.sweep()

    assert pids(members) == [10]
    assert members.keys == (ProcessKey(10, 1000),)


def test_group_that_a_stranger_leads_is_left_alone(host, members):
    """
    A member in a shell's pipeline does not make the pipeline its own.
    """
    members.admit(host.add(10, group=5))
    host.add(11, parent=4, group=5, started=5000)

    assert members.sweep() == ()


def test_close_lets_go_of_everybody(host, keeper, members):
    """
    No descriptor and no care outlives a decision that was carried out to its end.
    """
    members.admit(host.add(10))
    members.freeze(1.0)

    members.close(keep=False)

    assert host.pinned == set()
    assert keeper.held() == ()


def test_close_keeps_what_stays_frozen(host, keeper, members):
    """
    What stays frozen stays in care.
    """
    members.admit(host.add(10))
    members.freeze(1.0)
    members.admit(host.add(20))

    members.close(keep=True)

    assert {key.pid for key in keeper.held()} == {10}
    assert host.pinned == set()
