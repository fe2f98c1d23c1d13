# SPDX-License-Identifier: Apache-2.0
"""`firedamp replay`, as typed."""

import gzip
import json
from pathlib import Path

import pytest

from firedamp.context.host import HostContext
from firedamp.events.model import (
    ConnectionOpened,
    ProcessExecuted,
    ProcessForked,
    ProcessKey,
    RecordsLost,
)
from firedamp.sources.masks import Masks
from firedamp.sources.recording import Header, Recorder

HEADER = Header(
    version="1",
    run="20261123T120000-abcdef",
    sequence=0,
    boot_id="b",
    host_name="web7",
    host_id="i",
    clock_offset_ns=1_700_000_000_000_000_000,
    cpu_window_s=60,
    cpu_cores=0.8,
)
POLICY = """
title: {title}
id: {identity}
status: {status}
level: high
logsource: {{product: linux, category: process_creation}}
detection:
  hidden: {{Image|endswith: {image}}}
  condition: hidden
firedamp:
  response: [{response}]
  tests:
    - name: it runs
      events: [{{category: process_creation, Image: /tmp{image}}}]
      expect: {{alert: true, response: [{response}]}}
    - name: another runs
      events: [{{category: process_creation, Image: /usr/bin/y}}]
      expect: {{alert: false}}
"""
MINER = "2b1c5a0e-58c1-4c42-8a5f-2f3a9b7f1a11"
PROXY = "2b1c5a0e-58c1-4c42-8a5f-2f3a9b7f1a22"


def executed(pid, image):
    """A program starts."""
    return ProcessExecuted(
        at_ns=pid * 10**9, process=ProcessKey(pid, pid), parent=ProcessKey(1, 1), image=image,
        filename=image, argv=(image,), argv_cut=False, cwd="/", comm="x", uid=0, gid=0,
        loginuid=7, device=1, inode=2, link_count=1, mode=0o755, image_uid=0, cgroup_id=9,
        mount_ns=1, pid_ns=1, net_ns=1,
    )  # fmt: skip


@pytest.fixture
def recording(tmp_path) -> Path:
    """A miner and a proxy were started, and nothing else of note."""
    file = tmp_path / "r.jsonl.gz"
    recorder = Recorder(file, HEADER, Masks(), max_bytes=1 << 20)
    recorder.write(
        [
            ProcessForked(
                at_ns=1, process=ProcessKey(9, 9), parent=ProcessKey(1, 1), uid=0, cgroup_id=1,
                comm="x",
            ),
            executed(10, "/tmp/miner"),
            executed(11, "/tmp/proxy"),
            executed(12, "/usr/bin/ls"),
            RecordsLost(at_ns=99, process=ProcessKey(0, 0), source="bpf", kind="exec", count=3),
        ],
        HostContext(),
    )  # fmt: skip
    recorder.close()
    return file


def policies(directory, *, miner="kill", miner_status="stable", proxy=None):
    """A directory of policies."""
    directory.mkdir()
    (directory / "miner.yml").write_text(
        POLICY.format(
            title="Miner", identity=MINER, image="/miner", response=miner, status=miner_status
        )
    )
    if proxy:
        (directory / "proxy.yml").write_text(
            POLICY.format(
                title="Proxy", identity=PROXY, image="/proxy", response=proxy, status="stable"
            )
        )
    return directory


def test_alerts_of_a_recording_are_told(firedamp, recording, tmp_path):
    """
    As they were on that host, at that time; and what would have been done.
    """
    ran = firedamp("replay", str(recording), "--policies", str(policies(tmp_path / "p")), "--json")

    (alert,) = map(json.loads, ran.out.splitlines())
    assert ran.status == 0
    assert alert["rule"]["id"] == MINER
    assert alert["host"]["name"] == "web7"
    assert alert["@timestamp"] == "2023-11-14T22:13:30.000000Z"
    assert (alert["process"]["pid"], alert["process"]["executable"]) == (10, "/tmp/miner")
    assert (alert["firedamp"]["decision"]["mode"], alert["firedamp"]["decision"]["actions"]) == (
        "observe",
        ["kill"],
    )
    assert "5 events" in ran.err
    assert "3 records had been lost" in ran.err


def test_a_person_can_read_them(firedamp, recording, tmp_path):
    """
    As `firedamp alerts` shows them.
    """
    ran = firedamp("replay", str(recording), "--policies", str(policies(tmp_path / "p")))

    assert "HIGH x (/tmp/miner, pid 10, root)" in ran.out
    assert "would kill" in ran.out
    assert len(ran.out.splitlines()) == 2


def test_installed_policies_are_taken_without_a_directory(firedamp, etc, recording, tmp_path):
    """
    With what the settings say of them.
    """
    directory = policies(tmp_path / "p", proxy="kill")
    config = etc / "firedamp.yaml"
    config.write_text(
        f"policies: {{directories: [{directory}], disable: [{PROXY}]}}\nmode: enforce\n"
    )

    ran = firedamp("replay", str(recording), "--json")

    (alert,) = map(json.loads, ran.out.splitlines())
    assert alert["rule"]["id"] == MINER
    assert alert["firedamp"]["decision"]["mode"] == "observe"


