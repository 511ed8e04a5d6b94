"""The dashboard is valid, speaks to Prometheus, and asks for metrics and labels that exist only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.paths import DEPLOY
from tests.deploy.test_alerts import SCRAPED, promtool
from tests.metrics.test_documentation import Family, documented

FILE = DEPLOY / "dashboard.json"
OF_PYTHONS_CLIENT = {"process_resident_memory_bytes"}
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$host": ".*"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """Return what is drawn, the titles of rows left out."""
    return [one for one in dashboard()["panels"] if one["type"] != "row"]


def queries() -> Iterator[tuple[str, str, str]]:
    """Yield of each query its panel's title, the expression and the legend."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


def series() -> dict[str, frozenset[str]]:
    """Return the labels of every series that the page may have, by its name."""
    found = {}
    for family in documented():
        for name in _names(family):
            found[name] = family.labels | SCRAPED | ({"le"} if name.endswith("_bucket") else set())
    return found


def _names(family: Family) -> Iterator[str]:
    for suffix in SUFFIXES.get(family.type, ("",)):
        yield family.name + suffix


@pytest.mark.needs("promtool")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = []
    for number, (_, expression, _) in enumerate(queries()):
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"query{number}", "expr": expression})
    assert len(rules) > 40
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


def test_queries_ask_for_series_and_labels_that_exist() -> None:
    known = series()
    for title, expression, legend in queries():
        asked = set(re.findall(r"\b(?:sandboxd|process)_[a-z_]+", expression)) - OF_PYTHONS_CLIENT
        assert asked, title
        assert asked <= known.keys(), title
        labels = frozenset().union(*(known[name] for name in asked))
        matched = set(re.findall(r'(\w+)=~?"', expression))
        grouped = {
            name.strip()
            for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
            for name in group.split(",")
        }
        shown = set(re.findall(r"{{(\w+)}}", legend))
        assert matched | grouped | shown <= labels, title


def test_what_is_shown_of_a_query_is_what_its_aggregation_leaves() -> None:
    for title, expression, legend in queries():
        outermost = re.match(r"[\d* ]*(?:sum|max|min|count) (?:by \(([^)]*)\) )?", expression)
        if outermost and legend:
            left = set(re.findall(r"\w+", outermost[1] or ""))
            assert set(re.findall(r"{{(\w+)}}", legend)) <= left, title


def test_variables_are_all_defined() -> None:
    defined = {one["name"] for one in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", FILE.read_text()))
    assert used == defined


def test_panels_have_numbers_of_their_own_say_what_they_mean_and_do_not_overlap() -> None:
    everything = dashboard()["panels"]
    assert len({one["id"] for one in everything}) == len(everything)
    assert all(one["description"].endswith(".") for one in panels())
    for one, other in combinations((panel["gridPos"] for panel in everything), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(one["gridPos"]["x"] + one["gridPos"]["w"] <= 24 for one in everything)
