# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.context.units import Placement, placement

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "unit", "container", "session"),
    [
        ("/", "", "", ""),
        ("", "", "", ""),
        ("/init.scope", "init.scope", "", ""),
        ("/system.slice/nginx.service", "nginx.service", "", ""),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "", ""),
        ("/system.slice/redis.service/worker", "redis.service", "", ""),
        (r"/system.slice/a\x2db.service", "a-b.service", "", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", "3"),
        ("/user.slice/user-0.slice/session-c1.scope", "session-c1.scope", "", "c1"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "x.service", "", ""),
        (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope", ID, ""),
        (f"/docker/{ID}", "", ID, ""),
        (f"/docker/{ID}/init.scope", "init.scope", ID, ""),
        (f"/system.slice/docker-{ID}.scope/system.slice/sshd.service", "sshd.service", ID, ""),
        (f"/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", ID, ""),
        (f"/machine.slice/libpod-conmon-{ID}.scope", f"libpod-conmon-{ID}.scope", "", ""),
        (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope",
         f"cri-containerd-{ID}.scope", ID, ""),
        (f"/kubepods/burstable/pod1f2e/{ID}", "", ID, ""),
        (f"/kubepods.slice/crio-{ID}.scope", f"crio-{ID}.scope", ID, ""),
        ("/lxc.payload.web1/system.slice/cron.service", "cron.service", "web1", ""),
        ("/lxc/web1", "", "web1", ""),
        ("/machine.slice/systemd-nspawn@deb.service/payload", "systemd-nspawn@deb.service",
         "deb", ""),
        (r"/machine.slice/machine-a\x2db.scope", "machine-a-b.scope", "a-b", ""),
    ],
)  # fmt: skip
def test_path_says_where_a_process_belongs(path, unit, container, session):
    """
    As systemd and the container runtimes name control groups.
    """
    assert placement(path) == Placement(unit, container, session)


def test_session_in_a_container_is_none_of_the_host():
    """
    Root of a container names control groups below its own as it likes.
    """
    path = f"/docker/{ID}/user.slice/user-0.slice/session-1.scope"

    assert placement(path).session == ""


@given(st.text("/abc-.@\\x2dservicopelxubr0123456789", max_size=120))
def test_any_path_can_be_read(path):
    """
    Control groups can be called anything.
    """
    assert all(isinstance(part, str) for part in placement(path))
