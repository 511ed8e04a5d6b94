"""The SSH authorities: whose signature opens guests, and by whose signature guests are known.

Each is one Ed25519 key `ssh-ca.N` in the state directory; the highest number signs, lower ones stay
for guests that trust nothing newer, until they are retired. The key file holds both halves; the
`.pub` beside it is for people, so a missing `.pub` is made again and a missing key is refused: no
other would open a guest.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncssh

from scheduler.errors import Invalid, NotFound
from scheduler.model.authorities import OWN_NAME
from scheduler.statedir import on_disk, remove_for_good, write_once

ALGORITHM = "ssh-ed25519"
CREDENTIAL = "ssh_ca"
"""The signer, as systemd hands it over."""
PREVIOUS_CREDENTIAL = "ssh_ca_previous"
"""Beside it, the one that guests from before a change of the credential trust."""

_FILE = re.compile(rf"{OWN_NAME}\.([1-9][0-9]{{0,8}})(\.pub)?")
_RESTORE = "restore it from a backup: without it no guest that trusts it can be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One key that signs certificates."""

    name: str
    """Its file's name."""
    public_key: str
    """The public half as one line, without a comment."""
    fingerprint: str
    """OpenSSH's: `SHA256:` and the digest of the public key."""
    key: asyncssh.SSHKey = field(repr=False, compare=False)
    made_at: datetime | None = field(default=None, compare=False)
    """When its file was written; None for what systemd hands over, which is written anew."""


class Authorities:
    """The keys there are, the signer first; belongs to the event loop's thread."""

    def __init__(self, directory: Path, authorities: tuple[Authority, ...]) -> None:
        self._directory = directory
        self._authorities = authorities

    @classmethod
    def open(cls, directory: Path, credentials: Path | None = None) -> Authorities:
        """Read the keys of a state directory and of systemd's credentials, making the first one.

        Raises `Invalid`, naming the file, for one that is missing, torn, readable by others,
        locked by a passphrase or of another type.
        """
        given = _credentials(credentials)
        numbers = _numbers(directory)
        if not given and not numbers:
            numbers = [1]
            make_authority(directory, 1)
        kept = (_read_kept(directory, number) for number in sorted(numbers, reverse=True))
        return cls(directory, (*given, *kept))

    @property
    def signer(self) -> Authority:
        """Return the authority that signs what is new."""
        return self._authorities[0]

    @property
    def all(self) -> tuple[Authority, ...]:
        """Return every authority whose key is there, the signer first."""
        return self._authorities

    def by_fingerprint(self, fingerprint: str) -> Authority:
        """Return the authority with this fingerprint; raises `NotFound`."""
        for one in self._authorities:
            if one.fingerprint == fingerprint:
                return one
        raise NotFound(
            f"the key of the SSH authority {fingerprint} is not here",
            remedy="restore it from a backup; if it was retired, its guests must be created anew",
        )

    def trusted_by(self, fingerprint: str | None) -> Authority:
        """Return the one that a guest trusts whose seed named it, or is to name one.

        Raises `NotFound` when its key is not here any more.
        """
        return self.signer if fingerprint is None else self.by_fingerprint(fingerprint)

    def make(self, name: str) -> Authority:
        """Make the key of this name, unless it was made already; it signs nothing yet.

        Blocks: it waits for the disk.
        """
        number = _FILE.fullmatch(name)
        if number is None:
            raise Invalid(f"{name} is no name of a key of ours")
        return make_authority(self._directory, int(number[1]))

    def adopt(self, authority: Authority) -> None:
        """Have an authority sign what is new from now on."""
        others = (one for one in self._authorities if one.fingerprint != authority.fingerprint)
        self._authorities = (authority, *others)

    def forget(self, fingerprint: str | None) -> None:
        """Sign nothing with this key any more; the signer is never forgotten."""
        self._authorities = (
            self.signer,
            *(one for one in self._authorities[1:] if one.fingerprint != fingerprint),
        )

    def destroy(self, name: str) -> None:
        """Remove the key of this name from the disk, its public half first; blocks.

        A public half alone would say that a key was lost.
        """
        if _FILE.fullmatch(name):
            remove_for_good(self._directory / f"{name}.pub")
            remove_for_good(self._directory / name)


