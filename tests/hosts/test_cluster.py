"""The cluster's identity outlives its database, and a doubt about it is refused."""

from __future__ import annotations

import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from scheduler.errors import Invalid
from scheduler.hosts.cluster import ID_FILE, KEY_FILE, open_cluster
from scheduler.model import Mark

DOCUMENT = {"sandbox_id": "SBX-1", "domain_uuid": "118918d4-1948-5170-83c1-c35854a3d51b"}


def test_a_new_cluster_draws_an_id_and_a_key_and_keeps_them(tmp_path: Path) -> None:
    first = open_cluster(tmp_path, None)
    assert UUID(first.cluster_id).version == 4
    again = open_cluster(tmp_path, first.cluster_id)
    assert again.cluster_id == first.cluster_id
    assert isinstance(again.read(first.sign(DOCUMENT), DOCUMENT["domain_uuid"]), Mark)
    for name in (ID_FILE, KEY_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {ID_FILE, KEY_FILE}


def test_an_empty_database_takes_over_the_cluster_of_the_files(tmp_path: Path) -> None:
    lost = open_cluster(tmp_path, None)
    found = open_cluster(tmp_path, None)
    assert found.cluster_id == lost.cluster_id
    assert isinstance(found.read(lost.sign(DOCUMENT), DOCUMENT["domain_uuid"]), Mark)


def test_a_database_from_before_the_file_has_it_written(tmp_path: Path) -> None:
    known = open_cluster(tmp_path, None).cluster_id
    (tmp_path / ID_FILE).unlink()
    assert open_cluster(tmp_path, known).cluster_id == known
    assert (tmp_path / ID_FILE).read_text() == f"{known}\n"


def test_files_and_database_of_different_clusters_are_refused(tmp_path: Path) -> None:
    open_cluster(tmp_path, None)
    with pytest.raises(Invalid, match="the database is cluster") as refused:
        open_cluster(tmp_path, str(uuid4()))
    assert refused.value.remedy


@pytest.mark.parametrize("known_by", ["database", "file"])
def test_a_known_cluster_never_gets_a_new_key(tmp_path: Path, known_by: str) -> None:
    known = open_cluster(tmp_path, None).cluster_id
    (tmp_path / KEY_FILE).unlink()
    if known_by == "database":
        (tmp_path / ID_FILE).unlink()
    with pytest.raises(Invalid, match=r"cluster\.key is missing") as refused:
        open_cluster(tmp_path, known if known_by == "database" else None)
    assert "backup" in str(refused.value.remedy)
    assert not (tmp_path / KEY_FILE).exists()


def test_a_damaged_id_is_refused(tmp_path: Path) -> None:
    open_cluster(tmp_path, None)
    (tmp_path / ID_FILE).write_text("half an i")
    with pytest.raises(Invalid, match="holds no cluster id"):
        open_cluster(tmp_path, None)
