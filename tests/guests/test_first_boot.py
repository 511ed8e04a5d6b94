"""How far a guest's first boot is, as cloud-init's own files say."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from scheduler.errors import GuestUnreachable
from scheduler.guests import first_boot as module
from scheduler.guests.first_boot import FIRST_BOOT, FirstBoot, first_boot, read_first_boot
from tests.guests.inventories import guest_here

WELL = json.dumps({"v1": {"datasource": "DataSourceNoCloud", "errors": []}})
ILL = json.dumps({"v1": {"datasource": "x", "errors": ["('runcmd', ProcessExecutionError())"]}})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("absent\n", FirstBoot.ABSENT),
        ("running\n", FirstBoot.RUNNING),
        (f"ended\n{WELL}", FirstBoot.ENDED),
        (f"ended\n{ILL}", FirstBoot.FAILED),
        ("ended\n", FirstBoot.FAILED),
        ("ended\n[]", FirstBoot.FAILED),
        ('ended\n{"v1": 1}', FirstBoot.FAILED),
        ("ended\n" + "[" * 50_000, FirstBoot.FAILED),
        ("", FirstBoot.FAILED),
        ("\xff", FirstBoot.FAILED),
    ],
)
def test_an_answer_is_read_as_a_strangers(answer: str, expected: FirstBoot) -> None:
    assert read_first_boot(answer.encode()) is expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (None, FirstBoot.ABSENT),
        ({}, FirstBoot.ABSENT),
        ({"status.json": "{}"}, FirstBoot.RUNNING),
        ({"status.json": "{}", "result.json": WELL}, FirstBoot.ENDED),
        ({"status.json": "{}", "result.json": ILL}, FirstBoot.FAILED),
    ],
)
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_guest_is_asked_of_its_files(
    tmp_path: Path, shell: str, files: dict[str, str] | None, expected: FirstBoot
) -> None:
    place = tmp_path / "cloud-init"
    if files is not None:
        place.mkdir()
        for name, text in files.items():
            (place / name).write_text(text)
    command = FIRST_BOOT.replace("/run/cloud-init", str(place))
    program = shutil.which(shell)
    assert program is not None
    said = subprocess.run([program, "-c", command], capture_output=True, check=True)
    assert read_first_boot(said.stdout) is expected


async def test_a_guest_is_asked_over_ssh(tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    async with guest_here(tmp_path) as connection:
        assert await first_boot(connection) in FirstBoot


async def test_no_more_is_read_than_makes_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_BOOT", "exec yes")
    async with guest_here(None) as connection:
        assert await first_boot(connection) is FirstBoot.FAILED


async def test_a_guest_that_does_not_say_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guest_here(None) as connection:
        monkeypatch.setattr(module, "LONGEST_SECONDS", 0.0)
        with pytest.raises(GuestUnreachable, match="took too long"):
            await first_boot(connection)
        monkeypatch.undo()
        connection.abort()
        await connection.wait_closed()
        with pytest.raises(GuestUnreachable, match="did not say"):
            await first_boot(connection)
