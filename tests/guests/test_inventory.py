"""A guest is asked over real SSH, by Debian's shell and tools and by busybox's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from scheduler.clock import SystemClock
from scheduler.guests.inventory import Bounds, Inventory
from scheduler.model import EntryKind, Manifest
from scheduler.signs_of_life import watched
from tests.fleet.image import busybox
from tests.fleet.process import run
from tests.guests.inventories import guest_here
from tests.watchers import Notes

NAMES = (b"plain", b"two words", b"new\nline", b"back\\slash", b"bad\xff", b"-rf", "ä".encode())


@pytest.fixture(scope="session")
def busybox_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox's programs and nothing else."""
    tools, program = tmp_path_factory.mktemp("busybox"), busybox()
    for name in run(str(program), "--list").split():
        (tools / name).symlink_to(program)
    return tools


@pytest.fixture(params=["debian", "busybox"])
def tools(request: pytest.FixtureRequest) -> Path | None:
    """Where the guest's shell and tools are; None for Debian's own."""
    if request.param == "debian":
        return None
    directory: Path = request.getfixturevalue("busybox_tools")
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with all that a file system can hold."""
    root = tmp_path / "root"
    root.mkdir()
    for name in NAMES:
        (root / os.fsdecode(name)).write_bytes(b"holds " + name)
    (root / "link").symlink_to("no\nwhere\n")
    (root / "setuid").write_bytes(b"")
    (root / "setuid").chmod(0o4711)
    os.mkfifo(root / "pipe")
    for place in (".cache", "skipped", "kept"):
        (root / place).mkdir()
        (root / place / "inside").write_text("x")
    return root


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def manifest_of(bounds: Bounds, tools: Path | None, threads: ThreadPoolExecutor) -> Manifest:
    async with guest_here(tools) as connection:
        return await Inventory(connection, bounds, clock=SystemClock(), threads=threads).manifest()


async def test_all_that_a_file_system_can_hold(
    root: Path, tools: Path | None, threads: ThreadPoolExecutor
) -> None:
    bounds = Bounds(roots=(str(root),), exclude=(f"{root}/skipped",))
    async with guest_here(tools) as connection:
        inventory = Inventory(connection, bounds, clock=SystemClock(), threads=threads)
        manifest = await inventory.manifest()
        files = [one for one in manifest.entries if one.sha256 and one.literal]
        wanted = [(one.path, one.size, one.sha256 or "") for one in files]
        contents = [one async for lot in inventory.contents(wanted) for one in lot.values()]
    by_path = {one.path: one for one in manifest.entries}
    held = {one.path.removeprefix(f"{root}/"): one.sha256 for one in manifest.entries if one.sha256}
    shown = {name: name.decode() for name in NAMES if name != b"bad\xff"} | {b"bad\xff": r"bad\xff"}
    for name in NAMES:
        assert held[shown[name]] == sha256(b"holds " + name).hexdigest()
    assert not by_path[rf"{root}/bad\xff"].literal
    assert by_path[f"{root}/link"].target == "no\nwhere\n"
    assert by_path[f"{root}/setuid"].mode == 0o4711
    assert by_path[f"{root}/pipe"].kind is EntryKind.OTHER
    assert by_path[str(root)].kind is EntryKind.DIRECTORY
    assert f"{root}/kept/inside" in by_path
    assert {f"{root}/.cache/inside", f"{root}/skipped/inside"}.isdisjoint(by_path)
    assert {(one.path, one.reason) for one in manifest.omissions} == {
        (f"{root}/.cache", "caches are not looked at"),
        (f"{root}/skipped", "excluded by [changes]"),
    }
    assert {b"holds " + name for name in NAMES if name != b"bad\xff"} <= {*contents}


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A guest's directory as on Fedora CoreOS: `home` leads to `var/home`; three lead nowhere."""
    (tmp_path / "var" / "home" / "bob").mkdir(parents=True)
    (tmp_path / "var" / "home" / "bob" / "new\nline").write_text("held")
    (tmp_path / "var" / "home" / "inner").symlink_to("bob")
    (tmp_path / "home").symlink_to("var/home")
    (tmp_path / "gone").symlink_to("var/gone")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").symlink_to("var/home/bob/new\nline")
    return tmp_path


async def test_what_a_root_leads_to_is_told_below_its_name(
    linked: Path, tools: Path | None, threads: ThreadPoolExecutor
) -> None:
    root = linked / "home"
    bounds = Bounds(roots=(str(root),), exclude=(f"{root}/excluded",))
    (root / "excluded").mkdir()
    (root / "excluded" / "inside").write_text("x")
    async with guest_here(tools) as connection:
        inventory = Inventory(connection, bounds, clock=SystemClock(), threads=threads)
        manifest = await inventory.manifest()
        (held,) = [one for one in manifest.entries if one.kind is EntryKind.FILE]
        wanted = [(held.path, held.size, held.sha256 or "")]
        contents = [one async for lot in inventory.contents(wanted) for one in lot.values()]
    by_path = {one.path.removeprefix(str(root)): one for one in manifest.entries}
    assert set(by_path) == {"", "/bob", "/bob/new\nline", "/inner", "/excluded"}
    assert (by_path[""].kind, by_path[""].target) == (EntryKind.SYMLINK, "var/home")
    assert (by_path["/inner"].kind, by_path["/inner"].target) == (EntryKind.SYMLINK, "bob")
    assert held.sha256 == sha256(b"held").hexdigest()
    assert contents == [b"held"]
    assert [one.reason for one in manifest.omissions] == ["excluded by [changes]"]


