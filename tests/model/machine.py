"""The state machine: everything that owners, operators, machines, clocks and death can do.

A failing run prints its rules as a script: each line is one call of this class, in order. There are
few rules with many choices, so that most steps are requests and time, and no fault is rare.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.model.administration import ADMINISTRATION, administer
from tests.model.cluster import HOSTS, Cluster, Counts
from tests.model.faults import FAULTS, INTERFERENCE, MISHAPS, break_slot, interfere
from tests.model.quiet import come_to_rest
from tests.model.requests import Request, creations, requests, send
from tests.model.virtual import same_ids

P = ParamSpec("P")

_rule: Any = rule  # typed for strategies that are named one by one
hosts = st.sampled_from(HOSTS)
mishaps: st.SearchStrategy[dict[str, str]] = st.dictionaries(
    hosts, st.sampled_from(MISHAPS), max_size=2
)
Mishaps: TypeAlias = dict[str, str]
"""What happens to hosts, by their names."""

M = TypeVar("M", bound="FleetMachine")
Act: TypeAlias = Callable[Concatenate[M, P], None]
Databases = Callable[[], str]
"""Gives the URL of a database that holds its schema and nothing else."""


def step(**drawn: Any) -> Callable[[Act[M, P]], Act[M, P]]:
    """Make a rule after which every invariant is checked."""

    def checked(act: Act[M, P]) -> Act[M, P]:
        @wraps(act)
        def act_and_check(self: M, *args: P.args, **kwargs: P.kwargs) -> None:
            act(self, *args, **kwargs)
            self.cluster.check()

        return cast("Act[M, P]", _rule(**drawn)(act_and_check))

    return checked


class FleetMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, databases: Databases, counts: Counts | None = None) -> None:
        super().__init__()
        self._ids = same_ids()
        self._ids.__enter__()
        self._total = counts
        self.cluster = Cluster(databases())
        self.cluster.sleep(5)

    @initialize(
        wanted=st.lists(creations, min_size=1, max_size=6),
        meanwhile=mishaps,
        wait=st.sampled_from([0, 1, 20]),
    )
    def begin(self, wanted: list[Request], meanwhile: Mishaps, wait: float) -> None:
        """Have something to lose from the first step on."""
        self._ask(wanted, meanwhile, wait)

    @step(wanted=requests, meanwhile=mishaps, wait=st.sampled_from([0, 0.1, 1, 5, 20, 60]))
    def ask(self, wanted: list[Request], meanwhile: Mishaps, wait: float) -> None:
        self._ask(wanted, meanwhile, wait)

    @step(seconds=st.sampled_from([0.1, 1, 5, 20, 60, 200]))
    def pass_time(self, seconds: float) -> None:
        self.cluster.sleep(seconds)

    @step(host=hosts, fault=st.sampled_from(FAULTS))
    def break_host(self, host: str, fault: str) -> None:
        break_slot(self.cluster, host, fault)

    @step(host=hosts, number=st.integers(0, 3), act=st.sampled_from(INTERFERENCE))
    def interfere(self, host: str, number: int, act: str) -> None:
        interfere(self.cluster.slots[host], number, act)

    @step(host=hosts, act=st.sampled_from(ADMINISTRATION))
    def administer(self, host: str, act: str) -> None:
        administer(self.cluster, host, act)

    @step(seconds=st.sampled_from([-86400, -3600, -45, 45, 3600, 86400]))
    def set_clock(self, seconds: int) -> None:
        self.cluster.clock.set_wall(seconds)

    @step(moments=st.integers(0, 60), down=st.sampled_from([0, 0, 10, 400]), boots=st.booleans())
    def kill_daemon(self, moments: int, down: int, boots: bool) -> None:
        """Kill it, now or at a commit or a host call to come, before it is done or after."""
        if moments:
            self.cluster.daemon.life.fuse = moments
        else:
            self.cluster.restart(down, boots=boots)

    def _ask(self, wanted: list[Request], meanwhile: Mishaps, wait: float) -> None:
        """Send requests, and have hosts break before anything is made of the answers."""
        send(self.cluster, wanted)
        for host, fault in meanwhile.items():
            break_slot(self.cluster, host, fault)
        self.cluster.sleep(wait)

    def teardown(self) -> None:
        try:
            if not self.cluster.is_broken:
                come_to_rest(self.cluster)
        finally:
            if self._total is not None:
                self._total.add(self.cluster.counts)
            self.cluster.close()
            self._ids.__exit__(None, None, None)


def live(
    databases: Databases,
    how: settings,
    *,
    kind: type[FleetMachine] = FleetMachine,
    counts: Counts | None = None,
    drawn: int | None = None,
) -> None:
    """Let machines live as the settings say, from a seed if one is given; raise what goes wrong."""
    machine = partial(kind, databases, counts)
    seeded = machine if drawn is None else seed(drawn)(machine)
    # Any factory will do, whatever the annotation says.
    run_state_machine_as_test(cast("type[FleetMachine]", seeded), settings=how)
