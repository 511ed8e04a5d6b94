"""Which release this is: a version, and the commit that `deploy/install` wrote beside the package.

A version stays the same for many commits, and daemon and command line may be of different ones: an
upgrade replaces the files, and a daemon that runs only when it is started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

REVISION_FILE = Path(__file__).with_name("REVISION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version, and the commit it was built from."""

    version: str
    revision: str | None = None
    """None for what runs from a checkout, which nobody installed."""

    def __str__(self) -> str:
        return self.version if self.revision is None else f"{self.version}-{self.revision}"


@cache
def installed() -> Release:
    """Return the release that this process runs, as it was when first asked for."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        known = version("sandboxd")
    except PackageNotFoundError:
        known = "0"
    return Release(version=known, revision=_revision(REVISION_FILE))


def _revision(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
