"""sandboxd: opens its parts, starts the loops, and ends them in reverse; see `parts`.

The state directory is locked before the socket or the database is touched. The socket comes first,
since the database may take minutes, and readiness is told only when the loops run.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
)
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from scheduler import interpreter, logs, signals, statedir
from scheduler.api.app import build_app
from scheduler.api.front import Front
from scheduler.api.listener import GroupRefused, Listener, serve
from scheduler.clock import Clock
from scheduler.config import DEFAULT_PATH, Settings, load
from scheduler.control.loop import Loop
from scheduler.control.watchdog import Watchdog
from scheduler.descriptors import Shortage
from scheduler.errors import Invalid, SandboxdError, Unavailable
from scheduler.hosts.simulated import demo_hosts
from scheduler.metrics import MetricsPage
from scheduler.metrics import serve as serve_page
from scheduler.notify import Notifier
from scheduler.opening import patiently, unless
from scheduler.outside import Outside
from scheduler.parts import Daemon, opened
from scheduler.release import installed
from scheduler.service.backups import make_backup
from scheduler.store import Store, StoreConfig
from scheduler.store.config import store_config_of
from scheduler.validation.hosts import AddHost

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 2
EXIT_HELD_BY_ANOTHER = 75

OPENING = "opening the database, which may mean to check, copy and upgrade it"
"""What the supervisor is told for as long as that takes."""
STOP_SECONDS = 60.0
"""How long the steps in progress may take at the end; less than the unit's TimeoutStopSec."""

_ONLY_KEYS = (
    "these are the keys only: the database is PostgreSQL's, so dump it as well, and before this,"
    " by pg_dump --format=custom"
)

_log = structlog.get_logger("scheduler.daemon")


async def run(
    settings: Settings, outside: Outside, *, stop: asyncio.Event, notifier: Notifier, demo: bool
) -> None:
    """Run the daemon until `stop` is set; a bug in a loop ends it with its exception."""
    hosts = (*settings.hosts, *(demo_hosts(settings.state_dir / "demo") if demo else ()))

    async def opening() -> Daemon:
        daemon = await stack.enter_async_context(
            opened(settings, _patient(outside, notifier), notifier=notifier)
        )
        # Before anybody is served: what a request reads the clock for follows its steps from here.
        await daemon.plane.guard_clock()
        await daemon.services.hosts.ensure_from_file(hosts)
        await daemon.services.ssh.settle()
        return daemon

    front, group = Front(outside.clock), settings.api.group or None
    async with AsyncExitStack() as serving, AsyncExitStack() as stack:
        listener = await serving.enter_async_context(
            serve(front, settings.socket, group, on_stop=front.end_streams)
        )
        daemon = await unless(stop, opening(), told=partial(_stopping, notifier))
        if daemon is not None:
            # Nobody may be served any more by the time its parts are closed.
            stack.push_async_callback(serving.aclose)
            running = _Running(daemon=daemon, settings=settings, clock=outside.clock, hosts=hosts)
            await _serve(running, front, listener, stop=stop, notifier=notifier)


def _patient(outside: Outside, notifier: Notifier) -> Outside:
    """Return the same outside, whose database may take as long to open as it needs."""

    def open_store(config: StoreConfig, *, clock: Clock) -> AbstractAsyncContextManager[Store]:
        opening = outside.open_store(config, clock=clock)
        return patiently(opening, OPENING, notifier=notifier, clock=clock)

    return replace(outside, open_store=open_store)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A daemon that is opened, and what it was opened with."""

    daemon: Daemon
    settings: Settings
    clock: Clock
    hosts: Sequence[AddHost]


async def _serve(
    running: _Running, front: Front, listener: Listener, *, stop: asyncio.Event, notifier: Notifier
) -> None:
    """Answer callers and run the loops, until `stop` is set or something fails."""
    daemon, settings, hosts = running.daemon, running.settings, len(running.hosts)
    begun = asyncio.Event()
    app = build_app(
        daemon.services,
        missing=lambda: daemon.watchdog.missing() if begun.is_set() else ("the loops run",),
        answered=daemon.page.meter.answered,
    )
    watching = _watching(daemon.watchdog, running.clock)
    front.open(app, end_streams=daemon.end_streams)
    async with _metrics(settings, daemon.page), asyncio.TaskGroup() as group:
        for loop in daemon.measuring:
            group.create_task(loop.run(), name=loop.name)
        listening = group.create_task(_listen(listener), name="listening")
        loops = group.create_task(daemon.plane.run(begun.set), name="loops")
        await _first_of(loops, begun, stop)
        if begun.is_set():
            notifier.ready(f"{hosts} hosts configured")
            _log.info("ready", socket=str(settings.socket), hosts=hosts)
            group.create_task(watching.run(), name=watching.name)
            await _first_of(loops, stop)
        else:
            loops.cancel()  # what they were to go on with is gone on with by the next start
        _stopping(notifier)
        listening.cancel()
        await _finish(daemon, loops)
        watching.stop()


def _stopping(notifier: Notifier) -> None:
    notifier.stopping("finishing what is in progress")
    _log.info("stopping")


async def _finish(daemon: Daemon, loops: asyncio.Task[None]) -> None:
    """Let the loops finish what they are doing, but wait for no hung host longer than is borne."""
    daemon.plane.stop()
    for loop in daemon.measuring:
        loop.stop()
    await asyncio.wait({loops}, timeout=STOP_SECONDS)
    if not loops.done():
        _log.warning("left unfinished; the next start goes on with it", seconds=STOP_SECONDS)
        loops.cancel()


def _watching(watchdog: Watchdog, clock: Clock) -> Loop:
    """Return the loop that vouches for all others, as long as the slowest of them ends."""
    return Loop("watchdog", watchdog.check, every=watchdog.every_seconds, limit=None, clock=clock)


@asynccontextmanager
async def _metrics(settings: Settings, page: MetricsPage) -> AsyncIterator[None]:
    """Serve the metrics page, unless that is switched off."""
    if not settings.metrics.enabled:
        yield
        return
    async with serve_page(page.render, *settings.metrics.address) as (host, port):
        _log.info("metrics", host=host, port=port)
        yield


async def _first_of(loops: asyncio.Task[None], *events: asyncio.Event) -> None:
    """Wait for an event, or for the loops to end, which they do by themselves only in failure."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait({*waiting, loops}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def _listen(listener: Listener) -> None:
    """Raise when the admin socket's server ends by itself: nobody could tell the daemon to."""
    await listener.ended()
    raise Unavailable(
        f"nobody serves {listener.path} any more", remedy="look for the cause above; start it anew"
    )


