"""The admin socket: bound by us, so that its mode and group are right before anybody can connect.

The server left to itself would make the socket world-writable, and the directory may hand it to a
group that nobody asked for. A socket file left by a dead daemon is removed without asking: the
caller holds the state's lock, so nobody else is serving it.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from scheduler.api.protocol import AdminProtocol, Bounds, Gate
from scheduler.errors import Invalid

ADMIN_GROUP = "sandboxd-admin"
LONGEST_PATH = 107
"""Bytes of a Unix socket's path, the kernel's limit."""
GROUP_MODE = 0o660
OWNER_MODE = 0o600
WAITING = 1024
"""So many connections may wait to be accepted."""
ACCEPTED_AT_ONCE = 1
"""In one turn of the event loop, which takes this for the backlog too. Without free descriptors it
fails, logs and comes back so often in a turn: more than once would become a storm."""

log = structlog.get_logger()


class GroupRefused(Invalid):
    """The socket cannot be given to the group that it is for; a later try ends the same."""


class Listener:
    """A server at work."""

    def __init__(self, path: Path, gate: Gate, task: asyncio.Task[None]) -> None:
        self.path = path
        self._gate = gate
        self._task = task

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._gate)

    async def ended(self) -> None:
        """Wait until the server has stopped; raises what it died of."""
        await asyncio.shield(self._task)


class _Server(uvicorn.Server):
    """Leaves signals to the daemon, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def serve(
    app: Any,
    path: Path,
    group: str | None = ADMIN_GROUP,
    *,
    bounds: Bounds | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> AsyncIterator[Listener]:
    """Serve `app` on a Unix socket until the block is left.

    `on_stop` is called first when it is, to end streams and long polls; requests still running
    `stop_seconds` later are cut off. Without a group, or one that is there, only this user gets in.
    Raises `Invalid` when the path cannot be a socket, `GroupRefused` when the group cannot have it.
    """
    gate = Gate(bounds or Bounds())
    bound, identity = _bind(path, group)
    server = _Server(_config(app, gate))
    task = asyncio.create_task(server.serve(sockets=[bound]), name="admin socket")
    try:
        await _started(server, task)
        bound.listen(WAITING)
        log.info("listening", socket=str(path))
        yield Listener(path, gate, task)
    finally:
        on_stop()
        server.should_exit = True
        await task
        bound.close()
        _unlink(path, identity)


def _config(app: Any, gate: Gate) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(AdminProtocol, gate=gate),  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=gate.bounds.idle_seconds,
        timeout_graceful_shutdown=gate.bounds.stop_seconds,
    )


async def _started(server: _Server, task: asyncio.Task[None]) -> None:
    listening = asyncio.ensure_future(server.listening.wait())
    try:
        await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
    if task.done():
        await task


def _bind(path: Path, group: str | None) -> tuple[socket.socket, os.stat_result]:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Invalid(
            f"the socket's path is longer than {LONGEST_PATH} bytes: {path}",
            remedy="use a shorter directory, with --state-dir or in the configuration",
        )
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise Invalid(
            f"the socket {path} cannot be made: {error.strerror}",
            remedy="make its directory writable for the daemon's user",
        ) from error
    finally:
        os.umask(before)
    try:
        path.chmod(GROUP_MODE if _is_of_group(path, group) else OWNER_MODE)
    except GroupRefused:
        bound.close()
        path.unlink()
        raise
    return bound, path.lstat()


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Invalid(
            f"{path} is there and is no socket",
            remedy="move the file away, or choose another path for the socket",
        )
    if _is_answered(path):
        raise Invalid(
            f"somebody answers on the socket {path} already",
            remedy="stop the other daemon, or give this one a socket of its own",
        )
    path.unlink()


def _is_answered(path: Path) -> bool:
    """Return whether a living process listens; one that is only busy lives too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _is_of_group(path: Path, group: str | None) -> bool:
    """Give the socket to the group; return False when it is to be for this user only."""
    if group is None:
        return False
    try:
        wanted = grp.getgrnam(group).gr_gid
        if path.lstat().st_gid != wanted:  # a set-group-id directory gave it already
            os.chown(path, -1, wanted)
    except KeyError:
        log.warning("no such group, so the socket is for this user only", group=group)
        return False
    except PermissionError as error:
        raise GroupRefused(
            f"the socket {path} cannot be given to the group {group}: this user may not do that",
            remedy=f"have its directory do it: set-group-id and of the group {group}, as"
            ' docs/install.md tells ("Who may use it"), or set api.group to another',
        ) from error
    return True


def _unlink(path: Path, identity: os.stat_result) -> None:
    with contextlib.suppress(FileNotFoundError):
        now = path.lstat()
        if (now.st_dev, now.st_ino) == (identity.st_dev, identity.st_ino):
            path.unlink()
