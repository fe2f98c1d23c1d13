# SPDX-License-Identifier: Apache-2.0
"""Names for ids: told once, ahead of the event that needs them."""

import os
import time

import pytest

from firedamp.events.model import (
    FileChanged,
    ProcessExited,
    ProcessForked,
    ProcessKey,
    UserNamed,
)
from firedamp.sources.inspect import RETRY_S, Inspector

KEY = ProcessKey(7, 8)


def forked(uid: int, cgroup_id: int = 0) -> ProcessForked:
    """An event that carries ids."""
    return ProcessForked(at_ns=5, process=KEY, parent=KEY, uid=uid, cgroup_id=cgroup_id, comm="x")


def changed(path: str) -> FileChanged:
    """News of a file."""
    return FileChanged(
        at_ns=5,
        process=KEY,
        path=path,
        old_path="",
        operation="write",
        place="accounts",
        inode=1,
        device=1,
        uid=0,
    )


@pytest.fixture
def passwd(tmp_path):
    """
    Accounts, of which two share a number.
    """
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/x\n")
    return path


@pytest.fixture
def clock(monkeypatch):
    """
    A clock that is put forward by hand.
    """
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_user_is_named_once_and_before_the_event(passwd):
    """
    Of several accounts with one number the first is meant, as everywhere.
    """
    inspector = Inspector("", str(passwd))
    root, web = forked(0), forked(33)

    assert inspector.named([root, web, root]) == [
        UserNamed(at_ns=5, process=KEY, uid=0, name="root"),
        root,
        UserNamed(at_ns=5, process=KEY, uid=33, name="web"),
        web,
        root,
    ]
    assert inspector.named([root]) == [root]


def test_events_without_ids_pass(passwd):
    """
    Neither an exit nor an unknown user needs a name.
    """
    events = [
        ProcessExited(at_ns=5, process=KEY, exit_code=0, cpu_ns=0),
        forked(0xFFFFFFFF),
        forked(4242),
    ]

    assert Inspector("", str(passwd)).named(events) == events


def test_a_new_account_is_found_though_not_at_every_event(passwd, clock):
    """
    An unknown user in a thousand events a second is not a reason to read a file as often.
    """
    inspector = Inspector("", str(passwd))
    eve = forked(666)
    assert inspector.named([eve]) == [eve]
    with passwd.open("a") as file:
        file.write("eve:x:666:666::/:/bin/sh\n")
    assert inspector.named([eve]) == [eve]

    clock[0] += RETRY_S

    assert inspector.named([eve])[0] == UserNamed(at_ns=5, process=KEY, uid=666, name="eve")


def test_names_are_told_again_when_the_accounts_change(passwd, clock):
    """
    The number may have got another name.
    """
    inspector = Inspector("", str(passwd))
    inspector.named([forked(33)])
    passwd.write_text("root:x:0:0::/root:/bin/sh\nevil:x:33:33::/:/bin/sh\n")
    clock[0] += RETRY_S

    inspector.named([changed(str(passwd))])

    assert inspector.named([forked(33)])[0] == UserNamed(at_ns=5, process=KEY, uid=33, name="evil")


def test_a_passwd_file_that_is_missing_names_nobody(tmp_path):
    """
    As in a container without one.
    """
    assert Inspector("", str(tmp_path / "none")).named([forked(0)]) == [forked(0)]


def test_a_passwd_that_is_no_file_is_not_read(tmp_path):
    """
    Reading a FIFO would wait for ever.
    """
    os.mkfifo(tmp_path / "passwd")

    assert Inspector("", str(tmp_path / "passwd")).named([forked(0)]) == [forked(0)]
