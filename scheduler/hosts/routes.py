"""How a host is reached: from its record to a libvirt URI.

Local sockets, libvirt's own test driver, and TLS with both certificates verified are dialled; ssh
ends in a local socket too, see `tunnel`. libvirt over plain TCP is refused: it has no encryption
and mostly no authentication.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import asyncssh

from scheduler.errors import Invalid
from scheduler.model.hosts import HostResources, Transport
from scheduler.validation.hosts import unreachable

_SCHEMES = {
    Transport.UNIX: ("qemu", "qemu+unix", "test+unix"),
    Transport.TEST: ("test",),
}
DEFAULT_URI = "qemu:///system"
TLS_PORT = 16514
"""Where libvirt listens for TLS unless told otherwise."""


class Route(Protocol):
    """A way to a host's libvirt."""

    async def uri(self) -> str:
        """Return the URI to dial now, having made the way there; raises HostUnreachable."""
        ...

    async def jump(self) -> asyncssh.SSHClientConnection | None:
        """Return the connection that guests are reached through, None where none is needed."""
        ...

    async def aclose(self) -> None:
        """Give the way up."""
        ...


class DirectRoute:
    """A libvirt on this machine."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    async def uri(self) -> str:
        """Return the URI; there is nothing to make."""
        return self._uri

    async def jump(self) -> None:
        """Return None: guests are reached directly."""

    async def aclose(self) -> None:
        """Do nothing."""


def check_route(host: HostResources) -> None:
    """Raise Invalid, naming the field, when the host's record names no way that is allowed."""
    if host.transport is Transport.SSH:
        _check_ssh(host)
        return
    if host.transport is Transport.TLS:
        _check_tls(host)
        return
    parts = urlsplit(direct_uri(host))
    if parts.scheme not in _SCHEMES[host.transport] or parts.netloc:
        raise _refusal(
            "uri",
            f"{host.transport} hosts take {' or '.join(_SCHEMES[host.transport])}:///...,"
            f" not {parts.scheme}://{parts.netloc}",
            "use transport ssh for a libvirt on another machine",
        )
    if host.transport is Transport.TEST and parts.path in ("", "/default"):
        raise _refusal(
            "uri",
            "test:///default is one host shared by the whole process",
            "name a node file: test:///path/to/node.xml",
        )


def direct_uri(host: HostResources) -> str:
    """Return the URI of a host that is reached without ssh."""
    if host.uri is None and host.transport is Transport.TLS:
        bracketed = f"[{host.address}]" if ":" in host.address else host.address
        return f"qemu+tls://{bracketed}/system"
    return host.uri or DEFAULT_URI


def socket_of(uri: str) -> str | None:
    """Return the Unix socket that a URI names, None when it leaves that to libvirt."""
    named = parse_qs(urlsplit(uri).query).get("socket")
    return named[0] if named else None


def endpoint_of(uri: str) -> tuple[str, int] | None:
    """Return the address and port that a TLS URI names, None for any other."""
    parts = urlsplit(uri)
    if not is_tls(uri) or parts.hostname is None:
        return None
    return parts.hostname, parts.port or TLS_PORT


def is_tls(uri: str) -> bool:
    """Return whether a URI is dialled with TLS."""
    return urlsplit(uri).scheme.endswith("+tls")


def _check_tls(host: HostResources) -> None:
    fault = unreachable(host.transport, host.address or None, host.uri)
    if fault is not None:
        raise _refusal("uri" if host.address else "address", *fault)


def _check_ssh(host: HostResources) -> None:
    for field, value, remedy in (
        ("address", host.address, "give the host's name or IP address"),
        ("ssh_key", host.ssh_key, "name the file of the daemon's own private key"),
        (
            "ssh_known_hosts",
            host.ssh_known_hosts,
            "name a file that holds the host's key, as ssh-keyscan prints it",
        ),
    ):
        if not value:
            raise _refusal(field, f"transport ssh needs {field}", remedy)
    if host.uri:
        raise _refusal("uri", "transport ssh takes an address and no uri", "drop uri")


def _refusal(field: str, message: str, remedy: str) -> Invalid:
    return Invalid(message, remedy=remedy, details={field: message})
