# SPDX-License-Identifier: Apache-2.0
"""Compiles, loads and attaches the probes, hands over the descriptors, and exits.

A process of its own, and the only file that imports bcc: the compiler inside bcc costs a
hundred megabytes, which end with this process. It runs under the distribution's Python (the
only one that has bcc) with nothing but the standard library.

What is attached lives as long as somebody holds its descriptor: when the daemon dies, however
it dies, the kernel takes every probe out. So nothing here uses bcc's `attach_func` for cgroups,
which stays attached, and the exit skips bcc's own clean-up, which would detach.

Usage: loader.py FD, with a Unix socket on FD: one JSON request comes in, one JSON answer with
descriptors goes out. The request: {"probes": DIR, "cgroup_root": DIR, "deny_cgroups": [DIR…],
"pid_ns": inode or 0, "cpu_hz": n, "scope_uids": bool, "force": {capability: hook}}.
"""

import ctypes
import json
import os
import platform
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# At the end, so that nothing beside the package can take the place of a module of this Python.
sys.path.append(str(Path(__file__).resolve().parents[3]))

SOURCES = ("emit.c", "process.c", "network.c", "cpu.c", "file.c", "enforce.c")
RINGS = ("execs", "tasks", "connects", "payloads", "dns", "files")
MAPS = ("dropped", "owners", "samples", "watched", "watched_bits", "denied", "made")
RAW_TRACEPOINT, CGROUP_SKB, CGROUP_SOCK_ADDR, PERF_EVENT = 17, 8, 18, 7
BPF_LINK_CREATE = 28
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_ATTACH = {
    "cgroup/connect4": (CGROUP_SOCK_ADDR, 10),
    "cgroup/connect6": (CGROUP_SOCK_ADDR, 11),
    "cgroup/sendmsg4": (CGROUP_SOCK_ADDR, 14),
    "cgroup/sendmsg6": (CGROUP_SOCK_ADDR, 15),
    "cgroup_skb/ingress": (CGROUP_SKB, 0),
    "cgroup_skb/egress": (CGROUP_SKB, 1),
}

Hook = tuple[str, str]  # (where it is attached, function)

# For each capability the ways to have it, the deepest first; a way is taken whole or not at all.
WAYS: dict[str, tuple[tuple[str, tuple[Hook, ...]], ...]] = {
    "exec": (("raw tracepoint sched_process_exec", (("raw:sched_process_exec", "on_exec"),)),),
    "fork": (("raw tracepoint sched_process_fork", (("raw:sched_process_fork", "on_fork"),)),),
    "exit": (("raw tracepoint sched_process_exit", (("raw:sched_process_exit", "on_exit"),)),),
    "rename": (("raw tracepoint task_rename", (("raw:task_rename", "on_rename"),)),),
    "connect": (
        (
            "cgroup connect4/6, sendmsg4/6",
            (
                ("cgroup/connect4", "on_connect4"),
                ("cgroup/connect6", "on_connect6"),
                ("cgroup/sendmsg4", "on_sendmsg4"),
                ("cgroup/sendmsg6", "on_sendmsg6"),
            ),
        ),
        (
            "raw tracepoint inet_sock_set_state",
            (("raw:inet_sock_set_state", "on_sock_state"),),
        ),
    ),
    "payload": (
        (
            "cgroup skb egress/ingress",
            (("cgroup_skb/egress", "on_egress"), ("cgroup_skb/ingress", "on_ingress")),
        ),
    ),
    "deny": (
        (
            "cgroup connect4/6, sendmsg4/6 verdict",
            (
                ("cgroup/connect4", "deny_4"),
                ("cgroup/connect6", "deny_6"),
                ("cgroup/sendmsg4", "deny_4"),
                ("cgroup/sendmsg6", "deny_6"),
            ),
        ),
    ),
    "cpu": (("perf event cpu-clock", (("perf", "on_cpu_sample"),)),),
    "file store": (
        (
            "raw tracepoints writeback_mark_inode_dirty, ext4_mark_inode_dirty",
            (
                ("raw:writeback_mark_inode_dirty", "on_inode_dirty"),
                ("raw:ext4_mark_inode_dirty", "on_ext4_inode_dirty"),
            ),
        ),
        (
            "raw tracepoint writeback_mark_inode_dirty",
            (("raw:writeback_mark_inode_dirty", "on_inode_dirty"),),
        ),
    ),
}


class CannotAttachError(Exception):
    """A hook is not to be had on this kernel; the text is the kernel's reason."""


