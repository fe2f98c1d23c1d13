# SPDX-License-Identifier: Apache-2.0

import hashlib
import os
import stat
from dataclasses import replace

import pytest

from firedamp.response.base import Receipt
from firedamp.response.host import Image
from firedamp.response.members import Members
from firedamp.response.packages import Packages
from firedamp.response.quarantine import Quarantine
from firedamp.response.vault import Vault

PAYLOAD = b"\x7fELF" + bytes(range(256)) * 64


@pytest.fixture(autouse=True)
def _no_temporary_place(monkeypatch):
    """The tests' own directory is below /tmp, where rules are laxer."""
    monkeypatch.setattr("firedamp.response.suspects._TEMPORARY", ("/nowhere/",))


@pytest.fixture
def vault(tmp_path):
    """A vault of one MiB."""
    return Vault(str(tmp_path / "vault"), max_bytes=1 << 20)


@pytest.fixture
def root(tmp_path):
    """A package database that owns one file of the test."""
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "owner.list").write_text(f"{tmp_path}/home/packaged\n")
    return tmp_path


@pytest.fixture
def quarantine(host, vault, root):
    """The action."""
    return Quarantine(host, vault, Packages(str(root)))


@pytest.fixture
def members(host, keeper):
    """Nobody yet; no guard protects anybody."""
    return Members(host, lambda _: None, keeper)


@pytest.fixture
def take(quarantine, members, decision, intend):
    """Quarantine what the members run; returns the receipts."""

    def do(key, action=quarantine):
        return action.apply(decision(key, "quarantine"), members, intend)

    return do


@pytest.fixture
def home(tmp_path):
    """Where the processes' files are."""
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def run(host, members, home):
    """Pretend that a process runs a file."""

    def start(name="miner", pid=10, users=(), content=PAYLOAD, **facts):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(content)
            path.chmod(0o755)
        status = path.stat()
        image = Image(
            path=str(path),
            device=status.st_dev,
            inode=status.st_ino,
            link_count=1,
            is_named=True,
        )
        users = frozenset(users or {os.getuid()})
        key = host.add(pid, image=image, users=users, **facts)
        members.admit(key)
        return key

    return start


def test_executable_goes_to_the_vault(run, home, vault, take):
    """
    Under its hash, complete, and no longer executable by anyone.
    """
    key = run()

    [receipt] = take(key)

    name = hashlib.sha256(PAYLOAD).hexdigest()
    assert receipt.outcome == "done"
    assert not (home / "miner").exists()
    kept = home.parent / "vault" / name
    assert kept.read_bytes() == PAYLOAD
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_undo_brings_it_back(quarantine, run, home, take):
    """
    With its metadata, and with the directory's own times, as if it had never been away.
    """
    key = run()
    os.utime(home, ns=(3_000, 4_000))
    before = (home / "miner").stat()
    [receipt] = take(key)

    undone = quarantine.undo(receipt)

    after = (home / "miner").stat()
    assert undone.outcome == "undone"
    assert (home / "miner").read_bytes() == PAYLOAD
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert home.stat().st_mtime_ns == 4_000


def test_directory_that_changed_since_keeps_its_time(quarantine, run, home, take):
    """
    Undoing must not hide what somebody else did there.
    """
    key = run()
    [receipt] = take(key)
    (home / "new").write_text("x")
    os.utime(home, ns=(5_000, 6_000))

    quarantine.undo(receipt)

    assert home.stat().st_mtime_ns != receipt.undo["directory_times"][1]


def test_undo_refuses_to_overwrite(quarantine, run, home, take):
    """
    Unless told to.
    """
    key = run()
    [receipt] = take(key)
    (home / "miner").write_text("new")

    refused = quarantine.undo(receipt)
    assert (refused.outcome, (home / "miner").read_text()) == ("refused", "new")

    assert quarantine.undo(receipt, force=True).outcome == "undone"
    assert (home / "miner").read_bytes() == PAYLOAD


def test_undo_refuses_what_was_changed_in_the_vault(quarantine, run, home, take):
    """
    What comes back is what went away, or nothing does.
    """
    key = run()
    [receipt] = take(key)
    (home.parent / "vault" / str(receipt.undo["vault"])).write_bytes(b"other")

    assert quarantine.undo(receipt).outcome == "failed"
    assert not (home / "miner").exists()


