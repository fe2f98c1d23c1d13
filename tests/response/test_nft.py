# SPDX-License-Identifier: Apache-2.0

import errno
import json
import struct
import subprocess
import sys
import time

import pytest

from firedamp.errors import ActionError, SourceError
from firedamp.response import nft
from firedamp.response.addresses import parse
from firedamp.response.nft import NftTable
from firedamp.settings import Scope

FOUR, SIX = parse("203.0.113.7"), parse("2001:db8::7")
HOUR_NS = 3600 * 1_000_000_000


@pytest.fixture(scope="module")
def templates():
    """Messages as the real builder encodes them; it does not speak to the kernel for that."""
    request = {"table": "firedamp", "build": False, "scoped": False, "rules": [], "blocks": []}
    built = subprocess.run(
        [sys.executable, "-I", "-m", "firedamp.response.nft_table"],
        input=json.dumps(request), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name: bytes.fromhex(text) for name, text in json.loads(built.stdout).items()}


class Kernel:
    """Answers transactions; remembers what was sent, and what the builder was asked."""

    def __init__(self, templates):
        self.templates = templates
        self.sent = []
        self.builds = []
        self.error = 0

    def run(self, command, **options):
        self.builds.append(json.loads(options["input"]))
        text = json.dumps({name: raw.hex() for name, raw in self.templates.items()})
        return subprocess.CompletedProcess(command, 0, text, "")

    def socket(self, *_arguments):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def setsockopt(self, *_arguments):
        return None

    def settimeout(self, _seconds):
        return None

    def send(self, raw):
        self.sent.append(list(split(raw)))

    def recv(self, _size):
        answers = b""
        for message in self.sent[-1][1:-1]:
            number = struct.unpack_from("=I", message, 8)[0]
            answers += struct.pack("=IHHIIi", 36, 2, 0, number, 0, -self.error) + bytes(16)
        return answers


def split(raw):
    """The messages of a transaction."""
    while raw:
        length = struct.unpack_from("=I", raw)[0]
        yield raw[:length]
        raw = raw[(length + 3) & ~3 :]


@pytest.fixture
def kernel(templates, monkeypatch):
    """A kernel, and a builder, that only pretend."""
    fake = Kernel(templates)
    monkeypatch.setattr(nft.subprocess, "run", fake.run)
    monkeypatch.setattr(nft.socket, "socket", fake.socket)
    return fake


@pytest.fixture
def table(kernel, tmp_path):
    """A table for the whole host."""
    return NftTable(Scope(), cgroup_root=str(tmp_path))


def test_marks_occur_once_in_each_template(templates):
    """
    Else something other than the address or the time would be replaced.
    """
    for verb in ("add", "del"):
        for version, mark in nft.MARK_ADDRESS.items():
            template = templates[f"{verb}{version}"]
            assert template.count(mark) == 1
            assert template.count(nft.MARK_TIMEOUT) == (1 if verb == "add" else 0)


def test_first_block_builds_the_table_with_it(table, kernel):
    """
    One transaction, nothing is sent besides.
    """
    table.block(FOUR, time.time_ns() + HOUR_NS)

    [request] = kernel.builds
    [block] = request["blocks"]
    assert block["address"] == "203.0.113.7"
    assert 3_590_000 < block["timeout_ms"] <= 3_600_000
    assert kernel.sent == []


def test_later_blocks_are_one_small_transaction(table, kernel):
    """
    Add, delete, add: so the time counts anew on every kernel.
    """
    table.build()
    table.block(SIX, time.time_ns() + HOUR_NS)

    [[begin, *messages, end]] = kernel.sent
    assert len(kernel.builds) == 1
    assert [message[4] for message in messages] == [12, 14, 12]
    assert all(SIX.packed in message for message in messages)
    assert nft.MARK_TIMEOUT not in b"".join(messages)
    numbers = [struct.unpack_from("=I", one, 8)[0] for one in (begin, *messages, end)]
    assert numbers == [1, 2, 3, 4, 5]


