# SPDX-License-Identifier: Apache-2.0
"""BPF maps by the bare bpf(2) system call: the few operations that the daemon needs.

Attribute layouts: union bpf_attr in include/uapi/linux/bpf.h.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterator

from firedamp.errors import SourceError

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_LOOKUP, _UPDATE, _DELETE = 1, 2, 3
_LOOKUP_AND_DELETE_BATCH = 25

_libc = ctypes.CDLL(None, use_errno=True)


class BpfMap:
    """One map, by descriptor, with keys and values of fixed size."""

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.fd = fd
        self._key = ctypes.create_string_buffer(key_size)
        self._value = ctypes.create_string_buffer(value_size)
        self._key_size, self._value_size = key_size, value_size
        self._number = _SYS_BPF[platform.machine()]

    def set(self, key: bytes, value: bytes) -> None:
        """Put an entry.

        Raises:
            SourceError: the map is full or gone.
        """
        self._key.raw, self._value.raw = key, value
        self._call(_UPDATE)

    def get(self, key: bytes) -> bytes | None:
        """An entry's value; None where there is none."""
        self._key.raw = key
        try:
            self._call(_LOOKUP)
        except KeyError:
            return None
        return self._value.raw

    def delete(self, key: bytes) -> bool:
        """Take an entry out; False where there was none."""
        self._key.raw = key
        try:
            self._call(_DELETE)
        except KeyError:
            return False
        return True

    def drain(self, at_most: int) -> Iterator[tuple[bytes, bytes]]:
        """Take out all entries, `at_most` a call (no less than the map's fullest bucket)."""
        keys = ctypes.create_string_buffer(at_most * self._key_size)
        values = ctypes.create_string_buffer(at_most * self._value_size)
        position = ctypes.c_uint64(0)
        started = False
        while True:
            place = ctypes.addressof(position)
            attributes = ctypes.create_string_buffer(
                struct.pack(
                    "=QQQQIIQQ",
                    place if started else 0,
                    place,
                    ctypes.addressof(keys),
                    ctypes.addressof(values),
                    at_most,
                    self.fd,
                    0,
                    0,
                )
            )
            failed = self._raw(_LOOKUP_AND_DELETE_BATCH, attributes)
            (count,) = struct.unpack_from("=I", attributes, 32)
            for index in range(count if failed in (0, errno.ENOENT) else 0):
                yield (
                    keys.raw[index * self._key_size : (index + 1) * self._key_size],
                    values.raw[index * self._value_size : (index + 1) * self._value_size],
                )
            if failed == errno.ENOENT:
                return
            if failed:
                raise SourceError(f"reading a BPF map: {os.strerror(failed)}")
            started = True

    def _call(self, command: int) -> None:
        attributes = ctypes.create_string_buffer(
            struct.pack(
                "=IIQQQ",
                self.fd,
                0,
                ctypes.addressof(self._key),
                0 if command == _DELETE else ctypes.addressof(self._value),
                0,
            )
        )
        failed = self._raw(command, attributes)
        if failed == errno.ENOENT:
            raise KeyError
        if failed:
            raise SourceError(f"BPF map operation: {os.strerror(failed)}")

    def _raw(self, command: int, attributes: "ctypes.Array[ctypes.c_char]") -> int:
        # The size without the NUL that create_string_buffer adds.
        size = ctypes.sizeof(attributes) - 1
        if _libc.syscall(self._number, command, attributes, size) < 0:
            return ctypes.get_errno()
        return 0


class DenyMap:
    """Addresses that the kernel refuses to connect to, for processes in the daemon's scope."""

    def __init__(self, fd: int) -> None:
        self._map = BpfMap(fd, 20, 8)

    def deny(self, address: str, port: int | None, until_ns: int) -> None:
        """Refuse connects to the address (None: on every port) until then, in boot-time ns.

        Raises:
            SourceError: the map is full.
        """
        self._map.set(_denied_key(address, port), struct.pack("=Q", until_ns))

    def allow(self, address: str, port: int | None) -> None:
        """Refuse no longer; nothing happens where nothing was refused."""
        self._map.delete(_denied_key(address, port))


def _denied_key(address: str, port: int | None) -> bytes:
    return packed_address(address) + struct.pack("=HH", port or 0, 0)


def packed_address(address: str) -> bytes:
    """16 bytes, IPv4 as ::ffff:a.b.c.d.

    Raises:
        OSError: not an address.
    """
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return b"\0" * 10 + b"\xff\xff" + socket.inet_pton(socket.AF_INET, address)
