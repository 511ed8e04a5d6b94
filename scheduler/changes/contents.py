"""Where the contents of files are, for whoever makes code of them."""

from __future__ import annotations

from typing import Protocol


class Contents(Protocol):
    """Where what files held is kept, by its SHA-256 in hex digits."""

    def get(self, sha256: str, /) -> bytes | None:
        """Return a content, None when it was not kept."""
        ...