def test_table_that_was_flushed_is_built_again(table, kernel):
    """
    With all that is blocked.
    """
    table.block(FOUR, time.time_ns() + HOUR_NS)
    kernel.error = errno.ENOENT

    table.block(SIX, time.time_ns() + HOUR_NS)

    assert [b["address"] for b in kernel.builds[-1]["blocks"]] == ["203.0.113.7", "2001:db8::7"]


def test_refusal_of_the_kernel_is_our_error_and_forgotten(table, kernel):
    """
    What is not blocked must not be taken for blocked.
    """
    table.build()
    kernel.error = errno.EPERM

    with pytest.raises(ActionError, match="Operation not permitted"):
        table.block(FOUR, time.time_ns() + HOUR_NS)

    assert not table.is_blocked(FOUR)


def test_unblocking_what_is_not_blocked_is_no_error(table, kernel):
    """
    It may have expired, or the table may be gone; it must not be built for that.
    """
    kernel.error = errno.ENOENT

    table.unblock(FOUR)

    assert [request["build"] for request in kernel.builds] == [False]


@pytest.mark.parametrize(("status", "error"), [(3, SourceError), (1, ActionError)])
def test_absent_nf_tables_is_told_from_a_failure(table, monkeypatch, status, error):
    """
    The first will not go away by trying again.
    """
    done = subprocess.CompletedProcess([], status, "", "nf_tables: EPROTONOSUPPORT\n")
    monkeypatch.setattr(nft.subprocess, "run", lambda *_a, **_k: done)

    with pytest.raises(error, match="EPROTONOSUPPORT"):
        table.block(FOUR, time.time_ns() + HOUR_NS)


def test_scope_becomes_numbers(kernel, tmp_path):
    """
    Every pairing of a cgroup that exists and a user.
    """
    (tmp_path / "a/b").mkdir(parents=True)
    scope = Scope(cgroups=("/a/b", "/absent"), users=("0", "1000"))

    NftTable(scope, cgroup_root=str(tmp_path)).build()

    inode = (tmp_path / "a/b").stat().st_ino
    [request] = kernel.builds
    assert request["scoped"]
    assert request["rules"] == [
        {"cgroup": inode, "level": 2, "uid": 0},
        {"cgroup": inode, "level": 2, "uid": 1000},
    ]


def test_service_that_restarted_gets_new_rules(kernel, tmp_path):
    """
    Its cgroup has the same path and another number.
    """
    (tmp_path / "a").mkdir()
    table = NftTable(Scope(cgroups=("/a",)), cgroup_root=str(tmp_path))
    table.block(FOUR, time.time_ns() + HOUR_NS)
    (tmp_path / "a").rename(tmp_path / "old")
    (tmp_path / "a").mkdir()

    table.block(SIX, time.time_ns() + HOUR_NS)

    first, second = (request["rules"] for request in kernel.builds)
    assert first != second


def test_container_is_found_by_its_prefix(kernel, tmp_path):
    """
    Wherever its runtime has put it.
    """
    name = "ab" * 32
    (tmp_path / f"system.slice/docker-{name}.scope").mkdir(parents=True)
    (tmp_path / f"system.slice/docker-{'cd' * 32}.scope").mkdir(parents=True)

    NftTable(Scope(containers=(name[:12],)), cgroup_root=str(tmp_path)).build()

    [rule] = kernel.builds[0]["rules"]
    assert rule["cgroup"] == (tmp_path / f"system.slice/docker-{name}.scope").stat().st_ino


def test_scope_that_names_nothing_that_exists_blocks_nothing(kernel, tmp_path):
    """
    Least of all the whole host.
    """
    table = NftTable(Scope(cgroups=("/absent",)), cgroup_root=str(tmp_path))

    with pytest.raises(ActionError, match="exists"):
        table.block(FOUR, time.time_ns() + HOUR_NS)

    assert kernel.builds == []


def test_daemon_never_imports_pyroute2():
    """
    It would cost 20 MiB for as long as the daemon runs.
    """
    code = "import sys, firedamp.response.assembly; print('pyroute2' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
