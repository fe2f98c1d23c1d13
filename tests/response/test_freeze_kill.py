# SPDX-License-Identifier: Apache-2.0

import pytest

from firedamp.errors import Refused
from firedamp.response.base import Receipt
from firedamp.response.freeze import Freeze
from firedamp.response.kill import Kill
from firedamp.response.members import Members


@pytest.fixture
def members(host, keeper):
    """Nobody yet; no guard protects anybody."""
    return Members(host, lambda _: None, keeper)


@pytest.fixture
def apply(decision, intend, members):
    """Carry out an action on behalf of a decision that names nothing else."""

    def do(action, key, who=members):
        return action.apply(decision(key, action.name), who, intend)

    return do


@pytest.fixture
def freeze(host, keeper):
    """The action."""
    return Freeze(host, keeper)


@pytest.fixture
def kill(host):
    """The action, with little patience."""
    return Kill(host, deadline_s=0.2)


def outcomes(receipts):
    """What came of whom."""
    return [(receipt.outcome, receipt.target) for receipt in receipts]


def test_undo_continues_exactly_what_was_frozen(host, keeper, members, freeze, apply):
    """
    The same processes, nobody else, and nobody is in care afterwards.
    """
    root = host.add(10)
    host.add(11, parent=10)
    members.admit(root)

    [receipt] = apply(freeze, root)
    host.asked.clear()
    undone = freeze.undo(receipt)

    assert sorted(host.asked) == [("SIGCONT", 10), ("SIGCONT", 11)]
    assert undone.outcome == "undone"
    assert keeper.held() == ()


def test_undo_leaves_a_recycled_pid_alone(host, members, freeze, apply):
    """
    A frozen process that ended, and whose number went to somebody else.
    """
    root = host.add(10)
    members.admit(root)
    [receipt] = apply(freeze, root)
    host.add(10, started=99_999)
    host.asked.clear()

    undone = freeze.undo(receipt)

    assert host.asked == []
    assert "lives" in undone.reason


def test_intent_is_written_before_anybody_is_stopped(host, members, freeze, decision):
    """
    A ledger that cannot be written keeps the action from being taken.
    """
    root = host.add(10)
    members.admit(root)

    def intend(target, undo):
        assert host.asked == []
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        freeze.apply(decision(root, "freeze"), members, intend)

    assert host.asked == []


def test_what_cannot_be_stopped_is_said(host, members, freeze, apply, monkeypatch):
    """
    One receipt for what stands still, one for each that does not.
    """
    monkeypatch.setattr("firedamp.response.freeze._TIMEOUT_S", 0.05)
    root = host.add(10, stops=False)
    members.admit(root)

    receipts = apply(freeze, root)

    assert outcomes(receipts)[1] == ("failed", "pid 10 (/tmp/x10)")


def test_freezing_again_does_nothing(host, keeper, members, freeze, apply):
    """
    A second policy about the same process finds it frozen.
    """
    root = host.add(10)
    members.admit(root)
    apply(freeze, root)
    host.asked.clear()
    again = Members(host, lambda _: None, keeper)
    again.admit(root)

    [receipt] = apply(freeze, root, again)

    assert receipt.outcome == "nothing-to-do"
    assert host.asked == []


def test_all_are_stopped_before_anyone_is_killed(host, members, kill, apply):
    """
    No watchdog is left running to see another die.
    """
    root = host.add(10)
    host.add(11, parent=10)
    members.admit(root)

    receipts = apply(kill, root)

    assert host.asked == [
        ("SIGSTOP", 10),
        ("SIGSTOP", 11),
        ("SIGKILL", 10),
        ("SIGKILL", 11),
    ]
    assert outcomes(receipts) == [("done", "pid 10 (/tmp/x10) and 1 more")]


def test_orphan_that_shows_up_only_after_the_kill_is_killed(host, members, kill, apply):
    """
    It lost its parent before we looked, but not its process group.
    """
    root = host.add(10)
    host.add(20, parent=1, group=10, started=5000)
    members.admit(root)

    apply(kill, root)

    assert host.processes == {}


def test_kill_does_not_need_the_keeper(host, keeper, members, kill, apply):
    """
    Without the keeper nobody is stopped, and all that is known is killed all the same.
    """
    keeper.fails = True
    root = host.add(10)
    host.add(11, parent=10)
    members.admit(root)

    apply(kill, root)

    assert host.asked == [("SIGKILL", 10), ("SIGKILL", 11)]


def test_what_did_not_die_is_said(host, members, kill, apply):
    """
    One that sleeps where no signal reaches it is named with its state; the others are done.
    """
    root = host.add(10)
    host.add(11, parent=10, dies=False, state="D")
    members.admit(root)

    receipts = apply(kill, root)

    assert outcomes(receipts) == [
        ("done", "pid 10 (/tmp/x10)"),
        ("failed", "pid 11 (/tmp/x11)"),
    ]
    assert "state D" in receipts[1].reason


def test_protected_child_survives(host, keeper, kill, apply):
    """
    The guards are asked about everybody, not only about the target.
    """

    def guard(key):
        if key.pid == 11:
            raise Refused("protected")

    members = Members(host, guard, keeper)
    root = host.add(10)
    host.add(11, parent=10)
    members.admit(root)

    apply(kill, root, members)

    assert list(host.processes) == [11]
    assert ("SIGSTOP", 11) not in host.asked


def test_kill_has_no_inverse(kill):
    """
    And says so.
    """
    receipt = kill.undo(Receipt(action="kill", outcome="done", target="pid 10"))

    assert receipt.outcome == "refused"
    assert not kill.reversible
