"""What is lacking skips a test, and fails it where nothing may be lacking."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import WHOLE

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import pytest
from tests.needs import lacking

@pytest.mark.needs("sh")
def test_there():
    pass

@pytest.mark.needs("sh", "no-such-program")
def test_lacks(tmp_path):
    raise AssertionError("it ran")

def test_finds_out():
    lacking("a card of gold is missing")
"""


@pytest.mark.parametrize(
    ("whole", "ends"), [("", "1 passed, 2 skipped"), ("1", "1 failed, 1 passed, 1 error")]
)
def test_what_is_lacking_fails_only_the_whole_proof(tmp_path: Path, whole: str, ends: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.needs", "-p", "no:xdist", "-rA"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ended = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT), WHOLE: whole},
        capture_output=True,
        text=True,
        check=False,
    )
    summary = ended.stdout.splitlines()[-1]  # what fails before a test begins is an error there
    assert ends in summary, ended.stdout
    assert "no-such-program is not installed" in ended.stdout
    assert "a card of gold is missing" in ended.stdout
    assert bool(ended.returncode) is bool(whole)


def test_the_whole_proof_says_so() -> None:
    script = (ROOT / "scripts" / "test").read_text()
    whole = script.partition("exec pytest")[2]
    assert f"export {WHOLE}=1\n" in whole
