"""What only Puppet must be told otherwise."""

from __future__ import annotations

import re

import pytest

from scheduler.changes.trees import change_tree
from scheduler.model import Delta, EntryKind, FileChange
from tests.changes.guests import CONTENT, added, digest


def modes(change: FileChange) -> list[str]:
    """Return the modes that a module sets."""
    contents = {digest(CONTENT): CONTENT}
    made = change_tree(Delta(files=(change,)), contents, name="web", title="what was done")
    manifest = made.files["puppet/web/manifests/init.pp"].decode()
    return re.findall(r"mode +=> '(.*)',", manifest)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o755, "0755"),
        (0o2711, "2711"),
        (0o1333, "1333"),
        (0o000, "0000"),
        (0o744, "a-st,u=rwx,g=r,o=r"),
        (0o2640, "a-st,u=rw,g=rs,o="),
        (0o7604, "a-st,u=rws,g=s,o=rt"),
    ],
)
def test_puppet_is_told_a_directory_without_x_in_letters(mode: int, told: str) -> None:
    assert modes(added("/srv/d", EntryKind.DIRECTORY, mode=mode)) == [told]


def test_puppet_is_told_the_mode_of_a_file_in_digits() -> None:
    assert modes(added("/srv/f", mode=0o4640)) == ["4640"]
