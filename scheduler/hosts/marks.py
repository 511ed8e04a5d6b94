"""The ownership mark: a signed note in a domain's metadata that says it is ours and what it is.

The signature covers the note's canonical JSON, which names the domain's UUID, so that a mark copied
to another domain does not verify. Older keys go on verifying; only the first one signs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from scheduler.errors import Invalid
from scheduler.hosts.xml_reader import read_xml
from scheduler.model.observations import Mark
from scheduler.statedir import write_once

NAMESPACE = "urn:sandboxd:mark:1"
PREFIX = "sandboxd"
ELEMENT = f"{{{NAMESPACE}}}mark"
MARK_LIMIT_BYTES = 4096
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgery:
    """A mark that does not verify, and why; its domain is foreign and worth an alert."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    secret: bytes


class Keyring:
    """The cluster's keys; the first signs, all verify."""

    def __init__(self, keys: list[bytes], cluster_id: str) -> None:
        if not keys:
            raise ValueError("a keyring needs a key")
        self._keys = [_Key(hashlib.sha256(secret).hexdigest()[:16], secret) for secret in keys]
        self._cluster_id = cluster_id

    @classmethod
    def open(cls, path: Path, cluster_id: str) -> Keyring:
        """Read the key at `path`, making it when there is none, and older ones at `path`.*.

        Raises Invalid when a key file has another size or others may read it.
        """
        if not path.exists():
            # A twin that is faster wins: both read the same key afterwards.
            write_once(path, secrets.token_bytes(_KEY_BYTES))
        older = sorted(path.parent.glob(f"{path.name}.*"))
        return cls([_read_key(file) for file in (path, *older)], cluster_id)

    @property
    def cluster_id(self) -> str:
        """Return the cluster whose marks these keys sign."""
        return self._cluster_id

    def sign(self, document: Mapping[str, object]) -> str:
        """Return the mark's XML for a document that carries `sandbox_id` and `domain_uuid`.

        Raises Invalid when one of them is missing or the mark would exceed 4 KiB.
        """
        for field in ("sandbox_id", "domain_uuid"):
            if not isinstance(document.get(field), str):
                raise Invalid(f"an ownership mark needs a {field}")
        key = self._keys[0]
        text = _canonical({**document, "key_id": key.id, "cluster_id": self._cluster_id})
        element = etree.Element(
            ELEMENT,
            nsmap={PREFIX: NAMESPACE},
            key=key.id,
            signature=_signature(key, text),
        )
        element.text = text
        mark = etree.tostring(element, encoding="unicode")
        if len(mark.encode()) > MARK_LIMIT_BYTES:
            raise Invalid(
                f"the ownership mark takes {len(mark.encode())} bytes of {MARK_LIMIT_BYTES}",
                remedy="use fewer or shorter labels",
            )
        return mark

    def read(self, metadata: str | None, uuid: str) -> Mark | Forgery | None:
        """Return the verified mark of the domain `uuid`; None when there is no mark at all."""
        if not metadata:
            return None
        if len(metadata.encode()) > 2 * MARK_LIMIT_BYTES:
            return Forgery(reason="the mark is too long")
        try:
            element = read_xml(metadata)
        except etree.XMLSyntaxError:
            return Forgery(reason="the mark is no XML")
        return self._verify(element, uuid)

    def _verify(self, element: etree._Element, uuid: str) -> Mark | Forgery:
        key_id, text = element.get("key", ""), element.text or ""
        key = next((key for key in self._keys if key.id == key_id), None)
        if key is None:
            return Forgery(reason="the mark was signed with a key that is not ours")
        if not hmac.compare_digest(
            _signature(key, text).encode(), element.get("signature", "").encode()
        ):
            return Forgery(reason="the mark's signature is wrong")
        document = json.loads(text)
        if document["cluster_id"] != self._cluster_id:
            return Forgery(reason="the mark is another cluster's")
        if document["domain_uuid"] != uuid:
            return Forgery(reason="the mark is another domain's")
        return Mark(
            key_id=key.id,
            cluster_id=self._cluster_id,
            sandbox_id=document["sandbox_id"],
            domain_uuid=uuid,
            text=text,
        )


def bare(mark_xml: str) -> str:
    """Return a mark without its namespace, which libvirt adds to what it is given for a domain."""
    mark = read_xml(mark_xml)
    element = etree.Element(etree.QName(mark).localname)
    element.attrib.update(mark.attrib)
    element.text = mark.text
    return etree.tostring(element, encoding="unicode")


def _canonical(document: Mapping[str, object]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _signature(key: _Key, text: str) -> str:
    return hmac.new(key.secret, text.encode(), hashlib.sha256).hexdigest()


def _read_key(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Invalid(
            f"the cluster key {path} can be read by others",
            remedy=f"chmod 600 {path}; when it may have been read, make a new one",
        )
    secret = path.read_bytes()
    if len(secret) != _KEY_BYTES:
        raise Invalid(
            f"the cluster key {path} has {len(secret)} bytes instead of {_KEY_BYTES}",
            remedy="restore it from a backup: without it no running sandbox is recognised",
        )
    return secret
