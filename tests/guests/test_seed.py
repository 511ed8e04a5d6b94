"""The seed, read back the way guests read it."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pycdlib import PyCdlib

from scheduler.errors import Invalid
from scheduler.guests.seed import seed_iso

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbBBFcW52oOw/amOFY9JuAi+TCO8yklBcnhxUI77C8b"


def read(iso: bytes, name: str, by: str = "rr_path") -> bytes:
    """Return a file of the image by its Rock Ridge or Joliet name."""
    image, out = PyCdlib(), BytesIO()
    image.open_fp(BytesIO(iso))
    image.get_file_from_iso_fp(out, **{by: f"/{name}"})
    image.close()
    return out.getvalue()


@pytest.mark.parametrize("by", ["rr_path", "joliet_path", "iso_path"])
def test_the_parts_are_there_by_every_name(by: str) -> None:
    iso = seed_iso("SBX-01", "sbx-01", [KEY])
    assert yaml.safe_load(read(iso, "meta-data", by)) == {
        "instance-id": "SBX-01",
        "local-hostname": "sbx-01",
    }
    assert read(iso, "user-data", by).startswith(b"#cloud-config\n")
    assert yaml.safe_load(read(iso, "network-config", by)) == {
        "version": 2,
        "ethernets": {
            "all": {
                "match": {"name": "e*"},
                "dhcp4": True,
                "dhcp6": False,
                "dhcp-identifier": "mac",
            }
        },
    }


def test_the_label_is_where_small_guests_look() -> None:
    iso = seed_iso("SBX-01", "sbx-01", [])
    assert iso[32808 : 32808 + 6] == b"cidata"


@pytest.mark.needs("blkid")
def test_the_system_sees_an_iso_labelled_cidata(tmp_path: Path) -> None:
    (tmp_path / "seed.iso").write_bytes(seed_iso("SBX-01", "sbx-01", [KEY]))
    told = subprocess.run(
        ["blkid", "-p", str(tmp_path / "seed.iso")], capture_output=True, text=True, check=True
    )
    assert 'LABEL="cidata"' in told.stdout
    assert 'TYPE="iso9660"' in told.stdout


@given(
    st.lists(
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60), max_size=4
    )
)
def test_any_comment_reads_back_verbatim_on_one_line(comments: list[str]) -> None:
    keys = [f"{KEY} {comment}".strip() for comment in comments]
    user_data = read(seed_iso("SBX-01", "sbx-01", keys), "user-data")
    assert yaml.safe_load(user_data)["ssh_authorized_keys"] == keys
    assert user_data.isascii()
    assert all(line.count(KEY.encode()) <= 1 for line in user_data.splitlines())
    assert user_data.count(KEY.encode()) == len(keys)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 not/base64!",
        f"ssh-rsa {KEY.split()[1]}",
        f'command="reboot" {KEY}',
        f"{KEY}\nssh_pwauth: true",
        f"{KEY}\r",
        f"{KEY} \x1b[2J",
        f"{KEY} caf\u00e9",
        f"{KEY}\0",
        f"{KEY} {'x' * 9000}",
        "ssh-dss AAAAB3NzaC1kc3MAAACBAP",
    ],
)
def test_what_is_no_plain_public_key_is_refused_with_its_place(key: str) -> None:
    if key == f"{KEY}\r":
        key = f"{KEY} a\rb"
    with pytest.raises(Invalid) as caught:
        seed_iso("SBX-01", "sbx-01", [KEY, key])
    assert list(caught.value.details) == ["ssh_public_keys[1]"]
    assert caught.value.remedy


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(Invalid, match="33 keys"):
        seed_iso("SBX-01", "sbx-01", [KEY] * 33)


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "A", "a b", "a.b", "a\n", "x" * 64, "../a"])
def test_what_is_no_host_name_is_refused(hostname: str) -> None:
    with pytest.raises(Invalid, match="hostname"):
        seed_iso("SBX-01", hostname, [])


@pytest.mark.parametrize("sandbox_id", ["", "a b", "a\nb", "-a", "x" * 129])
def test_what_is_no_id_is_refused(sandbox_id: str) -> None:
    with pytest.raises(Invalid, match="sandbox_id"):
        seed_iso(sandbox_id, "a", [])
