# SPDX-License-Identifier: Apache-2.0

import pytest

from firedamp.response.base import Receipt
from firedamp.response.freeze import Freeze
from firedamp.response.ledger import Cause, Ledger
from firedamp.response.recover import recover

CAUSE = Cause(incident="i", policy="p", process="10:1010")


class FakeQuarantine:
    """Resolves as it is told to."""

    def __init__(self):
        self.asked = []

    def finish(self, receipt):
        self.asked.append(receipt.undo)
        return Receipt(action="quarantine", outcome="done", target=receipt.target, reason="x")


@pytest.fixture
def quarantine():
    """Stands in for the action."""
    return FakeQuarantine()


@pytest.fixture
def run(host, keeper, quarantine):
    """What happens at the next start."""

    def do(ledger):
        return recover(ledger, Freeze(host, keeper), quarantine)

    return do


def intend(ledger, action, **undo):
    """A step that was begun."""
    return ledger.intend(CAUSE, Receipt(action=action, outcome="intended", target="t", undo=undo))


def keys(*processes):
    """Processes as the ledger has them."""
    return [list(key) for key in processes]


@pytest.mark.parametrize("action", ["freeze", "kill"])
def test_tree_that_was_half_stopped_goes_on(host, ledger, run, action):
    """
    The intent names only the roots: whoever stands still below them is continued too.
    """
    root = host.add(10, state="T")
    host.add(11, parent=10, state="T")
    host.add(12, parent=11, state="T")
    host.add(13, parent=10, state="S")
    intend(ledger, action, processes=keys(root))

    [receipt] = run(ledger)

    assert sorted(host.asked) == [("SIGCONT", 10), ("SIGCONT", 11), ("SIGCONT", 12)]
    assert receipt.outcome == "failed"
    assert list(ledger.open_intents()) == []


def test_frozen_processes_that_still_live_go_on(host, ledger, run):
    """
    Nobody stays frozen for a daemon that does not know about him.
    """
    key = host.add(10)
    step = intend(ledger, "freeze", processes=keys(key))
    done = Receipt(
        action="freeze", outcome="done", target="t", step=step, undo={"processes": keys(key)}
    )
    ledger.record(CAUSE, done)

    [receipt] = run(ledger)

    assert host.asked == [("SIGCONT", 10)]
    assert receipt.outcome == "undone"
    assert run(ledger) == ()


def test_frozen_processes_that_were_killed_are_not_mentioned(host, ledger, run):
    """
    Each start would go through all that was ever frozen.
    """
    done = Receipt(action="freeze", outcome="done", target="t", undo={"processes": [[10, 1010]]})
    ledger.record(CAUSE, done)

    assert run(ledger) == ()


def test_numbers_of_an_earlier_boot_are_not_used(host, ledger, run, tmp_path):
    """
    They are other processes' now.
    """
    key = host.add(10)
    intend(ledger, "freeze", processes=keys(key))
    later = Ledger(tmp_path / "ledger.db", boot="next-boot")

    [receipt] = run(later)

    later.close()
    assert host.asked == []
    assert receipt.outcome == "failed"


def test_half_taken_file_is_resolved_by_its_action(ledger, run, quarantine):
    """
    Which alone knows how; the result is in the ledger, under the intent.
    """
    step = intend(ledger, "quarantine", path="/x")

    [receipt] = run(ledger)

    assert quarantine.asked == [{"path": "/x"}]
    assert (receipt.outcome, receipt.step) == ("done", step)


def test_block_that_was_begun_is_in_force(ledger, run):
    """
    So that it is restored with the others.
    """
    intend(ledger, "block", address="203.0.113.7", until_ns=1)

    run(ledger)

    [entry] = ledger.in_force("block")
    assert entry.receipt.undo == {"address": "203.0.113.7", "until_ns": 1}


def test_clean_ledger_needs_nothing(ledger, run):
    """
    The usual start.
    """
    assert run(ledger) == ()