def test_receipt_survives_the_ledger(quarantine, run, home, ledger, take):
    """
    Undoing needs nothing but what JSON can hold.
    """
    from firedamp.response.ledger import Cause

    key = run()
    cause = Cause(incident="i", policy="p", process=str(key))

    def intend(target, undo):
        intent = Receipt(action="quarantine", outcome="intended", target=target, undo=undo)
        return ledger.intend(cause, intent)

    [receipt] = take(key)
    number = ledger.record(cause, receipt)

    assert quarantine.undo(ledger.entry(number).receipt).outcome == "undone"
    assert (home / "miner").read_bytes() == PAYLOAD


def test_one_file_of_many_processes_is_taken_once(run, take):
    """
    A miner that runs as four processes is one file.
    """
    keys = [run(pid=pid) for pid in (10, 11, 12, 13)]

    receipts = take(keys[0])

    assert len(receipts) == 1


@pytest.mark.parametrize("name", ["packaged", "bin/perl", "bin/python3.11", "sbin/busybox"])
def test_packaged_file_and_interpreter_stay(run, home, intents, name, take):
    """
    No policy can move them; the reason is in the receipt, and nothing was even begun.
    """
    key = run(name)

    [receipt] = take(key)

    assert receipt.outcome == "refused"
    assert (home / name).read_bytes() == PAYLOAD
    assert intents == []


def test_trojan_that_calls_itself_perl_is_taken(run, take):
    """
    A name alone makes no interpreter.
    """
    key = run("x/perl")

    [receipt] = take(key)

    assert receipt.outcome == "done"


def test_program_of_another_user_stays(run, home, take):
    """
    Whoever makes somebody else's program mine must not get it taken from its owner.
    """
    key = run(users={4242})

    [receipt] = take(key)

    assert receipt.outcome == "refused"
    assert "another user" in receipt.reason
    assert (home / "miner").exists()


def test_program_of_another_user_in_a_temporary_place_is_taken(run, home, monkeypatch, take):
    """
    Nothing that anyone relies on lives there: a dropper with more rights put it there.
    """
    monkeypatch.setattr("firedamp.response.suspects._TEMPORARY", (f"{home}/",))
    key = run(users={4242})

    [receipt] = take(key)

    assert receipt.outcome == "done"


def test_script_is_taken_and_its_interpreter_stays(run, home, take):
    """
    The file that matters is the one that the interpreter was given.
    """
    (home / "bot.py").write_text("mine()")
    key = run("bin/python3", argv=("python3", "-u", "bot.py"), cwd=str(home))

    receipts = take(key)

    assert [(r.outcome, r.target) for r in receipts] == [
        ("refused", str(home / "bin/python3")),
        ("done", str(home / "bot.py")),
    ]
    assert (home / "bin/python3").exists()
    assert not (home / "bot.py").exists()


def test_script_under_a_link_is_taken_and_not_the_link(run, home, take):
    """
    What runs is what the link led to.
    """
    (home / "real.py").write_text("mine()")
    (home / "link.py").symlink_to("real.py")
    key = run("bin/python3", argv=("python3", str(home / "link.py")), cwd="/")

    take(key)

    assert not (home / "real.py").exists()
    assert (home / "link.py").is_symlink()


def test_deleted_image_is_kept_and_there_is_nothing_to_undo(run, home, host, take):
    """
    Its only copy is the one that runs.
    """
    key = run()
    fd = os.open(home / "miner", os.O_RDONLY)
    host.open_image = lambda _key: os.dup(fd)
    (home / "miner").unlink()

    [receipt] = take(key)

    os.close(fd)
    assert receipt.outcome == "done"
    assert receipt.undo == {}
    assert hashlib.sha256(PAYLOAD).hexdigest() in receipt.reason


def test_file_that_took_its_place_is_left_alone(run, home, host, take):
    """
    The path now names another file than the one that runs.
    """
    key = run()
    fd = os.open(home / "miner", os.O_RDONLY)
    host.open_image = lambda _key: os.dup(fd)
    (home / "miner").rename(home / "elsewhere")
    (home / "miner").write_text("innocent")

    [receipt] = take(key)

    os.close(fd)
    assert (home / "miner").read_text() == "innocent"
    assert receipt.undo == {}


