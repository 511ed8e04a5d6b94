"""What the tools beside the daemon say of a change set: the real ones, and some that misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.changes.trees import change_tree
from scheduler.model import Delta
from scheduler.processes import program
from scheduler.publishing.change_checks import checks
from tests.changes.guests import CONTENT, added, digest


def written(directory: Path) -> Path:
    tree = change_tree(
        Delta(files=(added("/srv/f"),)), {digest(CONTENT): CONTENT}, name="web", title="x"
    )
    for path, content in tree.files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    for path in tree.contents:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(CONTENT)
    return directory


@pytest.mark.timeout(280)
async def test_every_tool_is_asked_and_quoted(tmp_path: Path) -> None:
    directory = written(tmp_path)
    with (directory / "puppet/web/manifests/init.pp").open("a") as manifest:
        manifest.write("\x1b[31m }")

    def find(tool: str) -> Path | None:
        """Return all but the slowest: tests/changes/test_applied.py asks that one."""
        return None if tool == "ansible-lint" else program(tool)

    found = {check.tool: check for check in await checks(directory, "web", find=find)}
    assert {tool: check.result for tool, check in found.items()} == {
        "ansible-playbook": "passed",
        "ansible-lint": "absent",
        "puppet": "failed",
        "puppet-lint": "failed",
    }
    assert "Syntax error" in found["puppet"].output
    assert "\x1b" not in found["puppet"].output


async def test_tools_that_are_absent_or_hang_or_cannot_be_run_are_told(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("ansible-playbook", "#!/bin/sh\nsleep 60\n"), ("puppet", "#!/nowhere\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def find(name: str) -> Path | None:
        return tools / name if (tools / name).exists() else None

    found = await checks(written(tmp_path), "web", find=find, limit_seconds=0.2)
    assert [(check.tool, check.result) for check in found] == [
        ("ansible-playbook", "error"),
        ("ansible-lint", "absent"),
        ("puppet", "error"),
        ("puppet-lint", "absent"),
    ]
    assert "did not end" in found[0].output
