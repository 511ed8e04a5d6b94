"""What a configuration makes of the terms that requests are decided by."""

from __future__ import annotations

from uuid import uuid4

from scheduler.config import Settings
from scheduler.service.terms import terms_of


def test_guests_that_run_are_asked_for_manifests_without_being_told() -> None:
    """A diff needs two, and `sandboxctl snapshot create` promises them."""
    assert terms_of(Settings.model_validate({}), uuid4()).takes_manifests
