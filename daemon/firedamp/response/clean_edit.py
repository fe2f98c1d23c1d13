# SPDX-License-Identifier: Apache-2.0
"""The steps around a change of lines: vault and ledger before it, locks and times after it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import cast

from firedamp.errors import ActionError, Refused
from firedamp.response import clean_lines, files
from firedamp.response.base import Intend
from firedamp.response.clean_finds import Find
from firedamp.response.vault import Vault

Undo = Mapping[str, object]


def take(vault: Vault, found: Find, intend: Intend) -> dict[str, object]:
    """Take the lines out; returns what undoing needs.

    Raises:
        ActionError: the vault or the ledger cannot take it, or the file changed. Nothing is done.
        OSError: the file cannot be written.
    """
    data = files.metadata(found.fd)
    undo: dict[str, object] = {}
    is_locked = files.is_locked(found.fd)
    if is_locked:
        # It can be opened for writing only after that was written down; and till then by nobody.
        undo = _undo_of(vault, found, found.fd, data)
        intend(found.path, undo)
    with _writable(found.give_up(), data["flags"]) as fd:
        if not is_locked:
            undo = _undo_of_busy(vault, found, fd, data)
            intend(found.path, undo)
        clean_lines.rewrite(fd, found.content, clean_lines.without(found.content, found.spans))
    _touch(found.where)
    undo["directory_mtime_after"] = os.fstat(found.where.directory).st_mtime_ns
    return undo


def put_back(vault: Vault, path: str, undo: Undo, *, force: bool) -> str:
    """Put the lines back at their places; returns what is to be said of it, if anything.

    Raises:
        Refused: the file is another by now, and `force` is not set.
        ActionError: the vault cannot give it.
        OSError: it cannot be written.
    """
    before, spans = _before(vault, undo)
    data = cast("files.Metadata", undo["metadata"])
    place = files.locate(path)
    try:
        directory = os.fstat(place.directory)
        try:
            fd = clean_lines.open_to_read(place)
        except FileNotFoundError:
            if not force:
                raise Refused("it is gone by now; --force makes it anew, as it was") from None
            return _make_anew(vault, place, undo)
        with _writable(fd, files.inode_flags(fd)) as writable:
            current = clean_lines.read(writable)
            if current == before:
                return "all of it was back already"
            new, remark = before, ""
            if current != clean_lines.without(before, spans):
                if not force:
                    raise Refused("it was changed since; --force puts the lines in all the same")
                new = clean_lines.put_back(current, before, spans)
                remark = "it was changed since, and that was kept"
            clean_lines.rewrite(writable, current, new)
            if new == before:
                os.utime(writable, ns=(data["atime_ns"], data["mtime_ns"]))
        _date_back(place, directory, undo)
    finally:
        place.close()
    return remark


def finish(vault: Vault, path: str, undo: Undo) -> bool:
    """After a crash: True if the lines are out, False if they are in.

    Raises:
        ActionError: the vault cannot tell, or somebody else has changed it since.
        OSError: it cannot be looked at.
    """
    before, spans = _before(vault, undo)
    after = clean_lines.without(before, spans)
    place = files.locate(path)
    try:
        fd = clean_lines.open_to_read(place)
        with _writable(fd, cast("files.Metadata", undo["metadata"])["flags"]) as writable:
            content = clean_lines.read(writable)
            how_far = clean_lines.resume(content, before, after)
            if not how_far:
                kept = undo["vault"]
                raise ActionError(f"it was changed since; as it was, it is in the vault: {kept}")
            if how_far == "torn":
                clean_lines.rewrite(writable, content, after)
        if how_far != "before":
            _touch(place)
    finally:
        place.close()
    return how_far != "before"


def _undo_of(vault: Vault, found: Find, fd: int, data: files.Metadata) -> dict[str, object]:
    """Keep it as it is at this moment, and look for the lines in just that."""
    kept = vault.keep(fd)
    found.content = _kept(vault, kept)
    found.spans = clean_lines.spans_of(found.content, found.wanted)
    if not found.spans:
        raise ActionError("it was changed meanwhile, and they are not in it any more")
    status, directory = os.fstat(fd), os.fstat(found.where.directory)
    return {
        "vault": kept,
        "spans": [list(span) for span in found.spans],
        "metadata": {**data, "size": status.st_size, "mtime_ns": status.st_mtime_ns},
        "private": f".firedamp-{os.urandom(8).hex()}",
        "directory_times": [directory.st_atime_ns, directory.st_mtime_ns],
    }


def _undo_of_busy(vault: Vault, found: Find, fd: int, data: files.Metadata) -> dict[str, object]:
    """The same of a file that somebody may have open and write to: then wait for him once more."""
    try:
        return _undo_of(vault, found, fd, data)
    except ActionError:
        if not clean_lines.lease(fd):
            raise
    return _undo_of(vault, found, fd, data)


@contextlib.contextmanager
def _writable(fd: int, flags: int) -> Iterator[int]:
    """The same file open for writing, by us alone if that can be had; `fd` is closed.

    Its locks are opened, and in the end its inode flags are these.
    """
    try:
        files.unlock(fd)
        writable = clean_lines.reopen(fd)
    except BaseException:
        files.set_inode_flags(fd, flags)
        raise
    finally:
        os.close(fd)  # it would stand in our own way
    try:
        clean_lines.lease(writable)
        yield writable
    finally:
        files.set_inode_flags(writable, flags)
        os.close(writable)  # which ends the lease


def _touch(place: files.Place, times: tuple[int, int] | None = None) -> None:
    """Cron looks into a directory only if its time is another than it was at the last look.

    The lines are out, or in, already: nothing of this is worth to fail for.
    """
    with contextlib.suppress(OSError), files.unlocked(place.directory):
        os.utime(place.directory, ns=times) if times else os.utime(place.directory)


def _date_back(place: files.Place, before: os.stat_result, undo: Undo) -> None:
    """If nobody changed the directory since, nobody needs to see that we did; cron sees it."""
    if before.st_mtime_ns != undo.get("directory_mtime_after"):
        return _touch(place)
    atime, mtime = cast("list[int]", undo["directory_times"])
    return _touch(place, (atime, mtime))


def _make_anew(vault: Vault, place: files.Place, undo: Undo) -> str:
    source = vault.open(str(undo["vault"]))
    try:
        data = cast("files.Metadata", undo["metadata"])
        with files.unlocked(place.directory):
            missing = files.put(place, source, data, str(undo["private"]), replace=False)
    finally:
        os.close(source)
    return "; ".join(missing)


def _before(vault: Vault, undo: Undo) -> tuple[bytes, list[clean_lines.Span]]:
    spans = [(begin, length) for begin, length in cast("list[list[int]]", undo["spans"])]
    return _kept(vault, str(undo["vault"])), spans


def _kept(vault: Vault, name: str) -> bytes:
    source = vault.open(name)
    try:
        return clean_lines.read(source)
    finally:
        os.close(source)
