# SPDX-License-Identifier: Apache-2.0
"""Ordinary days on servers: nothing may respond, and no alert may be more than a note.

Each day is written down as the probes would tell it, and goes through context, analysis and all
shipped policies.
"""

import pytest

from firedamp.policy.types import Level

ID = "5d41402abc4b2a76b9719d911017c592ae1f0c7e2b3d4f5a6b7c8d9e0f1a2b3c"


def package_upgrade(day, apt):
    """Let apt and dpkg put files where trojans would, and run packages' scripts."""
    dpkg = day.run(apt, "/usr/bin/dpkg", "/usr/bin/dpkg", "--unpack", "nginx.deb")
    for place, path in [
        ("cron", "/etc/cron.d/certbot.dpkg-new"),
        ("cron", "/etc/cron.daily/logrotate"),
        ("systemd", "/usr/lib/systemd/system/nginx.service"),
        ("init", "/etc/init.d/nginx"),
        ("pam", "/etc/pam.d/sshd"),
        ("pam", "/usr/lib/x86_64-linux-gnu/security/pam_unix.so"),
        ("udev", "/usr/lib/udev/rules.d/60-block.rules"),
        ("shell_profile", "/etc/profile.d/x.sh"),
    ]:
        day.write(dpkg, place, path, "rename")
    script = day.run(
        dpkg, "/usr/bin/dash", "/bin/sh", "/var/lib/dpkg/info/nginx.postinst", "configure",
        filename="/var/lib/dpkg/info/nginx.postinst",
    )  # fmt: skip
    helper = day.run(script, "/usr/bin/perl", "perl", "/usr/bin/deb-systemd-helper", "enable")
    day.write(helper, "systemd", "/etc/systemd/system/multi-user.target.wants/x.service", "link")
    links = day.run(script, "/usr/bin/perl", "perl", "/usr/sbin/update-rc.d", "nginx", "defaults")
    day.write(links, "init", "/etc/rc2.d/S01nginx", "link")
    adduser = day.run(script, "/usr/sbin/useradd", "useradd", "--system", "nginx")
    day.write(adduser, "accounts", "/etc/passwd", "rename")
    day.write(adduser, "accounts", "/etc/shadow", "rename")
    day.exit(adduser)
    day.exit(script)
    day.exit(dpkg)


def apt_upgrade_by_hand(day):
    """An administrator upgrades packages over SSH."""
    shell = day.login()
    apt = day.run(shell, "/usr/bin/apt-get", "apt-get", "upgrade")
    http = day.run(apt, "/usr/lib/apt/methods/http", "/usr/lib/apt/methods/http", uid=42)
    day.resolve(http, "deb.debian.org", "151.101.130.132")
    day.connect(http, "151.101.130.132", 80)
    package_upgrade(day, apt)


def unattended_upgrade(day):
    """The system's timer upgrades packages."""
    script = "/usr/lib/apt/apt.systemd.daily"
    timer = day.start(
        "apt-daily-upgrade.service", "/usr/bin/dash", "/bin/sh", script, filename=script
    )
    python = day.run(timer, "/usr/bin/python3.11", "python3", "/usr/bin/unattended-upgrade")
    package_upgrade(day, python)


def services_after_an_upgrade(day):
    """A service goes on with the file that an upgrade replaced, and starts a helper from it."""
    docker = day.service("/usr/bin/dockerd", "docker.service")
    day.run(docker, "/usr/bin/dockerd", "docker-untar", "/", link_count=0)


