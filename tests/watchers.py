"""Who watches over work in tests: it notes what was announced, and what has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Notes:
    """What is under way and what has ended, by the seconds that were announced."""

    under_way: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def expect(self, seconds: float) -> Callable[[], None]:
        self.under_way.append(seconds)

        def ended() -> None:
            self.under_way.remove(seconds)
            self.ended.append(seconds)

        return ended
