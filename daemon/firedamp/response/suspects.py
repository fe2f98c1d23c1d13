# SPDX-License-Identifier: Apache-2.0
"""Which files a process runs, and which of them may be taken from it.

Hard rules, which no setting switches off:

1. A file that a package owns stays. So does an interpreter, packaged or not: its script is
   what matters.
2. A file stays that its user could not have brought: it belongs neither to a user of the
   processes nor lies in a temporary place, and none of them is root's. Whoever loads code into
   somebody else's program (LD_PRELOAD, PYTHONPATH, ptrace) is killed; the program is not the
   trojan, and would be taken from those who need it.

Arguments can be rewritten by the process, so a script is a suspect only under these rules too.
"""

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from firedamp.analysis.script import INTERPRETERS, script_path
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.errors import ActionError, Refused
from firedamp.events.model import Event, ProcessKey
from firedamp.response.files import Place, locate
from firedamp.response.host import Host, Image
from firedamp.response.packages import Packages

_VERSION = re.compile(r"[-.]?\d[\d.]*[a-z]?$")
_ALSO = frozenset({"nodejs", "luajit", "php-cli", "busybox", "env", "awk", "gawk", "mawk", "deno"})
_PROGRAM_DIRECTORIES = frozenset({"bin", "sbin", "libexec"})
_TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/", "/dev/mqueue/")  # noqa: S108


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An open file that a process runs. Close it."""

    kind: str
    """`executable` or `script`."""
    inner_path: str
    """What the process calls it."""
    path: str
    """What we call it; the same unless the process has mounts of its own."""
    fd: int
    place: Place | None
    """Its name; None where it has none any more, or none in the daemon's own mounts."""

    @property
    def why_unplaced(self) -> str:
        if os.fstat(self.fd).st_nlink == 0:
            return "it had no name any more"
        return "its name is not in the daemon's own mounts"

    def close(self) -> None:
        os.close(self.fd)
        if self.place is not None:
            self.place.close()


def suspects(host: Host, key: ProcessKey) -> Iterator[Suspect]:
    """The executable of a process, and the script if it runs one.

    Raises:
        ActionError: the process is gone.
    """
    image = host.image(key)
    yield _suspect(host, key, "executable", path=image.path, fd=host.open_image(key))
    path = _script_path(host, key, image)
    fd = _open_script(host, key, path) if path else None
    if fd is not None:
        yield _suspect(host, key, "script", path=os.readlink(f"/proc/self/fd/{fd}"), fd=fd)


def _suspect(host: Host, key: ProcessKey, kind: str, *, path: str, fd: int) -> Suspect:
    try:
        names = host.names_here(key, path)
    except ActionError:
        names = (path,)
    for name in names:
        place = _place(name, fd)
        if place is not None:
            return Suspect(kind=kind, inner_path=path, path=name, fd=fd, place=place)
    return Suspect(kind=kind, inner_path=path, path=path, fd=fd, place=None)


def may_be_taken(
    suspect: Suspect, users: frozenset[int], packages: tuple[Packages, Packages]
) -> None:
    """Return if the file may be moved away from processes of these users.

    `packages` are the host's, and those of the root that the process sees.

    Raises:
        Refused: it must stay; the text says why.
    """
    if suspect.kind == "executable" and is_interpreter(suspect.inner_path):
        raise Refused(f"{suspect.path} is an interpreter: what it runs is the matter")
    for database, path in ((packages[0], suspect.path), (packages[1], suspect.inner_path)):
        if owner := database.owner(path):
            raise Refused(f"{path} belongs to the package {owner}")
    uid = os.fstat(suspect.fd).st_uid
    if uid not in users and 0 not in users and not suspect.path.startswith(_TEMPORARY):
        raise Refused(f"{suspect.path} belongs to another user (UID {uid}), who may need it")


def is_interpreter(path: str) -> bool:
    """By name and place: a trojan may call itself perl, but seldom lives in a `bin`."""
    directory, name = posixpath.split(path)
    if path.startswith(_TEMPORARY) or posixpath.basename(directory) not in _PROGRAM_DIRECTORIES:
        return False
    return _VERSION.sub("", name) in INTERPRETERS or _VERSION.sub("", name) in _ALSO


def _script_path(host: Host, key: ProcessKey, image: Image) -> str | None:
    try:
        words, cwd = host.argv(key), host.cwd(key)
    except ActionError:
        return None
    process = Process(key=key, image=image.path, argv=words, cwd=cwd)
    event = Event(at_ns=0, process=key)
    path = script_path(Observed(event=event, process=process, host=HostContext()))
    return str(path) if path else None


def _open_script(host: Host, key: ProcessKey, path: str) -> int | None:
    """Open it as the process would; a link on the way is followed once, here and never later."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
    try:
        if host.shares_mounts(key):
            fd = os.open(path, flags)
        else:
            # An absolute link in there would lead to a file of ours.
            place = locate(path, host.root(key))
            try:
                fd = os.open(place.name, flags | os.O_NOFOLLOW, dir_fd=place.directory)
            finally:
                place.close()
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def _place(path: str, fd: int) -> Place | None:
    """Find the name of an open file: it must lead to that very file."""
    try:
        place = locate(path)
    except OSError:
        return None
    try:
        if os.path.samestat(place.status(), os.fstat(fd)):
            return place
    except OSError:
        pass
    place.close()
    return None