async def test_a_root_that_leads_to_no_directory_is_told(
    linked: Path, tools: Path | None, threads: ThreadPoolExecutor
) -> None:
    roots = tuple(str(linked / name) for name in ("circle", "file", "gone"))
    manifest = await manifest_of(Bounds(roots=roots), tools, threads)
    told = {one.path: one.reason for one in manifest.omissions}
    assert told == dict.fromkeys(roots, "this root is a link that leads to no directory")
    assert {one.path: one.kind for one in manifest.entries} == dict.fromkeys(
        roots, EntryKind.SYMLINK
    )


async def test_a_root_may_lead_to_another_file_system(
    linked: Path, tools: Path | None, threads: ThreadPoolExecutor
) -> None:
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (Path(elsewhere) / "deep" / "er").mkdir(parents=True)
        (linked / "away").symlink_to(elsewhere)
        manifest = await manifest_of(Bounds(roots=(str(linked / "away"),)), tools, threads)
    assert f"{linked}/away/deep/er" in {one.path for one in manifest.entries}
    assert manifest.omissions == ()


async def test_a_second_look_is_the_same_and_a_missing_root_is_empty(
    root: Path, threads: ThreadPoolExecutor
) -> None:
    bounds = Bounds(roots=(str(root), "/nowhere"))
    first, second = [await manifest_of(bounds, None, threads) for _ in range(2)]
    assert replace(second, taken_at=first.taken_at) == first
    assert "/nowhere" not in {one.path for one in first.entries}
    assert "/nowhere" not in {one.path for one in first.omissions}


@pytest.mark.parametrize(
    ("bounds", "path", "reason"),
    [
        ({"entries": 3}, "", "more than 3 entries"),
        ({"answer_bytes": 200}, "", "longer than 200 bytes"),
        ({"seconds": 0.0}, "", "time for looking was over"),
        ({"file_bytes": 10}, "/two words", "larger than 10 bytes"),
        ({"read_bytes": 30}, "/plain", "30 bytes had been read"),
    ],
)
async def test_a_bound_that_was_met_is_told(
    root: Path, threads: ThreadPoolExecutor, bounds: dict[str, int], path: str, reason: str
) -> None:
    whole = replace(Bounds(roots=(str(root),)), **bounds)  # type: ignore[arg-type]
    manifest = await manifest_of(whole, None, threads)
    told = {one.path: one.reason for one in manifest.omissions}
    assert reason in told[f"{root}{path}"]


async def test_a_look_says_how_long_it_may_take(root: Path, threads: ThreadPoolExecutor) -> None:
    notes, bounds = Notes(), Bounds(roots=(str(root),), seconds=3600)
    async with guest_here(None) as connection:
        inventory = Inventory(connection, bounds, clock=SystemClock(), threads=threads)
        with watched(notes):
            await inventory.manifest()
    assert notes.under_way == []
    assert 3000 < min(notes.ended) <= max(notes.ended) <= 3600


async def test_packages_and_the_system_are_told(threads: ThreadPoolExecutor) -> None:
    manifest = await manifest_of(Bounds(roots=("/etc/dpkg", "/etc/init.d")), None, threads)
    assert manifest.package_manager == "dpkg"
    assert "dpkg" in {one.name for one in manifest.packages}
    assert manifest.system["ID"]
    owned = {one.path: one for one in manifest.entries}["/etc/dpkg/dpkg.cfg"]
    assert (owned.package, owned.owner, owned.group) == ("dpkg", "root", "root")
    assert owned.pristine is not None


async def test_files_that_the_guest_cannot_read_are_told(
    root: Path, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """It lacks the tool that names are given to."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    manifest = await manifest_of(Bounds(roots=(str(root),)), tmp_path, threads)
    told = {one.path: one.reason for one in manifest.omissions}
    assert "did not give its digest" in told[f"{root}/plain"]
    assert not [one for one in manifest.entries if one.sha256]


async def test_packages_that_could_not_be_told_are_not_none(
    root: Path, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """Its `grep` fails, as a `systemctl` does that waited in vain for a busy systemd."""
    failing = tmp_path / "tools" / "grep"
    failing.parent.mkdir()
    failing.write_text("#!/bin/sh\nexit 2\n")
    failing.chmod(0o755)
    (failing.parent / "sh").symlink_to("/bin/sh")
    manifest = await manifest_of(Bounds(roots=(str(root),)), failing.parent, threads)
    assert (manifest.package_manager, manifest.packages) == (None, ())
    told = {one.path: one.reason for one in manifest.omissions}
    assert "failed" in told["/usr/bin/dpkg"]
