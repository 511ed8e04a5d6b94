"""What a guest's script says of package managers that this machine does not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scheduler.guests.inventory_reader import read_listing
from scheduler.guests.inventory_script import LISTING
from scheduler.guests.inventory_tables import apk
from scheduler.guests.inventory_values import drafted
from scheduler.model import Manifest, PackageInfo
from tests.changes.manifests import AT

DATABASE = """\
C:Q1abc=
P:musl
V:1.2.5-r0
A:x86_64
T:the musl c library
F:lib
R:ld-musl-x86_64.so.1

P:.build-deps
V:20260301.120000

P:bad name
V:1

V:2
"""
KNOWN = (
    PackageInfo(name=".build-deps", version="20260301.120000"),
    PackageInfo(name="musl", version="1.2.5-r0"),
)


def test_what_apk_knows() -> None:
    assert apk(DATABASE.encode()).installed == KNOWN


def asked(place: Path) -> Manifest:
    """Ask this machine as if a guest's databases were below a directory."""
    script = LISTING
    for path in ("/var/lib/dpkg", "/usr/lib/apk", "/lib/apk"):
        script = script.replace(f" {path}", f" {place}{path}")
    script = script.replace("command -v rpm", "command -v rpm-of-nobody")
    said = subprocess.run(["sh", "-c", script], input=b"", capture_output=True, check=True)
    return drafted(read_listing(said.stdout, (), 9)).manifest(AT, ())


@pytest.mark.parametrize("place", ["lib/apk/db", "usr/lib/apk/db"])
def test_alpine_is_asked_where_it_keeps_its_packages(tmp_path: Path, place: str) -> None:
    directory = tmp_path / place
    directory.mkdir(parents=True)
    (directory / "installed").write_text(DATABASE)
    found = asked(tmp_path)
    assert (found.package_manager, found.packages) == ("apk", KNOWN)


def test_a_guest_without_any_has_nothing_to_tell(tmp_path: Path) -> None:
    found = asked(tmp_path)
    assert (found.package_manager, found.packages, found.omissions) == (None, (), ())
