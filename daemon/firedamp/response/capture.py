# SPDX-License-Identifier: Apache-2.0
"""Keep what only the living processes can tell: before they are killed, and their files taken.

One directory an incident, one below it for each process: what it was called with, where, with
which files, sockets and maps open, and its executable, from the running image itself, so also
where that was deleted or never had a name. Values that look secret are masked.
"""

import json
import os
import re
from typing import ClassVar

from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey
from firedamp.policy.types import ActionName, Decision
from firedamp.response.base import Intend, Outcome, Receipt
from firedamp.response.files import copy
from firedamp.response.host import Host, describe
from firedamp.response.members import Members

_MOST_PROCESSES = 64
_LONGEST = 1 << 20
_LARGEST_IMAGE = 256 << 20
_TEXTS = ("maps", "status", "stat", "cgroup", "limits", "mountinfo", "wchan")
_SECRET = re.compile(
    rb"(?i)^(-{0,2}[\w.-]*(?:pass|pwd|secret|token|api[_-]?key|credential|private|cookie|session"
    rb"|auth|connection[_-]?string|database[_-]?url|dsn)[\w.-]*)=(.+)$",
    re.DOTALL,
)
_MASK = rb"\1=***"


class Capture:
    name: ClassVar[ActionName] = "capture"
    reversible: ClassVar[bool] = False

    def __init__(self, host: Host, directory: str) -> None:
        """`directory` holds the incidents; it is made when it is first needed."""
        self._host = host
        self._directory = directory

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        return tuple(describe(self._host, key) for key in members.keys[:_MOST_PROCESSES])

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        incident = f"{self._directory}/{_safe(decision.alert.incident)}"
        step = intend(incident, {})
        receipts = []
        images: set[tuple[int, int]] = set()
        for key in members.keys[:_MOST_PROCESSES]:
            target = describe(self._host, key)
            try:
                self._capture(key, f"{incident}/{key.pid}-{key.started_ticks}", images)
                receipts.append(self._receipt("done", target, incident, step))
            except (OSError, ActionError) as error:
                why = getattr(error, "strerror", None) or str(error)
                receipts.append(self._receipt("failed", target, f"not captured: {why}", step))
        if len(members.keys) > _MOST_PROCESSES:
            rest = f"{len(members.keys) - _MOST_PROCESSES} more processes"
            why = f"only the first {_MOST_PROCESSES} are captured"
            receipts.append(self._receipt("refused", rest, why, step))
        return tuple(receipts)

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        return self._receipt("refused", receipt.target, "evidence is not thrown away", 0)

    def _capture(self, key: ProcessKey, directory: str, images: set[tuple[int, int]]) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        proc = f"/proc/{key.pid}"
        facts = {
            "process": list(key),
            "exe": _link(f"{proc}/exe"),
            "cwd": _link(f"{proc}/cwd"),
            "root": _link(f"{proc}/root"),
            "argv": _words(f"{proc}/cmdline"),
            "environ": _words(f"{proc}/environ"),
            "files": _links(f"{proc}/fd"),
            "namespaces": _links(f"{proc}/ns"),
        }
        self._host.stat(key)  # what was read so far is about this process, or this raises
        _write(f"{directory}/process.json", json.dumps(facts, indent=1).encode("ascii"))
        for name in _TEXTS:
            _write(f"{directory}/{name}", _read(f"{proc}/{name}"))
        for protocol in ("tcp", "tcp6", "udp", "udp6", "unix"):
            _write(f"{directory}/net-{protocol}", _read(f"{proc}/net/{protocol}"))
        self._capture_image(key, f"{directory}/exe", images)

    def _capture_image(self, key: ProcessKey, path: str, images: set[tuple[int, int]]) -> None:
        source = self._host.open_image(key)
        try:
            status = os.fstat(source)
            inode = (status.st_dev, status.st_ino)
            if inode in images or status.st_size > _LARGEST_IMAGE:
                return
            images.add(inode)
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                copy(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _receipt(self, outcome: Outcome, target: str, reason: str, step: int) -> Receipt:
        return Receipt(action=self.name, outcome=outcome, target=target, reason=reason, step=step)


def mask(word: bytes) -> bytes:
    """`NAME=value` without the value, where the name says that it is secret."""
    return _SECRET.sub(_MASK, word)


def _words(path: str) -> list[str]:
    words = _read(path).removesuffix(b"\0").split(b"\0")
    return [os.fsdecode(mask(word)) for word in words]


def _links(directory: str) -> dict[str, str]:
    try:
        return {name: _link(f"{directory}/{name}") for name in os.listdir(directory)}
    except OSError:
        return {}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError as error:
        return f"({error.strerror})"


def _read(path: str) -> bytes:
    """The beginning of a file in /proc, or why it could not be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_LONGEST)
    except OSError as error:
        return f"({error.strerror})".encode()


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(content)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "incident"
