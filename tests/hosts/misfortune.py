"""What may go wrong with a verb of the fake host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with a verb; `after` means that the effect took place all the same."""

    error: Exception
    times: int = 1
    after: bool = False
