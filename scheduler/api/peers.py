"""Who is at the other end of the admin socket, as the kernel tells it.

The numeric uid is the name: it cannot be forged, and turning it into a user's name may ask a
directory service over the network, which the event loop must not wait for.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """A connected process at the time it connected."""

    pid: int
    uid: int
    gid: int

    @property
    def actor(self) -> str:
        """Return the name under which its deeds are recorded."""
        return f"uid:{self.uid}"


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected to a Unix socket."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(packed))
