# SPDX-License-Identifier: Apache-2.0

import pytest

from firedamp.errors import ActionError
from firedamp.response.base import Receipt
from firedamp.response.ledger import Cause, Ledger
from firedamp.response.undo import Selection, undo

CAUSE = Cause(incident="incident-1", policy="p", process="10:20")


class Reversible:
    """Notes what it is asked to take back."""

    reversible = True

    def __init__(self, name):
        self.name = name
        self.asked = []
        self.error = None

    def undo(self, receipt, *, force=False):
        self.asked.append((receipt.undo, force))
        if self.error is not None:
            raise self.error
        return Receipt(action=self.name, outcome="undone", target=receipt.target)


@pytest.fixture
def freeze():
    """Stands in for the action."""
    return Reversible("freeze")


def act(ledger, action, **undo_facts):
    """A step that was carried out; returns its number and the receipt's."""
    intent = Receipt(action=action, outcome="intended", target="t", undo=undo_facts)
    step = ledger.intend(CAUSE, intent)
    done = Receipt(action=action, outcome="done", target="t", step=step, undo=undo_facts)
    return step, ledger.record(CAUSE, done)


def test_step_and_receipt_name_the_same_thing(ledger, freeze):
    """
    An alert may show either number.
    """
    step, number = act(ledger, "freeze", a=1)
    act(ledger, "freeze", a=2)

    undo(ledger, {"freeze": freeze}, Selection(number=step))
    again = undo(ledger, {"freeze": freeze}, Selection(number=number))

    assert freeze.asked == [({"a": 1}, False)]
    assert again[0].reason == "it was taken back already"


def test_time_selects_what_came_after(ledger, freeze, monkeypatch):
    """
    The wall clock's time, as a person gives it.
    """
    for at, fact in ((100, "old"), (200, "new")):
        monkeypatch.setattr("time.time_ns", lambda at=at: at)
        act(ledger, "freeze", a=fact)

    undo(ledger, {"freeze": freeze}, Selection(since_ns=150))

    assert freeze.asked == [({"a": "new"}, False)]


def test_force_is_passed_on(ledger, freeze):
    """
    Only the action knows what it would overwrite.
    """
    act(ledger, "freeze", a=1)

    undo(ledger, {"freeze": freeze}, Selection(incident="incident-1"), force=True)

    assert freeze.asked == [({"a": 1}, True)]


def test_dry_run_changes_nothing(ledger, freeze):
    """
    Neither the host nor the ledger.
    """
    act(ledger, "freeze", a=1)
    before = len(list(ledger.entries()))

    [receipt] = undo(ledger, {"freeze": freeze}, Selection(number=1), dry_run=True)

    assert receipt.outcome == "would"
    assert freeze.asked == []
    assert len(list(ledger.entries())) == before


@pytest.mark.parametrize("selection", [Selection(number=99), Selection(incident="none")])
def test_nothing_selected_is_an_error(ledger, freeze, selection):
    """
    Whoever mistypes must not believe that it was taken back.
    """
    with pytest.raises(ActionError):
        undo(ledger, {"freeze": freeze}, selection)


def test_one_failure_does_not_stop_the_rest(ledger, freeze):
    """
    And can be tried again.
    """
    act(ledger, "freeze", a=1)
    act(ledger, "block", a=2)
    block = Reversible("block")
    block.error = OSError("no")

    receipts = undo(ledger, {"freeze": freeze, "block": block}, Selection(incident="incident-1"))

    assert [receipt.outcome for receipt in receipts] == ["failed", "undone"]
    assert len(list(ledger.in_force("block"))) == 1


def test_frozen_before_a_reboot_is_nobodys_any_more(ledger, freeze, tmp_path):
    """
    Process numbers mean nothing after the host was started anew.
    """
    _, number = act(ledger, "freeze", a=1)
    later = Ledger(tmp_path / "ledger.db", boot="next-boot")

    [receipt] = undo(later, {"freeze": freeze}, Selection(number=number))
    later.close()

    assert receipt.outcome == "nothing-to-do"
    assert freeze.asked == []


def test_irreversible_action_says_so(ledger):
    """
    And is not asked.
    """
    kill = Reversible("kill")
    kill.reversible = False
    act(ledger, "kill", processes=[])

    [receipt] = undo(ledger, {"kill": kill}, Selection(incident="incident-1"))

    assert receipt.outcome == "nothing-to-do"
    assert kill.asked == []


@pytest.mark.parametrize(
    "arguments",
    [{}, {"number": "7"}, {"number": 7, "incident": "x"}, {"since_ns": 1.5}, {"number": True}],
)
def test_arguments_from_the_socket_are_checked(arguments):
    """
    Whoever may speak to the socket is still not believed.
    """
    with pytest.raises(ActionError):
        Selection.from_arguments(arguments)


@pytest.mark.parametrize("arguments", [{}, {"number": 1, "since_ns": 1}, {"since_ns": 0}])
def test_nothing_never_means_everything(arguments):
    """
    A selection that selects nothing, or two things, cannot even be made.
    """
    with pytest.raises(ActionError):
        Selection(**arguments)


def test_good_arguments_are_taken():
    """
    Whatever else came along with them is not ours.
    """
    assert Selection.from_arguments({"number": 7, "force": True}) == Selection(number=7)
