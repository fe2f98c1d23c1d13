# SPDX-License-Identifier: Apache-2.0
import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from firedamp.events import wire

INCLUDE = Path(__file__).parents[2] / "probes" / "include"
HEADER = (INCLUDE / "wire.h").read_text()

each_mirror = pytest.mark.parametrize("mirror", wire.MIRRORS, ids=lambda mirror: mirror.c_name)


def assertions(mirror: type[ctypes.Structure]) -> str:
    """Everything Python believes about one struct, as C that compiles only if it is true."""
    struct = f"struct {mirror.c_name}"
    lines = [f'_Static_assert(sizeof({struct}) == {ctypes.sizeof(mirror)}, "size of {struct}");']
    for name, *_ in mirror._fields_:
        field = getattr(mirror, name)
        lines.append(
            f"_Static_assert(__builtin_offsetof({struct}, {name}) == {field.offset},"
            f' "{struct}.{name} moved");'
        )
        lines.append(
            f"_Static_assert(sizeof((({struct} *)0)->{name}) == {field.size},"
            f' "{struct}.{name} resized");'
        )
    return "\n".join(lines)


def compiler_says(source: str) -> str:
    """What the compiler objects to in `source`, or the empty string."""
    result = subprocess.run(
        ["cc", "-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", f"-I{INCLUDE}", "-x", "c", "-"],
        input=source,
        text=True,
        capture_output=True,
        check=False,
    )
    return result.stderr if result.returncode else ""


def code_of(header: str) -> str:
    """The header without its comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)


def bodies() -> dict[str, str]:
    """The members of each struct in wire.h, by the struct's name."""
    found = re.findall(r"struct\s+(\w+)\s*\{([^}]*)\}", code_of(HEADER))
    return dict(found)


@each_mirror
def test_mirror_matches_header(mirror):
    """
    Each member has in Python the place and the size that it has in C.
    """
    assert compiler_says(f'#include "wire.h"\n{assertions(mirror)}\n') == ""


@each_mirror
def test_mirror_has_no_implicit_padding(mirror):
    """
    Holes are spelled out, so that no byte of kernel memory crosses unnoticed.
    """
    members = sum(getattr(mirror, name).size for name, *_ in mirror._fields_)

    assert members == ctypes.sizeof(mirror), "spell the hole out as a pad member"


def test_every_struct_in_the_header_has_a_mirror():
    """
    A record that Python does not know is a record that nobody decodes.
    """
    assert set(bodies()) == {mirror.c_name for mirror in wire.MIRRORS}


@pytest.mark.parametrize(("struct", "body"), bodies().items(), ids=bodies())
def test_members_have_fixed_widths(struct, body):
    """
    Only what has one size on every machine crosses: no int, long, enum or pointer.
    """
    members = [member.strip() for member in body.split(";") if member.strip()]
    allowed = re.compile(r"(__[us](8|16|32|64)|char|struct wire_\w+)\s+\w+(\[\w+\])*")

    assert [member for member in members if not allowed.fullmatch(member)] == []


def test_nothing_is_packed():
    """
    Packed members are stored byte by byte in the kernel; layout aligns them instead.
    """
    assert "packed" not in code_of(HEADER)
