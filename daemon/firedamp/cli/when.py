# SPDX-License-Identifier: Apache-2.0
"""Points in time as people type them."""

import re
from datetime import datetime, time, timedelta
from typing import Final

_AGO: Final = re.compile(r"(\d{1,6})\s*(s|sec|min|m|h|d|w)(?:\s+ago)?")
_SECONDS: Final = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def point_in_time(text: str, now: datetime) -> datetime:
    """An age (90s, 10min, 2h, 1d), a date, a time of today, both, `today` or `yesterday`.

    Args:
        text: what was typed.
        now: with a time zone, which is also that of what was typed.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip().lower()
    if age := _AGO.fullmatch(text):
        return now - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in {"today", "yesterday"}:
        return midnight - timedelta(days=int(text == "yesterday"))
    for parse in (_time_of_today, _moment):
        try:
            return parse(text, now)
        except ValueError:
            continue
    raise ValueError(f"not a time: {text} (try 90s, 2h, 1d, 12:30, 2026-11-23, yesterday)")


def _time_of_today(text: str, now: datetime) -> datetime:
    return datetime.combine(now.date(), time.fromisoformat(text), tzinfo=now.tzinfo)


def _moment(text: str, now: datetime) -> datetime:
    found = datetime.fromisoformat(text.upper())
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)
