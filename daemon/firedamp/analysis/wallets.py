# SPDX-License-Identifier: Apache-2.0
"""Finds wallet addresses in text and proves them by their checksums.

A pattern alone catches tokens, hashes and keys, and misses nothing that a checksum would not
confirm: so the pattern only proposes.

| coin | form | proof |
| --- | --- | --- |
| Monero | 95 characters or, integrated, 106; base58 in blocks | network byte, Keccak-256 |
| Bitcoin and kin | base58check, 25 bytes | version byte, double SHA-256 |
| Bitcoin | bech32 (BIP 173) and bech32m (BIP 350), `bc1…` | the code's own checksum |

Formats: Monero's base58 in src/common/base58.cpp and its network bytes in
src/cryptonote_config.h of monero-project/monero; BIP 173 and BIP 350.

Blind spots: coins whose addresses have no checksum (Ethereum without mixed case), names of
accounts at a pool, and wallets that are split or encoded.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from firedamp.analysis.base import FieldValue
from firedamp.analysis.keccak import keccak_256
from firedamp.context.process import Observed
from firedamp.events.model import MiningProtocolSpoken

MAX_TEXT: Final = 16_384
MAX_CANDIDATES: Final = 16
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {letter: number for number, letter in enumerate(_ALPHABET)}
_WORD: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[1-9A-HJ-NP-Za-km-z]{25,106}|bc1[02-9ac-hj-np-z]{8,87})(?![0-9A-Za-z])"
)
_BLOCK_BYTES: Final = {0: 0, 2: 1, 3: 2, 5: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8}
_MONERO: Final = {18: (95, 69), 42: (95, 69), 19: (106, 77)}
"""Network byte of the main net: length in characters and in bytes."""
_BASE58CHECK: Final = {0: "bitcoin", 5: "bitcoin", 30: "dogecoin", 22: "dogecoin", 48: "litecoin"}
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CONST, _BECH32M_CONST = 1, 0x2BC830A3


class Wallet(NamedTuple):
    """An address that its checksum confirms."""

    coin: str
    address: str


def wallets_in(text: str) -> Iterator[Wallet]:
    """Every confirmed address, in its order; text beyond a bound is not looked at."""
    for number, match in enumerate(_WORD.finditer(text[:MAX_TEXT])):
        if number >= MAX_CANDIDATES:
            return
        coin = coin_of(match[0])
        if coin:
            yield Wallet(coin, match[0])


@lru_cache(maxsize=1024)
def coin_of(word: str) -> str:
    """Whose address it is; empty where no checksum fits."""
    if word.startswith("bc1"):
        return "bitcoin" if _is_bech32(word) else ""
    if len(word) in {95, 106}:
        return "monero" if _is_monero(word) else ""
    return _base58check_coin(word) if len(word) <= 35 else ""


def wallet_kind(observed: Observed) -> FieldValue:
    """Coins of the wallets that a login names, or a command line."""
    event = observed.event
    text = event.login if isinstance(event, MiningProtocolSpoken) else observed.process.command_line
    return tuple(dict.fromkeys(wallet.coin for wallet in wallets_in(text))) or None


def _is_monero(word: str) -> bool:
    raw = _block_base58(word)
    if raw is None or _MONERO.get(raw[0]) != (len(word), len(raw)):
        return False
    return keccak_256(raw[:-4])[:4] == raw[-4:]


def _block_base58(word: str) -> bytes | None:
    """Monero's base58: blocks of 11 characters for 8 bytes, so that each length is known."""
    out = b""
    for start in range(0, len(word), 11):
        block = word[start : start + 11]
        size = _BLOCK_BYTES.get(len(block))
        value = _number(block)
        if size is None or value is None or value >> (8 * size):
            return None
        out += value.to_bytes(size, "big")
    return out


def _base58check_coin(word: str) -> str:
    value = _number(word)
    if value is None or value >> 200:
        return ""
    raw = value.to_bytes(25, "big")
    zeroes = len(raw) - len(raw.lstrip(b"\0"))
    if len(word) - len(word.lstrip("1")) != zeroes:
        return ""
    if sha256(sha256(raw[:-4]).digest()).digest()[:4] != raw[-4:]:
        return ""
    return _BASE58CHECK.get(raw[0], "")


def _number(word: str) -> int | None:
    value = 0
    for letter in word:
        digit = _DIGITS.get(letter)
        if digit is None:
            return None
        value = value * 58 + digit
    return value


def _is_bech32(word: str) -> bool:
    data = [_BECH32.find(letter) for letter in word[3:]]
    if -1 in data or len(word) > 90:
        return False
    expected = _BECH32_CONST if data[0] == 0 else _BECH32M_CONST
    return _polymod([3, 3, 0, 2, 3, *data]) == expected  # the prefix "bc", spread as BIP 173 says


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for index, generator in enumerate(_GENERATOR):
            check ^= generator if top >> index & 1 else 0
    return check
