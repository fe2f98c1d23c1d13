# SPDX-License-Identifier: Apache-2.0
"""Our nftables table, `inet firedamp`, as the daemon holds it: addresses that time out.

Rules:

1. The table is ours alone and is replaced whole, in one transaction. Nothing of anyone else's
   is read or changed.
2. pyroute2 is never imported here. `nft_table` builds the table in a process that ends, and
   hands over the messages for single addresses as bytes; here an address and a time are put
   into them, and they are sent. That takes a tenth of a millisecond and no memory.
3. A table that somebody flushed is found by the next change to it, and built again.
"""

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

from firedamp import children
from firedamp.cgroups import cgroup2_mount
from firedamp.context.units import placement
from firedamp.errors import ActionError, SourceError
from firedamp.response.addresses import Address
from firedamp.response.scope import user_ids
from firedamp.settings import Scope

TABLE = "firedamp"

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")
_SEQUENCE_AT = 8
_NLMSG_ERROR = 2
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_BUILD_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 1.0
_NO_NFTABLES = 3
_NS_PER_MS = 1_000_000

# As in nft_table, which must not be imported for them.
MARK_TIMEOUT = (0x1122334455667788).to_bytes(8, "big")
MARK_ADDRESS = {4: b"\xa5\x5a\xc3\x3c", 6: bytes(range(0xB0, 0xC0))}


class _Rule(NamedTuple):
    """A way for a socket to be in scope; see `nft_table.Scoped`."""

    cgroup: int | None
    level: int
    uid: int | None


