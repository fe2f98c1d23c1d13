# SPDX-License-Identifier: Apache-2.0
"""Which paths are watched, and what kind of place each is."""

import pytest

from firedamp.settings import Watch, WatchedPlace
from firedamp.sources.place_table import BUILT_IN
from firedamp.sources.places import Places


@pytest.fixture
def root(tmp_path):
    """
    A host with two accounts, of which one can only be found in its passwd file.
    """
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/bash\n"
        "redis:x:101:101::/var/lib/redis:/usr/sbin/nologin\n"
        "broken line\n"
    )
    return tmp_path


PLACES = {
    "/etc/crontab": "cron",
    "/etc/cron.d": "cron",
    "/etc/cron.d/.hidden": "cron",
    "/etc/cron.hourly/oanacroner1": "cron",
    "/etc/anacrontab": "cron",
    "/var/spool/cron/root": "cron",
    "/var/spool/cron/crontabs/www-data": "cron",
    "/var/spool/cron/atjobs/a0001": "at",
    "/etc/systemd/system/bot.service": "systemd",
    "/etc/systemd/system/ssh.service.d/x.conf": "systemd",
    "/etc/systemd/system/multi-user.target.wants/bot.service": "systemd",
    "/usr/lib/systemd/system/bot.service": "systemd",
    "/etc/systemd/system-generators/x": "systemd",
    "/root/.config/systemd/user/bot.service": "systemd",
    "/home/new/.config/systemd/user/default.target.wants/bot.service": "systemd",
    "/etc/init.d/pwnrig": "init",
    "/etc/rc3.d/S01pwnrig": "init",
    "/etc/rc.local": "rc_local",
    "/etc/profile": "shell_profile",
    "/etc/profile.d/x.sh": "shell_profile",
    "/root/.bashrc": "shell_profile",
    "/home/new/.bash_profile": "shell_profile",
    "/etc/update-motd.d/00-x": "shell_profile",
    "/etc/ld.so.preload": "preload",
    "/root/.ssh/authorized_keys": "ssh_keys",
    "/root/.ssh/authorized_keys2": "ssh_keys",
    "/var/lib/redis/.ssh/authorized_keys": "ssh_keys",
    "/home/new/.ssh/authorized_keys": "ssh_keys",
    "/etc/ssh/sshd_config": "ssh_config",
    "/etc/ssh/sshd_config.d/x.conf": "ssh_config",
    "/root/.ssh/rc": "ssh_config",
    "/etc/passwd": "accounts",
    "/etc/shadow": "accounts",
    "/etc/group": "accounts",
    "/etc/sudoers": "sudoers",
    "/etc/sudoers.d/x": "sudoers",
    "/etc/pam.d/sshd": "pam",
    "/usr/lib/x86_64-linux-gnu/security/pam_unix.so": "pam",
    "/etc/udev/rules.d/99-x.rules": "udev",
    "/etc/resolv.conf": "resolver",
    "/etc/environment": "environment",
    "/etc/xdg/autostart/x.desktop": "autostart",
    "/home/new/.config/autostart/x.desktop": "autostart",
    "/etc/apt/apt.conf.d/99x": "package_hook",
    "/etc/network/if-up.d/x": "network_hook",
}


@pytest.mark.parametrize("path", PLACES)
def test_every_known_place_is_watched(root, path):
    """
    Wherever a trojan is known to settle, in its own root and of every account.
    """
    places = Places(Watch(roots=(str(root),)))

    assert places.place_of(f"{root}{path}") == PLACES[path]


@pytest.mark.parametrize(
    "path",
    ["/etc", "/etc/hostname", "/etc/cron.d/x/y", "/tmp/x", "/root/x", "/home/new/.ssh/id_rsa"],
)
def test_what_is_no_place_is_not_watched(root, path):
    """
    Directories on the way to a place are none, nor is what lies beside or below one.
    """
    places = Places(Watch(roots=(str(root),)))

    assert places.place_of(f"{root}{path}") is None


def test_roots_do_not_lend_each_other_their_accounts(root, tmp_path_factory):
    """
    An account of one root has no home in another, nor on the host.
    """
    other = tmp_path_factory.mktemp("other")
    places = Places(Watch(roots=(str(root), str(other))))

    assert places.place_of(f"{root}/var/lib/redis/.profile") == "shell_profile"
    assert places.place_of(f"{other}/var/lib/redis/.profile") is None
    assert places.place_of(f"{other}/etc/crontab") == "cron"
    assert places.place_of("/etc/crontab") is None


def test_key_files_named_by_sshd_are_watched(root):
    """
    Keys count wherever sshd's configuration says they are, by its own placeholders.
    """
    (root / "etc/ssh/sshd_config").write_text(
        "# AuthorizedKeysFile /no\nauthorizedkeysfile .keys %h/.ssh/more /srv/keys/%u none\n"
    )
    places = Places(Watch(roots=(str(root),)))

    for path in ("/root/.keys", "/root/.ssh/more", "/srv/keys/root"):
        assert places.place_of(f"{root}{path}") == "ssh_keys"
    assert places.place_of(f"{root}/no") is None


def test_additional_places_come_before_the_table(root):
    """
    What the administrator calls a path is what it is called.
    """
    extra = (WatchedPlace(place="mine", paths=("/etc/crontab", "/srv/*/hooks/", "~/.hook")),)
    places = Places(Watch(roots=(str(root),), extra=extra))

    for path in ("/etc/crontab", "/srv/app/hooks/x", "/root/.hook", "/var/lib/redis/.hook"):
        assert places.place_of(f"{root}{path}") == "mine"


def test_the_most_exact_pattern_decides(root):
    """
    A file's own name outweighs a wildcard, and a longer wildcard a shorter one.
    """
    extra = (
        WatchedPlace(place="all", paths=("/srv/",)),
        WatchedPlace(place="some", paths=("/srv/a*",)),
        WatchedPlace(place="one", paths=("/srv/ab",)),
    )
    places = Places(Watch(roots=(str(root),), extra=extra))

    named = [places.place_of(f"{root}/srv/{name}") for name in ("x", "ax", "ab")]

    assert named == ["all", "some", "one"]


def test_homes_are_learned_again_only_when_they_changed(root):
    """
    A changed password is no reason to walk through thousands of homes.
    """
    places = Places(Watch(roots=(str(root),)))
    passwd = root / "etc/passwd"

    passwd.write_text(passwd.read_text().replace(":x:", ":y:"))
    assert not places.refresh()

    passwd.write_text(passwd.read_text() + "eve:x:0:0::/srv/[eve]:/bin/sh\n")
    assert places.refresh()
    assert places.place_of(f"{root}/srv/[eve]/.profile") == "shell_profile"
    assert places.place_of(f"{root}/srv/e/.profile") is None


def test_the_table_names_the_places_that_policies_know():
    """
    A renamed place would silence every policy that names it.
    """
    assert {watched.place for watched in BUILT_IN} == {
        "accounts",
        "at",
        "autostart",
        "cron",
        "environment",
        "init",
        "network_hook",
        "package_hook",
        "pam",
        "preload",
        "rc_local",
        "resolver",
        "shell_profile",
        "ssh_config",
        "ssh_keys",
        "sudoers",
        "systemd",
        "udev",
    }
