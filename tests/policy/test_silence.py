# SPDX-License-Identifier: Apache-2.0
"""What is remembered as silence must be silence every time."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.context.host import HostContext
from firedamp.events.model import ProcessExecuted, ProcessFound, ProcessKey
from firedamp.policy.compile import compile_policies
from firedamp.policy.engine import Engine
from firedamp.policy.fields import views_of
from firedamp.policy.ir import And, Comparison, Not, Or, PolicySet, Rule, SameAs, Text
from firedamp.policy.silence import SETTLED, Silence, fields_of
from firedamp.policy.types import Level, PolicySummary

IMAGES = st.sampled_from(["/usr/bin/true", "/tmp/.x/kworker", "/memfd:x", "/usr/bin/bash"])
WORDS = st.sampled_from(["true", "[kworker/0:0]", "-c", "curl x | sh", "/tmp/a.sh", ""])
NAMES = st.sampled_from(["true", "kswapd0", "x"])
NUMBERS = st.sampled_from([0, 1, 1000, 0xFFFFFFFF])


def event(**facts) -> ProcessExecuted:
    """A process that ran something, as these facts say."""
    kind = ProcessFound if facts.pop("found", False) else ProcessExecuted
    given_ = {
        "at_ns": 1,
        "process": ProcessKey(10, 10),
        "parent": ProcessKey(5, 5),
        "image": "/usr/bin/true",
        "filename": "/bin/true",
        "argv": ("true",),
        "argv_cut": False,
        "cwd": "/",
        "comm": "true",
        "uid": 0,
        "gid": 0,
        "loginuid": 0,
        "device": 1,
        "inode": 2,
        "link_count": 1,
        "mode": 0o755,
        "image_uid": 0,
        "cgroup_id": 1,
        "mount_ns": 1,
        "pid_ns": 1,
        "net_ns": 1,
    }
    return kind(**(given_ | facts))


SHOWN = st.fixed_dictionaries(
    {
        "image": IMAGES,
        "filename": IMAGES,
        "argv": st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        "cwd": st.sampled_from(["/", "/tmp"]),
        "comm": NAMES,
        "uid": NUMBERS,
        "loginuid": NUMBERS,
        "link_count": st.sampled_from([0, 1]),
        "image_uid": NUMBERS,
        "found": st.booleans(),
    }
)
OTHER = st.fixed_dictionaries(
    {"gid": NUMBERS, "mode": NUMBERS, "device": NUMBERS, "cgroup_id": NUMBERS, "net_ns": NUMBERS}
)


def view_of(host: HostContext, executed: ProcessExecuted):
    """The event as policies see it."""
    (view,) = views_of(host.observe(executed))
    return view


@given(SHOWN, SHOWN, OTHER, OTHER, NUMBERS)
def test_equal_keys_mean_equal_fields(shown, above, one, other, pid):
    """
    Every field that is called settled has the same value wherever the key is the same.
    """
    parent = event(process=ProcessKey(5, 5), parent=ProcessKey(1, 1), **above)
    views = []
    for number, rest in ((10, one), (pid + 20, other)):
        host = HostContext()
        host.observe(parent)
        views.append(view_of(host, event(process=ProcessKey(number, 9), **shown, **rest)))
    keys = [Silence(()).key(view) for view in views]

    assert keys[0] == keys[1]
    assert {name: views[0][name] for name in SETTLED} == {name: views[1][name] for name in SETTLED}


def rule(condition, identity="r") -> Rule:
    """A rule about what processes start."""
    summary = PolicySummary(
        id=identity, title=identity, level=Level.HIGH, status="stable", tags=(), response=()
    )
    return Rule(summary=summary, category="process_creation", condition=condition, every_s=0.0)


def says(name: str, text: str) -> Comparison:
    """A field has this text."""
    return Comparison(name, Text((text,)))


CONDITIONS = [
    says("ImageOrigin", "memory"),
    says("ImageOrigin", "deleted"),
    And((says("Masquerade", "kernel_thread"), Not(says("User", "root")))),
    says("ProcessName", "x"),
    says("CurrentDirectory", "/tmp"),
    says("CommandLine", "changed"),
    says("ScriptPath", "/tmp/a.sh"),
    says("ParentImage", "/usr/bin/bash"),
    says("ParentCommandLine", "changed"),
    says("ParentProcessName", "x"),
    says("LoginUser", "1000"),
    says("User", "1000"),
    says("ImageOwner", "1000"),
    says("IsFound", "true"),
]
CHANGES = {
    "image": "/memfd:x",
    "filename": "/tmp/a.sh",
    "argv": ("changed",),
    "cwd": "/tmp",
    "comm": "x",
    "uid": 1000,
    "loginuid": 1000,
    "link_count": 0,
    "image_uid": 1000,
    "found": True,
}


@pytest.mark.parametrize("changed", [*CHANGES, "parent image", "parent argv", "parent comm"])
def test_one_difference_is_enough_to_be_judged_anew(changed):
    """
    After silence about a start, one that differs in any one thing gets the verdict that it
    would get from an engine without memory.
    """
    rules = tuple(rule(condition, str(i)) for i, condition in enumerate(CONDITIONS))
    policies = compile_policies(PolicySet(rules=rules))
    host = HostContext()
    plain = event(filename="/opt/own", image="/opt/own", argv=("own", "/tmp/a.sh"))
    of_parent = {"parent image": "image", "parent argv": "argv", "parent comm": "comm"}
    above, facts = {}, {}
    if changed in of_parent:
        name = of_parent[changed]
        above = {name: {"image": "/usr/bin/bash"}.get(name, CHANGES[name])}
    else:
        facts = {changed: CHANGES[changed]}
    other = event(
        **({"filename": "/opt/own", "image": "/opt/own", "argv": ("own", "/tmp/a.sh")} | facts),
        parent=ProcessKey(6, 6),
    )
    host.observe(event(process=ProcessKey(5, 5)))
    host.observe(event(process=ProcessKey(6, 6), **above))
    engine = Engine(policies, boot_id="b")
    assert engine.feed(view_of(host, plain)) == []
    other.process = ProcessKey(11, 11)

    told = engine.feed(view_of(host, other))

    fresh = Engine(policies, boot_id="b").feed(view_of(host, other))
    assert [alert.policy.id for alert in told] == [alert.policy.id for alert in fresh] != []


@pytest.mark.parametrize("name", ["ActorId", "ProcessId", "CgroupPath", "AncestorImage", None])
def test_rule_about_what_is_not_settled_turns_it_off(name):
    """
    A field that the key does not hold, or any field at all, cannot be remembered about.
    """
    assert not Silence([rule(Or((says("Image", "x"), says(name, "y"))))]).is_possible


def test_field_that_is_compared_with_counts_too():
    """
    `fieldref` looks at two fields.
    """
    assert fields_of(Comparison("Image", SameAs("ActorImage"))) == {"Image", "ActorImage"}


def test_memory_is_bounded(monkeypatch):
    """
    Arguments that never repeat do not fill it up.
    """
    monkeypatch.setattr("firedamp.policy.silence.MAX_REMEMBERED", 10)
    silence = Silence(())
    host = HostContext()

    for number in range(100):
        silence.remember(silence.key(view_of(host, event(argv=(str(number),)))))

    last = silence.key(view_of(host, event(argv=("99",))))
    first = silence.key(view_of(host, event(argv=("0",))))
    assert last in silence
    assert first not in silence


def test_dataclass_fields_are_all_thought_of():
    """
    A fact that is added to executions must be sorted into the key, or be known not to matter.
    """
    known = {
        "at_ns", "process", "parent", "image", "filename", "argv", "argv_cut", "cwd", "comm",
        "uid", "gid", "loginuid", "device", "inode", "link_count", "mode", "image_uid",
        "cgroup_id", "mount_ns", "pid_ns", "net_ns",
    }  # fmt: skip

    assert {one.name for one in dataclasses.fields(ProcessExecuted)} == known
