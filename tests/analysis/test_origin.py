# SPDX-License-Identifier: Apache-2.0
"""Where an image came from, and what is doubtful about its place."""

import pytest

from firedamp.analysis.origin import image_origin, image_place, is_found
from firedamp.events.model import ConnectionFound, ConnectionOpened, ProcessKey


@pytest.mark.parametrize(
    ("known", "origin"),
    [
        ({"image": "/usr/bin/true"}, "file"),
        ({"image": "/memfd:x", "link_count": 0}, "memory"),
        ({"image": "/memfd:x (deleted)", "link_count": 1}, "memory"),
        ({"image": "/tmp/x", "link_count": 0}, "deleted"),
        ({"image": "/tmp/x (deleted)"}, "deleted"),
        ({"image": "/srv/memfd:x"}, "file"),
        ({"image": ""}, None),
    ],
)
def test_origin_is_told_by_the_link_count(observed, known, origin):
    """
    A file that no directory names is deleted; one that never had a name lives in memory.
    """
    assert image_origin(observed(**known)) == origin


@pytest.mark.parametrize(
    ("image", "places"),
    [
        ("/tmp/kinsing", ("world_writable", "temporary")),
        ("/var/tmp/x", ("world_writable", "temporary")),
        ("/dev/shm/x", ("world_writable", "temporary")),
        ("/dev/shm/.x/y", ("world_writable", "temporary", "hidden")),
        ("/tmp/.X25-unix/.rsync/kswapd0", ("world_writable", "temporary", "hidden")),
        ("/tmp/.mi (deleted)", ("world_writable", "temporary", "hidden")),
        ("/run/x", ("temporary",)),
        ("/dev/x", ("temporary",)),
        ("/usr/sbin/.configure/xmrig", ("hidden",)),
        ("/usr/share/.aBc/python-dev", ("hidden",)),
        ("/root/.configrc/a/kswapd0", ("hidden",)),
        ("/home/bob/.x", ("hidden",)),
        ("/home/bob/.local", ("hidden",)),
        ("/srv/.../x", ("hidden",)),
        ("/home/bob/.cargo/.x/rustc", ("hidden",)),
        ("/tmp/.venv/bin/x", ("world_writable", "temporary", "hidden")),
        ("/.x", ("hidden",)),
    ],
)
def test_doubtful_places_are_named(observed, image, places):
    """
    Where incident reports found miners.
    """
    assert image_place(observed(image=image)) == places


@pytest.mark.parametrize(
    "image",
    [
        "/usr/bin/bash",
        "/home/bob/bin/tool",
        "/home/bob/.cargo/bin/rustc",
        "/root/.nvm/versions/node/v20/bin/node",
        "/var/lib/jenkins/.sdkman/candidates/java/current/bin/java",
        "/srv/app/.venv/bin/python3",
        "/home/bob/src/app/.git/hooks/pre-commit",
        "/home/bob/.local/share/app/bin/x",
        "/opt/tmp/x",
        "/tmpfile",
        "/usr/lib/a..b/c",
        "/memfd:.x",
        "",
        "x",
    ],
)
def test_ordinary_places_are_not_doubtful(observed, image):
    """
    People keep tools in hidden directories of their own, and dots stand inside names.
    """
    assert image_place(observed(image=image)) is None


def test_found_is_what_was_there_before_the_daemon(observed):
    """
    A policy may want to be gentler with what has been running for a year.
    """
    fields = {
        "at_ns": 1, "process": ProcessKey(1, 1), "cookie": 1, "transport": "tcp",
        "address": "192.0.2.1", "port": 1, "uid": 0, "denied": False,
    }  # fmt: skip

    assert is_found(observed(ConnectionFound(**fields))) is True
    assert is_found(observed(ConnectionOpened(**fields))) is False
