# SPDX-License-Identifier: Apache-2.0
"""Every policy that comes with the daemon: sound, complete, and passing its own tests."""

import uuid
from functools import cache
from pathlib import Path

import pytest

from firedamp.paths import policies_dir
from firedamp.policy.cases import Cases
from firedamp.policy.compile import compile_policies
from firedamp.policy.engine import Engine
from firedamp.policy.files import Place
from firedamp.policy.load import Loaded, load_policies
from firedamp.policy.view import FieldView

SHIPPED = policies_dir()
FILES = sorted(SHIPPED.rglob("*.yml"))


@cache
def shipped() -> Loaded:
    """All of them, held to what a shipped policy must be."""
    return load_policies([Place(path=SHIPPED, shipped=True)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SHIPPED)))
def test_policy_passes_the_tests_that_it_carries(path: Path):
    """
    The cases are the policy's own; here they are run.
    """
    cases = Cases(shipped().unfiltered)
    carried = [case for one in cases.policies({str(path)}) for case in one.cases]

    failures = cases.failures({str(path)})

    assert len(carried) >= 2
    assert not failures, "\n".join(map(str, failures))


def test_all_shipped_policies_apply_and_none_is_doubtful():
    """
    What is shipped names events and fields that there are.
    """
    loaded = shipped()

    assert loaded.policies.inapplicable == ()
    assert loaded.warnings == ()
    assert len(loaded.policies.rules) + len(loaded.policies.correlations) == len(FILES)


def test_ids_are_random_and_each_its_own():
    """
    A site replaces a policy by its id.
    """
    loaded = shipped()
    ids = [one.summary.id for one in (*loaded.policies.rules, *loaded.policies.correlations)]

    assert {uuid.UUID(one).version for one in ids} == {4}
    assert len(set(ids)) == len(ids)


def test_nothing_is_done_about_cpu_use_alone():
    """
    However much and for however long: a compiler is no miner.
    """
    engine = Engine(compile_policies(shipped().policies), boot_id="")
    busy = {"Cores": 64.0, "WindowSeconds": 3600, "Threads": 64, "Image": "/usr/bin/cc1plus"}

    alerts = [
        alert
        for at_s in range(0, 7200, 60)
        for alert in engine.feed(FieldView.from_mapping("process_cpu", busy, at_s=at_s))
    ]

    assert engine.remembered, "it is evidence for correlations"
    assert [alert.policy.title for alert in alerts if alert.policy.response] == []
