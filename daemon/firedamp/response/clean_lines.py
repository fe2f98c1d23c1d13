# SPDX-License-Identifier: Apache-2.0
"""Taking lines out of a file that others use, too, and putting them back.

The file is changed in place, not exchanged for another: so it keeps its inode, its names, owner,
access list and attributes without our doing, and who has it open still has the right one. What
in-place changes are feared for is answered:

- A writer in between. We ask the kernel for a write lease, which it grants only while nobody
  else has the file open, and which lets everybody else wait until we are done. If somebody keeps
  it open for longer than we wait, we go on without, and look again at the last moment.
- A crash in between. The whole file is in the vault and the intent in the ledger by then, and
  from both it can be told how far we came (`resume`).

The time of the last change is not hidden: cron reads a table anew only if its time is another.
"""

import fcntl
import os
import signal
import stat
import time
from collections.abc import Collection, Sequence
from typing import Literal

from firedamp.errors import ActionError, Refused
from firedamp.response import files

MAX_BYTES = 1 << 20
"""A larger file is none in which people keep what is to be started."""
_LEASE_S = 0.3
_LEASE_PAUSE_S = 0.001
_CUT = "…"
"""Stands for the middle of a line that was too long to be told whole."""
_CUT_CHARS = 1000
"""A line that is told in fewer characters is told whole."""

Span = tuple[int, int]
"""Where a line begins, and its length, its end included."""


def spans_of(content: bytes, lines: Collection[str]) -> tuple[Span, ...]:
    """Where exactly these lines are."""
    whole = {os.fsencode(line) for line in lines}
    cut = [line.partition(_CUT)[::2] for line in lines if _CUT in line and len(line) > _CUT_CHARS]
    ends = [(os.fsencode(head), os.fsencode(tail)) for head, tail in cut]
    found = []
    start = 0
    for line in content.splitlines(keepends=True):
        bare = line.rstrip(b"\r\n")
        if bare and (bare in whole or any(_is_between(bare, head, tail) for head, tail in ends)):
            found.append((start, len(line)))
        start += len(line)
    return tuple(found)


def without(content: bytes, spans: Sequence[Span]) -> bytes:
    """The content but for these spans, which are in order."""
    kept, start = [], 0
    for begin, length in spans:
        kept.append(content[start:begin])
        start = begin + length
    return b"".join((*kept, content[start:]))


def put_back(content: bytes, before: bytes, spans: Sequence[Span]) -> bytes:
    """Put the spans of `before` into what has become of the rest, each after what it followed.

    A line that came after one which is gone too goes to the end.
    """
    for begin, length in spans:
        line = before[begin : begin + length]
        if line in content.splitlines(keepends=True):
            continue
        at = _after(content, before[:begin])
        if at and not content[:at].endswith(b"\n"):
            line = b"\n" + line
        content = content[:at] + line + content[at:]
    return content


def open_to_read(place: files.Place) -> int:
    """Open a plain file, without a trace.

    Raises:
        Refused: it is something else; the text says what.
        OSError: it is not there.
    """
    if not stat.S_ISREG(place.status().st_mode):
        raise Refused("it is no plain file")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
    fd = os.open(place.name, flags, dir_fd=place.directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused("it is no plain file")
    return fd


def read(fd: int) -> bytes:
    """All of it.

    Raises:
        ActionError: it has grown beyond measure.
    """
    content = os.pread(fd, MAX_BYTES + 1, 0)
    if len(content) > MAX_BYTES:
        raise ActionError("it has grown too large")
    return content


def reopen(fd: int) -> int:
    """The same open file, for writing."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
    return os.open(f"/proc/self/fd/{fd}", flags)


def lease(fd: int) -> bool:
    """Be the only one who has it open, until it is closed; waits a moment for others to close it.

    False: somebody keeps it open, or this file system has no leases.
    """
    # Who wants to open it has the kernel send us a signal, and SIGIO would end us.
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    until = time.monotonic() + _LEASE_S
    while time.monotonic() < until:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            time.sleep(_LEASE_PAUSE_S)
        except OSError:
            return False
        else:
            return True
    return False


def rewrite(fd: int, before: bytes, after: bytes) -> None:
    """Make `after` of a file that is `before`; what was appended this moment stays.

    Raises:
        ActionError: it is not what it was; nothing is changed.
        OSError: there is no room; nothing is changed, or `resume` tells how far it went.
    """
    if read(fd) != before:
        raise ActionError("it was changed while it was looked at")
    _write(fd, after, 0)
    if len(after) < len(before):
        tail = os.pread(fd, MAX_BYTES, len(before))
        _write(fd, tail, len(after))
        os.ftruncate(fd, len(after) + len(tail))
    os.fsync(fd)


def resume(content: bytes, before: bytes, after: bytes) -> Literal["before", "after", "torn", ""]:
    """How far a rewriting came that was cut off; empty: somebody else has been there since."""
    if content == before:
        return "before"
    if content == after:
        return "after"
    pairs = enumerate(zip(content, after, strict=False))
    common = next((at for at, (one, other) in pairs if one != other), len(after))
    is_torn = len(content) == len(before) and content[common:] == before[common:]
    return "torn" if is_torn else ""


def _write(fd: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _is_between(line: bytes, head: bytes, tail: bytes) -> bool:
    return len(line) > len(head) + len(tail) and line.startswith(head) and line.endswith(tail)


def _after(content: bytes, before: bytes) -> int:
    """Where in `content` the last line of `before` ends; the end if it is not there."""
    if not before:
        return 0
    anchor = before.splitlines(keepends=True)[-1]
    start = 0
    for line in content.splitlines(keepends=True):
        start += len(line)
        if line == anchor:
            return start
    return len(content)
