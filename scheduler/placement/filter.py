"""What every filter can say: of the whole fleet at once, and of one host in words.

A filter that refuses tells what the host has, what was needed and what would change its mind, so
that "why not" is an answer and never a log line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from scheduler.model import HostResources
from scheduler.placement.column import BoolColumn, IntColumn
from scheduler.placement.demand import Demand
from scheduler.placement.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A demand at a moment: all that a filter's answer depends on beside the fleet."""

    demand: Demand
    now: datetime
    stale_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A refused host as the decision saw it.

    `free` is what could still be claimed: vCPUs, MiB of memory, MiB of storage, sandboxes.
    """

    host: HostResources
    free: Sequence[int]


class Filter(ABC):
    """One reason to refuse a host; what `need` and `have` return is fit for JSON."""

    name: ClassVar[str]

    @abstractmethod
    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who passes, perhaps in `fleet.scratch.mask`; None when nothing is asked."""

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who passes or may pass in time, were the host empty; None for everyone."""
        return None

    @abstractmethod
    def need(self, question: Question) -> object:
        """Return what is asked for; None when nothing is."""

    @abstractmethod
    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return what every host of the fleet has of it."""

    @abstractmethod
    def lacking(self, case: Case, question: Question) -> object:
        """Return what a host that this filter refused has of it."""

    @abstractmethod
    def reason(self, case: Case, question: Question) -> str:
        """Return why this filter refused the host, for people; the host's name is not in it."""

    def most(self, fleet: Fleet, question: Question) -> IntColumn | None:
        """Return how many such demands every host could take one after the other, as far as this
        filter minds; None where it is no matter of number."""
        return None

    def change(self, case: Case, question: Question) -> str | None:
        """Return what would make this filter admit the host; None if that is to ask for less."""
        return None