def compile_job(day):
    """A build with many short processes and a long one."""
    shell = day.login(1000)
    make = day.run(shell, "/usr/bin/make", "make", "-j4")
    for number in range(40):
        gcc = day.run(make, "/usr/bin/x86_64-linux-gnu-gcc-12", "gcc", "-c", f"{number}.c")
        day.run(gcc, "/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "cc1", f"{number}.c")
    long = day.run(make, "/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", "cc1plus", "huge.cc")
    day.work(long, cores=1.0, seconds=200)


def tests_and_builds_in_tmp(day):
    """Tests that run for long from /tmp, while their author edits a crontab."""
    shell = day.login(1000)
    go = day.run(shell, "/usr/local/go/bin/go", "go", "test", "./...")
    binary = "/tmp/go-build12/b001/x.test"
    test = day.run(go, binary, binary, "-test.v=true")
    day.work(test, cores=4.0, seconds=200, threads=9)
    configure = day.run(shell, "/usr/bin/dash", "/bin/sh", "./configure", cwd="/tmp/zlib")
    day.run(configure, "/tmp/zlib/conftest", "./conftest")
    crontab = day.run(shell, "/usr/bin/crontab", "crontab", "-e")
    day.write(crontab, "cron", "/var/spool/cron/crontabs/bob", "rename")


def development_tools_of_an_account(day):
    """Tools that live in hidden directories of a home or a project."""
    shell = day.login(1000)
    day.run(shell, "/home/bob/.cargo/bin/cargo", "cargo", "build")
    day.run(shell, "/home/bob/.nvm/versions/node/v20/bin/node", "node", "server.js")
    venv = day.run(shell, "/usr/bin/python3.11", "python", "-m", "pytest", cwd="/srv/app")
    day.run(venv, "/srv/app/.venv/bin/ruff", "ruff", "check")
    git = day.run(shell, "/usr/bin/git", "git", "commit")
    hook = ".git/hooks/pre-commit"
    day.run(git, "/usr/bin/dash", "/bin/sh", hook, filename=hook, cwd="/srv/app")


def certbot_from_cron(day):
    """Certificates are renewed by cron."""
    job = day.shell(day.cron, "test -x /usr/bin/certbot && perl -e 'sleep 9' && certbot -q renew")
    certbot = day.run(job, "/usr/bin/python3.11", "python3", "/usr/bin/certbot", "-q", "renew")
    day.resolve(certbot, "acme-v02.api.letsencrypt.org", "172.65.32.248")
    day.connect(certbot, "172.65.32.248")
    day.shell(certbot, "systemctl reload nginx")


def key_added_over_ssh(day):
    """What ssh-copy-id does on the other side."""
    shell = day.login()
    command = "exec sh -c 'cd; umask 077; mkdir -p .ssh && cat >> .ssh/authorized_keys'"
    copy = day.run(shell, "/usr/bin/dash", "sh", "-c", command)
    cat = day.run(copy, "/usr/bin/cat", "cat")
    day.write(cat, "ssh_keys", "/root/.ssh/authorized_keys")


def administration_over_ssh(day):
    """A service is written and enabled, rights and a password are changed."""
    shell = day.login()
    nano = day.run(shell, "/usr/bin/nano", "nano", "/etc/systemd/system/app.service")
    day.write(nano, "systemd", "/etc/systemd/system/app.service")
    day.run(shell, "/usr/bin/systemctl", "systemctl", "enable", "--now", "app")
    day.write(
        day.init, "systemd", "/etc/systemd/system/multi-user.target.wants/app.service", "link"
    )
    visudo = day.run(shell, "/usr/sbin/visudo", "visudo")
    day.write(visudo, "sudoers", "/etc/sudoers", "rename")
    passwd = day.run(shell, "/usr/bin/passwd", "passwd", "bob")
    day.write(passwd, "accounts", "/etc/shadow", "rename")
    sh = day.run(shell, "/usr/bin/bash", "bash", "/root/fix.sh")
    day.write(sh, "shell_profile", "/root/.bashrc")


def systemd_at_work(day):
    """Sessions come and go; a package asked for an account."""
    for number in range(20):
        day.write(day.init, "systemd", f"/run/systemd/transient/session-{number}.scope", "rename")
    users = day.start("systemd-sysusers.service", "/usr/bin/systemd-sysusers", "systemd-sysusers")
    day.write(users, "accounts", "/etc/passwd", "rename")


def rented_machine_starts(day):
    """The owner's keys come with the first start, and later with an agent."""
    init = day.start(
        "cloud-init.service", "/usr/bin/python3.11", "python3", "/usr/bin/cloud-init", "init"
    )
    day.write(init, "ssh_keys", "/home/debian/.ssh/authorized_keys")
    day.write(init, "sudoers", "/etc/sudoers.d/90-cloud-init-users", "create")
    useradd = day.run(init, "/usr/sbin/useradd", "useradd", "debian")
    day.write(useradd, "accounts", "/etc/passwd", "rename")
    agent = day.start("google-guest-agent.service", "/usr/bin/google_guest_agent")
    day.write(agent, "ssh_keys", "/home/bob/.ssh/authorized_keys")


def docker_run(day):
    """A container starts, works and is asked for its health."""
    shim = "/usr/bin/containerd-shim-runc-v2"
    containerd = day.service("/usr/bin/containerd", "containerd.service")
    monitor = day.run(containerd, shim, "containerd-shim-runc-v2", "-id", ID)
    runc = "/memfd:runc_cloned:/proc/self/exe"
    day.run(monitor, "/usr/bin/runc", "runc", "create", ID)
    day.run(monitor, runc, "runc", "init", link_count=0, filename="/proc/self/fd/6")
    app = day.run(
        monitor, "/usr/local/bin/redis-server", "redis-server", "*:6379",
        cgroup=f"/system.slice/docker-{ID}.scope", uid=999,
    )  # fmt: skip
    day.work(app, cores=0.9, seconds=100)
    day.shell(monitor, "curl -f http://localhost:8080/health || exit 1")


def database_under_load(day):
    """Backends that are busy for minutes and talk to ports that pools use too."""
    image = "/usr/lib/postgresql/15/bin/postgres"
    postgres = day.service(image, "postgresql@15-main.service", uid=105)
    for number in range(8):
        backend = day.run(postgres, image, "postgres: bench bench [local]")
        day.connect(backend, "10.0.0.9", 9999 if number == 3 else 5432)
        day.work(backend, cores=0.95, seconds=70)


def media_encoder(day):
    """Everything a machine has, for ten minutes."""
    shell = day.login(1000)
    ffmpeg = day.run(shell, "/usr/bin/ffmpeg", "ffmpeg", "-i", "in.mkv", "out.mp4")
    day.work(ffmpeg, cores=7.8, seconds=600, threads=32)
    yes = day.run(shell, "/usr/bin/yes", "yes")
    day.work(yes, cores=1.0, seconds=200)


def json_services(day):
    """JSON in lines, with words that miners use, on ports that pools use."""
    app = day.service("/usr/bin/node", "app.service", uid=1001)
    day.talk(
        app, "10.0.0.5", 3333,
        {"jsonrpc": "2.0", "id": 1, "method": "login", "params": {"login": "bob", "pass": "x"}},
        [{"jsonrpc": "2.0", "id": 1, "result": {"status": "OK", "job": {"id": 3}}}],
        {"jsonrpc": "2.0", "id": 2, "method": "submit", "params": {"job_id": "3", "result": "ok"}},
    )  # fmt: skip
    day.talk(app, "10.0.0.6", 12201, {"version": "1.1", "short_message": "mining.subscribe"})
    day.talk(app, "10.0.0.7", 4444, {"event": "login", "method": "job", "params": {"blob": "x"}})


def editor_and_language_server(day):
    """JSON-RPC behind headers of its own."""
    shell = day.login(1000)
    server = day.run(shell, "/usr/bin/node", "node", "/usr/lib/node_modules/pyright/langserver.js")
    body = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"processId":1}}'
    day.talk(server, "127.0.0.1", 5555, b"Content-Length: 71\r\n\r\n" + body)


