# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace

import pytest

from firedamp.context.changes import Change
from firedamp.errors import ActionError, Refused, Spared
from firedamp.response.base import Receipt
from firedamp.response.executor import Executor
from firedamp.response.freeze import Freeze
from firedamp.response.kill import Kill
from firedamp.response.undo import Selection
from firedamp.settings import Breaker, Response, Scope, Settings


class Recorder:
    """An action that only notes that it was taken, or fails as it is told to."""

    reversible = True

    def __init__(self, name, log, error=None):
        self.name = name
        self._log = log
        self._error = error

    def plan(self, decision, members):
        return tuple(f"{self.name} {key.pid}" for key in members.keys)

    def apply(self, decision, members, intend):
        step = intend("t", {"n": 1})
        self._log.append(self.name)
        if self._error is not None:
            raise self._error
        return (Receipt(action=self.name, outcome="done", target="t", step=step, undo={"n": 1}),)

    def undo(self, receipt, *, force=False):
        self._log.append(f"undo {self.name}{' by force' if force else ''}")
        return Receipt(action=self.name, outcome="undone", target=receipt.target)


@pytest.fixture
def taken():
    """What was done, in order."""
    return []


@pytest.fixture
def told():
    """What on_receipt heard."""
    return []


@pytest.fixture
def heard(taken, told):
    """Both."""
    return taken, told


@pytest.fixture
def protected():
    """PIDs that a guard protects."""
    return set()


@pytest.fixture
def make(host, keeper, ledger, heard, protected):
    """An executor over fakes, with actions that only note that they were taken."""
    taken, told = heard

    def guard(key):
        if key.pid in protected:
            raise Refused("protected")

    def build(settings=None, actions=None):
        names = ("freeze", "block", "capture", "quarantine", "kill")
        recorders = {name: Recorder(name, taken) for name in names}
        return Executor(
            settings or Settings(),
            host,
            ledger,
            actions or recorders,
            keeper=keeper,
            guard=guard,
            on_receipt=lambda receipt, decision: told.append(receipt),
            on_breaker=told.append,
        )

    return build


def outcomes(receipts):
    """What came of which action."""
    return [(receipt.action, receipt.outcome) for receipt in receipts]


def test_actions_run_in_their_order(host, make, taken, decision):
    """
    Whatever order the decision names them in.
    """
    target = host.add(10)

    receipts = make().execute(decision(target, "kill", "quarantine", "freeze", "block"))

    assert taken == ["freeze", "block", "quarantine", "kill"]
    assert {outcome for _, outcome in outcomes(receipts)} == {"done"}


def test_every_step_is_in_the_ledger_twice(host, make, ledger, decision):
    """
    Before it, and after it.
    """
    make().execute(decision(host.add(10), "quarantine"))

    rows = [(e.receipt.outcome, e.receipt.step, e.id) for e in ledger.entries()]
    assert rows == [("intended", 1, 1), ("done", 1, 2)]


def test_observing_changes_nothing_and_says_what_it_would(host, make, taken, decision):
    """
    The default mode: one receipt for each action.
    """
    target = host.add(10)
    host.add(11, parent=10)

    receipts = make().execute(decision(target, "freeze", "kill", mode="observe"))

    assert taken == []
    assert host.asked == []
    assert [(r.action, r.outcome, r.target) for r in receipts] == [
        ("freeze", "would", "freeze 10, freeze 11"),
        ("kill", "would", "kill 10, kill 11"),
    ]


@pytest.mark.parametrize("error", [ActionError("refused by the kernel"), KeyError("a fault")])
def test_failing_action_does_not_stop_the_next(host, make, ledger, decision, error):
    """
    Whether the system said no or the action has a fault; its intent does not stay open.
    """
    actions = {
        "capture": Recorder("capture", [], error),
        "kill": Recorder("kill", []),
    }

    receipts = make(actions=actions).execute(decision(host.add(10), "capture", "kill"))

    assert outcomes(receipts) == [("capture", "failed"), ("kill", "done")]
    assert list(ledger.open_intents()) == []


def test_action_that_this_version_lacks_is_said(host, make, taken, decision):
    """
    A policy may be newer than the program.
    """
    receipts = make().execute(decision(host.add(10), "isolate", "kill"))

    assert outcomes(receipts) == [("isolate", "failed"), ("kill", "done")]


@pytest.fixture
def real_actions(host, keeper):
    """The two that need nothing but processes."""
    return {"freeze": Freeze(host, keeper), "kill": Kill(host, deadline_s=1)}


