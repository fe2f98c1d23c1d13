# SPDX-License-Identifier: Apache-2.0
"""The `firedamp:` key of a policy file, as strict data.

    firedamp:
      response: [freeze, kill]      what is done, once this policy may act
      mode: observe                 it never acts, whatever the settings say
      alert: false                  it is evidence for correlations, no alert of its own
      every: 60s                    at most one alert for an actor in this time
      blind_spots: what it cannot see
      tests:
        - name: what happens, as a sentence
          events: [{category: process_creation, Image: /tmp/x, at: 5}]
          expect: {alert: true, response: [freeze, kill]}

In a filter, the same key holds `reason` and `expires`.
"""

import datetime as dt
import re
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from firedamp.policy.types import ACTION_ORDER, ActionName
from firedamp.strict_yaml import YamlPath

FieldInTest = str | int | float | bool | None | tuple[str | int | float, ...]
MAX_EVENTS: Final = 200

_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: object) -> object:
    """`90s`, `5m`, `1h` or `1d` in seconds."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("must be a number and a unit, such as 60s, 5m, 1h or 1d")
    return float(int(found[1]) * _UNITS[found[2]])


def _date(text: object) -> object:
    try:
        return dt.date.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError("must be a date, such as 2027-01-31") from error


def _distinct(actions: tuple[ActionName, ...]) -> tuple[ActionName, ...]:
    if len(set(actions)) < len(actions):
        raise ValueError("names an action twice")
    return tuple(sorted(actions, key=ACTION_ORDER.index))


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expectation(Strict):
    alert: bool
    response: tuple[ActionName, ...] | None = None


class StatedCase(Strict):
    """Events are maps of a category, of fields, and of `at`, the seconds since the first."""

    name: Annotated[str, Field(min_length=1)]
    events: Annotated[
        tuple[dict[str, FieldInTest], ...], Field(min_length=1, max_length=MAX_EVENTS)
    ]
    expect: Expectation


class Extension(Strict):
    response: tuple[ActionName, ...] = ()
    mode: Literal["observe"] | None = None
    alert: bool | None = None
    every: Annotated[float, BeforeValidator(seconds)] = 60.0
    blind_spots: str = ""
    tests: tuple[StatedCase, ...] = ()

    @model_validator(mode="after")
    def _acts_only_aloud(self) -> "Extension":
        _distinct(self.response)
        if self.response and self.alert is False:
            raise ValueError("a policy with a response cannot have alert: false")
        return self

    @property
    def ordered_response(self) -> tuple[ActionName, ...]:
        return _distinct(self.response)


class FilterExtension(Strict):
    reason: str = ""
    expires: Annotated[dt.date, BeforeValidator(_date)] | None = None


def explain(error: ValidationError) -> list[tuple[YamlPath, str]]:
    """Pydantic's errors as places and what is wrong there, in the words of file writers."""
    return [(_place(one["loc"]), _words(dict(one))) for one in error.errors(include_url=False)]


def _place(location: tuple[int | str, ...]) -> YamlPath:
    # Behind a field of a test stand the names of the types that were tried.
    if len(location) > 4 and location[0] == "tests" and location[2] == "events":
        return location[:5]
    return location


def _words(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "is missing"
    text = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    if error["loc"][-1:] == ("mode",):
        return f"{text}: enforcing is set in firedamp.yaml, under policies.enforce"
    return text.replace("a valid tuple", "a list").replace("a valid dictionary", "a map")
