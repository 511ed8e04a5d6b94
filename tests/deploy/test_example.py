"""The example configuration is valid, complete, and shows the real defaults."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from scheduler.config import Settings, load
from scheduler.config.publishing import ForgeSection
from scheduler.validation.hosts import AddHost
from tests.deploy.paths import DEPLOY

EXAMPLE = DEPLOY / "config.toml"
_OFFERED = re.compile(r"^#(?=\[|[a-z_]+ = )", re.MULTILINE)


def uncommented() -> str:
    """Return the example with everything it offers switched on."""
    return _OFFERED.sub("", EXAMPLE.read_text())


def test_the_daemon_accepts_the_example() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "scheduler.daemon", "--check-config", "--config", EXAMPLE],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_example_shows_the_defaults() -> None:
    assert load(EXAMPLE, environ={}) == load(None, environ={})


def test_everything_the_example_offers_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(uncommented())
    settings = load(file, environ={})
    assert settings.hosts[0].name == "kvm-01"
    assert settings.lifecycle.max_ttl_seconds == 7 * 86400


def test_the_example_has_every_setting() -> None:
    document = tomllib.loads(uncommented())
    for name, field in Settings.model_fields.items():
        if name in ("hosts", "forges"):
            continue
        section = field.annotation
        assert isinstance(section, type)
        assert set(document[name]) == set(getattr(section, "model_fields", {})), name
    assert set(document["forges"][0]) == set(ForgeSection.model_fields)
    offered = set(document["hosts"][0])
    assert offered == set(AddHost.model_fields) - {"uri"}  # the address stands for it


def test_every_setting_of_a_section_can_come_from_the_environment() -> None:
    """Those that the example shows, with the values that it shows, as a shell would give them."""
    document = tomllib.loads(uncommented())
    environ = {
        f"SANDBOXD_{section}__{key}".upper(): json.dumps(value).strip('"')
        for section, settings in document.items()
        if isinstance(settings, dict)
        for key, value in settings.items()
    }
    assert len(environ) > 80
    offered = load(None, environ=environ)
    assert offered.changes.roots == ("/etc", "/srv")
    assert offered.lifecycle.max_ttl_seconds == 7 * 86400
