"""Houses of forges, and the change set that goes into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publishing.house import House, opened


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path / "house") as running:
        yield running


@pytest.fixture
def change_set(tmp_path: Path) -> Path:
    """A change set's directory."""
    directory = tmp_path / "change-set"
    (directory / "ansible" / "tasks").mkdir(parents=True)
    (directory / "ansible" / "tasks" / "main.yml").write_text("- name: nothing\n")
    (directory / "REVIEW.md").write_text("# Review\n")
    script = directory / "ansible" / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return directory
