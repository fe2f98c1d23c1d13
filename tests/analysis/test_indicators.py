# SPDX-License-Identifier: Apache-2.0
"""Known names and addresses of pools, and the lists they come from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.indicator_lists import read_indicators
from firedamp.analysis.indicators import pool_indicator, pool_name_token
from firedamp.context.host import HostContext
from firedamp.events.model import ConnectionOpened, DnsAnswered, DnsAsked, Event, ProcessKey

KEY = ProcessKey(1, 1)


def asked(name: str) -> DnsAsked:
    """A question for a name."""
    return DnsAsked(at_ns=1, process=KEY, name=name, record_type="A", server="192.0.2.53")


def answered(name: str, *addresses: str, aliases: tuple[str, ...] = ()) -> DnsAnswered:
    """An answer to it."""
    return DnsAnswered(
        at_ns=1, process=KEY, name=name, record_type="A", response_code="NOERROR",
        addresses=addresses, aliases=aliases,
    )  # fmt: skip


def connected(address: str) -> ConnectionOpened:
    """A connection to an address."""
    return ConnectionOpened(
        at_ns=2, process=KEY, cookie=1, transport="tcp", address=address, port=443, uid=0,
        denied=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["supportxmr.com", "pool.supportxmr.com", "a.b.supportxmr.com"])
def test_listed_domain_stands_for_all_below_it(observed, name):
    """
    Pools have a name for each region and port.
    """
    assert pool_indicator(observed(asked(name))) == "supportxmr.com"


@pytest.mark.parametrize(
    "name", ["notsupportxmr.com", "supportxmr.com.example.org", "supportxmr", "com", ""]
)
def test_similar_name_is_not_listed(observed, name):
    """
    Whole labels count, from the right.
    """
    assert pool_indicator(observed(asked(name))) is None


def test_pool_behind_an_innocent_alias_is_found(observed):
    """
    Anyone can point a name of their own at a pool's.
    """
    event = answered("cdn.example.org", "203.0.113.7", aliases=("pool.supportxmr.com",))

    assert pool_indicator(observed(event)) == "supportxmr.com"


def test_connection_carries_the_name_that_led_to_it(observed, host):
    """
    By bare address, long after the question.
    """
    host.observe(answered("cdn.example.org", "203.0.113.7", aliases=("pool.supportxmr.com",)))

    assert pool_indicator(observed(connected("203.0.113.7"))) == "supportxmr.com"
    assert pool_indicator(observed(connected("203.0.113.8"))) is None


def test_listed_addresses_and_networks_are_found(observed, host):
    """
    An address alone, or in a listed network, in an answer too.
    """
    host.indicators, wrong = read_indicators(
        [("pool_addresses", "203.0.113.7\n198.51.100.0/24 # a provider\n2001:DB8::1")]
    )

    assert wrong == ()
    assert pool_indicator(observed(connected("203.0.113.7"))) == "203.0.113.7"
    assert pool_indicator(observed(connected("198.51.100.9"))) == "198.51.100.0/24"
    assert pool_indicator(observed(connected("2001:db8::1"))) == "2001:db8::1"
    assert pool_indicator(observed(answered("a.example", "203.0.113.7"))) == "203.0.113.7"
    assert pool_indicator(observed(connected("198.51.101.9"))) is None


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("xmr.example.org", ("xmr",)),
        ("eu-xmrpool1.example.org", ("xmr",)),
        ("pool-2.xmr.example.org", ("pool", "xmr")),
        ("whirlpool.example.org", None),
        ("de.minexmr.example", ("xmr",)),
        ("0.pool.ntp.org", None),
        ("carpools.example.org", None),
        ("example.pool", None),
        ("www.example.org", None),
    ],
)
def test_words_of_pools_are_found_in_labels(observed, name, tokens):
    """
    Some only as whole words; names that are known to be no pools are left out.
    """
    assert pool_name_token(observed(asked(name))) == tokens


def test_event_without_a_name_or_address_has_no_indicator(observed):
    """
    Any event of any process can be asked.
    """
    event = Event(at_ns=0, process=KEY)

    assert pool_indicator(observed(event)) is None
    assert pool_name_token(observed(event)) is None


def test_wrong_lines_are_reported_and_left_out():
    """
    One slip in a list does not cost the rest of it; `com` would make every name a pool's.
    """
    found, wrong = read_indicators(
        [
            ("pool_domains", "# source: none\nExample.ORG.\ncom\nnot a name\n\n*.example.net"),
            ("pool_addresses", "203.0.113.300"),
            ("pool_name_tokens", "xmr*\npool\nx1"),
            ("recipes", "soup"),
        ]
    )

    assert found.domains == {"example.org"}
    assert (found.tokens, found.stems) == ({"pool"}, {"xmr"})
    assert [each.partition(" ")[0] for each in wrong] == [
        "pool_domains:3:", "pool_domains:4:", "pool_domains:6:", "pool_addresses:1:",
        "pool_name_tokens:3:", "recipes:",
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["pool_domains", "pool_addresses"]), st.text())))
def test_no_list_raises(lists):
    """
    Lists come from strangers.
    """
    read_indicators(lists)


@given(st.text(max_size=300))
def test_any_name_can_be_looked_up(name):
    """
    Names come from the network.
    """
    host = HostContext(read_indicators([("pool_domains", "example.org")])[0])
    event = asked(name)

    assert pool_indicator(host.observe(event)) in {None, "example.org"}


def test_shipped_lists_are_sound():
    """
    Every line is read, and each kind of list is there.
    """
    lists = Path(__file__).parents[2] / "policies" / "indicators"
    texts = {path.stem: path.read_text() for path in lists.glob("*.txt")}

    found, wrong = read_indicators(texts.items())

    assert wrong == ()
    assert "supportxmr.com" in found.domains
    assert "xmr" in found.stems
    assert "ntp.org" in found.not_pools
    assert all("# Date: " in text or ". Date: " in text for text in texts.values())
