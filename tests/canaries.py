"""Secrets that are planted to see whether they sing: found elsewhere, they were told."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field


@dataclass
class Canaries:
    """Secrets that nobody else could have thought of, by what they are."""

    planted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Each in every form in which it could be written."""

    def plant(self, what: str) -> str:
        """Return the secret of this name, made at the first call."""
        return self.planted.setdefault(what, (f"canary{secrets.token_hex(12)}",))[0]

    def adopt(self, what: str, secret: bytes) -> None:
        """Look for a secret that was made elsewhere, as it is and as programs write bytes."""
        forms = {secret.hex(), base64.b64encode(secret).decode().rstrip("=")}
        forms.add(base64.urlsafe_b64encode(secret).decode().rstrip("="))
        forms.add(repr(secret)[2:-1])
        self.planted[what] = tuple(sorted(forms))

    def assert_none_in(self, told: str, where: str) -> None:
        """Fail if one is in what was told, naming which and where, and not the text."""
        sung = [what for what, forms in self.planted.items() if any(form in told for form in forms)]
        assert not sung, f"{where} tells {sung}"