@pytest.fixture
def cramped(host, root):
    """The action with a vault that is too small for the payload."""
    small = Vault(str(root / "vault"), max_bytes=len(PAYLOAD) - 1)
    return Quarantine(host, small, Packages(str(root)))


def test_full_vault_takes_nothing(cramped, run, home, intents, take):
    """
    The file stays, nothing was begun, and it is said.
    """
    key = run()

    [receipt] = take(key, cramped)

    assert receipt.outcome == "failed"
    assert "full" in receipt.reason
    assert (home / "miner").exists()
    assert intents == []


def test_full_disk_takes_nothing(run, home, intents, monkeypatch, take):
    """
    Half a copy is no copy: nothing of it is left.
    """

    def full(_source, target):
        os.write(target, PAYLOAD[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("firedamp.response.vault.copy", full)
    key = run()

    [receipt] = take(key)

    assert (receipt.outcome, "No space" in receipt.reason) == ("failed", True)
    assert (home / "miner").exists()
    assert os.listdir(home.parent / "vault") == []
    assert intents == []


def test_bad_copy_is_no_copy(run, home, intents, monkeypatch, take):
    """
    A disk that does not give back what it was given is found out before anything is removed.
    """
    monkeypatch.setattr("firedamp.response.vault.copy", lambda _, target: os.write(target, b"x"))
    key = run()

    [receipt] = take(key)

    assert receipt.outcome == "failed"
    assert (home / "miner").read_bytes() == PAYLOAD
    assert os.listdir(home.parent / "vault") == []
    assert intents == []


def test_file_that_changes_while_it_is_copied_stays(run, home, monkeypatch, take):
    """
    What is in the vault must be what was taken.
    """
    from firedamp.response import vault as vault_module

    key = run()

    def change(source, target):
        files_copy(source, target)
        (home / "miner").write_bytes(b"other")

    files_copy = vault_module.copy
    monkeypatch.setattr(vault_module, "copy", change)

    [receipt] = take(key)

    assert receipt.outcome == "failed"
    assert (home / "miner").exists()


def test_intent_holds_all_that_undoing_needs(run, home, intents, take):
    """
    A crash right after it can still be resolved, and the copy is there before it.
    """
    key = run()

    take(key)

    [(path, undo)] = intents
    assert path == str(home / "miner")
    assert {"path", "vault", "device", "inode", "private", "metadata"} <= undo.keys()


@pytest.fixture
def begun(run, take, intents):
    """The intent of a step, as the next start finds it."""
    take(run())
    [(path, undo)] = intents
    return Receipt(action="quarantine", outcome="intended", target=path, undo=undo)


def test_file_that_was_taken_is_found_to_be_so(quarantine, begun, home):
    """
    The daemon ended after the last step; undoing works as ever.
    """
    receipt = quarantine.finish(begun)

    assert receipt.outcome == "done"
    assert quarantine.undo(receipt).outcome == "undone"
    assert (home / "miner").read_bytes() == PAYLOAD


def test_file_that_was_not_taken_stays(quarantine, begun, home):
    """
    The daemon ended before the first step that changes anything: nothing is changed.
    """
    original = home / "miner"
    original.write_bytes(PAYLOAD)
    begun = replace(begun, undo={**begun.undo, "inode": original.stat().st_ino})

    assert quarantine.finish(begun).outcome == "failed"

    assert original.read_bytes() == PAYLOAD


def test_plan_says_what_would_be_taken_and_what_not(quarantine, run, members, home, decision):
    """
    And takes nothing.
    """
    key = run()
    run("packaged", pid=11)

    words = quarantine.plan(decision(key, "quarantine"), members)

    assert words[0] == str(home / "miner")
    assert words[1].startswith(f"not {home}/packaged")
    assert (home / "miner").exists()


def test_vault_tidies_only_what_is_half_written(vault, home):
    """
    After a crash: complete files stay.
    """
    with (home / "x").open("wb+") as file:
        file.write(b"content")
        file.flush()
        name = vault.keep(file.fileno())
    (home.parent / "vault" / "abc.part").write_text("half")

    vault.tidy()

    assert os.listdir(home.parent / "vault") == [name]
