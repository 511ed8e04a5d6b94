"""Certificates for libvirt over TLS: an authority, and what it signs for a host or a client."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "127.0.0.1"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """A directory as libvirt reads it: the CA that is believed, and one's own certificate."""

    directory: Path

    def uri(self, port: int) -> str:
        """What reaches the test driver of a host that listens on this port."""
        return f"test+tls://{ADDRESS}:{port}/default?pkipath={self.directory}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """How a libvirtd listens: with which certificate, believing which clients."""

    pki: Pki
    port: int

    def configuration(self) -> str:
        """The lines of libvirtd.conf."""
        at = self.pki.directory
        return (
            f'listen_tls = 1\nlisten_tcp = 0\nauth_tls = "none"\nlisten_addr = "{ADDRESS}"\n'
            f'tls_port = "{self.port}"\nca_file = "{at}/cacert.pem"\n'
            f'cert_file = "{at}/servercert.pem"\nkey_file = "{at}/serverkey.pem"\n'
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates; another authority is another world."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def certificate(self) -> bytes:
        """Its own certificate, as PEM."""
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        own = self._signed(self.name, self.key.public_key(), 60, (constraints, _usage(ca=True)))
        return own.public_bytes(Encoding.PEM)

    def client(self, directory: Path) -> Pki:
        """What a client shows, and whom it believes."""
        return self._issue(directory, "client", "client", days=30)

    def server(self, directory: Path, address: str = ADDRESS, *, days: int = 30) -> Pki:
        """What a host shows for its address; with less than no days left it has expired."""
        return self._issue(directory, "server", address, days=days)

    def _issue(self, directory: Path, kind: str, name: str, *, days: int) -> Pki:
        directory.mkdir(mode=0o755, parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = (_usage(ca=False), _alternative(name))
        certificate = self._signed(name, key.public_key(), days, extensions)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "cacert.pem").write_bytes(self.certificate())
        (directory / f"{kind}cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        # The libvirtd of a farm is not root; these keys open nothing but the test.
        (directory / f"{kind}key.pem").write_bytes(secret)
        return Pki(directory=directory)

    def _signed(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        days: int,
        extensions: tuple[x509.ExtensionType, ...],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 60 * DAY)
            .not_valid_after(now + days * DAY)
        )
        for extension in extensions:
            builder = builder.add_extension(
                extension, critical=not isinstance(extension, x509.SubjectAlternativeName)
            )
        return builder.sign(self.key, SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(name)])
