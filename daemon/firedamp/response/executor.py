# SPDX-License-Identifier: Apache-2.0
"""From a decision to what was done about it.

Rules:

1. A decision is a request. The guards are asked here, about the processes as they are now;
   nothing that the decision says about them is believed.
2. Intent to the ledger, then the action, then its outcome to the ledger. If the intent cannot
   be written, the action is not taken.
3. Actions run in ACTION_ORDER. One that fails never stops the next.
4. A decision that was carried out is not carried out again.
5. In doubt, observe: when the breaker has tripped, and when what joined the evidence may be
   wrong because records were lost.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from firedamp.errors import ActionError
from firedamp.policy.types import ACTION_ORDER, ActionName, Decision
from firedamp.response.base import Action, Outcome, Receipt
from firedamp.response.block import Block
from firedamp.response.breaker import Breaker
from firedamp.response.clean import Clean
from firedamp.response.freeze import Freeze
from firedamp.response.host import Host, describe
from firedamp.response.keeper import Keeper
from firedamp.response.ledger import Cause, Ledger
from firedamp.response.members import Guard, Members
from firedamp.response.quarantine import Quarantine
from firedamp.response.recover import continue_frozen, recover
from firedamp.response.undo import Selection, undo
from firedamp.settings import Scope, Settings

OnReceipt = Callable[[Receipt, Decision | None], None]
"""Called with each receipt; the decision is None for what recovery and undo do."""

_REMEMBERED = 4096
_HOLD_NS = 60_000_000_000
_LINEAGE = frozenset({"exec", "fork", "exit"})
"""Records without which it is not known who belongs to whom."""
_WITHOUT_PROCESS = frozenset({"block", "clean"})
"""What is done though the process has ended."""
_WORDS = 8
"""How many things a line names before it says how many more there are."""


class Executor:
    """Carries out decisions. Not thread-safe; the daemon has one and calls it from one thread."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        ledger: Ledger,
        actions: Mapping[ActionName, Action],
        *,
        keeper: Keeper,
        guard: Guard,
        on_receipt: OnReceipt,
        on_breaker: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._host = host
        self._ledger = ledger
        self._actions = actions
        self._keeper = keeper
        self._on_receipt = on_receipt
        self._on_breaker = on_breaker
        self._guard = guard
        self._held_until_ns = 0
        self._executed: OrderedDict[object, None] = OrderedDict()
        last = ledger.last("breaker")
        tripped = last is not None and last.receipt.outcome == "done"
        self.breaker = Breaker(settings.response.breaker, tripped=tripped, on_trip=self._tripped)

    # ---- life cycle -------------------------------------------------------------------------

    def restore(self) -> tuple[Receipt, ...]:
        """At start: resolve what the last run left open, and block again what has not expired."""
        receipts: list[Receipt] = []
        freeze, quarantine = self._actions.get("freeze"), self._actions.get("quarantine")
        if isinstance(freeze, Freeze) and isinstance(quarantine, Quarantine):
            clean = self._actions.get("clean")
            cleaner = clean if isinstance(clean, Clean) else None
            receipts += recover(self._ledger, freeze, quarantine, cleaner)
        block = self._actions.get("block")
        if isinstance(block, Block):
            receipts += block.restore(one.receipt for one in self._ledger.in_force("block"))
        for receipt in receipts:
            self._on_receipt(receipt, None)
        return tuple(receipts)

    def prepare(self) -> str:
        """Where policies may act: get ready to. Returns what will not be possible, or nothing."""
        block = self._actions.get("block")
        may_act = self._settings.mode == "enforce" or self._settings.policies.enforce
        return block.prepare() if may_act and isinstance(block, Block) else ""

    def tick(self) -> None:
        """Now and then: see that the keeper lives, and let go of what has ended.

        Raises:
            ActionError: the keeper died and cannot be started anew.
        """
        block = self._actions.get("block")
        if isinstance(block, Block):
            block.forget_expired()
        self._keeper.check()
        self._keeper.forget_dead()

    def stop(self) -> None:
        """At the end: what is frozen goes on; blocks stay or go, as configured.

        Raises:
            ActionError: the blocks could not be removed. All else is done.
        """
        freeze, block = self._actions.get("freeze"), self._actions.get("block")
        try:
            if isinstance(freeze, Freeze):
                reason = "the daemon stops, and holds nothing frozen while it is away"
                for receipt in continue_frozen(self._ledger, freeze, reason):
                    self._on_receipt(receipt, None)
        finally:
            self._keeper.stop()
            if isinstance(block, Block):
                block.stop(remove=self._settings.response.on_stop == "remove")

    # ---- decisions --------------------------------------------------------------------------

    def execute(self, decision: Decision) -> tuple[Receipt, ...]:
        """Carry out a decision, or say what would be done; nothing if that was done already."""
        why = self._why_observe(decision)
        signature = (
            bool(why), decision.alert.incident, decision.actions, decision.target,
            decision.related, decision.addresses, decision.files, decision.changes,
        )  # fmt: skip
        if signature in self._executed:
            return ()
        if not why and "kill" in decision.actions:
            why = "" if self.breaker.allow_kill(self._host.now_ns()) else _TRIPPED
        self._remember(signature)
        members = Members(self._host, self._guard, self._keeper)
        killed = False
        try:
            with self._host.urgent():
                for key in (decision.target, *decision.related):
                    members.admit(key)
            if decision.target in members.spared and "block" in decision.actions:
                return self._spare(decision, members, why)
            if decision.target in members.refused:
                return self._refuse_all(decision, members.refused[decision.target])
            if why:
                return self._observe(decision, members, why)
            killed = "kill" in decision.actions
            return self._enforce(decision, members)
        finally:
            members.close(keep=not killed)

    def hold(self, kinds: Iterable[str]) -> None:
        """Records of these kinds were lost: for a while, believe only what proves itself.

        A correlation joins evidence by who belongs to whom, which may be wrong now; then it
        only observes, and nothing is cleaned. A single event that proves its case still acts.
        """
        if _LINEAGE.intersection(kinds):
            self._held_until_ns = self._host.now_ns() + _HOLD_NS

    def undo(
        self, selection: Selection, *, force: bool = False, dry_run: bool = False
    ) -> tuple[Receipt, ...]:
        """Take back what is selected.

        Raises:
            ActionError: there is nothing of that number or incident.
        """
        receipts = undo(self._ledger, self._actions, selection, force=force, dry_run=dry_run)
        if not dry_run:
            self._executed.clear()
            for receipt in receipts:
                self._on_receipt(receipt, None)
        return receipts

    def reset_breaker(self) -> None:
        """A person has looked: act again."""
        self.breaker.reset()
        self._note_breaker("undone", "reset by an administrator")

    # ---- private ----------------------------------------------------------------------------

    def _why_observe(self, decision: Decision) -> str:
        if decision.mode != "enforce":
            return "the policy observes"
        if self.breaker.tripped:
            return _TRIPPED
        if decision.alert.evidence and self._host.now_ns() < self._held_until_ns:
            return _HELD
        return ""

    def _enforce(self, decision: Decision, members: Members) -> tuple[Receipt, ...]:
        recorded = [*self._refused(decision, members)]
        waiting: list[Receipt] = []
        names = _in_order(decision)
        for name, following in zip(names, [*names[1:], None], strict=True):
            waiting += self._act(name, decision, members)
            # A kill that follows at once must not wait for the row that says it is frozen.
            if (name, following) != ("freeze", "kill"):
                recorded += [self._record(decision, receipt) for receipt in waiting]
                waiting = []
        return tuple(recorded)

    def _act(self, name: ActionName, decision: Decision, members: Members) -> Iterable[Receipt]:
        action = self._actions.get(name)
        target = f"pid {decision.target.pid}"
        if action is None:
            why = "there is no such action yet"
            return (Receipt(action=name, outcome="failed", target=target, reason=why),)
        if name == "clean" and self._host.now_ns() < self._held_until_ns:
            return (Receipt(action=name, outcome="refused", target=target, reason=_HELD),)
        # Whether a process that is gone was in the scope, nobody can tell any more.
        is_needless = name in _WITHOUT_PROCESS and self._settings.scope == Scope()
        if not members.keys and not is_needless:
            why = "the process is gone"
            return (Receipt(action=name, outcome="nothing-to-do", target=target, reason=why),)
        return self._apply(action, decision, members)

    def _apply(self, action: Action, decision: Decision, members: Members) -> Iterable[Receipt]:
        cause = Cause.of(decision)
        step = 0

        def intend(target: str, undo: Mapping[str, object]) -> int:
            nonlocal step
            intent = Receipt(action=action.name, outcome="intended", target=target, undo=undo)
            step = self._ledger.intend(cause, intent)
            return step

        try:
            return action.apply(decision, members, intend)
        except Exception as error:  # noqa: BLE001 - a fault in one action must not save a trojan
            # from the next one; for what is no refused call of the system, the type tells it.
            why = str(error) if isinstance(error, ActionError) else repr(error)
            target = describe(self._host, decision.target)
            failed = Receipt(action=action.name, outcome="failed", target=target, reason=why)
            return (replace(failed, step=step),)

    def _observe(self, decision: Decision, members: Members, why: str) -> tuple[Receipt, ...]:
        members.gather()
        receipts = [*self._refused(decision, members)]
        for name in _in_order(decision):
            action = self._actions.get(name)
            words = _plan(action, decision, members) if action is not None else ()
            if words:
                receipts.append(
                    self._record(
                        decision,
                        Receipt(action=name, outcome="would", target=_listed(words), reason=why),
                    )
                )
        return tuple(receipts)

    def _refused(self, decision: Decision, members: Members) -> Iterable[Receipt]:
        """Receipts for those whom a guard protects, under the first action they are spared."""
        name = _in_order(decision)[0]
        for key, why in members.refused.items():
            target = describe(self._host, key)
            yield self._record(
                decision, Receipt(action=name, outcome="refused", target=target, reason=why)
            )

    def _spare(self, decision: Decision, members: Members, why: str) -> tuple[Receipt, ...]:
        """Block the addresses, and leave the process alone."""
        others = tuple(name for name in decision.actions if name != "block")
        refused = replace(decision, actions=others)
        receipts = [*self._refuse_all(refused, members.refused[decision.target])]
        action, only = self._actions.get("block"), replace(decision, actions=("block",))
        if action is not None and not why:
            receipts += [self._record(only, one) for one in self._apply(action, only, members)]
        elif action is not None and (words := action.plan(only, members)):
            would = Receipt(action="block", outcome="would", target=_listed(words), reason=why)
            receipts.append(self._record(only, would))
        return tuple(receipts)

    def _refuse_all(self, decision: Decision, why: str) -> tuple[Receipt, ...]:
        target = describe(self._host, decision.target)
        return tuple(
            self._record(
                decision, Receipt(action=name, outcome="refused", target=target, reason=why)
            )
            for name in _in_order(decision)
        )

    def _record(self, decision: Decision, receipt: Receipt) -> Receipt:
        try:
            number = self._ledger.record(Cause.of(decision), receipt)
            receipt = replace(receipt, id=number)
        except ActionError as error:
            receipt = replace(receipt, reason=f"{receipt.reason} ({error})".strip())
        self._on_receipt(receipt, decision)
        return receipt

    def _remember(self, signature: object) -> None:
        self._executed[signature] = None
        if len(self._executed) > _REMEMBERED:
            self._executed.popitem(last=False)

    def _tripped(self, why: str) -> None:
        # It holds in this run whether it can be written down or not.
        with contextlib.suppress(ActionError):
            self._note_breaker("done", why)
        self._on_breaker(why)

    def _note_breaker(self, outcome: Outcome, why: str) -> None:
        receipt = Receipt(action="breaker", outcome=outcome, target="all actions", reason=why)
        self._ledger.record(Cause(incident="", policy="", process=""), receipt)


_TRIPPED = "the breaker has tripped"
_HELD = "records that tell who belongs to whom were lost a short while ago"


def _plan(action: Action, decision: Decision, members: Members) -> tuple[str, ...]:
    try:
        return action.plan(decision, members)
    except Exception as error:  # noqa: BLE001 - as in _apply: one fault must not hide the rest
        return (f"(what it would act on cannot be told: {error!r})",)


def _in_order(decision: Decision) -> list[ActionName]:
    return [name for name in ACTION_ORDER if name in decision.actions]


def _listed(words: tuple[str, ...]) -> str:
    more = len(words) - _WORDS
    return ", ".join(words[:_WORDS]) + (f" and {more} more" if more > 0 else "")