def make_authority(directory: Path, number: int) -> Authority:
    """Make a new key with its public half; a faster twin's stays."""
    path = directory / f"{OWN_NAME}.{number}"
    write_once(path, asyncssh.generate_private_key(ALGORITHM).export_private_key())
    return _read_kept(directory, number)


def read_authority(path: Path, *, private: bool = True) -> Authority:
    """Read a key; `private` asks that only its owner can read the file.

    Raises `Invalid` for what stays so until somebody mends it, `DiskRefused` for what may pass: the
    unit does not start a daemon again that gave up on the first.
    """
    with on_disk("the SSH authority's key cannot be read"):
        facts, content = _contents(path, private=private)
    key = _parse(path, content)
    return Authority(
        name=path.name,
        public_key=public_line(key),
        fingerprint=key.get_fingerprint("sha256"),
        key=key,
        made_at=datetime.fromtimestamp(facts.st_mtime, UTC) if private else None,
    )


def _contents(path: Path, *, private: bool) -> tuple[os.stat_result, bytes]:
    try:
        facts = path.stat()
        if private and stat.S_IMODE(facts.st_mode) & 0o077:
            raise Invalid(
                f"the SSH authority's key {path} can be read by others",
                remedy=f"chmod 600 {path}; when it may have been read, make a new one",
            )
        return facts, path.read_bytes()
    except FileNotFoundError:
        raise Invalid(
            f"{path}.pub is there, but the SSH authority's key {path} is missing", remedy=_RESTORE
        ) from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise Invalid(
            f"the SSH authority's key {path} cannot be read: {error.strerror}",
            remedy="the daemon's user must own it",
        ) from error


def public_line(key: asyncssh.SSHKey) -> str:
    """Return a public key as one line without a comment."""
    return " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])


def _parse(path: Path, content: bytes) -> asyncssh.SSHKey:
    try:
        key = asyncssh.import_private_key(content)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        if "passphrase" in str(error).lower():
            raise Invalid(
                f"the SSH authority's key {path} is locked by a passphrase",
                remedy=f"remove it, as nobody is there to type it: ssh-keygen -p -f {path}",
            ) from error
        raise Invalid(f"{path} holds no private SSH key: {error}", remedy=_RESTORE) from error
    if key.get_algorithm() != ALGORITHM:
        raise Invalid(
            f"the SSH authority's key {path} is of the type {key.get_algorithm()}",
            remedy="use an Ed25519 key: ssh-keygen -t ed25519 -N ''",
        )
    return key


def _public_line(key: asyncssh.SSHKey, comment: str) -> bytes:
    return f"{public_line(key)} {comment}\n".encode("ascii")


def _numbers(directory: Path) -> list[int]:
    found = (_FILE.fullmatch(path.name) for path in directory.iterdir())
    return sorted({int(match[1]) for match in found if match})


def _read_kept(directory: Path, number: int) -> Authority:
    path = directory / f"{OWN_NAME}.{number}"
    authority = read_authority(path)
    public = path.with_name(f"{path.name}.pub")
    said = _read_public(public)
    if said is None:
        write_once(public, _public_line(authority.key, path.name))
    elif said != authority.public_key.split():
        raise Invalid(
            f"{public} is not the public half of {path}",
            remedy=f"find out which of them is wrong; if it is {public}, remove it",
        )
    return authority


def _read_public(path: Path) -> list[str] | None:
    """Return the type and the key that a file names, None when there is no file."""
    with on_disk(f"{path.name} cannot be read"):
        try:
            return path.read_text(encoding="ascii", errors="replace").split()[:2]
        except FileNotFoundError:
            return None


def _credentials(directory: Path | None) -> tuple[Authority, ...]:
    """Return what systemd hands over; who may read it there is systemd's business."""
    if directory is None or not (directory / CREDENTIAL).exists():
        return ()
    names = (CREDENTIAL, PREVIOUS_CREDENTIAL)
    return tuple(
        read_authority(directory / name, private=False)
        for name in names
        if (directory / name).exists()
    )
