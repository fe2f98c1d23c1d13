# SPDX-License-Identifier: Apache-2.0
"""Wallet addresses are found by their checksums, and by nothing less."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.keccak import keccak_256
from firedamp.analysis.wallets import MAX_CANDIDATES, coin_of, wallets_in

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SIZES = {8: 11, 7: 10, 6: 9, 5: 7, 4: 6, 3: 5, 2: 3, 1: 2}
MONERO = (
    "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A",
    "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H",
)
OTHERS = (
    ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bitcoin"),
    ("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "bitcoin"),
    ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bitcoin"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "bitcoin"),
)


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    ],
)
def test_keccak_is_the_one_before_the_standard(data, digest):
    """
    The published digests, which SHA-3's are not.
    """
    assert keccak_256(data).hex() == digest
    assert hashlib.sha3_256(data).hexdigest() != digest


@given(st.integers(min_value=0, max_value=600))
def test_keccak_takes_every_length(length):
    """
    Around the block size the padding has corners: each input has a digest of its own.
    """
    assert len({keccak_256(bytes(n)) for n in (length, length + 1, length + 2)}) == 3


def encode(number: int, length: int) -> str:
    """A number in base58, with leading ones."""
    out = ""
    for _ in range(length):
        number, digit = divmod(number, 58)
        out = ALPHABET[digit] + out
    return out


def monero(prefix: int, body: bytes) -> str:
    """An address made from its parts."""
    raw = bytes([prefix]) + body
    raw += keccak_256(raw)[:4]
    blocks = [raw[at : at + 8] for at in range(0, len(raw), 8)]
    return "".join(encode(int.from_bytes(block, "big"), SIZES[len(block)]) for block in blocks)


@given(st.sampled_from([(18, 64), (42, 64), (19, 72)]), st.data())
def test_every_monero_address_is_known(form, data):
    """
    Standard, subaddress and integrated, whatever the keys in them.
    """
    prefix, size = form
    address = monero(prefix, data.draw(st.binary(min_size=size, max_size=size)))

    assert coin_of(address) == "monero"


@given(st.binary(min_size=64, max_size=64), st.integers(0, 94), st.sampled_from(ALPHABET))
def test_one_wrong_letter_is_no_address(body, at, letter):
    """
    The checksum finds a slip; 1 in 4 thousand million it may not.
    """
    address = monero(18, body)
    wrong = address[:at] + letter + address[at + 1 :]

    assert coin_of(wrong) == ("monero" if wrong == address else "")


@given(st.binary(min_size=64, max_size=64), st.sampled_from([0, 17, 53, 24, 255]))
def test_other_networks_are_not_the_main_net(body, prefix):
    """
    Test nets and other coins of the same make have other first bytes.
    """
    assert coin_of(monero(prefix, body)) == ""


@pytest.mark.parametrize("address", MONERO)
def test_published_monero_addresses_are_known(address):
    """
    The project's own, old and new.
    """
    assert coin_of(address) == "monero"


@pytest.mark.parametrize(("address", "coin"), OTHERS)
def test_other_coins_are_told_apart(address, coin):
    """
    By version byte, or by prefix; and a slip in each is found.
    """
    assert coin_of(address) == coin
    assert coin_of(address[:-1] + ("q" if address[-1] != "q" else "p")) == ""


def test_wallets_are_found_in_text():
    """
    In a command line, in JSON, with a worker's name behind a point.
    """
    text = f'xmrig -u {MONERO[0]}.rig1 -p x; {{"user":"{OTHERS[0][0]}"}}'

    assert [wallet.coin for wallet in wallets_in(text)] == ["monero", "bitcoin"]


@given(st.text(max_size=400))
def test_no_text_raises(text):
    """
    Whatever a process puts into its arguments.
    """
    list(wallets_in(text))


def test_work_is_bounded():
    """
    A megabyte of candidates costs no more than a few.
    """
    words = " ".join(encode(n, 95) for n in range(10_000, 10_000 + 5 * MAX_CANDIDATES))

    assert list(wallets_in(f"{words} {MONERO[0]}")) == []