def test_exception_in_the_directory_counts(firedamp, recording, tmp_path):
    """
    A filter can be tried on what really happened.
    """
    directory = policies(tmp_path / "p")
    (directory / "filter.yml").write_text(f"""
title: Our own miner
id: 2b1c5a0e-58c1-4c42-8a5f-2f3a9b7f1a33
logsource: {{product: linux, category: process_creation}}
filter:
  rules: [{MINER}]
  own: {{Image: /tmp/miner}}
  condition: not own
firedamp:
  reason: it is ours
  expires: 2099-01-01
""")

    ran = firedamp("replay", str(recording), "--policies", str(directory), "--json")

    assert (ran.status, ran.out) == (0, "")


def test_comparison_tells_what_a_change_would_have_done(firedamp, recording, tmp_path):
    """
    An alert more, and a process that would have been killed and was not.
    """
    old = policies(tmp_path / "old", miner="freeze")
    new = policies(tmp_path / "new", miner="kill", proxy="freeze")

    ran = firedamp("replay", str(recording), "--compare", str(old), str(new))
    back = firedamp("replay", str(recording), "--compare", str(new), str(old), "--json")

    assert ran.status == 0
    assert "+ " in ran.out
    assert "[Proxy]" in ran.out
    assert "[Miner]" not in ran.out
    assert "+ would be killed: pid 10 (/tmp/miner)" in ran.out
    assert "1 alerts appear, 0 vanish, 1 stay; 1 processes would be killed that were" in ran.out
    found = json.loads(back.out)
    assert [one["rule"]["id"] for one in found["vanish"]] == [PROXY]
    assert (found["appear"], found["stay"], found["killed_by_new"]) == ([], 1, [])
    assert found["killed_by_old"] == [{"pid": 10, "process": "10:10", "image": "/tmp/miner"}]


def test_policy_that_may_not_act_kills_nobody(firedamp, recording, tmp_path):
    """
    Its status stands before it in a comparison as it does on a host.
    """
    old = policies(tmp_path / "old", miner_status="experimental")
    new = policies(tmp_path / "new")

    ran = firedamp("replay", str(recording), "--compare", str(old), str(new), "--json")

    found = json.loads(ran.out)
    assert (found["stay"], len(found["killed_by_new"]), found["killed_by_both"]) == (1, 1, [])


def test_what_cannot_be_read_is_said(firedamp, recording, tmp_path):
    """
    And the rest is judged.
    """
    lines = gzip.decompress(recording.read_bytes()).splitlines()
    packed = gzip.compress(b"\n".join([*lines[:-1], b"nonsense", b""]))
    recording.write_bytes(packed[:-8])

    ran = firedamp("replay", str(recording), "--policies", str(policies(tmp_path / "p")), "--json")

    assert len(ran.out.splitlines()) == 1
    assert "1 lines cannot be read" in ran.err
    assert "breaks off" in ran.err


def test_missing_things_are_named(firedamp, recording, tmp_path):
    """
    Whether it is the recording or the policies.
    """
    unsound = policies(tmp_path / "p", miner="explode")
    empty = tmp_path / "empty"
    empty.mkdir()

    assert "there is no" in firedamp("replay", str(tmp_path / "no")).err
    assert "there is no" in firedamp("replay", str(recording), "--policies", "/no/such").err
    assert "no recording" in firedamp("replay", str(empty)).err
    ran = firedamp("replay", str(recording), "--policies", str(unsound))
    assert ran.status == 1
    assert "miner.yml" in ran.err


def test_indicators_in_the_directory_count(firedamp, tmp_path):
    """
    A list can be tried on what really happened, as policies can.
    """
    file = tmp_path / "r.jsonl.gz"
    recorder = Recorder(file, HEADER, Masks(), max_bytes=1 << 20)
    opened = ConnectionOpened(
        at_ns=1, process=ProcessKey(9, 9), cookie=1, transport="tcp", address="198.51.100.9",
        port=443, uid=0, denied=False,
    )  # fmt: skip
    recorder.write([opened], HostContext())
    recorder.close()
    directory = policies(tmp_path / "p")
    shipped = Path(__file__).parents[2] / "policies"
    (shipped_rule,) = shipped.glob("*/known_pool_address.yml")
    (directory / "pool.yml").write_text(shipped_rule.read_text())
    arguments = ("replay", str(file), "--policies", str(directory), "--json")
    assert firedamp(*arguments).out == ""

    (directory / "indicators").mkdir()
    (directory / "indicators/pool_addresses.txt").write_text("198.51.100.0/24\n")

    (alert,) = map(json.loads, firedamp(*arguments).out.splitlines())
    assert alert["firedamp"]["fields"]["PoolIndicator"] == "198.51.100.0/24"
