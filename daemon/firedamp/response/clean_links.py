# SPDX-License-Identifier: Apache-2.0
"""Taking symbolic links away and putting them back. None is ever followed."""

import os
from collections.abc import Mapping
from typing import cast

from firedamp.errors import ActionError
from firedamp.response import files


def facts_of(place: files.Place, fd: int) -> dict[str, object]:
    """All that a link is, and where; `fd` is the link itself (O_PATH)."""
    status, directory = os.fstat(fd), os.fstat(place.directory)
    return {
        "to": os.readlink("", dir_fd=fd),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "times": [status.st_atime_ns, status.st_mtime_ns],
        "device": status.st_dev,
        "inode": status.st_ino,
        "private": f".firedamp-{os.urandom(8).hex()}",
        "directory_flags": files.inode_flags(place.directory),
        "directory_times": [directory.st_atime_ns, directory.st_mtime_ns],
    }


def take(place: files.Place, fd: int, private: str) -> int:
    """Remove it; returns when its directory was changed by that.

    Raises:
        ActionError: something else has its name by now.
        OSError: it cannot be removed.
    """
    with files.unlocked(place.directory):
        files.take_away(place, fd, private)
    return os.fstat(place.directory).st_mtime_ns


def finish_taking(place: files.Place, undo: Mapping[str, object]) -> bool:
    """After a crash: True if it is gone, False if it is in its place."""
    device, inode = cast("int", undo["device"]), cast("int", undo["inode"])
    with files.unlocked(place.directory):
        taken = files.finish_taking(place, str(undo["private"]), device, inode)
    files.set_inode_flags(place.directory, cast("int", undo["directory_flags"]))
    return taken


def put_back(place: files.Place, undo: Mapping[str, object], *, force: bool) -> None:
    """Make it anew as it was.

    Raises:
        FileExistsError: the name is taken, and `force` is not set.
        ActionError: what is there is more than a file or link, which is not replaced.
        OSError: it cannot be made.
    """
    before = os.fstat(place.directory)
    with files.unlocked(place.directory):
        if force:
            _make_room(place)
        os.symlink(str(undo["to"]), place.name, dir_fd=place.directory)
        os.chown(
            place.name,
            cast("int", undo["uid"]),
            cast("int", undo["gid"]),
            dir_fd=place.directory,
            follow_symlinks=False,
        )
        atime, mtime = cast("list[int]", undo["times"])
        os.utime(place.name, ns=(atime, mtime), dir_fd=place.directory, follow_symlinks=False)
        if before.st_mtime_ns == undo.get("directory_mtime_after"):
            times = cast("list[int]", undo["directory_times"])
            os.utime(place.directory, ns=(times[0], times[1]))


def _make_room(place: files.Place) -> None:
    try:
        os.unlink(place.name, dir_fd=place.directory)
    except FileNotFoundError:
        pass
    except IsADirectoryError as error:
        raise ActionError("a directory is there by now") from error
