# SPDX-License-Identifier: Apache-2.0
"""Runs the loader and takes over what it attached."""

import json
import os
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firedamp.errors import SourceError

PYTHONS = ("/usr/bin/python3",)
"""Interpreters that may have bcc: it is the distribution's package, for its own Python."""
TIMEOUT_S = 120.0
_LAST_WORDS = 2000
_LOADER = Path(__file__).with_name("loader.py")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one capability.

    `hook` is the one in use, empty for none; `failures` say why the deeper ones were refused.
    """

    capability: str
    hook: str
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Descriptors by name (`map:execs`, `link:connect:0`, …) and how each capability fared."""

    fds: Mapping[str, int]
    attempts: tuple[Attempt, ...]

    def close(self) -> None:
        """Let go of everything: the kernel then detaches every probe."""
        for fd in self.fds.values():
            os.close(fd)


def run_loader(
    *,
    probes: Path,
    cgroup_root: str,
    deny_cgroups: Sequence[str],
    cpu_hz: int,
    scope_uids: bool,
    force: Mapping[str, str] | None = None,
) -> Loaded:
    """Compile, load and attach, in a process of its own.

    Raises:
        SourceError: nothing could be loaded; the text says what is missing.
    """
    request = {
        "probes": str(probes),
        "cgroup_root": cgroup_root,
        "deny_cgroups": list(deny_cgroups),
        "pid_ns": _own_pid_ns(),
        "cpu_hz": cpu_hz,
        "scope_uids": scope_uids,
        "force": dict(force or {}),
    }
    python = next((p for p in PYTHONS if Path(p).exists()), "")
    if not python:
        raise SourceError(f"no Python that could have bcc: {', '.join(PYTHONS)}")
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    said = os.memfd_create("loader")  # the compiler's and the verifier's words
    pid = os.posix_spawn(
        python,
        [python, "-I", str(_LOADER), str(theirs.fileno())],
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        file_actions=[(os.POSIX_SPAWN_DUP2, said, 2)],
        setsigmask=[],
        setsigdef=[signal.SIGPIPE],
    )
    theirs.close()
    ours.settimeout(TIMEOUT_S)
    try:
        ours.sendall(json.dumps(request).encode() + b"\n")
        return _take_over(ours, said)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)  # our own child, not yet waited for: the PID is still its
        raise SourceError(f"the probe loader did not answer: {error}") from error
    finally:
        ours.close()
        os.waitpid(pid, 0)
        os.close(said)


def _take_over(channel: socket.socket, said: int) -> Loaded:
    head, fds, _, _ = socket.recv_fds(channel, 4, 253)
    (expected,) = struct.unpack("<I", head) if len(head) == 4 else (-1,)
    while 0 <= len(fds) < expected:
        more, new, _, _ = socket.recv_fds(channel, 1, 253)
        if not more:
            break
        fds += new
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the call takes no keyword
    text = b""
    while chunk := channel.recv(65536):
        text += chunk
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {"error": "it ended before it answered"}
    if "error" in answer or len(fds) != expected:
        for fd in fds:
            os.close(fd)
        reason = answer.get("error", "descriptors were lost on the way")
        words = os.pread(said, 1 << 20, 0).decode(errors="replace").strip()[-_LAST_WORDS:]
        raise SourceError(f"probes cannot be loaded: {reason}" + (words and f"\n{words}"))
    return Loaded(
        fds=dict(zip(answer["names"], fds, strict=True)),
        attempts=tuple(
            Attempt(entry["capability"], entry["hook"], tuple(entry["failures"]))
            for entry in answer["log"]
        ),
    )


def _own_pid_ns() -> int:
    """Inode of our PID namespace; 0 for the initial one, whose numbers need no translation."""
    initial = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
    inode = Path("/proc/self/ns/pid").stat().st_ino
    return 0 if inode == initial else inode
