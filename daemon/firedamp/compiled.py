# SPDX-License-Identifier: Apache-2.0
"""Settings and policies for the long-lived process, parsed and checked by one that ends.

Parsing takes pydantic and pySigma, 40 MiB that the daemon must not hold; what comes back is
plain data. The bounds on time and memory are for policy files that come from strangers.
"""

import json
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firedamp import children
from firedamp.context.indicators import Indicators
from firedamp.errors import ConfigError, PolicyError
from firedamp.policy.compile import CompiledPolicies, compile_policies
from firedamp.policy.ir import PolicySet
from firedamp.settings import Settings

TIMEOUT_S: Final = 60.0
_ERRORS: Final = {"ConfigError": ConfigError, "PolicyError": PolicyError}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the child hands over when all is sound."""

    settings: Settings
    policies: PolicySet
    indicators: Indicators
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the child hands over when something is not."""

    error: str
    """ConfigError or PolicyError."""
    text: str
    """Every problem, one a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """All that the daemon runs by."""

    settings: Settings
    policies: CompiledPolicies
    indicators: Indicators
    warnings: tuple[str, ...]


def load_in_child(config_path: Path | None, *, timeout_s: float = TIMEOUT_S) -> Compiled:
    """Read settings, policies and indicators; run the tests that the policies carry.

    Args:
        config_path: None stands for the installed place.
        timeout_s: after which the child is killed and the files are refused.

    Raises:
        ConfigError: the settings are not sound; nothing is in force.
        PolicyError: the policies are not, or do not pass their tests, or take too long.
    """
    request = {"config": str(config_path) if config_path else None}
    try:
        child = subprocess.run(
            children.command("firedamp.compile_child"),
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PolicyError(f"loading the policies took more than {timeout_s:g} s") from error
    except OSError as error:
        raise ConfigError(f"{sys.executable}: {error.strerror}") from error
    if child.returncode != 0:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last else "without a word"
        raise PolicyError(f"loading the policies ended with status {child.returncode}: {reason}")
    answer = pickle.loads(child.stdout)  # noqa: S301 - from our own child, over our own pipe
    if isinstance(answer, Refusal):
        raise _ERRORS[answer.error](answer.text)
    return _compiled(answer)


def _compiled(checked: Checked) -> Compiled:
    return Compiled(
        settings=checked.settings,
        policies=compile_policies(checked.policies),
        indicators=checked.indicators,
        warnings=checked.warnings,
    )
