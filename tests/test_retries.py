"""A test that fails by chance is let off in the whole proof, and told of; many are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({by_chance}))
def test_by_chance(number):
    print("heard of", number)
    first = pathlib.Path(__file__).with_name(f"first_{{number}}")
    if not first.exists():
        first.touch()
        raise AssertionError(f"too late by {{number}}")

@pytest.fixture
def broken():
    raise RuntimeError("never there")

@pytest.mark.parametrize("number", range({for_good}))
def test_for_good(number, broken):
    pass

def test_well():
    pass
"""


def ended(directory: Path, *, by_chance: int, for_good: int = 0) -> tuple[int, str]:
    """Run tests of which some fail; return the exit code and what is printed."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_it.py").write_text(TESTS.format(by_chance=by_chance, for_good=for_good))
    command = [sys.executable, "-m", "pytest", "-p", "tests.retries", "--numprocesses=2", "-ra"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        [*command, "--reruns=1", str(directory)],
        cwd=directory,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout


def test_two_that_fail_by_chance_are_told_of(tmp_path: Path) -> None:
    code, printed = ended(tmp_path, by_chance=2)
    assert code == pytest.ExitCode.OK
    assert "3 passed, 1 skipped, 2 rerun" in printed.splitlines()[-1]
    for number in range(2):
        assert f"_ test_it.py::test_by_chance[{number}] _" in printed
        assert f"AssertionError: too late by {number}" in printed
        assert f"heard of {number}" in printed


def test_more_than_two_fail_the_run(tmp_path: Path) -> None:
    code, printed = ended(tmp_path, by_chance=3)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "3 tests failed at first, 2 may: this run failed" in printed


def test_what_fails_again_has_failed(tmp_path: Path) -> None:
    code, printed = ended(tmp_path, by_chance=1, for_good=1)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "2 passed, 1 error, 2 rerun" in printed.splitlines()[-1]


def test_nothing_is_said_of_nothing(tmp_path: Path) -> None:
    code, printed = ended(tmp_path, by_chance=0)
    assert code == pytest.ExitCode.OK
    assert "failed at first" not in printed


def test_only_the_whole_proof_tries_again() -> None:
    script = (ROOT / "scripts" / "test").read_text()
    some, _, whole = script.partition("exec pytest")
    assert "--reruns=1" in whole
    assert "--reruns" not in some
