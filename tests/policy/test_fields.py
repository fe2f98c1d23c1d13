# SPDX-License-Identifier: Apache-2.0
"""Fields: what each event shows under its Sigma names, and what it does not."""

import dataclasses

import pytest

from firedamp.analysis.registry import DERIVED_FIELDS
from firedamp.context.host import HostContext
from firedamp.context.process import NO_LOGIN
from firedamp.events.model import (
    CgroupNamed,
    ConnectionFound,
    ConnectionOpened,
    CpuSustained,
    DnsAnswered,
    DnsAsked,
    FileChanged,
    MiningProtocolSpoken,
    PayloadSeen,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessFound,
    ProcessKey,
    ProcessRenamed,
    RecordsLost,
    UserNamed,
)
from firedamp.policy.fields import CATEGORIES, categories_of, unknown_fields, views_of
from firedamp.policy.view import FOLDED, TEXT, FieldView

PARENT, CHILD = ProcessKey(10, 1), ProcessKey(11, 2)
CONTAINER = "0123456789abcdef" * 4


def executed(kind=ProcessExecuted, **changes):
    """A program that www-data's shell started."""
    base = {
        "at_ns": 1,
        "process": CHILD,
        "parent": PARENT,
        "image": "/usr/bin/Python3",
        "filename": "/usr/bin/Python3",
        "argv": ("python3", "-c", "x"),
        "argv_cut": False,
        "cwd": "/srv",
        "comm": "python3",
        "uid": 33,
        "gid": 33,
        "loginuid": NO_LOGIN,
        "device": 8 << 20 | 1,
        "inode": 77,
        "link_count": 1,
        "mode": 0o100755,
        "image_uid": 0,
        "cgroup_id": 5,
        "mount_ns": 1,
        "pid_ns": 1,
        "net_ns": 1,
    }
    known = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in {**base, **changes}.items() if name in known})


def spoken(**changes):
    """A miner's login."""
    base = {
        "at_ns": 2,
        "process": CHILD,
        "cookie": 1,
        "direction": "out",
        "address": "203.0.113.7",
        "port": 3333,
        "protocol": "stratum-monero",
        "method": "login",
        "login": "44AFF",
        "agent": "XMRig",
    }
    return MiningProtocolSpoken(**{**base, **changes})


def opened(kind=ConnectionOpened):
    """A connection."""
    return kind(
        at_ns=2,
        process=CHILD,
        cookie=1,
        transport="tcp",
        address="203.0.113.7",
        port=443,
        uid=33,
        denied=True,
    )


def changed(operation, **changes):
    """A change of a crontab."""
    base = {
        "at_ns": 2,
        "process": CHILD,
        "path": "/etc/cron.d/x",
        "old_path": "",
        "operation": operation,
        "place": "cron",
        "inode": 1,
        "device": 1,
        "uid": 0,
    }
    return FileChanged(**{**base, **changes})


@pytest.fixture
def host():
    """A host that has seen the shell, the accounts, the cgroup and a name."""
    host = HostContext()
    host.observe(UserNamed(at_ns=0, process=ProcessKey(0, 0), uid=33, name="www-data"))
    path = f"/system.slice/docker-{CONTAINER}.scope"
    host.observe(CgroupNamed(at_ns=0, process=ProcessKey(0, 0), cgroup_id=5, path=path))
    host.observe(executed(process=PARENT, parent=ProcessKey(1, 0), image="/bin/sh", argv=("sh",)))
    host.observe(
        DnsAnswered(
            at_ns=0,
            process=PARENT,
            name="pool.example",
            record_type="A",
            response_code="NOERROR",
            addresses=("203.0.113.7",),
            aliases=(),
        )
    )
    host.observe(executed())
    return host


def shown(host, event, *names):
    """The fields of these names in the event's first category."""
    view = views_of(host.observe(event))[0]
    return {name: view[name] for name in names}