class Loader:
    """One compilation unit and what of it could be attached."""

    def __init__(self, request: dict[str, Any], bcc: Any) -> None:
        self._request = request
        self._bcc = bcc
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.log: list[dict[str, Any]] = []
        self.fds: list[int] = []
        self.names: list[str] = []
        probes = Path(request["probes"]).resolve()
        flags = ["-Wno-everything", f"-I{probes / 'include'}"]
        if request.get("pid_ns"):
            flags.append(f"-DDAEMON_PID_NS={request['pid_ns']}u")
        if request.get("scope_uids"):
            flags.append("-DSCOPE_UIDS=1")
        text = "".join(f'#line 1 "{name}"\n{(probes / name).read_text()}\n' for name in SOURCES)
        self.bpf = bcc.BPF(text=text, cflags=flags)

    def hand_over(self, name: str, fd: int) -> None:
        """Remember a descriptor to be sent."""
        self.names.append(name)
        self.fds.append(fd)

    def attach_all(self) -> None:
        """For each capability take the first way that loads and attaches."""
        for capability, ways in WAYS.items():
            forced = self._request.get("force", {}).get(capability)
            failures: list[str] = []
            chosen = ""
            for hook, functions in ways:
                if forced is not None and forced != hook:
                    continue
                try:
                    links = self._attach_way(functions)
                except (CannotAttachError, OSError) as error:
                    failures.append(f"{hook}: {error}")
                    continue
                for index, link in enumerate(links):
                    self.hand_over(f"link:{capability}:{index}", link)
                chosen = hook
                break
            self.log.append({"capability": capability, "hook": chosen, "failures": failures})

    def _attach_way(self, functions: tuple[Hook, ...]) -> list[int]:
        links: list[int] = []
        try:
            for where, function in functions:
                links += self._attach(where, function)
        except BaseException:
            for link in links:
                os.close(link)
            raise
        return links

    def _attach(self, where: str, function: str) -> list[int]:
        if where == "perf":
            return self._attach_perf(function)
        if where.startswith("raw:"):
            return [self._attach_raw(where.removeprefix("raw:"), function)]
        kind, attach_type = _ATTACH[where]
        program = self._load(function, kind, attach_type)
        if not self._request["cgroup_root"]:
            raise CannotAttachError("cgroup v2 is not mounted")
        roots = [self._request["cgroup_root"]]
        if function.startswith("deny"):
            roots = self._request["deny_cgroups"]
        return [self._link(program, Path(root), attach_type) for root in roots]

    def _load(self, function: str, kind: int, attach_type: int = -1) -> int:
        # One source function may be attached in several places; bcc remembers a function by
        # its name and would give back the program of the first attach type.
        self.bpf.funcs.pop(function.encode(), None)
        try:
            return int(self.bpf.load_func(function, kind, attach_type=attach_type).fd)
        except Exception as error:  # noqa: BLE001 - what bcc raises is a bare Exception
            raise CannotAttachError(str(error).split("\n")[0]) from None

    def _attach_raw(self, tracepoint: str, function: str) -> int:
        program = self._load(function, RAW_TRACEPOINT)
        fd = self._bcc.lib.bpf_attach_raw_tracepoint(program, tracepoint.encode())
        if fd < 0:
            raise CannotAttachError(os.strerror(ctypes.get_errno() or -fd))
        return int(fd)

    def _attach_perf(self, function: str) -> list[int]:
        program = self._load(function, PERF_EVENT)
        fds: list[int] = []
        for cpu in _online_cpus():
            fd = self._bcc.lib.bpf_attach_perf_event(
                program, 1, 0, 0, self._request["cpu_hz"], -1, cpu, -1
            )
            if fd < 0:
                for opened in fds:
                    os.close(opened)
                raise CannotAttachError(f"perf event on CPU {cpu}: {os.strerror(-fd)}")
            fds.append(int(fd))
        return fds

    def _link(self, program: int, cgroup: Path, attach_type: int) -> int:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            attributes = (ctypes.c_uint32 * 16)(program, target, attach_type, 0)
            fd = self._libc.syscall(
                _SYS_BPF[platform.machine()],
                BPF_LINK_CREATE,
                attributes,
                ctypes.sizeof(attributes),
            )
            if fd < 0:
                raise CannotAttachError(os.strerror(ctypes.get_errno()))
            return int(fd)
        finally:
            os.close(target)


def _online_cpus() -> list[int]:
    cpus: list[int] = []
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        low, _, high = part.partition("-")
        cpus += range(int(low), int(high or low) + 1)
    return cpus


def _load(request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    tree = Path(tempfile.mkdtemp(prefix="firedamp-headers-"))
    try:
        from firedamp.sources.bpf import headers  # noqa: PLC0415 - the path is set above

        if headers.BTF_FILE.exists():
            headers.write_tree(tree)
            os.environ["BCC_KERNEL_SOURCE"] = str(tree)
        import bcc  # noqa: PLC0415 - must come after BCC_KERNEL_SOURCE is set

        loader = Loader(request, bcc)
    finally:
        _remove(tree)
    for name in (*RINGS, *MAPS):
        loader.hand_over(f"map:{name}", loader.bpf[name].map_fd)
    if request.get("scope_uids"):
        loader.hand_over("map:scope_uids", loader.bpf["scope_uids"].map_fd)
    loader.attach_all()
    return {"names": loader.names, "log": loader.log}, loader.fds


def _remove(tree: Path) -> None:
    for path in sorted(tree.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    tree.rmdir()


def main() -> None:
    """Answer the one request and leave."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(channel.makefile("r").readline())
    fds: list[int] = []
    try:
        answer, fds = _load(request)
    except ImportError as error:
        answer = {"error": f"{error}: the distribution's package python3-bpfcc is missing"}
    except Exception as error:  # noqa: BLE001 - the other side must be told whatever it was
        answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    text = json.dumps(answer).encode() + b"\n"
    # Descriptors travel with the first bytes; a message takes at most 253 of them.
    socket.send_fds(channel, [len(fds).to_bytes(4, "little")], fds[:250])
    for start in range(250, len(fds), 250):
        socket.send_fds(channel, [b"+"], fds[start : start + 250])
    channel.sendall(text)
    channel.close()
    os._exit(0)  # without bcc's clean-up at exit, which would detach


if __name__ == "__main__":
    main()
