"""How long each host call may take, in seconds: libvirt itself knows no time limit.

`POWER_OFF` allows for a QEMU that answers nothing, which libvirt itself waits ten seconds for
before it kills; `START` for a busy host's firmware and storage; `SNAPSHOT` for a guest's memory,
`FLATTEN` for a whole disk; `SETTLE` for the half minute after which libvirt gives up a turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Verb(StrEnum):
    """A kind of host call."""

    OPEN = "open a connection"
    CLOSE = "close a connection"
    INVENTORY = "take the inventory"
    LOOK_UP = "look up"
    PROBE = "prove KVM"
    DEFINE = "define a domain"
    START = "start a domain"
    SHUT_DOWN = "shut a domain down"
    POWER_OFF = "power a domain off"
    RESUME = "resume a domain"
    UNDEFINE = "undefine a domain"
    ADDRESSES = "find a guest's address"
    LISTEN = "listen to consoles"
    POOL = "work on the storage pool"
    CREATE_VOLUME = "create a volume"
    FLATTEN = "flatten a volume"
    DELETE_VOLUME = "delete a volume"
    DOWNLOAD = "read an image's header"
    UPLOAD = "upload a volume"
    TRANSFER = "carry a part of an image"
    SNAPSHOT = "make, go back to or remove a snapshot"
    FREEZE = "freeze a disk"
    SETTLE = "see what is done to a disk"
    MERGE = "merge layers of a disk"
    FLUSH = "write down what a disk holds in memory"


DEADLINE_SECONDS: Mapping[Verb, float] = {
    Verb.OPEN: 10,
    Verb.CLOSE: 5,
    Verb.INVENTORY: 20,
    Verb.LOOK_UP: 10,
    Verb.PROBE: 15,
    Verb.DEFINE: 20,
    Verb.START: 60,
    Verb.SHUT_DOWN: 20,
    Verb.POWER_OFF: 60,
    Verb.RESUME: 20,
    Verb.UNDEFINE: 20,
    Verb.ADDRESSES: 20,
    Verb.LISTEN: 20,
    Verb.POOL: 60,
    Verb.CREATE_VOLUME: 60,
    Verb.FLATTEN: 3600,
    Verb.DELETE_VOLUME: 60,
    Verb.DOWNLOAD: 30,
    Verb.UPLOAD: 120,
    Verb.TRANSFER: 120,
    Verb.SNAPSHOT: 600,
    Verb.FREEZE: 60,
    Verb.SETTLE: 45,
    Verb.MERGE: 60,
    Verb.FLUSH: 120,
}