def wallet_and_node(day):
    """Coins without mining, and a pool that asks its own node."""
    electrum = day.service("/usr/bin/python3.11", "electrum.service", uid=1001)
    day.talk(
        electrum, "203.0.113.80", 50001,
        {"id": 0, "method": "server.version", "params": ["electrum/4.5", "1.4"]},
        {"id": 1, "method": "blockchain.headers.subscribe", "params": []},
        [{"id": 1, "result": {"height": 800000, "hex": "00" * 80}}],
    )  # fmt: skip
    app = day.service("/usr/bin/node", "shop.service", uid=1002)
    day.talk(
        app, "10.0.0.8", 8545,
        b"POST / HTTP/1.1\r\nHost: geth\r\nContent-Length: 62\r\n\r\n"
        b'{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{}]}',
        [{"jsonrpc": "2.0", "id": 1, "result": ["0x" + "ab" * 32] * 3}],
    )  # fmt: skip
    pool = day.service("/usr/bin/p2pool", "p2pool.service", uid=1003)
    day.talk(
        pool, "127.0.0.1", 18081,
        b"POST /json_rpc HTTP/1.1\r\n\r\n"
        b'{"id":0,"method":"get_block_template","params":{"wallet_address":"4A"}}',
    )  # fmt: skip


def time_and_names(day):
    """Names with a pool's words in them."""
    chrony = day.service("/usr/sbin/chronyd", "chrony.service", uid=110)
    day.resolve(chrony, "0.debian.pool.ntp.org", "192.0.2.123")
    day.connect(chrony, "192.0.2.123", 123, "udp")
    minecraft = day.service("/usr/bin/java", "minecraft.service", uid=1004)
    day.resolve(minecraft, "sessionserver.mojang.com", "192.0.2.9")
    day.work(minecraft, cores=2.0, seconds=100)


