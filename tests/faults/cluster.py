"""One cluster under proof: a state directory, a database, hosts, and a daemon that dies often.

Everything outlives the daemon: the hosts are libvirtd of their own, and the database is a file or a
server. Beside what is ours each host holds what is somebody else's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from scheduler.cli.client import Client
from scheduler.cli.failures import Failure
from scheduler.clock import SystemClock
from scheduler.lifecycle.clock_steps import step_of
from scheduler.service.lease_time import clock_offset
from scheduler.store import StoreConfig
from tests.faults.books import kept_offset
from tests.faults.fuse import Fuse
from tests.faults.lands import ProvenHost
from tests.faults.mortal import CLOCK_STEP, STATE
from tests.faults.nursery import Child, Nursery
from tests.fleet.farm import FarmHost
from tests.fleet.furniture import POOL, furnish
from tests.fleet.process import wait_until

Document = dict[str, Any]

READY_S = 180.0
CORRECTION_S = 5.0
LOG_TAIL = 6000


@dataclass(kw_only=True)
class Cluster:
    """A daemon's whole world; the daemon may be killed and started again."""

    directory: Path
    hosts: Sequence[ProvenHost]
    """The daemon is told of all but the last one, which is there to be added."""
    nursery: Nursery
    new_database: Callable[[], str]
    virt_type: str = "auto"
    database_url: str = ""
    fuse: Fuse = field(init=False)
    process: Child | None = None

    def __post_init__(self) -> None:
        self.fuse = Fuse(self.directory)
        self.start_over()

    @property
    def spare(self) -> FarmHost:
        """The host that the configuration does not name; stories that break it need a farm's."""
        spare = self.hosts[-1]
        assert isinstance(spare, FarmHost)
        return spare

    def start_over(self) -> None:
        """Be a cluster that was never started: no state, an empty database, no daemon."""
        self.kill()
        shutil.rmtree(self.directory / STATE, ignore_errors=True)
        self.set_clock_forward(0)
        self._take_new_database()

    def lose_database(self) -> None:
        """Have an empty database beside the same state and the same hosts; the daemon runs on."""
        self.kill()
        self._take_new_database()
        self.start()
        wait_until(self.is_up, what="the hosts of an empty database")

    @property
    def log(self) -> Path:
        return self.directory / "sandboxd.log"

    @property
    def api(self) -> Client:
        return Client(str(self.directory / STATE / "admin.sock"), answer_seconds=60)

    @property
    def store_config(self) -> StoreConfig:
        """How a proof reads what the daemon wrote."""
        return StoreConfig(database_url=self.database_url, read_only=True)

    def start(self) -> None:
        """Start the daemon and wait until it says that it is ready."""
        self.kill()
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the daemon, which may die before it is ready."""
        argv = ["--config", str(self.directory / "config.toml")]
        argv += ["--state-dir", str(self.directory / STATE)]
        self.process = self.nursery.bear(self.directory, argv, log=self.log)

    def wait_until_ready(self) -> None:
        """Return once the daemon serves; fails at once when it ended instead."""
        process = self.running
        wait_until(
            lambda: not process.is_running or self.is_ready(), what="readiness", limit_s=READY_S
        )
        assert process.is_running, f"ended with {process.code}\n{process.log_tail()}"

    def is_up(self) -> bool:
        """Whether the daemon has met its hosts, so that they take sandboxes."""
        healths = [host["health"] for host in self.api.items("/v1/hosts")]
        return len(healths) == len(self.hosts) - 1 and set(healths) == {"UP"}

    @property
    def running(self) -> Child:
        assert self.process is not None, "the daemon was never started"
        return self.process

    def kill(self) -> None:
        """End the daemon, if there is one, as a power failure would."""
        if self.process is not None:
            self.process.kill()

    def lost_hosts(self) -> list[str]:
        """Hosts whose libvirtd ended although nobody ended it, and with what last words."""
        ends = [(host.name, host.own_end()) for host in self.hosts]
        return [f"{name}: {end}" for name, end in ends if end is not None]

    def log_tail(self) -> str:
        """The last that daemons of this cluster wrote."""
        return self.log.read_text(errors="replace")[-LOG_TAIL:] if self.log.exists() else ""

    def is_ready(self) -> bool:
        try:
            self.api.get("/readyz")
        except Failure:
            return False
        return True

    def set_clock_forward(self, seconds: float) -> None:
        """Have the daemon's wall clock be wrong by as much."""
        self._set_clocks(seconds, slept=0)

    def sleep(self, seconds: float) -> None:
        """Have the machine have been suspended for so long, and its wall clock corrected then.

        Of the correction the daemon tells at its start, so that no event of before is the newest.
        """
        self._set_clocks(CORRECTION_S, slept=seconds)

    def _set_clocks(self, step: float, *, slept: float) -> None:
        draft = self.directory / f"{CLOCK_STEP}.draft"
        draft.write_text(f"{step} {slept}")
        draft.replace(self.directory / CLOCK_STEP)

    def set_clock_right(self) -> None:
        """Have the daemon's wall clock be right again, and the daemon know it.

        It looks at its clock now and then. One that was wrong again before such a look never saw
        the step of the next story.
        """
        self.set_clock_forward(0)
        wait_until(self._is_clock_kept, what="a daemon that has seen the clock set right")

    def refurbish(self, host: FarmHost) -> None:
        """Bring a killed host back, as it was at first."""
        host.restart()
        furnish(host)

    @contextmanager
    def libvirt(self, host: ProvenHost) -> Iterator[libvirt.virConnect]:
        """A connection of an operator's own to one host."""
        with closing(libvirt.open(host.uri)) as connection:
            yield connection

    def _is_clock_kept(self) -> bool:
        kept, offset = kept_offset(self.store_config), clock_offset(SystemClock())
        if kept is None or offset is None:
            return False
        return step_of(float(kept), offset, same_boot=True) is None

    def _take_new_database(self) -> None:
        self.database_url = self.new_database()
        (self.directory / "config.toml").write_text(self._configuration())

    def _configuration(self) -> str:
        lines = ["[daemon]", 'log_level = "info"', "[metrics]", "enabled = false"]
        lines += ["[store]", f'database_url = "{self.database_url}"']
        lines += ["[placement]", "breaker_failures = 1"]
        lines += ["[api]", 'group = ""', "[lifecycle]", "poll_seconds = 0.4"]
        for host in self.hosts[:-1]:
            lines += ["[[hosts]]", f'name = "{host.name}"', f'uri = "{host.uri}"']
            lines += ['transport = "unix"', f'pool = "{POOL}"']
            lines += [f'virt_type = "{self.virt_type}"']
        return "\n".join(lines)
