# SPDX-License-Identifier: Apache-2.0
"""Where trojans settle on a Linux server: the built-in table of watched places.

Rule 1. A path that ends in / is a directory whose entries are of the place; any other path is
        a file, there or not there yet.
Rule 2. Wildcards are fnmatch's and also match a leading dot; a wildcard never crosses a /.
Rule 3. `~` is the home directory of every account, whatever its shell: a key works for an
        account that nobody logs in to.
Rule 4. Both sides of merged directories are listed (/lib and /usr/lib): a path that leads to
        a directory that is watched already costs nothing.
"""

from typing import Final

from firedamp.settings import WatchedPlace

_CRON = (
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.allow",
    "/etc/cron.deny",
    "/etc/cron.d/",
    "/etc/cron.hourly/",
    "/etc/cron.daily/",
    "/etc/cron.weekly/",
    "/etc/cron.monthly/",
    "/etc/cron.yearly/",
    "/etc/periodic/*/",
    "/etc/crontabs/",
    "/var/spool/cron/",
    "/var/spool/cron/crontabs/",
    "/var/spool/cron/tabs/",
    "/var/spool/anacron/",
)
_AT = ("/var/spool/at/", "/var/spool/cron/atjobs/", "/var/spool/atjobs/", "/etc/at.allow")

_UNIT_DIRS = (
    "/etc/systemd/system",
    "/etc/systemd/user",
    "/run/systemd/system",
    "/run/systemd/transient",
    "/usr/lib/systemd/system",
    "/usr/lib/systemd/user",
    "/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    "~/.config/systemd/user",
    "~/.local/share/systemd/user",
)
_UNIT_SUBDIRS = ("*.d", "*.wants", "*.requires", "*.upholds")
_SYSTEMD = (
    *(f"{directory}/" for directory in _UNIT_DIRS),
    *(f"{directory}/{below}/" for directory in _UNIT_DIRS for below in _UNIT_SUBDIRS),
    "/etc/systemd/*.conf",
    "/etc/systemd/*.conf.d/",
    "/etc/systemd/system-generators/",
    "/etc/systemd/user-generators/",
    "/run/systemd/system-generators/",
    "/usr/lib/systemd/system-generators/",
    "/usr/lib/systemd/user-generators/",
    "/usr/local/lib/systemd/system-generators/",
    "/lib/systemd/system-generators/",
    "/usr/lib/systemd/system-shutdown/",
    "/usr/lib/systemd/system-sleep/",
    "/etc/tmpfiles.d/",
)
_INIT = (
    "/etc/init.d/",
    "/etc/rc.d/init.d/",
    *(f"/etc/rc{level}.d/" for level in "0123456S"),
    *(f"/etc/rc.d/rc{level}.d/" for level in "0123456"),
    "/etc/init/",
    "/etc/inittab",
    "/etc/local.d/",
    "/etc/runlevels/*/",
    "/etc/modules",
    "/etc/modules-load.d/",
)
_RC_LOCAL = ("/etc/rc.local", "/etc/rc.d/rc.local", "/etc/rc.local.d/")

_HOME_PROFILES = (
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".cshrc",
    ".tcshrc",
    ".login",
    ".kshrc",
    ".config/fish/config.fish",
    ".config/fish/conf.d/",
)
_SHELL_PROFILE = (
    "/etc/profile",
    "/etc/profile.d/",
    "/etc/bash.bashrc",
    "/etc/bash.bash_logout",
    "/etc/bashrc",
    "/etc/bashrc.d/",
    "/etc/zsh/",
    "/etc/zshrc",
    "/etc/zshenv",
    "/etc/zprofile",
    "/etc/csh.cshrc",
    "/etc/csh.login",
    "/etc/fish/config.fish",
    "/etc/fish/conf.d/",
    "/etc/motd",
    "/etc/update-motd.d/",
    *(f"/etc/skel/{name}" for name in _HOME_PROFILES),
    *(f"~/{name}" for name in _HOME_PROFILES),
)
_PAM = (
    "/etc/pam.d/",
    "/etc/pam.conf",
    "/etc/security/",
    *(
        f"{lib}/{arch}security/"
        for lib in ("/usr/lib", "/lib", "/usr/lib64", "/lib64")
        for arch in ("", "*-linux-gnu*/")
    ),
)
_AUTOSTART = (
    "/etc/xdg/autostart/",
    "~/.config/autostart/",
    "~/.xprofile",
    "~/.xinitrc",
    "~/.xsessionrc",
    "~/.xsession",
)
_PACKAGE_HOOK = (
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d/",
    "/etc/dpkg/dpkg.cfg.d/",
    "/etc/kernel/postinst.d/",
    "/etc/yum/pluginconf.d/",
    "/etc/dnf/plugins/",
    "/etc/pacman.d/hooks/",
)
_NETWORK_HOOK = (
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/",
    *(f"/etc/network/if-{when}.d/" for when in ("pre-up", "up", "down", "post-down")),
    "/etc/NetworkManager/dispatcher.d/",
    "/etc/NetworkManager/dispatcher.d/*.d/",
    "/etc/networkd-dispatcher/*.d/",
    "/etc/dhcp/dhclient-*-hooks.d/",
    "/etc/ppp/ip-*.d/",
)
_ACCOUNTS = tuple(
    f"/etc/{name}{backup}"
    for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
    for backup in ("", "-")
)

BUILT_IN: Final = (
    WatchedPlace(place="cron", paths=_CRON),
    WatchedPlace(place="at", paths=_AT),
    WatchedPlace(place="systemd", paths=_SYSTEMD),
    WatchedPlace(place="init", paths=_INIT),
    WatchedPlace(place="rc_local", paths=_RC_LOCAL),
    WatchedPlace(place="shell_profile", paths=_SHELL_PROFILE),
    WatchedPlace(place="preload", paths=("/etc/ld.so.preload",)),
    WatchedPlace(
        place="ssh_keys",
        paths=(
            "~/.ssh/authorized_keys",
            "~/.ssh/authorized_keys2",
            "/etc/ssh/authorized_keys*",
            "/etc/ssh/authorized_keys*/",
        ),
    ),
    WatchedPlace(
        place="ssh_config",
        paths=(
            "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d/",
            "/etc/ssh/ssh_config",
            "/etc/ssh/ssh_config.d/",
            "/etc/ssh/sshrc",
            "~/.ssh/rc",
            "~/.ssh/config",
        ),
    ),
    WatchedPlace(place="accounts", paths=_ACCOUNTS),
    WatchedPlace(place="sudoers", paths=("/etc/sudoers", "/etc/sudoers.d/", "/etc/doas.conf")),
    WatchedPlace(place="pam", paths=_PAM),
    WatchedPlace(
        place="udev",
        paths=("/etc/udev/rules.d/", "/run/udev/rules.d/", "/usr/lib/udev/rules.d/"),
    ),
    WatchedPlace(
        place="resolver",
        paths=("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf"),
    ),
    WatchedPlace(
        place="environment",
        paths=(
            "/etc/environment",
            "/etc/environment.d/",
            "/etc/default/locale",
            "~/.ssh/environment",
            "~/.pam_environment",
            "~/.config/environment.d/",
        ),
    ),
    WatchedPlace(place="autostart", paths=_AUTOSTART),
    WatchedPlace(place="package_hook", paths=_PACKAGE_HOOK),
    WatchedPlace(place="network_hook", paths=_NETWORK_HOOK),
)
