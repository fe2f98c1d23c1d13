# SPDX-License-Identifier: Apache-2.0
"""Keccak-256 as it was before it became SHA-3: the same sponge, with other padding.

Monero and Ethereum use it; Python's hashlib has only SHA-3. Specification: the Keccak reference,
version 3.0 (keccak.team), with rate 1088, capacity 512 and the domain byte 0x01.
"""

_RATE = 136
_MASK = (1 << 64) - 1
_ROUNDS = 24


def _round_constants() -> tuple[int, ...]:
    constants, register = [], 1
    for _ in range(_ROUNDS):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << ((1 << power) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


def _offsets() -> tuple[tuple[int, int, int], ...]:
    """For each lane but the first, in the order of pi: where it goes, and by how much it turns."""
    x, y, out = 1, 0, []
    for step in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        out.append((x, y, (step + 1) * (step + 2) // 2 % 64))
    return tuple(out)


_CONSTANTS = _round_constants()
_OFFSETS = _offsets()


def keccak_256(data: bytes) -> bytes:
    """The 32-byte digest. About a millisecond: for what is looked at once."""
    state = [[0] * 5 for _ in range(5)]
    padded = data + b"\x01" + bytes(-(len(data) + 1) % _RATE)
    padded = padded[:-1] + bytes([padded[-1] | 0x80])
    for start in range(0, len(padded), _RATE):
        for index in range(_RATE // 8):
            lane = padded[start + 8 * index : start + 8 * index + 8]
            state[index % 5][index // 5] ^= int.from_bytes(lane, "little")
        _permute(state)
    return b"".join(state[index][0].to_bytes(8, "little") for index in range(4))


def _permute(state: list[list[int]]) -> None:
    for constant in _CONSTANTS:
        parity = [a ^ b ^ c ^ d ^ e for a, b, c, d, e in state]
        for x in range(5):
            mixed = parity[x - 1] ^ _rotated(parity[(x + 1) % 5], 1)
            for y in range(5):
                state[x][y] ^= mixed
        lane = state[1][0]
        for to_x, to_y, turn in _OFFSETS:
            state[to_x][to_y], lane = _rotated(lane, turn), state[to_x][to_y]
        for y in range(5):
            row = [state[x][y] for x in range(5)]
            for x in range(5):
                state[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5] & _MASK)
        state[0][0] ^= constant


def _rotated(lane: int, by: int) -> int:
    return (lane << by | lane >> (64 - by)) & _MASK
