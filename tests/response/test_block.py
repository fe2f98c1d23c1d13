# SPDX-License-Identifier: Apache-2.0

import time

import pytest

from firedamp.errors import ActionError, Refused, SourceError
from firedamp.response.addresses import parse
from firedamp.response.base import Receipt
from firedamp.response.block import Block
from firedamp.response.members import Members

HOUR_NS = 3600 * 1_000_000_000


class FakeNft:
    """Remembers what it was told, or fails as it is told to."""

    def __init__(self):
        self.until = {}
        self.error = None
        self.removed = False

    def block(self, address, until_ns):
        if self.error is not None:
            raise self.error
        self.until[address] = until_ns

    def unblock(self, address):
        self.until.pop(address, None)

    def restore(self, until):
        if self.error is not None:
            raise self.error
        self.until.update(until)

    def is_blocked(self, address):
        return self.until.get(address, 0) > time.time_ns()

    def pop_expired(self):
        expired = [address for address, until in self.until.items() if until <= time.time_ns()]
        return [address for address in expired if self.until.pop(address)]

    def remove(self):
        self.removed = True


class FakeDenyMap:
    """The same for the map in the kernel."""

    def __init__(self):
        self.until = {}
        self.error = None

    def deny(self, address, port, until_ns):
        if self.error is not None:
            raise self.error
        self.until[address, port] = until_ns

    def allow(self, address, port):
        self.until.pop((address, port), None)


class FakeGuard:
    """Protects the network 10."""

    def check(self, text):
        if text.startswith("10."):
            raise Refused("it is a gateway")
        return parse(text)


@pytest.fixture
def nft():
    """A table that is not there."""
    return FakeNft()


@pytest.fixture
def deny_map():
    """A map that is not there."""
    return FakeDenyMap()


@pytest.fixture
def block(nft, deny_map):
    """The action over both."""
    return Block(FakeGuard(), nft, deny_map, block_s=3600)


@pytest.fixture
def apply(host, keeper, block, decision, intend):
    """Block addresses on behalf of some process."""

    def do(*addresses):
        members = Members(host, lambda _: None, keeper)
        pairs = tuple((address, 4444) for address in addresses)
        return block.apply(decision(host.add(10), "block", addresses=pairs), members, intend)

    return do


def test_address_is_blocked_in_both_places_for_the_time(apply, nft, deny_map):
    """
    The table counts in wall-clock time, the kernel's map in time since boot.
    """
    [receipt] = apply("203.0.113.7")

    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert receipt.outcome == "done"
    assert nft.until[parse("203.0.113.7")] == pytest.approx(time.time_ns() + HOUR_NS, abs=1e9)
    assert deny_map.until["203.0.113.7", None] == pytest.approx(boot + HOUR_NS, abs=1e9)


def test_each_address_is_blocked_once(apply, intents):
    """
    Two ports of one address are one address, and what is blocked is left so.
    """
    assert len(apply("203.0.113.7", "203.0.113.7")) == 1

    [again] = apply("203.0.113.7")

    assert again.outcome == "nothing-to-do"
    assert len(intents) == 1


def test_refused_address_does_not_keep_the_others_from_being_blocked(apply, nft):
    """
    Each gets a receipt of its own.
    """
    receipts = apply("10.0.0.1", "203.0.113.7")

    assert [receipt.outcome for receipt in receipts] == ["refused", "done"]
    assert list(map(str, nft.until)) == ["203.0.113.7"]


def test_kernel_without_nf_tables_still_blocks(apply, nft, deny_map):
    """
    The receipt says what is missing: connections that are open stay open.
    """
    nft.error = SourceError("this kernel has no nf_tables")

    [receipt] = apply("203.0.113.7")

    assert receipt.outcome == "done"
    assert "only new connections" in receipt.reason
    assert deny_map.until


def test_block_that_is_nowhere_is_a_failure(apply, nft, deny_map):
    """
    With both reasons.
    """
    nft.error = ActionError("nftables: no")
    deny_map.error = SourceError("the map is full")

    [receipt] = apply("203.0.113.7")

    assert receipt.outcome == "failed"
    assert "nftables: no" in receipt.reason
    assert "full" in receipt.reason


def test_undo_lifts_it_in_both_places(apply, block, nft, deny_map):
    """
    And is safe to repeat.
    """
    [receipt] = apply("203.0.113.7")

    assert [block.undo(receipt).outcome for _ in range(2)] == ["undone", "undone"]
    assert (nft.until, deny_map.until) == ({}, {})


def test_restart_restores_what_has_not_expired(block, nft, deny_map):
    """
    For the time that is left.
    """
    now = time.time_ns()
    facts = {"203.0.113.7": now + HOUR_NS, "203.0.113.8": now - 1}
    receipts = [
        Receipt(action="block", outcome="done", target=a, undo={"address": a, "until_ns": until})
        for a, until in facts.items()
    ]

    assert block.restore(receipts) == ()

    assert nft.until == {parse("203.0.113.7"): now + HOUR_NS}
    assert list(deny_map.until) == [("203.0.113.7", None)]


def test_what_expired_leaves_the_map(block, nft, deny_map):
    """
    The table forgets by itself; the map would fill up.
    """
    nft.until = {parse("203.0.113.7"): time.time_ns() - 1}
    deny_map.until = {("203.0.113.7", None): 1, ("203.0.113.8", None): 1}

    block.forget_expired()

    assert list(deny_map.until) == [("203.0.113.8", None)]
    assert nft.until == {}


@pytest.mark.parametrize("remove", [True, False])
def test_blocks_stay_or_go_with_the_service(block, nft, remove):
    """
    As configured.
    """
    block.stop(remove=remove)

    assert nft.removed is remove


def test_plan_names_addresses_and_refusals(host, keeper, block, decision):
    """
    And blocks nothing.
    """
    members = Members(host, lambda _: None, keeper)
    pairs = (("203.0.113.7", 1), ("10.0.0.1", 1))

    words = block.plan(decision(host.add(10), "block", addresses=pairs), members)

    assert words == ("203.0.113.7", "not 10.0.0.1: it is a gateway")
