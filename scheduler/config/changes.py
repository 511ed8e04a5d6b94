"""The section about what is looked at in guests, and how much of it is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from scheduler.config.quantities import Mebibytes, Seconds, Whole
from scheduler.config.sections import Section
from scheduler.validation.fields import refusal

MOST_PATHS = 100


def _guest_path(text: str) -> str:
    plain = text.isprintable() and len(text) <= 1000
    parts = text.split("/")
    if not plain or parts[0] or "." in parts or ".." in parts or (text != "/" and "" in parts[1:]):
        raise refusal(
            "this is no path of a guest",
            'give an absolute path without ".", ".." or a slash at its end, such as "/etc"',
        )
    return text


GuestPath = Annotated[str, AfterValidator(_guest_path)]
GuestPaths = Annotated[tuple[GuestPath, ...], Field(max_length=MOST_PATHS)]


class ChangesSection(Section):
    """Manifests of guests and diffs of them."""

    roots: Annotated[GuestPaths, Field(min_length=1)] = (
        *("/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/usr/share/keyrings"),
        *("/var/spool/cron", "/var/www"),
    )
    """The directories of a guest that a manifest lists."""
    exclude: GuestPaths = ()
    """Directories below them that are not entered."""
    max_entries: Annotated[Whole, Field(ge=100, le=2_000_000)] = 200_000
    max_file_mb: Annotated[Mebibytes, Field(ge=1)] = 64
    """Larger files are listed, and neither read nor compared by content."""
    max_read_mb: Annotated[Mebibytes, Field(ge=1)] = 2048
    """So much is read in a guest for one manifest."""
    manifest_seconds: Annotated[Seconds, Field(le=3600)] = 120
    content_kb: Annotated[Whole, Field(ge=0, le=16384)] = 256
    """Of files up to this size the content is kept, unless it is a secret; 0 keeps none."""
    contents_mb: Annotated[Mebibytes, Field(ge=0)] = 2048
    """All contents together; beyond it nothing is kept anew until something is removed."""
    max_changes: Annotated[Whole, Field(ge=100, le=100_000)] = 5000
    """So many changed paths a diff names; of further ones it tells the number."""
