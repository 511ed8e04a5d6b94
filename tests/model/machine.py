"""The state machine: everything that owners, operators, machines, clocks and death can do.

A failing run prints its rules as a script: each line is one call of this class, in order. There are
few rules with many choices, so that most steps are requests and time, and no fault is rare.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from scheduler.errors import SandboxdError
from scheduler.model import DrainPolicy, OnDeadline
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from tests.control.world import ME
from tests.model.cluster import HOSTS, Cluster, Counts
from tests.model.faults import FAULTS, INTERFERENCE, break_slot, interfere
from tests.model.quiet import come_to_rest
from tests.model.requests import Request, forget, requests, send
from tests.model.virtual import same_ids

P = ParamSpec("P")

hosts = st.sampled_from(HOSTS)

Databases = Callable[[], str]
"""Gives the URL of a database that holds its schema and nothing else."""


def step(
    **drawn: Any,
) -> Callable[
    [Callable[Concatenate[FleetMachine, P], None]], Callable[Concatenate[FleetMachine, P], None]
]:
    """Make a rule after which every invariant is checked."""

    def checked(
        act: Callable[Concatenate[FleetMachine, P], None],
    ) -> Callable[Concatenate[FleetMachine, P], None]:
        @rule(**drawn)
        @wraps(act)
        def act_and_check(self: FleetMachine, *args: P.args, **kwargs: P.kwargs) -> None:
            act(self, *args, **kwargs)
            self.cluster.check()

        return act_and_check

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

    @step(wanted=requests, wait=st.sampled_from([0, 0.1, 1, 5, 20, 60]))
    def ask(self, wanted: list[Request], wait: float) -> None:
        send(self.cluster, wanted)
        self.cluster.sleep(wait)

    @step(seconds=st.sampled_from([0.1, 1, 5, 20, 60, 200]))
    def pass_time(self, seconds: float) -> None:
        self.cluster.sleep(seconds)

    @step(host=hosts, fault=st.sampled_from(FAULTS))
    def break_host(self, host: str, fault: str) -> None:
        break_slot(self.cluster, host, fault)

    @step(host=hosts, number=st.integers(0, 3), act=st.sampled_from(INTERFERENCE))
    def interfere(self, host: str, number: int, act: str) -> None:
        interfere(self.cluster.slots[host], number, act)

    @step(host=hosts, act=st.sampled_from(["cordon", "uncordon", "abort", "undo", "accept"]))
    def administer(self, host: str, act: str) -> None:
        hosts, drains = self.cluster.daemon.services.hosts, self.cluster.daemon.services.drains
        slot = self.cluster.slots[host]
        mine: Intent[Any] = Intent(actor=ME)
        if act == "accept":
            if self._granted(hosts.accept_identity(host, slot.machine.fake.host_uuid, mine)):
                slot.accept(self.cluster.clock.monotonic())
            return
        verbs = {
            "cordon": hosts.cordon,
            "uncordon": hosts.uncordon,
            "abort": drains.abort,
            "undo": drains.undo,
        }
        self._granted(verbs[act](host, "model", mine))

    @step(
        host=hosts,
        policy=st.sampled_from([DrainPolicy.DESTROY, DrainPolicy.STOP, DrainPolicy.EXPIRE]),
        deadline=st.sampled_from([None, 30]),
        then=st.sampled_from([OnDeadline.DESTROY, OnDeadline.STOP, OnDeadline.KEEP]),
    )
    def drain(
        self, host: str, policy: DrainPolicy, deadline: int | None, then: OnDeadline
    ) -> None:
        request = DrainHost(policy=policy, deadline_seconds=deadline, on_deadline=then)
        drains = self.cluster.daemon.services.drains
        self._granted(drains.drain(host, request, Intent(actor=ME)))

    @step(number=st.integers(0, 7), force=st.booleans())
    def forget(self, number: int, force: bool) -> None:
        self.cluster.run(forget(self.cluster, number, force=force))

    @step(seconds=st.sampled_from([-86400, -3600, -45, 45, 3600, 86400]))
    def set_clock(self, seconds: int) -> None:
        self.cluster.clock.set_wall(seconds)

    @step(down=st.sampled_from([0, 10, 400]), boots=st.booleans())
    def kill_daemon(self, down: int, boots: bool) -> None:
        self.cluster.restart(down, boots=boots)

    @step(moments=st.integers(1, 40))
    def kill_daemon_soon(self, moments: int) -> None:
        """Kill it at a commit or a host call to come."""
        self.cluster.daemon.life.fuse = moments

    def teardown(self) -> None:
        try:
            if not self.cluster.is_broken:
                come_to_rest(self.cluster)
        finally:
            if self._total is not None:
                self._total.add(self.cluster.counts)
            self.cluster.close()
            self._ids.__exit__(None, None, None)

    def _granted(self, work: Awaitable[object]) -> bool:
        """Do what an operator asked for; return whether it was not refused."""

        async def guarded() -> bool:
            try:
                await work
            except SandboxdError:
                return False
            return True

        return bool(self.cluster.run(guarded()))
