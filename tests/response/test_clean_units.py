# SPDX-License-Identifier: Apache-2.0
"""Units with their links, and libraries with the lines that preload them."""

import pytest

from firedamp.response.clean_units import Systemd


def test_preloaded_library_goes_with_its_line(scene, tmp_path):
    """
    Where it lies in a doubtful place, is a library, and no package's.
    """
    library = tmp_path / ".x" / "libhide.so"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF...")
    path = scene.file("etc/ld.so.preload", f"/usr/lib/good.so\n{library}\n".encode(), "preload")
    scene.did(path, str(library), place="preload")

    words, receipts = scene.plan(), scene.apply()

    assert words == (f"`{library}` of {path}", str(library))
    assert scene.outcomes(receipts) == [("done", str(path)), ("done", str(library))]
    assert path.read_bytes() == b"/usr/lib/good.so\n"
    assert not library.exists()
    assert [one.outcome for one in scene.undo(receipts)] == ["undone", "undone"]
    assert library.read_bytes() == b"\x7fELF..."


@pytest.mark.parametrize("why", ["no library", "package", "ordinary place"])
def test_file_that_a_preload_line_only_names_stays(scene, tmp_path, monkeypatch, why):
    """
    Else a line would be enough to be rid of any file.
    """
    library = tmp_path / ".x" / "f"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF" if why != "no library" else b"keys")
    if why == "package":
        scene.packages.files.add(str(library))
    if why == "ordinary place":
        monkeypatch.setattr("firedamp.response.clean_finds.doubts_about", lambda _: ())
    path = scene.file("etc/ld.so.preload", f"keep\n{library}\n".encode(), "preload")
    scene.did(path, str(library), place="preload")

    receipts = scene.apply()

    assert scene.outcomes(receipts) == [("done", str(path))]
    assert library.exists()


def test_unit_goes_with_its_links_and_comes_back(scene):
    """
    Links are made by systemd itself when it is asked to enable a unit; they are the unit's.
    """
    unit = scene.made(
        "etc/systemd/system/x.service", "[Service]", "ExecStart=/tmp/x", place="systemd"
    )
    wants = scene.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    link = wants / "x.service"
    link.symlink_to("/etc/systemd/system/x.service")
    other = wants / "y.service"
    other.symlink_to("/etc/systemd/system/y.service")
    scene.places[str(link)] = scene.places[str(other)] = "systemd"
    before = scene.tree()

    receipts = scene.apply()

    assert scene.outcomes(receipts) == [("done", str(link)), ("done", str(unit))]
    assert not unit.exists()
    assert not link.is_symlink()
    assert other.is_symlink()
    assert [one.outcome for one in scene.undo(receipts)] == ["undone", "undone"]
    assert scene.tree() == before


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/etc/systemd/system/x.service", ["--no-block stop -- x.service", "daemon-reload"]),
        ("/etc/systemd/system/x.service.d/y.conf", ["daemon-reload"]),
        ("/srv/root/etc/systemd/system/x.service", []),
        ("/root/.config/systemd/user/x.service", []),
    ],
)
def test_systemd_is_asked_about_its_own_units_alone(tmp_path, path, asked):
    """
    A tree that only looks like a host is none of its.
    """
    said, command = tmp_path / "said", tmp_path / "systemctl"
    command.write_text(f'#!/bin/sh\necho "$@" >>{said}\n')
    command.chmod(0o755)
    systemd = Systemd(str(command), str(tmp_path))

    systemd.stop(path)
    systemd.reload(path)

    assert (said.read_text().splitlines() if said.exists() else []) == asked


def test_nothing_is_asked_where_systemd_does_not_run(tmp_path):
    """
    A container has none.
    """
    assert Systemd("/bin/false", str(tmp_path / "none")).reload("/etc/systemd/system/x") == ""
    assert Systemd("/bin/false", str(tmp_path)).reload("/etc/systemd/system/x") != ""
