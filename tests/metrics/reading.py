"""Reads a metrics page as Prometheus would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read(page: bytes) -> Series:
    """Return every series of a page with its value."""
    return values(text_string_to_metric_families(page.decode()))


def values(families: Iterable[Metric]) -> Series:
    """Return every series of some families with its value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return a series' key; the prefix may be left out."""
    return (f"sandboxd_{name}", frozenset(labels.items()))
