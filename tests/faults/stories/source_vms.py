"""Source VMs whose preparation is asked for while the daemon dies."""

from __future__ import annotations

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.story import Story
from tests.fleet.furniture import FOREIGN
from tests.fleet.process import wait_until


class PrepareSource(Story):
    """Nothing can be logged in to on these hosts: it is agreed to, tried once, and ends failed."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act.startswith(("source_vms.", "preparer."))

    @property
    def path(self) -> str:
        return f"/v1/source-vms/{self.cluster.hosts[0].name}/{FOREIGN}"

    def act(self) -> None:
        wait_until(self.is_seen, what="a look at the machine")
        self.post(f"{self.path}/prepare", {})

    def is_seen(self) -> bool:
        try:
            self.cluster.api.get(self.path)
        except Failure as failure:
            if failure.exit_code is not Exit.CONFLICT:
                raise
            return False
        return True

    def is_done(self) -> bool:
        preparation = self.cluster.api.get(self.path)["preparation"]
        return bool(preparation and preparation["outcome"] == "failed")
