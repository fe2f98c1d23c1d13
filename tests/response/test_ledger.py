# SPDX-License-Identifier: Apache-2.0

import os
import sqlite3
import stat

import pytest

from firedamp.errors import ActionError
from firedamp.response.base import Receipt
from firedamp.response.ledger import VERSION, Cause, Ledger

CAUSE = Cause(incident="incident-1", policy="p", process="10:20")


def intent(action="freeze", **undo):
    """What is about to be done."""
    return Receipt(action=action, outcome="intended", target="t", undo=undo)


def done(step, action="freeze", **undo):
    """What came of it."""
    return Receipt(action=action, outcome="done", target="t", step=step, undo=undo)


def test_what_was_written_is_read_back(ledger):
    """
    Whole, and with a number of its own.
    """
    step = ledger.intend(CAUSE, intent(processes=[[1, 2]]))
    number = ledger.record(CAUSE, done(step, processes=[[1, 2]]))

    entry = ledger.entry(number)

    assert entry.cause == CAUSE
    assert entry.receipt.step == step
    assert entry.receipt.undo == {"processes": [[1, 2]]}
    assert entry.boot == "this-boot"


def test_name_that_is_no_text_survives(ledger):
    """
    File names are bytes: what undoing needs is kept exactly, what people read is escaped.
    """
    name = os.fsdecode(b"/tmp/\xff\xfe")
    number = ledger.record(
        CAUSE, Receipt(action="quarantine", outcome="done", target=name, undo={"path": name})
    )

    receipt = ledger.entry(number).receipt

    assert receipt.undo["path"] == name
    assert os.fsencode(str(receipt.undo["path"])) == b"/tmp/\xff\xfe"


def test_intent_without_an_outcome_is_open(ledger):
    """
    That is how a crash in the middle shows.
    """
    first, second = ledger.intend(CAUSE, intent()), ledger.intend(CAUSE, intent("kill"))
    ledger.record(CAUSE, done(first))

    assert [entry.id for entry in ledger.open_intents()] == [second]


def test_what_was_undone_is_no_longer_in_force(ledger):
    """
    Newest first, and only what there is something to undo about.
    """
    one = ledger.record(CAUSE, done(0, a=1))
    two = ledger.record(CAUSE, done(0, "block", a=2))
    ledger.record(CAUSE, done(0, "kill"))
    assert [entry.id for entry in ledger.in_force()] == [two, one]

    undone = Receipt(action="block", outcome="undone", target="t")
    ledger.record(CAUSE, undone, undoes=two)

    assert [entry.id for entry in ledger.in_force()] == [one]
    assert list(ledger.in_force("block")) == []
    assert ledger.was_undone(two)


def test_failed_undo_leaves_it_in_force(ledger):
    """
    It can be tried again.
    """
    one = ledger.record(CAUSE, done(0, a=1))
    ledger.record(CAUSE, Receipt(action="freeze", outcome="failed", target="t"), undoes=one)

    assert [entry.id for entry in ledger.in_force()] == [one]


def test_untouched_chain_is_whole(ledger):
    """
    An empty ledger too.
    """
    assert ledger.verify() == []

    for _ in range(5):
        ledger.intend(CAUSE, intent())

    assert ledger.verify() == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE entries SET target = 'other' WHERE id = 3", "entry 3 is not what was written"),
        ("UPDATE entries SET undo = '{}' WHERE id = 3", "entry 3 is not what was written"),
        ("DELETE FROM entries WHERE id = 3", "entries 3 to 3 are missing"),
        ("DELETE FROM entries WHERE id = 1", "entries 1 to 1 are missing"),
    ],
)
def test_changed_or_missing_entry_is_found(ledger, tmp_path, change, problem):
    """
    Each entry vouches for itself and for the one before.
    """
    for _ in range(5):
        ledger.intend(CAUSE, intent(a=1))
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute(change)
    other.close()

    assert problem in ledger.verify()[0]


def test_two_writers_make_one_chain(ledger, tmp_path):
    """
    The daemon, and a command that undoes beside it.
    """
    other = Ledger(tmp_path / "ledger.db", boot="this-boot")
    for writer in (ledger, other, other, ledger):
        writer.intend(CAUSE, intent())
    other.close()

    assert ledger.verify() == []
    assert len(list(ledger.entries())) == 4


def test_ledger_of_a_newer_version_is_refused(tmp_path):
    """
    Rather no action than one that the newer version does not find again.
    """
    path = tmp_path / "newer.db"
    Ledger(path, boot="b").close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()

    with pytest.raises(ActionError, match="version"):
        Ledger(path, boot="b")


def test_ledger_that_cannot_be_written_says_so(tmp_path):
    """
    The error is ours, so that the executor can keep the action from being taken.
    """
    ledger = Ledger(tmp_path / "ledger.db", boot="b", busy_s=0.01)
    blocker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")

    with pytest.raises(ActionError, match="cannot be written"):
        ledger.intend(CAUSE, intent())

    blocker.execute("ROLLBACK")
    blocker.close()
    assert ledger.intend(CAUSE, intent()) == 1
    ledger.close()


def test_only_its_owner_reads_it(ledger, tmp_path):
    """
    Paths and reasons are nobody else's business.
    """
    assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600