class NftTable:
    """Blocks addresses for the host, or for the sockets that are in scope."""

    def __init__(self, scope: Scope, *, cgroup_root: str = "", table: str = TABLE) -> None:
        self._scope = scope
        self._cgroup_root = cgroup_root or cgroup2_mount()
        self._table = table
        self._templates: dict[str, bytes] = {}
        self._rules: list[_Rule] = []
        self._until: dict[Address, int] = {}

    @property
    def is_scoped(self) -> bool:
        return bool(self._scope.cgroups or self._scope.users or self._scope.containers)

    def build(self) -> None:
        """Make the table, with all that is blocked and not yet expired. Takes 0.2 s.

        Raises:
            SourceError: this kernel has no nf_tables.
            ActionError: it could not be made; what was there is unchanged.
        """
        rules = self._current_rules()
        if self.is_scoped and not rules:
            raise ActionError("nftables: nothing that the scope names exists now")
        self._templates = self._run(rules, build=True)
        self._rules = rules

    def block(self, address: Address, until_ns: int) -> None:
        """Cut an address off until a wall-clock time.

        Raises:
            SourceError: this kernel has no nf_tables.
            ActionError: it could not be done.
        """
        before = self._until.get(address)
        self._until[address] = until_ns
        try:
            if not self._templates or self._rules != self._current_rules():
                self.build()
                return
            try:
                # Adding anew refreshes the time only on 6.12 and later; this does on all.
                self._change(address, until_ns, "add", "del", "add")
            except FileNotFoundError:
                self.build()
            except OSError as error:
                raise ActionError(f"nftables: {error.strerror}") from error
        except BaseException:
            self._until.pop(address)
            if before is not None:
                self._until[address] = before
            raise

    def unblock(self, address: Address) -> None:
        """Let an address through again; also one that is not blocked, or no longer.

        Raises:
            ActionError: it could not be done.
        """
        self._until.pop(address, None)
        if not self._templates:
            self._templates = self._run([], build=False)
        try:
            self._change(address, 0, "del")
        except FileNotFoundError:
            return  # expired, or the table is gone
        except OSError as error:
            raise ActionError(f"nftables: {error.strerror}") from error

    def restore(self, until: dict[Address, int]) -> None:
        """Make the table with what an earlier run blocked, until wall-clock times.

        Raises:
            SourceError: this kernel has no nf_tables.
            ActionError: it could not be made.
        """
        self._until.update(until)
        self.build()

    def is_blocked(self, address: Address) -> bool:
        return self._until.get(address, 0) > time.time_ns()

    def pop_expired(self) -> list[Address]:
        """Forget what has run out, and say what it was."""
        now = time.time_ns()
        expired = [address for address, until in self._until.items() if until <= now]
        for address in expired:
            del self._until[address]
        return expired

    def remove(self) -> None:
        """Take the table away; nothing happens if there is none.

        Raises:
            ActionError: it is still there.
        """
        if not self._templates:
            return
        try:
            self._send([self._templates["remove_table"]])
        except FileNotFoundError:
            return
        except OSError as error:
            raise ActionError(f"nftables: {error.strerror}") from error

    # ---- the scope --------------------------------------------------------------------------

    def _current_rules(self) -> list[_Rule]:
        """The scope in numbers. A service that restarts gets a new cgroup of the same path."""
        if not self.is_scoped:
            return []
        users: list[int | None] = [*sorted(user_ids(self._scope.users))] or [None]
        paths: list[str | None] = [None]
        if self._scope.cgroups or self._scope.containers:
            paths = [*self._cgroup_paths()]
        rules = []
        for path in paths:
            try:
                inode = None if path is None else os.stat(self._cgroup_root + path).st_ino
            except OSError:
                continue
            level = len([part for part in (path or "").split("/") if part])
            # Everybody is below the root: it is no condition, and the kernel takes none.
            rules += [_Rule(inode if level else None, level, uid) for uid in users]
        return rules

    def _cgroup_paths(self) -> list[str]:
        asked = ["/" + path.strip("/") for path in self._scope.cgroups]
        if not self._scope.containers:
            return asked
        return [
            path
            for path in self._all_cgroups()
            if placement(path).container.startswith(self._scope.containers)
            and (not asked or any(f"{path}/".startswith(f"{one.rstrip('/')}/") for one in asked))
        ]

    def _all_cgroups(self) -> Iterator[str]:
        for directory, _, _ in os.walk(self._cgroup_root):
            yield directory.removeprefix(self._cgroup_root)

    # ---- netlink ----------------------------------------------------------------------------

    def _run(self, rules: list[_Rule], *, build: bool) -> dict[str, bytes]:
        now = time.time_ns()
        request = {
            "table": self._table,
            "build": build,
            "scoped": self.is_scoped,
            "rules": [rule._asdict() for rule in rules],
            "blocks": [
                {"address": str(address), "timeout_ms": max(1, (until - now) // _NS_PER_MS)}
                for address, until in self._until.items()
                if until > now
            ],
        }
        try:
            built = subprocess.run(
                children.command("firedamp.response.nft_table"),
                input=json.dumps(request),
                capture_output=True,
                text=True,
                timeout=_BUILD_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ActionError(f"nftables: the table's builder does not run: {error}") from error
        complaint = built.stderr.strip().rpartition("\n")[2]
        if built.returncode == _NO_NFTABLES:
            raise SourceError(f"this kernel has no nf_tables ({complaint})")
        if built.returncode != 0:
            raise ActionError(f"nftables: the table cannot be made: {complaint}")
        return {name: bytes.fromhex(text) for name, text in json.loads(built.stdout).items()}

    def _change(self, address: Address, until_ns: int, *verbs: str) -> None:
        timeout_ms = max(1, (until_ns - time.time_ns()) // _NS_PER_MS)
        messages = []
        for verb in verbs:
            template = self._templates[f"{verb}{address.version}"]
            message = template.replace(MARK_ADDRESS[address.version], address.packed)
            messages.append(message.replace(MARK_TIMEOUT, timeout_ms.to_bytes(8, "big")))
        self._send(messages)

    def _send(self, messages: list[bytes]) -> None:
        """Send one transaction. Raises the OSError of the first message that failed."""
        batch = [self._templates["begin"], *messages, self._templates["end"]]
        numbered = b"".join(
            message[:_SEQUENCE_AT] + struct.pack("=II", number, 0) + message[_SEQUENCE_AT + 8 :]
            for number, message in enumerate(batch, 1)
        )
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
            netlink.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            netlink.settimeout(_ANSWER_TIMEOUT_S)
            netlink.send(numbered)
            missing = set(range(2, len(batch)))
            while missing:
                for number in _answers(netlink.recv(1 << 16)):
                    missing.discard(number)


def _answers(raw: bytes) -> Iterator[int]:
    """Which messages were accepted. Raises the OSError of the first that was not."""
    while len(raw) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(raw)
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", raw, _HEADER.size)[0]
            if code:
                raise OSError(code, os.strerror(code))
            yield sequence
        raw = raw[max(_HEADER.size, (length + 3) & ~3) :]
