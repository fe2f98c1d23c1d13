# SPDX-License-Identifier: Apache-2.0
"""Policies written into a directory of the test, loaded as the daemon loads them."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firedamp.policy.files import Place
from firedamp.policy.load import Loaded, load_policies

Write = Callable[..., Path]
Load = Callable[..., Loaded]

HEAD = """\
title: {title}
id: {id}
status: stable
level: high
"""


def identity(number: int) -> str:
    """A policy's id that tells tests apart."""
    return f"00000000-0000-4000-8000-{number:012d}"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a policy file: YAML text, dedented; give back its path."""

    def write(text: str, *, name: str = "policy.yml", directory: str = "policies") -> Path:
        path = tmp_path / directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def rule(write: Write) -> Write:
    """Write a rule of which only the interesting keys are given, as YAML text."""

    def rule(body: str, *, number: int = 1, name: str = "", **where: str) -> Path:
        head = HEAD.format(title=f"Rule {number}", id=identity(number))
        if name:
            head += f"name: {name}\n"
        body = textwrap.dedent(body)
        if "logsource:" not in body:
            head += "logsource: {product: linux, category: process_creation}\n"
        where.setdefault("filename", f"rule_{number}.yml")
        return write(head + body, name=where.pop("filename"), **where)

    return rule


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the test's directories, by default the one called policies."""

    def load(*directories: str, shipped: bool = False, **options: Any) -> Loaded:
        places = [
            Place(path=tmp_path / one, shipped=shipped) for one in directories or ("policies",)
        ]
        return load_policies(places, **options)

    return load
