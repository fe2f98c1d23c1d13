# SPDX-License-Identifier: Apache-2.0
"""The breaker: too many kills in a window, and the daemon only observes until a person resets it.

A policy that is wrong is wrong about many processes at once. The breaker bounds what that can
cost. It counts trees that were killed, not processes: one fork bomb is one kill.
"""

from collections import deque
from collections.abc import Callable

from firedamp.settings import Breaker as BreakerSettings

_NS_PER_S = 1_000_000_000


class Breaker:
    """Counts kills; once it has tripped it stays so until `reset`."""

    def __init__(
        self, settings: BreakerSettings, *, tripped: bool, on_trip: Callable[[str], None]
    ) -> None:
        """`tripped` is how the last run left it; a restart is not a reset."""
        self._settings = settings
        self._kills: deque[int] = deque()
        self._on_trip = on_trip
        self.tripped = tripped

    def allow_kill(self, now_ns: int) -> bool:
        """Count a kill that is about to happen; False when it is one too many."""
        if self.tripped:
            return False
        window_ns = self._settings.window_s * _NS_PER_S
        while self._kills and now_ns - self._kills[0] > window_ns:
            self._kills.popleft()
        if len(self._kills) >= self._settings.max_kills:
            self.tripped = True
            self._on_trip(
                f"more than {self._settings.max_kills} kills in {self._settings.window_s} s:"
                " from now on the daemon only observes, until the breaker is reset"
            )
            return False
        self._kills.append(now_ns)
        return True

    def reset(self) -> None:
        self._kills.clear()
        self.tripped = False
