# SPDX-License-Identifier: Apache-2.0
import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import ConfigError
from firedamp.events.model import FileChanged, PayloadSeen, ProcessKey
from firedamp.sources.masks import Masks, why_not

ME = ProcessKey(1, 2)
ARGUMENTS = st.lists(st.binary(max_size=30).map(os.fsdecode), max_size=5).map(tuple)


@pytest.mark.parametrize(
    ("argv", "masked"),
    [
        ("x --password=hunter2", "x --password=***"),
        ("x --password hunter2 y", "x --password *** y"),
        ("x --db-pass hunter2", "x --db-pass ***"),
        ("x --token-value=hunter2", "x --token-value=***"),
        ("sh -c|PGPASSWORD=hunter2 psql", "sh -c|PGPASSWORD=*** psql"),
        ("env API_KEY=hunter2 x", "env API_KEY=*** x"),
        ('x {"client_secret": "hunter2"}', 'x {"client_secret": "***"}'),
        ("mysql -uroot -phunter2 db", "mysql -uroot -p*** db"),
        ("/usr/bin/mysqldump --all -phunter2", "/usr/bin/mysqldump --all -p***"),
        ("sshpass -p hunter2 ssh host", "sshpass -p *** ssh host"),
        ("curl https://me:hunter2@host/?access_token=hunter2&x=1",
         "curl https://me:***@host/?access_token=***&x=1"),
        ("curl -u me:hunter2 host", "curl -u me:*** host"),
        ("curl -H|Authorization: Bearer hunter2", "curl -H|Authorization: Bearer ***"),
        ("aws AKIAABCDEFGHIJKLMNOP", "aws ***"),
        ("xmrig -o stratum+tcp://wallet:hunter2@pool:3333", "xmrig -o stratum+tcp://wallet:***@pool:3333"),
    ],
)  # fmt: skip
def test_secret_is_taken_out(argv, masked):
    """
    And nothing else is: the option stays, and every argument stays where it is.
    """
    split = re.compile(r"[ |]").split

    assert Masks().arguments(tuple(split(argv))) == tuple(split(masked))
    assert "hunter2" not in "".join(Masks().arguments((argv.replace("|", " "),)))


@pytest.mark.parametrize(
    "argv",
    [
        "find / -perm -4000 -print",
        "mkdir -p /a/b",
        "ssh -p 22 host",
        "xmrig -o pool.example:3333 -u WALLET -p x",
        "passwd root",
        "docker login --password-stdin",
        "cat /etc/shadow /root/.ssh/id_rsa",
        "git commit -m tokens",
        "curl http://198.51.100.7:8080/x@y",
    ],
)
def test_what_policies_look_for_stays(argv):
    """
    A mask too many makes a replay blind.
    """
    assert Masks().arguments(tuple(argv.split())) == tuple(argv.split())


@given(ARGUMENTS)
def test_arguments_stay_as_many(argv):
    """
    Whatever bytes they are made of.
    """
    masked = Masks([r"a+", r"(\s)"]).arguments(argv)

    assert len(masked) == len(argv)


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_bytes_beside_a_secret_are_kept(before, after):
    """
    They need not be text.
    """
    argv = tuple(map(os.fsdecode, (before, b"--password=hunter2", after)))

    masked = Masks().arguments(argv)

    assert masked[1] == "--password=***"


def test_own_pattern_is_looked_for_besides():
    """
    Its group is taken out; without a group, all of it.
    """
    masks = Masks([r"--pin=(\d+)", r"CARD-\d+"])

    found = masks.arguments(("x", "--pin=1234", "CARD-99", "--password=a"))

    assert found == ("x", "--pin=***", "***", "--password=***")


def test_wrong_pattern_says_so():
    """
    Also one that would need an engine that can be made to hang.
    """
    assert why_not("fine(.*)") == ""
    assert "not a regular expression" in why_not("(")
    assert why_not(r"(a)\1")
    with pytest.raises(ConfigError):
        Masks(["("])


@pytest.mark.parametrize("part", ["-", "--a-", "mysql ", "://", "pass", " -u a", "-p-p"])
def test_no_command_line_takes_long(part):
    """
    Anybody can start a program with any arguments.
    """
    argv = (part * (4096 // len(part)),)
    masks = Masks()
    masks.arguments(argv)

    began = time.perf_counter()
    masks.arguments(argv)

    assert time.perf_counter() - began < 0.05


def test_added_lines_are_masked():
    """
    Crontabs have passwords in them.
    """
    changed = FileChanged(
        at_ns=1, process=ME, path="/etc/crontab", old_path="", operation="write", place="cron",
        inode=1, device=1, uid=0, added_lines=("* * * * * mysqldump -phunter2", "MAILTO=a"),
    )  # fmt: skip

    lines = Masks().event(changed).added_lines

    assert lines == ("* * * * * mysqldump -p***", "MAILTO=a")


def test_payload_keeps_its_length():
    """
    What follows in the connection is counted from it.
    """
    data = b"POST / HTTP/1.1\r\nAuthorization: Basic aHVudGVyMg==\r\n\r\n{}"
    seen = PayloadSeen(
        at_ns=1, process=ME, cookie=1, direction="out", transport="tcp", address="203.0.113.7",
        port=8332, sequence=1, length=len(data), data=data,
    )  # fmt: skip

    masked = Masks().event(seen).data

    assert len(masked) == len(data)
    assert masked == data.replace(b"aHVudGVyMg==", b"*" * 12)
