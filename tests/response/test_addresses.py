# SPDX-License-Identifier: Apache-2.0

import ipaddress
import socket
import struct

import pytest

from firedamp.errors import ConfigError, Refused
from firedamp.response import addresses
from firedamp.response.addresses import AddressGuard
from firedamp.settings import Allow


@pytest.fixture
def quiet(monkeypatch):
    """A host with one address, one gateway and one name server."""
    only = {
        "own_addresses": "198.51.100.5",
        "gateways": "198.51.100.1",
        "resolvers": "198.51.100.53",
    }
    for name, address in only.items():
        found = frozenset({ipaddress.ip_address(address)})
        monkeypatch.setattr(addresses, name, lambda found=found: found)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("198.51.100.5", "address of this host"),
        ("198.51.100.1", "gateway"),
        ("198.51.100.53", "name server"),
        ("::ffff:198.51.100.53", "name server"),
        ("192.0.2.77", "allow.addresses"),
        ("2001:db8:1::9", "allow.addresses"),
        ("pool.example.org", "not an address"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_address_that_must_stay_reachable_is_refused(address, why):
    """
    Blocking one of these would cut the host off from itself or from those who run it.
    """
    guard = AddressGuard(Allow(addresses=("192.0.2.0/24", "2001:db8:1::/48")))

    with pytest.raises(Refused, match=why):
        guard.check(address)


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:0db8::0007", "2001:db8::7"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_other_address_may_be_blocked(address, normal):
    """
    Also a private one: a pool's proxy may stand in the same network. One form for each.
    """
    assert str(AddressGuard(Allow()).check(address)) == normal


def test_allow_list_that_is_no_network_is_a_mistake():
    """
    Whoever mistypes an address to protect learns it at start.
    """
    with pytest.raises(ConfigError, match=r"allow\.addresses"):
        AddressGuard(Allow(addresses=("10.0.0.300",)))


def test_kernel_that_does_not_answer_blocks_nothing(monkeypatch):
    """
    Not knowing one's own addresses is no reason to block one of them.
    """

    def fail():
        raise OSError(1, "no netlink")

    monkeypatch.setattr(addresses, "own_addresses", fail)

    with pytest.raises(Refused, match="does not tell"):
        AddressGuard(Allow()).check("203.0.113.7")


def test_own_addresses_are_those_that_can_be_bound():
    """
    The kernel's list holds loopback, which every network namespace with a device up has.
    """
    own = addresses.own_addresses()

    assert ipaddress.ip_address("127.0.0.1") in own
    for address in own:
        if not address.is_link_local and address.version == 6:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
                probe.bind((str(address), 0))


def attribute(kind, value):
    """One netlink attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def test_every_form_of_next_hop_is_found():
    """
    A plain gateway, one of another family, and each of a multipath route.
    """
    four, six = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")
    hop = attribute(5, four.packed)
    multipath = struct.pack("=HBBi", 8 + len(hop), 0, 0, 1) + hop

    assert list(addresses.next_hops(attribute(5, four.packed))) == [four]
    assert list(addresses.next_hops(attribute(18, struct.pack("=H", 10) + six.packed))) == [six]
    assert list(addresses.next_hops(attribute(9, multipath * 2))) == [four, four]


def test_truncated_attributes_end_the_walk():
    """
    Lengths are not believed beyond the message.
    """
    assert list(addresses.next_hops(b"\x00\x00\x05\x00")) == []
    assert list(addresses.next_hops(attribute(9, b"\xff\xff\0\0\0\0\0\0"))) == []


def test_resolvers_are_read_from_every_file(tmp_path):
    """
    A stub resolver hides the real ones, which are in another file.
    """
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("# x\nnameserver 127.0.0.53\noptions edns0\n")
    second.write_text("nameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver nonsense\n")

    found = addresses.resolvers([str(first), str(second), str(tmp_path / "absent")])

    assert {str(one) for one in found} == {"127.0.0.53", "192.0.2.53", "fe80::1"}
