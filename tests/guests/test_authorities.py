"""Authorities on disk: made once, read strictly, known by OpenSSH's own fingerprint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asyncssh
import pytest

from scheduler.errors import Invalid, NotFound
from scheduler.guests.authorities import Authorities, make_authority, read_authority
from scheduler.statedir import DiskRefused
from tests.scarcity import no_free_descriptors


def write_key(path: Path, algorithm: str = "ssh-ed25519") -> None:
    key = asyncssh.generate_private_key(algorithm)
    path.write_bytes(key.export_private_key())
    path.chmod(0o600)


def test_the_first_start_makes_a_private_key_and_later_ones_read_it(tmp_path: Path) -> None:
    made = Authorities.open(tmp_path).signer
    assert (tmp_path / "ssh-ca.1").stat().st_mode & 0o777 == 0o600
    assert Authorities.open(tmp_path).signer == made
    assert (tmp_path / "ssh-ca.1.pub").read_text() == f"{made.public_key} ssh-ca.1\n"
    told = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "ssh-ca.1.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told[1] == made.fingerprint
    assert told[-1] == "(ED25519)"


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(Authorities.open(tmp_path).signer)
    assert "SSHKey" not in repr(Authorities.open(tmp_path).signer)


def test_the_highest_number_signs_and_the_others_stay(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        make_authority(tmp_path, number)
    found = Authorities.open(tmp_path)
    assert [one.name for one in found.all] == ["ssh-ca.10", "ssh-ca.2", "ssh-ca.1"]
    assert found.by_fingerprint(found.all[2].fingerprint) == found.all[2]
    with pytest.raises(NotFound, match="SHA256:none"):
        found.by_fingerprint("SHA256:none")


def test_a_key_that_is_there_is_never_made_anew(tmp_path: Path) -> None:
    made = Authorities.open(tmp_path).signer
    make_authority(tmp_path, 1)
    assert Authorities.open(tmp_path).signer == made


def test_a_public_half_that_was_lost_is_written_again(tmp_path: Path) -> None:
    made = Authorities.open(tmp_path).signer
    (tmp_path / "ssh-ca.1.pub").unlink()
    assert Authorities.open(tmp_path).signer == made
    assert made.public_key in (tmp_path / "ssh-ca.1.pub").read_text()


def test_a_key_that_was_lost_is_never_replaced(tmp_path: Path) -> None:
    Authorities.open(tmp_path)
    (tmp_path / "ssh-ca.1").unlink()
    with pytest.raises(Invalid, match=r"ssh-ca\.1 is missing") as refused:
        Authorities.open(tmp_path)
    assert "backup" in (refused.value.remedy or "")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Authorities.open(tmp_path)
    (tmp_path / "ssh-ca.1").chmod(0o640)
    with pytest.raises(Invalid, match="read by others") as refused:
        Authorities.open(tmp_path)
    assert f"chmod 600 {tmp_path / 'ssh-ca.1'}" in (refused.value.remedy or "")


def test_halves_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    Authorities.open(tmp_path)
    write_key(tmp_path / "ssh-ca.1")
    with pytest.raises(Invalid, match="is not the public half"):
        Authorities.open(tmp_path)


def test_a_torn_key_is_refused(tmp_path: Path) -> None:
    Authorities.open(tmp_path)
    whole = (tmp_path / "ssh-ca.1").read_bytes()
    (tmp_path / "ssh-ca.1").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Invalid, match="holds no private SSH key"):
        Authorities.open(tmp_path)


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    locked = ["ssh-keygen", "-qt", "ed25519", "-N", "secret", "-f", str(tmp_path / "ssh-ca.1")]
    subprocess.run(locked, check=True)
    with pytest.raises(Invalid, match="locked by a passphrase"):
        Authorities.open(tmp_path)


def test_a_key_of_another_type_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "ssh-ca.1", "ecdsa-sha2-nistp256")
    with pytest.raises(Invalid, match="ecdsa-sha2-nistp256"):
        Authorities.open(tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ssh-ca.1").mkdir(mode=0o700)
    with pytest.raises(Invalid, match="cannot be read"):
        Authorities.open(tmp_path)


def test_what_may_pass_is_no_reason_to_give_up(tmp_path: Path) -> None:
    """The unit does not start a daemon again that calls its state faulty."""
    Authorities.open(tmp_path)
    with no_free_descriptors(), pytest.raises(DiskRefused, match="cannot be read: Too many open"):
        read_authority(tmp_path / "ssh-ca.1")


def test_a_credential_signs_and_a_previous_one_stays_beside_it(tmp_path: Path) -> None:
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    state.mkdir()
    credentials.mkdir()
    write_key(credentials / "ssh_ca")
    write_key(credentials / "ssh_ca_previous")
    found = Authorities.open(state, credentials)
    assert [one.name for one in found.all] == ["ssh_ca", "ssh_ca_previous"]
    assert list(state.iterdir()) == []


def test_other_credentials_leave_the_state_directory_its_key(tmp_path: Path) -> None:
    assert Authorities.open(tmp_path, tmp_path).signer.name == "ssh-ca.1"


def test_another_is_made_signs_when_it_is_adopted_and_the_old_one_goes(tmp_path: Path) -> None:
    there = Authorities.open(tmp_path)
    old = there.signer
    new = there.make("ssh-ca.2")
    assert list(there.all) == [old]
    assert there.make("ssh-ca.2") == new
    there.adopt(new)
    there.adopt(new)
    assert list(there.all) == [new, old]
    assert there.trusted_by(old.fingerprint) == old
    assert there.trusted_by(None) == new
    assert Authorities.open(tmp_path).all == (new, old)
    there.forget(old.fingerprint)
    there.forget(new.fingerprint)
    assert list(there.all) == [new]
    with pytest.raises(NotFound, match="is not here"):
        there.trusted_by(old.fingerprint)
    there.destroy("ssh-ca.1")
    there.destroy("ssh-ca.1")
    there.destroy("../ssh-ca.2")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["ssh-ca.2", "ssh-ca.2.pub"]
    with pytest.raises(Invalid, match="no name"):
        there.make("cluster.key")


def test_a_key_knows_when_its_file_was_written_and_a_credential_does_not(tmp_path: Path) -> None:
    made = Authorities.open(tmp_path).signer.made_at
    assert made is not None
    assert made.timestamp() == pytest.approx((tmp_path / "ssh-ca.1").stat().st_mtime, abs=1)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    write_key(credentials / "ssh_ca")
    assert Authorities.open(tmp_path, credentials).signer.made_at is None
