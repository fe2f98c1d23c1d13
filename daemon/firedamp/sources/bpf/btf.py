# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel's own type information, as far as header writing needs it.

Format: Documentation/bpf/btf.rst in the kernel source. Standard library only, because the
loader runs under the distribution's Python.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

INT, PTR, ARRAY, STRUCT, UNION, ENUM = 1, 2, 3, 4, 5, 6
_FORWARDS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag
_FIXED_EXTRA = {1: 4, 3: 12, 14: 4, 17: 4}  # kind -> bytes after the common part
_MEMBER_EXTRA = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # kind -> bytes a member
_COMMON = struct.Struct("<III")


class RawType(NamedTuple):
    """A type's common part. `size` is a type id for pointers, typedefs and qualifiers."""

    name_offset: int
    kind: int
    size: int
    member_count: int
    has_bitfields: bool


class Member(NamedTuple):
    """A member of a structure, members of anonymous structures inside it included."""

    name: str
    bit_offset: int
    bit_size: int
    """0 for an ordinary member, which begins on a byte."""
    type_id: int


class Btf:
    """The types of one kernel."""

    def __init__(self, blob: bytes) -> None:
        magic, _, _, header_len, type_off, type_len, str_off, str_len = struct.unpack_from(
            "<HBBIIIII", blob
        )
        if magic != 0xEB9F:
            raise ValueError("not BTF: wrong magic number")
        strings = header_len + str_off
        self._blob = blob
        self._strings = blob[strings : strings + str_len]
        self._at = [0]
        self._structs: dict[str, int] = {}
        named: list[tuple[int, int]] = []
        position, end = header_len + type_off, header_len + type_off + type_len
        while position < end:
            name, info, _ = _COMMON.unpack_from(blob, position)
            kind, members = (info >> 24) & 31, info & 0xFFFF
            if kind == STRUCT and name:
                named.append((name, len(self._at)))
            self._at.append(position)
            position += 12 + _FIXED_EXTRA.get(kind, 0) + _MEMBER_EXTRA.get(kind, 0) * members
        for offset, type_id in named:
            self._structs.setdefault(self.name(offset), type_id)

    def name(self, offset: int) -> str:
        """The string at an offset of the string section."""
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def struct(self, name: str) -> int | None:
        """The type id of a structure, None where this kernel has none of that name."""
        return self._structs.get(name)

    def raw(self, type_id: int) -> RawType:
        """A type's common part."""
        name, info, size = _COMMON.unpack_from(self._blob, self._at[type_id])
        return RawType(name, (info >> 24) & 31, size, info & 0xFFFF, bool(info >> 31))

    def members(self, type_id: int, base: int = 0) -> Iterator[Member]:
        """A structure's members; anonymous structures and unions are looked through."""
        raw = self.raw(type_id)
        for index in range(raw.member_count):
            at = self._at[type_id] + 12 + 12 * index
            name, member_type, offset = _COMMON.unpack_from(self._blob, at)
            bits = 0
            if raw.has_bitfields:
                bits, offset = offset >> 24, offset & 0xFFFFFF
            if name:
                yield Member(self.name(name), base + offset, bits, member_type)
            elif self.raw(self.strip(member_type)).kind in (STRUCT, UNION):
                yield from self.members(self.strip(member_type), base + offset)

    def strip(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        while type_id and self.raw(type_id).kind in _FORWARDS:
            type_id = self.raw(type_id).size
        return type_id

    def size(self, type_id: int) -> int:
        """Size in bytes."""
        raw = self.raw(self.strip(type_id))
        if raw.kind == PTR:
            return 8
        if raw.kind == ARRAY:
            at = self._at[self.strip(type_id)] + 12
            element, _, count = _COMMON.unpack_from(self._blob, at)
            return int(self.size(element) * count)
        return raw.size

    def pointed_struct(self, type_id: int) -> str:
        """For a pointer to a named structure, that name; else empty."""
        raw = self.raw(self.strip(type_id))
        if raw.kind != PTR:
            return ""
        target = self.strip(raw.size)
        if not target or self.raw(target).kind != STRUCT:
            return ""
        return self.name(self.raw(target).name_offset)
