"""Change sets on disk: whole or not there, and the same each time."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.changes.trees import change_tree
from scheduler.errors import Invalid, Unavailable
from scheduler.model import Delta
from scheduler.publishing.change_files import ChangeFiles, fault_of_job
from tests.changes.guests import CONTENT, added, digest, hostile
from tests.clocks import START

KEPT = {digest(CONTENT): CONTENT}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ChangeFiles]:
    opened = ChangeFiles(tmp_path)
    yield opened
    opened.close()


async def write(files: ChangeFiles, delta: Delta, kept: dict[str, bytes] | None = None) -> None:
    await files.write(
        "JOB-1",
        "CHG-1",
        lambda: change_tree(delta, KEPT, name="web", title="x"),
        KEPT if kept is None else kept,
        at=START,
    )


async def test_a_change_set_is_written_with_its_archive(files: ChangeFiles) -> None:
    await write(files, hostile("/srv/it"))
    directory = files.directory("JOB-1", "CHG-1")
    assert {path.name for path in directory.iterdir()} == {"REVIEW.md", "ansible", "puppet"}
    content = directory / "ansible/roles/web/files" / digest(CONTENT)
    assert content.read_bytes() == CONTENT
    with tarfile.open(files.archive("JOB-1", "CHG-1")) as archive:
        names = archive.getnames()
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert {name.removeprefix("CHG-1/") for name in names} == there
    assert [path.name for path in directory.parent.iterdir() if path.name[0] == "."] == []


async def test_writing_again_replaces_what_was_there_with_the_same(files: ChangeFiles) -> None:
    await write(files, Delta(files=(added("/a"), added("/b"))))
    archive = files.archive("JOB-1", "CHG-1")
    first = hashlib.sha256(archive.read_bytes()).hexdigest()
    draft = archive.with_name(".CHG-1")
    draft.mkdir()
    (draft / "left by a crash").touch()
    await write(files, Delta(files=(added("/b"), added("/a"))))
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == first
    assert not draft.exists()


async def test_a_content_that_went_meanwhile_leaves_nothing_half_written(
    files: ChangeFiles,
) -> None:
    with pytest.raises(Unavailable, match="is no longer kept"):
        await write(files, Delta(files=(added("/a"),)), {})
    assert not files.directory("JOB-1", "CHG-1").exists()


@pytest.mark.parametrize("job", ["..", ".", "", "a/b", "-x", "a:b", "x" * 129, "a\n"])
def test_a_job_that_is_no_name_of_a_directory_is_refused(files: ChangeFiles, job: str) -> None:
    assert fault_of_job(job) is not None
    with pytest.raises(Invalid):
        files.directory(job, "CHG-1")


@pytest.mark.parametrize("id", ["CHG-", "CHG-../x", "SBX-1", "CHG-1\n"])
def test_what_is_no_change_sets_id_is_refused(files: ChangeFiles, id: str) -> None:
    with pytest.raises(Invalid, match="is no change set's id"):
        files.directory("JOB-1", id)