def test_process_shows_itself_its_parent_and_its_place(host):
    """
    The fields that every rule about processes asks for.
    """
    view = views_of(host.observe(executed()))[0]

    expected = {
        "Image": "/usr/bin/Python3",
        "CommandLine": "python3 -c x",
        "CurrentDirectory": "/srv",
        "ProcessName": "python3",
        "ProcessId": 11,
        "User": "www-data",
        "UserId": 33,
        "LogonId": None,
        "LoginUser": None,
        "ParentImage": "/bin/sh",
        "ParentCommandLine": "sh",
        "ParentProcessId": 10,
        "ActorId": "10:1",
        "ActorImage": "/bin/sh",
        "ContainerId": CONTAINER,
        "Unit": f"docker-{CONTAINER}.scope",
        "ImageInode": 77,
        "ImageDevice": "8:1",
        "ImageLinkCount": 1,
        "ImageOwner": "root",
        "ImageOrigin": "file",
        "IsFound": False,
    }
    assert {name: view[name] for name in expected} == expected


def test_process_that_was_never_seen_shows_nothing_of_itself():
    """
    Unknown is absent: a rule must not match what was not seen.
    """
    view = views_of(HostContext().observe(changed("create", process=ProcessKey(0, 0))))[0]

    missing = "Image", "CommandLine", "User", "ProcessId", "ParentImage"

    assert {view[name] for name in missing} == {None}
    assert view["TargetFilename"] == "/etc/cron.d/x"


def test_program_without_arguments_shows_an_empty_command_line(host):
    """
    Started without even its own name, as some exploits are.
    """
    assert shown(host, executed(argv=()), "CommandLine") == {"CommandLine": ""}


@pytest.mark.parametrize(
    ("event", "categories"),
    [
        (executed(), ["process_creation"]),
        (executed(ProcessFound), ["process_creation"]),
        (ProcessExited(at_ns=1, process=CHILD, exit_code=9, cpu_ns=10**9), ["process_termination"]),
        (ProcessRenamed(at_ns=1, process=CHILD, comm="x", old_comm="y"), ["process_rename"]),
        (opened(), ["network_connection"]),
        (opened(ConnectionFound), ["network_connection"]),
        (spoken(), ["mining_protocol"]),
        (
            DnsAsked(at_ns=1, process=CHILD, name="a", record_type="A", server="9.9.9.9"),
            ["dns_query"],
        ),
        (changed("create"), ["file_event"]),
        (changed("write"), ["file_event"]),
        (changed("open"), ["file_event"]),
        (changed("link"), ["file_event"]),
        (changed("rename"), ["file_event", "file_rename"]),
        (changed("delete"), ["file_delete"]),
        (changed("attributes"), ["file_change"]),
        (CpuSustained(at_ns=1, process=CHILD, cores=1.0, window_s=60, threads=1), ["process_cpu"]),
        (RecordsLost(at_ns=1, process=CHILD, source="bpf", kind="exec", count=1), ["records_lost"]),
        (ProcessForked(at_ns=1, process=CHILD, parent=PARENT, uid=0, cgroup_id=1, comm=""), []),
        (UserNamed(at_ns=1, process=CHILD, uid=1, name="x"), []),
    ],
)
def test_each_event_belongs_to_its_categories(event, categories):
    """
    What policies do not see has none.
    """
    views = views_of(HostContext().observe(event))

    assert [view.category for view in views] == categories


def test_connection_shows_the_name_that_led_to_it(host):
    """
    By the answers that were seen; nothing is asked for.
    """
    names = ("DestinationIp", "DestinationPort", "DestinationHostname", "Protocol", "Denied")

    assert shown(host, opened(), *names) == {
        "DestinationIp": "203.0.113.7",
        "DestinationPort": 443,
        "DestinationHostname": ("pool.example",),
        "Protocol": "tcp",
        "Denied": True,
    }


