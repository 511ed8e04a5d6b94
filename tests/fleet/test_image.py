"""The image is built once per content, stands alone, and takes keys as people write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fleet.image import CACHE_VARIABLE, GUEST_FILES, small_image
from tests.fleet.process import run

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPuf someone@somewhere"
ECDSA = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTI= a comment, with words"
HARDWARE = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t token"
SEEDS = {
    "quoted": (f'ssh_authorized_keys:\n  - "{ED25519}"\n  - "{ECDSA}"\n', [ED25519, ECDSA]),
    "bare": (f"ssh_authorized_keys:\n- {ED25519}\n- {HARDWARE}\n", [ED25519, HARDWARE]),
    "of a user": (
        f"users:\n  - name: root\n    ssh_authorized_keys: \n      - '{ECDSA}'\n",
        [ECDSA],
    ),
    "none": ("ssh_pwauth: false\nruncmd:\n  - [ssh-keygen, -A]\n  - echo ssh-rsa\n", []),
}
EXTRACT = 'eval "$(sed -n "/^authorized_keys()/,/^}/p" "$1")" && authorized_keys "$2"'


@pytest.mark.fleet
def test_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    image = small_image()
    built = image.stat()
    assert small_image() == image
    assert image.stat().st_ino == built.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", image.name]


@pytest.mark.fleet
def test_it_stands_alone(guest_image: Path) -> None:
    described = json.loads(run("qemu-img", "info", "--output=json", str(guest_image)))
    assert described["format"] == "qcow2"
    assert described["virtual-size"] == 128 << 20
    assert not {"backing-filename", "data-file"} & described.keys()


@pytest.mark.parametrize("written", SEEDS)
def test_the_guest_finds_the_keys(written: str, tmp_path: Path) -> None:
    text, keys = SEEDS[written]
    user_data = tmp_path / "user-data"
    user_data.write_text(f"#cloud-config\n{text}")
    rc = GUEST_FILES / "root" / "etc" / "rc"
    assert run("sh", "-c", EXTRACT, "-", str(rc), str(user_data)).splitlines() == keys
