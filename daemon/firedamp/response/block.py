# SPDX-License-Identifier: Apache-2.0
"""Cut addresses off for a time: in nftables, and in the kernel's connect hook.

nftables stops packets, those of connections that are open already too. The deny map, where the
probes brought one, refuses the connect() itself, so that the process learns at once and no
packet leaves. Either alone is still a block, and the receipt says which one is missing.

An address is blocked whole, whatever the port: a pool listens on many.
"""

import time
from collections.abc import Iterable
from typing import ClassVar, Protocol, cast

from firedamp.errors import FiredampError, Refused
from firedamp.policy.types import ActionName, Decision
from firedamp.response.addresses import Address, AddressGuard, parse
from firedamp.response.base import Intend, Outcome, Receipt
from firedamp.response.members import Members
from firedamp.response.nft import NftTable

_NS_PER_S = 1_000_000_000


class DenyMap(Protocol):
    """Addresses whose connect() and sendmsg() the kernel refuses; the probes' source has one."""

    def deny(self, address: str, port: int | None, until_ns: int) -> None:
        """Refuse it until a time of the boot-time clock. None: every port.

        Raises:
            FiredampError: the map is full.
        """

    def allow(self, address: str, port: int | None) -> object:
        """Take it back; nothing happens if it is not denied."""


class Block:
    name: ClassVar[ActionName] = "block"
    reversible: ClassVar[bool] = True

    def __init__(
        self, guard: AddressGuard, nft: NftTable, deny_map: DenyMap | None, *, block_s: int
    ) -> None:
        self._guard = guard
        self._nft = nft
        self._deny_map = deny_map
        self._block_ns = block_s * _NS_PER_S

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        words = []
        for text in _addresses(decision):
            try:
                words.append(str(self._guard.check(text)))
            except Refused as refusal:
                words.append(f"not {text}: {refusal}")
        return tuple(words)

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        receipts = []
        for text in _addresses(decision):
            try:
                address = self._guard.check(text)
            except Refused as refusal:
                receipts.append(self._receipt("refused", text, str(refusal)))
                continue
            if self._nft.is_blocked(address):
                receipts.append(self._receipt("nothing-to-do", text, "it is blocked already"))
                continue
            receipts.append(self._block(address, intend))
        return tuple(receipts)

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        address = parse(str(receipt.undo["address"]))
        try:
            if self._deny_map is not None:
                self._deny_map.allow(str(address), None)
            self._nft.unblock(address)
        except FiredampError as error:
            return self._receipt("failed", str(address), str(error))
        return self._receipt("undone", str(address), "")

    def restore(self, receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
        """Block again what an earlier run blocked and what has not expired; at start.

        Returns a receipt for each address that could not be blocked again.
        """
        now = time.time_ns()
        until = {
            parse(str(receipt.undo["address"])): cast("int", receipt.undo["until_ns"])
            for receipt in receipts
        }
        until = {address: end for address, end in until.items() if end > now}
        if not until:
            return ()
        try:
            self._nft.restore(until)
            missing = ""
        except FiredampError as error:
            missing = str(error)
        problems = [(address, self._deny(address, end)) for address, end in until.items()]
        return tuple(
            self._receipt("failed", str(address), f"not blocked again: {missing}; {why}")
            for address, why in problems
            if missing and why
        )

    def prepare(self) -> str:
        """Make the table before it is needed: the first block then takes no longer than others.

        Returns why blocks will be refused by the deny map alone; empty if all is well.
        """
        try:
            self._nft.build()
        except FiredampError as error:
            return str(error)
        return ""

    def forget_expired(self) -> None:
        """Take out of the deny map what ran out; nftables does so by itself."""
        for address in self._nft.pop_expired():
            if self._deny_map is not None:
                self._deny_map.allow(str(address), None)

    def stop(self, *, remove: bool) -> None:
        """The service ends: leave the blocks to run out by themselves, or take them away.

        Raises:
            ActionError: they could not be removed.
        """
        if remove:
            self._nft.remove()

    # ---- private ----------------------------------------------------------------------------

    def _block(self, address: Address, intend: Intend) -> Receipt:
        until = time.time_ns() + self._block_ns
        undo = {"address": str(address), "until_ns": until}
        step = intend(str(address), undo)
        # The map first: it is the faster one, and the table may have to be built.
        no_deny = self._deny(address, until)
        try:
            self._nft.block(address, until)
            no_nft = ""
        except FiredampError as error:
            no_nft = str(error)
        if no_nft and no_deny:
            return self._receipt("failed", str(address), f"{no_nft}; {no_deny}", step=step)
        return Receipt(
            action=self.name,
            outcome="done",
            target=str(address),
            reason=no_nft and f"only new connections are refused: {no_nft}",
            undo=undo,
            step=step,
        )

    def _deny(self, address: Address, until_ns: int) -> str:
        """Refuse it in the connect hook; returns why that is not so, else nothing."""
        if self._deny_map is None:
            return "no connect hook is attached"
        left_ns = until_ns - time.time_ns()
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        try:
            self._deny_map.deny(str(address), None, boot_ns + left_ns)
        except FiredampError as error:
            return str(error)
        return ""

    def _receipt(self, outcome: Outcome, target: str, reason: str, *, step: int = 0) -> Receipt:
        return Receipt(action=self.name, outcome=outcome, target=target, reason=reason, step=step)


def _addresses(decision: Decision) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for address, _ in decision.addresses))
