"""Real hosts are up in one process only, whatever way a test says that it needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = "[pytest]\nmarkers = fleet\n"
ROOM = """
import os, pathlib, pytest

def ran(test):
    with pathlib.Path(__file__).with_name("ran").open("a") as file:
        print(test, os.environ["PYTEST_XDIST_WORKER"], file=file)

@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.fleet)])
def subject(request):
    return request.param

@pytest.fixture
def where(request):
    yield
    ran(request.node.name)
"""
BY_A_PARAMETER = "def test_port(subject, where):\n    pass\n"
BY_A_MARK = "import pytest\n@pytest.mark.fleet\ndef test_marked(where):\n    pass\n"
BY_A_WORD = "# Not a mark.fleet of a test.\ndef test_fake(where):\n    pass\n"


def processes_of(directory: Path, files: dict[str, str]) -> dict[str, str]:
    """Run these files in two processes; return which of them each test ran in."""
    for name, text in {"pytest.ini": CONFIGURATION, "conftest.py": ROOM, **files}.items():
        (directory / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.dealing", "--numprocesses=2"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    ended = subprocess.run(
        [*command, "--quiet", str(directory)],
        cwd=directory,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ended.returncode, ended.stdout + ended.stderr
    lines = (directory / "ran").read_text().splitlines()
    return dict(line.split() for line in lines)


@pytest.mark.parametrize("other", [BY_A_MARK, BY_A_PARAMETER.replace("port", "other")])
def test_files_with_tests_on_real_hosts_share_a_process(tmp_path: Path, other: str) -> None:
    ran = processes_of(tmp_path, {"test_a.py": BY_A_PARAMETER, "test_b.py": other})
    assert len(ran) >= 3
    assert len(set(ran.values())) == 1


def test_files_that_only_speak_of_it_are_dealt_out(tmp_path: Path) -> None:
    ran = processes_of(tmp_path, {"test_a.py": BY_A_WORD, "test_b.py": BY_A_MARK})
    assert len(set(ran.values())) == 2


def test_the_tests_of_a_file_share_a_process(tmp_path: Path) -> None:
    two = "".join(f"def test_{number}(where):\n    pass\n" for number in range(8))
    ran = processes_of(tmp_path, {"test_a.py": two, "test_b.py": two.replace("test_", "test_b")})
    of_a = {process for test, process in ran.items() if "b" not in test}
    of_b = {process for test, process in ran.items() if test.startswith("test_b")}
    assert (len(of_a), len(of_b)) == (1, 1)
    assert of_a != of_b