@pytest.fixture
def full_disk(ledger, monkeypatch):
    """Nothing can be written to the ledger."""

    def full(*_args, **_kwargs):
        raise ActionError("the ledger cannot be written: disk full")

    monkeypatch.setattr(ledger, "_add", full)


@pytest.mark.usefixtures("full_disk")
def test_nothing_is_done_when_the_ledger_cannot_be_written(
    host, make, decision, told, real_actions
):
    """
    What cannot be written down cannot be undone, so it is not done; but it is told.
    """
    receipts = make(actions=real_actions).execute(decision(host.add(10), "freeze", "kill"))

    assert host.asked == []
    assert outcomes(receipts) == [("freeze", "failed"), ("kill", "failed")]
    assert told == list(receipts)


def test_same_decision_is_carried_out_once(host, make, taken, decision):
    """
    An alert that is raised again about the same process does not act again.
    """
    executor = make()
    target = host.add(10)
    executor.execute(decision(target, "freeze"))

    assert executor.execute(decision(target, "freeze")) == ()
    assert taken == ["freeze"]


def test_observed_decision_can_still_be_enforced(host, make, taken, decision):
    """
    Having said what would be done does not count as having done it.
    """
    executor = make()
    target = host.add(10)
    executor.execute(decision(target, "freeze", mode="observe"))

    executor.execute(decision(target, "freeze"))

    assert taken == ["freeze"]


def test_protected_target_is_refused_with_everything(host, make, taken, protected, decision):
    """
    Nor are its addresses blocked: the whole decision rests on a process that is off limits.
    """
    protected.add(10)

    receipts = make().execute(
        decision(host.add(10), "block", "kill", addresses=(("203.0.113.7", 1),))
    )

    assert taken == []
    assert outcomes(receipts) == [("block", "refused"), ("kill", "refused")]


def test_protected_relative_is_spared_alone(host, make, taken, protected, decision):
    """
    It gets a receipt with the reason; the target is acted on.
    """
    protected.add(20)
    related = (host.add(20),)

    receipts = make().execute(decision(host.add(10), "kill", related=related))

    assert outcomes(receipts) == [("kill", "refused"), ("kill", "done")]
    assert "protected" in receipts[0].reason


def test_address_of_a_process_that_is_gone_is_blocked(host, make, taken, decision):
    """
    What it spoke to is still there.
    """
    target = host.add(10)
    host.processes.clear()

    receipts = make().execute(decision(target, "block", "kill"))

    assert outcomes(receipts) == [("block", "done"), ("kill", "nothing-to-do")]


def test_nothing_is_blocked_for_a_process_whose_scope_cannot_be_known(host, make, taken, decision):
    """
    With a scope set, a process that is gone was perhaps never in it.
    """
    target = host.add(10)
    host.processes.clear()

    receipts = make(Settings(scope=Scope(cgroups=("/a",)))).execute(decision(target, "block"))

    assert outcomes(receipts) == [("block", "nothing-to-do")]
    assert taken == []


def test_breaker_turns_enforcing_into_observing(host, make, taken, told, decision):
    """
    And a restart does not reset it; a person does.
    """
    settings = Settings(response=Response(breaker=Breaker(max_kills=1)))
    executor = make(settings)
    for pid in (10, 11, 12):
        executor.execute(decision(host.add(pid), "kill"))
    assert taken == ["kill"]
    assert len([one for one in told if isinstance(one, str)]) == 1

    restarted = make(settings)
    receipts = restarted.execute(decision(host.add(13), "kill"))
    assert outcomes(receipts) == [("kill", "would")]
    assert "breaker" in receipts[0].reason

    restarted.reset_breaker()
    restarted.execute(decision(host.add(14), "kill"))
    assert taken == ["kill", "kill"]
    assert not make(settings).breaker.tripped


def test_lost_records_hold_back_what_was_joined(host, make, taken, decision):
    """
    For a while only, and direct proof still acts.
    """
    executor = make()
    executor.hold({"fork"})

    executor.execute(decision(host.add(10), "kill", correlated=True))
    assert taken == []
    executor.execute(decision(host.add(11), "kill"))
    assert taken == ["kill"]

    host.clock_ns += 61_000_000_000
    executor.execute(decision(host.add(12), "kill", correlated=True))
    assert taken == ["kill", "kill"]


def test_decision_that_knows_of_more_changes_is_carried_out(host, make, taken, decision):
    """
    The news of a cron line may come after the alert.
    """
    executor = make(actions={"clean": Recorder("clean", taken)})
    first = decision(host.add(10), "clean")
    change = Change(
        process=first.target,
        path="/etc/crontab",
        place="cron",
        operation="write",
        device=1,
        inode=1,
        lines=("x",),
        at_ns=0,
    )

    for one in (first, first, replace(first, changes=(change,))):
        executor.execute(one)

    assert taken == ["clean", "clean"]


