"""Capabilities and access lists as guests' programs tell them, of files that were listed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scheduler.guests.inventory_attributes import access_lists, capabilities
from scheduler.guests.inventory_reader import read_listing
from scheduler.guests.inventory_script import LISTING
from scheduler.guests.inventory_values import drafted
from scheduler.model import Manifest
from tests.changes.manifests import AT

NAMES = {b"/opt/a", b"/opt/a b", b"/opt/\xff", b"/opt/new\nline", b"/opt/012\\012"}


def test_capabilities_are_read_of_old_and_new_programs() -> None:
    text = (
        b"/opt/a = cap_net_raw+ep\n/opt/a b cap_net_raw,cap_chown=ep cap_kill+p\n"
        b"/opt/\xff =ep [rootid=1000]\n/opt/other cap_kill=ep\n/opt/a mad\nmad\n"
    )
    assert capabilities(text, NAMES) == {
        b"/opt/a": "cap_net_raw=ep",
        b"/opt/a b": "cap_net_raw,cap_chown=ep cap_kill+p",
        b"/opt/\xff": "=ep [rootid=1000]",
    }


def test_access_lists_are_read_by_numbers() -> None:
    text = (
        b"user:1:rwx\n# file: /opt/new\\012line\n# owner: 0\n# group: 0\n# flags: -s-\n"
        b"user::rw-\nuser:33:r--\ngroup::r--\nmask::r--\nother::---\nmad\n\n"
        b"# file: /opt/other\nuser:33:r--\n\n# file: /opt/a\n\n"
        b"# file: /opt/\\377\ndefault:user:5:rwx\n# file: /opt/012\\\\012\nuser:5:rwx\n"
    )
    assert access_lists(text, NAMES) == {
        b"/opt/new\nline": "user::rw-,user:33:r--,group::r--,mask::r--,other::---",
        b"/opt/\xff": "default:user:5:rwx",
        b"/opt/012\\012": "user:5:rwx",
    }


def asked(root: Path, tools: Path) -> Manifest:
    """Ask this machine, with these programs before its own."""
    said = subprocess.run(
        ["sh", "-c", LISTING],
        input=f"R{root}\n".encode(),
        capture_output=True,
        check=True,
        env={"PATH": f"{tools}:/usr/bin:/bin:/usr/sbin"},
    )
    listing = read_listing(said.stdout, [str(root).encode()], 99)
    return drafted(listing).manifest(AT, (str(root),))


def program(tools: Path, name: str, script: str) -> None:
    tools.mkdir(exist_ok=True)
    (tools / name).write_text(f"#!/bin/sh\n{script}\n")
    (tools / name).chmod(0o755)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / ".cache").mkdir(parents=True)
    for name in ("prog", ".cache/prog"):
        (tmp_path / "root" / name).write_text("x")
    return tmp_path / "root"


GETFACL = """
while [ $# -gt 0 ] && [ "$1" != "${1#-}" ]; do shift; done
for file do printf '# file: %s\\nuser:33:r--\\n\\n' "$file"; done
"""


def test_the_programs_of_a_guest_are_asked_of_what_is_listed(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    program(tools, "getcap", 'for file do echo "$file cap_kill=ep"; done')
    program(tools, "getfacl", GETFACL)
    found = asked(root, tools)
    told = {one.path.removeprefix(str(root)): (one.capabilities, one.acl) for one in found.entries}
    assert told == {
        "": (None, "user:33:r--"),
        "/.cache": (None, None),
        "/prog": ("cap_kill=ep", "user:33:r--"),
    }
    assert found.attributes == ("capabilities", "acl")


def test_a_program_that_fails_tells_nothing(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    program(tools, "getcap", 'echo "$1 cap_kill=ep"; exit 1')
    program(tools, "getfacl", GETFACL)
    found = asked(root, tools)
    assert found.attributes == ("acl",)
    assert {one.capabilities for one in found.entries} == {None}
    assert "/usr/sbin/getcap" in {one.path for one in found.omissions}


@pytest.mark.needs("getcap")
def test_capabilities_of_a_real_file_are_told(root: Path, tmp_path: Path) -> None:
    set_ = ["/usr/sbin/setcap", "cap_net_raw+ep", str(root / "prog")]
    subprocess.run(set_, check=True)
    by_path = {one.path: one for one in asked(root, tmp_path).entries}
    assert by_path[str(root / "prog")].capabilities == "cap_net_raw=ep"
