"""Explanations."""

from __future__ import annotations

from typing import Any

from scheduler.cli.printing import Printer

Document = dict[str, Any]


def draw(printer: Printer, explanation: Document) -> None:
    """Print every host against every constraint."""
    raise NotImplementedError
