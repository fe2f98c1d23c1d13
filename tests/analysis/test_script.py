# SPDX-License-Identifier: Apache-2.0
"""Which script an interpreter runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.script import script_path, script_place
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.events.model import Event, ProcessKey

BASH, PYTHON, PERL = "/usr/bin/bash", "/usr/bin/python3.11", "/usr/bin/perl"


@pytest.mark.parametrize(
    ("filename", "image", "argv", "script"),
    [
        ("/etc/zzh.sh", BASH, ("/bin/bash", "/etc/zzh.sh", "-x"), "/etc/zzh.sh"),
        ("./run", BASH, ("/bin/sh", "./run"), "/srv/run"),
        ("./run.pl", PERL, ("/usr/bin/perl", "-w", "./run.pl", "a"), "/srv/run.pl"),
        ("/srv/a.awk", "/usr/bin/mawk", ("mawk", "-f", "/srv/a.awk"), "/srv/a.awk"),
        (BASH, BASH, ("bash", "x.sh"), "/srv/x.sh"),
        (BASH, BASH, ("bash", "-ex", "../x.sh"), "/x.sh"),
        (BASH, BASH, ("bash", "-o", "errexit", "+x", "x.sh"), "/srv/x.sh"),
        (BASH, BASH, ("bash", "--rcfile", "/etc/rc", "x.sh"), "/srv/x.sh"),
        (BASH, BASH, ("bash", "--", "-x.sh"), "/srv/-x.sh"),
        (PYTHON, PYTHON, ("python3", "-u", "-W", "ignore", "miner.py"), "/srv/miner.py"),
        (PYTHON, PYTHON, ("python3", "-Wignore", "miner.py"), "/srv/miner.py"),
        (PERL, PERL, ("rsync", "-I/opt/lib", "/tmp/.x/bot"), "/tmp/.x/bot"),
        ("/usr/bin/node", "/usr/bin/node", ("node", "--require", "a", "s.js"), "/srv/s.js"),
        ("/usr/bin/php8.2", "/usr/bin/php8.2", ("php", "-d", "a=b", "-f", "s.php"), "/srv/s.php"),
        ("/usr/bin/java", "/usr/lib/jvm/17/bin/java", ("java", "-Xmx1g", "-jar", "m.jar"),
         "/srv/m.jar"),
        ("/bin/busybox", "/bin/busybox", ("busybox", "sh", "x.sh"), "/srv/x.sh"),
        ("/bin/sh", "/bin/busybox", ("sh", "x.sh"), "/srv/x.sh"),
    ],
)  # fmt: skip
def test_script_is_found(observed, filename, image, argv, script):
    """
    By #!, or as the first argument that is no option; absolute, from where the process stands.
    """
    known = {"filename": filename, "image": image, "argv": argv, "cwd": "/srv"}

    assert script_path(observed(**known)) == script


@pytest.mark.parametrize(
    ("image", "argv"),
    [
        (BASH, ("bash",)),
        (BASH, ("-bash",)),
        (BASH, ("bash", "-c", "curl x | sh")),
        (BASH, ("bash", "-lc", "make")),
        (BASH, ("bash", "-s", "arg")),
        (BASH, ("bash", "-")),
        (PYTHON, ("python3", "-c", "print()")),
        (PYTHON, ("python3", "-Im", "pytest")),
        (PERL, ("perl", "-ne", "print")),
        (PERL, ("perl", "-e", "fork")),
        ("/usr/bin/node", ("node", "--eval", "1")),
        ("/usr/bin/node", ("node", "--eval=1")),
        ("/usr/bin/php", ("php", "-r", "phpinfo();")),
        ("/usr/bin/java", ("java", "-cp", "a", "org.example.Main")),
        ("/bin/busybox", ("busybox", "wget", "x")),
        ("/bin/busybox", ("ls", "x")),
        ("/usr/bin/ls", ("ls", "x.sh")),
        ("/usr/bin/pythonic", ("pythonic", "x.sh")),
        (BASH, ()),
    ],
)
def test_no_script_where_there_is_none(observed, image, argv):
    """
    Code on the command line, from a pipe, or a program that is no interpreter.
    """
    assert script_path(observed(filename=image, image=image, argv=argv, cwd="/srv")) is None


def test_relative_script_without_a_directory_is_unknown(observed):
    """
    A guess could name somebody else's file.
    """
    assert script_path(observed(filename=BASH, image=BASH, argv=("bash", "x.sh"))) is None


@given(
    st.sampled_from([BASH, PYTHON, PERL, "/usr/bin/php", "/bin/busybox", "/usr/bin/java"]),
    st.lists(st.text("-+=abcefjlmorsWX./ ", max_size=6), max_size=6),
)
def test_any_arguments_can_be_read(image, argv):
    """
    Whatever they are, the answer is an absolute path or none.
    """
    process = Process(
        key=ProcessKey(1, 1), image=image, filename=image, argv=tuple(argv), cwd="/srv"
    )
    event = Event(at_ns=0, process=process.key)

    script = script_path(Observed(event=event, process=process, host=HostContext()))

    assert script is None or script.startswith("/")


@pytest.mark.parametrize(
    ("script", "places"),
    [
        ("/tmp/.x/run.sh", ("world_writable", "temporary", "hidden")),
        ("/srv/run.sh", None),
        ("/root/.ansible/tmp/AnsiballZ_setup.py", None),
    ],
)
def test_place_of_the_script_is_judged_like_that_of_an_image(observed, script, places):
    """
    The interpreter lies in /usr/bin, whatever it runs.
    """
    known = {"image": BASH, "filename": BASH, "argv": ("bash", script), "cwd": "/"}

    assert script_place(observed(**known)) == places
    assert script_place(observed(image=BASH, argv=("bash",))) is None
