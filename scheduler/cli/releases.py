"""Which release the daemon is of, beside our own."""

from __future__ import annotations

from scheduler.cli.client import Client
from scheduler.cli.failures import Refused
from scheduler.release import Release

UNKNOWN = Release(version="unknown: it is older than this question")


def running(client: Client) -> Release:
    """Return the daemon's release; raises `Failure` where it does not answer."""
    try:
        told = client.get("/v1/version")
    except Refused as error:
        if error.code != "not_found":
            raise
        return UNKNOWN
    return Release(version=str(told["version"]), revision=told.get("revision"))
