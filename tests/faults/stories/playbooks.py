"""How a playbook is written, and how its file and Ansible's word on it follow."""

from __future__ import annotations

from pathlib import Path

from scheduler.cli.exits import Exit
from tests.faults.story import Story, refused

PLAYBOOK = "/v1/playbooks/proof"
TASK = {"name": "write", "module": "ansible.builtin.copy", "params": {"dest": "/tmp/x"}}


class Author(Story):
    """A play is made, given tasks in another order, and written where Ansible finds it."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        # How many revisions Ansible is asked about depends on how long it takes.
        return nth <= {"playbooks.write": 3, "playbook_keeper.note": 1}.get(act, 0)

    def act(self) -> None:
        self.post("/v1/playbooks", {"name": "proof", "tasks": [TASK]})
        tasks = self.post(f"{PLAYBOOK}/tasks", {**TASK, "name": "again"})["tasks"]
        order = {"task_ids": [tasks[1]["id"], tasks[0]["id"]]}
        self._send("PUT", f"{PLAYBOOK}/tasks/order", order)

    def is_done(self) -> bool:
        found = self.cluster.api.get(PLAYBOOK)
        if found["checked_revision"] != found["revision"]:
            return False
        assert found["check_fault"] is None, found
        assert [task["name"] for task in found["tasks"]] == ["again", "write"]
        text = self.cluster.api.get(f"{PLAYBOOK}/export")["yaml"]
        return Path(found["file_path"]).read_text(encoding="ascii") == str(text)

    def clean_up(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(PLAYBOOK)