async def _until_told(
    settings: Settings, outside: Outside, *, notifier: Notifier, demo: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Digests, archives and files: long work that needs no interpreter.
    loop.set_default_executor(ThreadPoolExecutor(initializer=interpreter.run_anywhere))
    loop.set_exception_handler(Shortage(outside.clock).handle)
    with signals.heeded(stop):
        await run(settings, outside, stop=stop, notifier=notifier, demo=demo)


def _settings(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    file = arguments.config or _usual_file(own_state=arguments.state_dir is not None)
    return load(file, state_dir=arguments.state_dir, environ=environ)


def _usual_file(*, own_state: bool) -> Path | None:
    """Return the configuration in its usual place, if there is one.

    Who may not look there is told so, unless a state directory of their own says that another
    daemon is meant.
    """
    try:
        found = DEFAULT_PATH.exists()
    except PermissionError:
        found = not own_state
    return DEFAULT_PATH if found else None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sandboxd",
        description="Place, build, watch and reap disposable virtual machines on libvirt hosts.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default {DEFAULT_PATH})"
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="keep database, keys and admin.sock in DIR",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="name every fault and start nothing"
    )
    parser.add_argument(
        "--backup",
        type=Path,
        metavar="DIR",
        help="put a copy of database and keys into DIR, beside a running daemon or without one",
    )
    parser.add_argument(
        "--demo", action="store_true", help="add three simulated hosts to a fresh state directory"
    )
    parser.add_argument("--version", action="version", version=f"sandboxd {installed()}")
    return parser.parse_args(argv)


def _say(error: SandboxdError) -> None:
    remedy = f"\n  {error.remedy}" if error.remedy else ""
    sys.stderr.write(f"sandboxd: {error.message}{remedy}\n")


def _tell(error: Exception) -> None:
    """Say what ended the daemon: our own errors in a sentence, bugs with their traceback."""
    if isinstance(error, SandboxdError):
        _say(error)
    elif isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            _tell(one)
    else:
        _log.error("a bug ended the daemon", exc_info=error)


def _back_up(settings: Settings, directory: Path, clock: Clock) -> int:
    """Make a backup and print where it is, whether a daemon runs or not."""
    database = store_config_of(settings).sqlite_path
    try:
        made = make_backup(settings.state_dir, database, directory.absolute(), clock.now())
    except SandboxdError as error:
        _say(error)
        return EXIT_FAILED
    sys.stdout.write(f"{made.path}\n")
    for path in made.left:
        sys.stderr.write(f"sandboxd: {path} is half of an old backup and cannot be removed\n")
    if database is None:
        sys.stderr.write(f"sandboxd: {_ONLY_KEYS}\n")
    return EXIT_OK


def main(argv: Sequence[str] | None = None, *, outside: Outside | None = None) -> int:
    """Run `sandboxd`; return its exit code: 0, 1 failed, 2 configuration, 75 already running."""
    arguments = _arguments(argv)
    try:
        settings = _settings(arguments, os.environ)
    except Invalid as error:
        _say(error)
        return EXIT_BAD_CONFIGURATION
    if arguments.check_config:
        sys.stdout.write("the configuration is valid\n")
        return EXIT_OK
    outside = outside or Outside()
    if arguments.backup is not None:
        return _back_up(settings, arguments.backup, outside.clock)
    logs.configure(settings.daemon.log_level)
    if not faulthandler.is_enabled():
        faulthandler.enable()  # when the watchdog ends us, the log shows where every thread stood
    try:
        statedir.prepare(settings.state_dir)
        with (
            statedir.held(settings.state_dir),
            closing(Notifier(os.environ)) as notifier,
            interpreter.settled(one_processor=settings.daemon.one_processor),
        ):
            asyncio.run(_until_told(settings, outside, notifier=notifier, demo=arguments.demo))
    except statedir.HeldByAnother as error:
        _say(error)
        return EXIT_HELD_BY_ANOTHER
    except GroupRefused as error:
        _say(error)
        return EXIT_BAD_CONFIGURATION
    except Exception as error:
        _tell(error)
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
