"""The filters in the order they are asked: the first to refuse a host is the reason given.

What a host is comes before what it has free, so that a host refused for want of room is known to be
fit in every other way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.capacities import (
    Capacity,
    Cpu,
    Limits,
    Memory,
    Resource,
    Storage,
)
from scheduler.placement.circumstances import AntiAffinity, Breakers, Freshness, Pin, Tried
from scheduler.placement.constraints import (
    Architecture,
    Health,
    Image,
    Network,
    Pool,
    Selector,
    State,
)
from scheduler.placement.filter import Filter, Question
from scheduler.placement.fleet import Fleet
from scheduler.placement.images import ImageRoom

RESOURCES: tuple[Resource, ...] = (Cpu(), Memory(), Storage())
CAPACITIES: tuple[Capacity, ...] = (*RESOURCES, Limits())

BEFORE_ROOM: tuple[Filter, ...] = (
    Pin(),
    State(),
    Health(),
    Freshness(),
    Architecture(),
    Selector(),
    Image(),
    Network(),
    Pool(),
)
"""What they say changes only with a host's record or with time."""
ROOM: tuple[Filter, ...] = (Breakers(), Tried(), *CAPACITIES, ImageRoom(), AntiAffinity())
"""What they say changes with every claim or second, or is asked too rarely to be remembered."""
FILTERS: tuple[Filter, ...] = (*BEFORE_ROOM, *ROOM)


def verdicts(fleet: Fleet, question: Question) -> NDArray[np.bool_]:
    """Return what every filter (row) says of every host (column), whatever the others say."""
    passing = np.ones((len(FILTERS), len(fleet)), np.bool_)
    for row, each in enumerate(FILTERS):
        mask = each.passing(fleet, question)
        if mask is not None:
            passing[row] = mask
    return passing


def hopeful(fleet: Fleet, question: Question) -> NDArray[np.bool_]:
    """Return which hosts could take the demand in time, were they empty and well."""
    hosts = np.ones(len(fleet), np.bool_)
    for each in FILTERS:
        mask = each.hopeful(fleet, question)
        if mask is not None:
            np.logical_and(hosts, mask, hosts)
    return hosts