def threads_and_titles(day):
    """Processes that rename themselves, and programs whose names are near."""
    nginx = day.service("/usr/sbin/nginx", "nginx.service")
    worker = day.run(nginx, "/usr/sbin/nginx", "nginx: worker process", uid=33)
    day.rename(worker, "nginx-worker")
    audit = day.start("auditd.service", "/usr/sbin/auditd", "/sbin/auditd")
    day.rename(audit, "auditd")
    shell = day.login(1000)
    migration = day.run(shell, "/srv/app/target/release/migration", "migration", "up")
    day.work(migration, cores=1.0, seconds=90)
    kernel = day.events[-1].process._replace(pid=77)
    day.rename(kernel, "kworker/0:0")


def configuration_over_ssh(day):
    """Ansible, which keeps its modules in a hidden directory."""
    shell = day.login()
    module = "/root/.ansible/tmp/ansible-tmp-1/AnsiballZ_copy.py"
    sh = day.run(shell, "/usr/bin/dash", "/bin/sh", "-c", f"/usr/bin/python3 {module}")
    python = day.run(sh, "/usr/bin/python3.11", "/usr/bin/python3", module)
    day.write(python, "cron", "/etc/cron.d/backup", "rename")


DAYS = [
    apt_upgrade_by_hand, unattended_upgrade, services_after_an_upgrade, compile_job,
    tests_and_builds_in_tmp, development_tools_of_an_account, certbot_from_cron, key_added_over_ssh,
    administration_over_ssh, systemd_at_work, rented_machine_starts, docker_run,
    database_under_load, media_encoder, json_services, editor_and_language_server,
    wallet_and_node, time_and_names, threads_and_titles, configuration_over_ssh,
]  # fmt: skip


@pytest.mark.parametrize("happens", DAYS, ids=lambda happens: happens.__name__)
def test_ordinary_day_raises_no_more_than_notes(day, judge, happens):
    """
    Nothing would be done to anyone, and nobody is woken.
    """
    happens(day)

    verdict = judge(day)

    assert verdict.decisions == []
    assert [each for each in verdict.alerts if each.policy.level > Level.LOW] == []


def test_all_ordinary_days_on_one_host_raise_no_more_than_notes(day, judge):
    """
    What is ordinary alone is ordinary together.
    """
    for happens in DAYS:
        happens(day)

    verdict = judge(day)

    assert verdict.decisions == []
    assert [each for each in verdict.alerts if each.policy.level > Level.LOW] == []


def test_notes_are_taken_of_what_an_administrator_should_be_able_to_look_up(day, judge):
    """
    Silence is not blindness: the same stream shows that it was looked at.
    """
    key_added_over_ssh(day)
    tests_and_builds_in_tmp(day)

    assert judge(day).names == {"changed_in_session", "world_writable_exec"}
