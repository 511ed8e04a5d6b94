"""Commands whose daemon dies: at most once, never forgotten, always ended."""

from __future__ import annotations

from tests.faults.cluster import Document
from tests.faults.stories.lives import WithSandbox


class RunCommand(WithSandbox):
    """A command is asked for; these hosts' guests cannot be reached, so nothing is ever run."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth == 1 and act.startswith(("commands.", "commander."))

    def act(self) -> None:
        self.ask()

    def ask(self) -> Document:
        return self.post(f"/v1/sandboxes/{self.id}/commands", {"argv": ["true"]})

    def commands(self) -> list[Document]:
        answer = self.cluster.api.get(f"/v1/sandboxes/{self.id}/commands")
        found: list[Document] = answer["items"]
        return found

    def is_done(self) -> bool:
        (command,) = self.commands()
        return bool(command["status"] == "INTERRUPTED" and command["exit_code"] is None)


class KillCommand(RunCommand):
    """It is asked to end before it has."""

    def act(self) -> None:
        command = self.ask()
        self.post(f"/v1/commands/{command['id']}/kill")

    def is_done(self) -> bool:
        (command,) = self.commands()
        return command["status"] in ("INTERRUPTED", "KILLED") and command["ended_at"] is not None
