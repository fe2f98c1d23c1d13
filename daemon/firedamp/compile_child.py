# SPDX-License-Identifier: Apache-2.0
"""The short-lived process that parses settings and policies for the daemon.

    python -m firedamp.compile_child < request.json > answer.pickle

The request names the settings' file; the answer is a `Checked` or a `Refusal`. `check` is the
same for a process that may hold pydantic and pySigma itself, such as `firedamp check`.
"""

import datetime as dt
import json
import pickle
import resource
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from firedamp import paths
from firedamp.analysis.indicator_lists import read_indicators
from firedamp.compiled import Checked, Refusal
from firedamp.config import load_settings
from firedamp.context.indicators import Indicators
from firedamp.errors import ConfigError, PolicyError
from firedamp.policy.cases import Cases
from firedamp.policy.files import Place
from firedamp.policy.ir import PolicySet
from firedamp.policy.load import Loaded, load_policies
from firedamp.settings import Settings
from firedamp.strict_yaml import Limits, YamlError, read

MAX_MEMORY: Final = 1 << 30
_LIST_LIMITS: Final = Limits(size_bytes=64 << 20)


def check(config_path: Path | None) -> Checked:
    """Read and check everything that the daemon runs by.

    Raises:
        ConfigError: the settings are not sound.
        PolicyError: the policies are not, or do not pass their own tests.
    """
    settings = load_settings(config_path)
    loaded = load(settings)
    failures = Cases(loaded.unfiltered).failures()
    if failures:
        raise PolicyError("\n".join(map(str, failures)))
    indicators, unread = read_lists(settings)
    return Checked(
        settings=settings,
        policies=_without_cases(loaded.policies),
        indicators=indicators,
        warnings=(*loaded.warnings, *_unknown_ids(settings, loaded.policies), *unread),
    )


def load(settings: Settings) -> Loaded:
    """Read the policies that the settings name.

    Raises:
        PolicyError: they are not sound.
    """
    return load_policies(
        policy_places(settings),
        filters=filter_places(settings),
        disable=settings.policies.disable,
        today=dt.datetime.now(tz=dt.UTC).date(),
    )


def read_lists(settings: Settings) -> tuple[Indicators, tuple[str, ...]]:
    """The lists of pools that the settings name, and what is wrong with them."""
    lists, unread = _indicator_lists(settings)
    indicators, wrong = read_indicators(lists)
    return indicators, (*unread, *wrong)


def policy_places(settings: Settings) -> tuple[Place, ...]:
    """Where policies lie, in the order in which later ones replace earlier ones."""
    shipped = paths.policies_dir()
    if not settings.policies.directories:
        return (
            Place(path=shipped, shipped=True),
            Place(path=paths.local_policies_dir(), optional=True),
        )
    named = [Path(one) for one in settings.policies.directories]
    return tuple(Place(path=one, shipped=one == shipped) for one in named)


def filter_places(settings: Settings) -> tuple[Place, ...]:
    """Where this site's exceptions lie."""
    if not settings.policies.filters:
        return (Place(path=paths.filters_dir(), optional=True),)
    return tuple(Place(path=Path(one)) for one in settings.policies.filters)


def _indicator_lists(settings: Settings) -> tuple[list[tuple[str, str]], list[str]]:
    """Lists that lie beside the policies, by kind, and what could not be read."""
    lists: list[tuple[str, str]] = []
    unread: list[str] = []
    beside = [place.path / "indicators" for place in policy_places(settings)]
    for file in _text_files([*beside, paths.config_dir() / "indicators"]):
        try:
            lists.append((file.stem, read(file, limits=_LIST_LIMITS)))
        except YamlError as error:
            unread.append(str(error))
        except OSError as error:
            unread.append(f"{file}: cannot be read: {error.strerror}")
    return lists, unread


def _text_files(directories: Iterable[Path]) -> Iterator[Path]:
    for directory in dict.fromkeys(directories):
        if directory.is_dir():
            yield from sorted(directory.glob("*.txt"))


def _unknown_ids(settings: Settings, policies: PolicySet) -> Iterator[str]:
    known = {one.summary.id for one in (*policies.rules, *policies.correlations)}
    known.update(one.id for one in policies.inapplicable)
    chosen = settings.policies
    for key, ids in (("enforce", chosen.enforce), ("observe", chosen.observe)):
        for identity in ids:
            if identity not in known:
                yield f"policies.{key}: there is no policy {identity}"


def _without_cases(policies: PolicySet) -> PolicySet:
    """The tests have been run; the daemon need not hold them."""
    return replace(
        policies,
        rules=tuple(replace(one, cases=()) for one in policies.rules),
        correlations=tuple(replace(one, cases=()) for one in policies.correlations),
    )


def _answer(request: dict[str, str | None]) -> Checked | Refusal:
    config = request.get("config")
    try:
        return check(Path(config) if config else None)
    except (ConfigError, PolicyError) as error:
        return Refusal(error=type(error).__name__, text=str(error))


def main() -> None:
    """Answer one request."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    answer = _answer(json.load(sys.stdin))
    pickle.dump(answer, sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main()