def test_mining_message_shows_what_was_said(host):
    """
    Empty parts are absent.
    """
    assert shown(host, spoken(agent=""), "Protocol", "Method", "Login", "Agent", "Direction") == {
        "Protocol": "stratum-monero",
        "Method": "login",
        "Login": "44AFF",
        "Agent": None,
        "Direction": "out",
    }


def test_rename_shows_the_new_name(host):
    """
    ProcessName is what it calls itself now.
    """
    event = ProcessRenamed(at_ns=1, process=CHILD, comm="kworker/0:0", old_comm="x")

    assert shown(host, event, "ProcessName", "OldProcessName") == {
        "ProcessName": "kworker/0:0",
        "OldProcessName": "x",
    }


def test_termination_tells_status_from_signal(host):
    """
    As wait(2) packs them.
    """
    by_signal = ProcessExited(at_ns=1, process=CHILD, exit_code=9, cpu_ns=1_500_000_000)
    by_itself = ProcessExited(at_ns=1, process=CHILD, exit_code=2 << 8, cpu_ns=0)

    assert shown(host, by_signal, "ExitCode", "ExitSignal", "CpuSeconds") == {
        "ExitCode": 0,
        "ExitSignal": 9,
        "CpuSeconds": 1.5,
    }
    assert shown(host, by_itself, "ExitCode", "ExitSignal") == {"ExitCode": 2, "ExitSignal": None}


def test_every_kind_of_evidence_has_a_category():
    """
    An event that no policy can name would be made for nothing.
    """
    kinds = (MiningProtocolSpoken, DnsAsked, DnsAnswered, CpuSustained, FileChanged, RecordsLost)

    for kind in kinds:
        assert categories_of(kind) <= set(CATEGORIES)
        assert categories_of(kind)
    assert categories_of(PayloadSeen) == frozenset()


def test_every_field_of_every_category_can_be_asked_of_any_event(host):
    """
    An accessor that raises would cost the whole event.
    """
    for category, table in CATEGORIES.items():
        observed = host.observe(executed())
        for name, accessor in table.items():
            value = accessor(observed)
            assert value is None or isinstance(value, str | int | float | tuple), (category, name)


def test_derived_fields_are_there_for_every_process():
    """
    All but the loss of records is bound to a process.
    """
    for category, table in CATEGORIES.items():
        if category != "records_lost":
            assert set(DERIVED_FIELDS) <= set(table)


def test_unknown_fields_come_with_the_nearest_name():
    """
    However the letters' case.
    """
    names = ["Image", "image", "CommandLin", "Nonsense"]

    assert unknown_fields("process_creation", names) == {
        "image": "Image",
        "CommandLin": "CommandLine",
        "Nonsense": "",
    }


def test_view_shows_a_field_as_it_is_as_text_and_folded():
    """
    Each form is worked out once.
    """
    view = FieldView.from_mapping(
        "process_creation", {"A": "Ab", "B": 5, "C": True, "D": ("X", "y"), "E": None, "F": 1.5}
    )

    assert [view[TEXT + name] for name in "ABCDEF"] == ["Ab", "5", "true", ("X", "y"), None, "1.5"]
    assert [view[FOLDED + name] for name in "ABCDEF"] == [
        "ab",
        "5",
        "true",
        ("x", "y"),
        None,
        "1.5",
    ]
    assert set(view[FOLDED]) == {"ab", "5", "true", "x", "y", "1.5", "1:1"}
    assert dict(view.present()) == {
        "ActorId": "1:1",
        "A": "Ab",
        "B": 5,
        "C": True,
        "D": ("X", "y"),
        "F": 1.5,
    }


def test_accessors_run_once_for_each_form():
    """
    That is what makes a view cheap.
    """
    from firedamp.policy.view import Fields

    asked = []
    fields = Fields({"A": lambda observed: asked.append(observed) or "x"})
    view = FieldView("process_creation", HostContext().observe(executed()), fields)

    assert [view["A"], view["A"], view["Nothing"], view["Nothing"]] == ["x", "x", None, None]
    assert len(asked) == 1