def test_lost_records_hold_back_cleaning(host, make, taken, decision):
    """
    What an actor did cannot be told while it is not known who belongs to whom.
    """
    executor = make(actions={"clean": Recorder("clean", taken)})
    executor.hold({"fork"})

    assert outcomes(executor.execute(decision(host.add(10), "clean"))) == [("clean", "refused")]
    assert taken == []

    host.clock_ns += 61_000_000_000
    executor.execute(decision(host.add(11), "clean"))
    assert taken == ["clean"]


def test_lost_records_that_say_nothing_about_lineage_hold_nothing_back(host, make, taken, decision):
    """
    A lost file record joins nobody to the wrong actor.
    """
    executor = make()
    executor.hold({"file"})

    executor.execute(decision(host.add(10), "kill", correlated=True))

    assert taken == ["kill"]


def test_kill_does_not_wait_for_a_look_at_all_processes(host, make, decision, real_actions):
    """
    That takes milliseconds on a large host, and comes after the first signal.
    """
    everyone = host.everyone

    def look():
        host.asked.append(("look at everyone", 0))
        return everyone()

    host.everyone = look
    make(actions=real_actions).execute(decision(host.add(10), "freeze", "kill"))

    asked = [what for what, _ in host.asked]
    assert asked == ["SIGSTOP", "SIGKILL", "look at everyone"]


def test_killed_processes_are_let_go_of(host, keeper, make, decision, real_actions):
    """
    No descriptor and no care is left of a kill.
    """
    make(actions=real_actions).execute(decision(host.add(10), "freeze", "kill"))

    assert host.processes == {}
    assert host.pinned == set()
    assert keeper.held() == ()


def test_frozen_processes_stay_in_care_until_the_end(host, keeper, make, ledger, decision):
    """
    When the daemon stops, they go on, and the ledger says so.
    """
    executor = make(actions={"freeze": Freeze(host, keeper)})
    executor.execute(decision(host.add(10), "freeze"))
    assert [key.pid for key in keeper.held()] == [10]

    executor.stop()

    assert host.asked[-1] == ("SIGCONT", 10)
    assert list(ledger.in_force("freeze")) == []


def test_undo_goes_backwards_through_an_incident(host, make, taken, decision):
    """
    What was done last is taken back first, and only what belongs to the incident.
    """
    executor = make()
    executor.execute(decision(host.add(10), "freeze", "quarantine", incident="a"))
    executor.execute(decision(host.add(11), "freeze", incident="b"))
    taken.clear()

    receipts = executor.undo(Selection(incident="a"))

    assert taken == ["undo quarantine", "undo freeze"]
    assert outcomes(receipts) == [("quarantine", "undone"), ("freeze", "undone")]


def test_after_undo_the_same_decision_acts_again(host, make, taken, decision):
    """
    Having taken it back is not an exception from the policy.
    """
    executor = make()
    target = host.add(10)
    executor.execute(decision(target, "freeze"))
    executor.undo(Selection(incident="incident-1"))
    taken.clear()

    executor.execute(decision(target, "freeze"))

    assert taken == ["freeze"]


@pytest.fixture
def spared(host, keeper, ledger, heard):
    """An executor whose guard spares every process, but not its addresses."""
    taken, told = heard

    def guard(key):
        raise Spared("the packaged program of a service")

    def build(settings=None):
        names = ("freeze", "block", "capture", "quarantine", "kill")
        return Executor(
            settings or Settings(),
            host,
            ledger,
            {name: Recorder(name, taken) for name in names},
            keeper=keeper,
            guard=guard,
            on_receipt=lambda receipt, decision: told.append(receipt),
            on_breaker=told.append,
        )

    return build


def test_service_lives_and_its_pool_is_blocked(host, spared, taken, decision):
    """
    The proxy that carried a miner's words stays up; where they went is cut off.
    """
    receipts = spared().execute(decision(host.add(10), "freeze", "block", "kill"))

    assert taken == ["block"]
    assert outcomes(receipts) == [("freeze", "refused"), ("kill", "refused"), ("block", "done")]


def test_service_is_left_whole_while_the_policy_observes(host, spared, taken, decision):
    """
    Then it is said what would have been blocked.
    """
    observed = decision(host.add(10), "block", "kill", mode="observe")

    receipts = spared().execute(observed)

    assert taken == []
    assert ("block", "done") not in outcomes(receipts)
