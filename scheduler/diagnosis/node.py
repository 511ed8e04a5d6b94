"""Is the control node fit to run the daemon? Judged by facts about its files, disk and loops."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from scheduler.diagnosis.checks import CONTROL_NODE, Check, Verdict, share_verdict
from scheduler.diagnosis.commands import sandboxctl
from scheduler.diagnosis.facts import BackupFacts, FileFacts, ForgeFacts, NodeFacts, StoreFacts

DISK_WARNING = 0.15
DISK_FAILURE = 0.05
"""The share of the state directory's disk that must be left."""
FILES_WARNING = 0.25
FILES_FAILURE = 0.05
"""The share of file descriptors that must be left."""
LAG_WARNING_SECONDS = 0.25
"""What the event loop never lags by, even when most hosts hang."""
LAG_FAILURE_SECONDS = 5.0

_LOG = "journalctl -u sandboxd -n 100"


def check_store(store: StoreFacts) -> Iterator[Check]:
    """Yield every check that the store's answers allow."""
    yield _store(store)
    yield _records(store)
    yield _clock(store)
    yield _fleet(store)


def check_node(node: NodeFacts) -> Iterator[Check]:
    """Yield every check of the daemon's process and of its files."""
    yield _loops(node)
    yield _loop_lag(node)
    yield _disk_space(node)
    yield _files(node)
    yield from _permissions(node)
    yield _group(node)
    if node.backups is not None:
        yield _backups(node.backups)
    for forge in node.forges:
        yield _forge(forge)


def _check(name: str, verdict: Verdict, message: str, remedy: str | None = None) -> Check:
    return Check(subject=CONTROL_NODE, name=name, verdict=verdict, message=message, remedy=remedy)


def _store(store: StoreFacts) -> Check:
    if store.fault is None:
        return _check("database", Verdict.OK, "it reads and writes")
    message = f"{store.fault}; {store.remedy}" if store.remedy else store.fault
    return _check("database", Verdict.FAILED, message, _LOG)


def _loops(node: NodeFacts) -> Check:
    if not node.stuck:
        return _check("loops", Verdict.OK, "all of them turn")
    return _check("loops", Verdict.FAILED, "; ".join(node.stuck), "systemctl restart sandboxd")


def _loop_lag(node: NodeFacts) -> Check:
    lag = node.lag_seconds
    message = f"the event loop woke {1000 * lag:.0f} ms late"
    if lag < LAG_WARNING_SECONDS:
        return _check("loop lag", Verdict.OK, message)
    verdict = Verdict.FAILED if lag >= LAG_FAILURE_SECONDS else Verdict.WARNING
    return _check("loop lag", verdict, message, "systemd-cgtop -n 2")


def _disk_space(node: NodeFacts) -> Check:
    left = node.disk_free / max(1, node.disk_size)
    verdict = share_verdict(left, warn_below=DISK_WARNING, fail_below=DISK_FAILURE)
    path = node.state_dir.path
    message = f"{left:.0%} of the disk of {path} are left ({node.disk_free >> 20} MiB)"
    show = f"du -xah {shlex.quote(path)} | sort -h | tail -n 20"
    return _check("disk space", verdict, message, None if verdict is Verdict.OK else show)


def _files(node: NodeFacts) -> Check:
    left = 1 - node.open_files / max(1, node.most_open_files)
    verdict = share_verdict(left, warn_below=FILES_WARNING, fail_below=FILES_FAILURE)
    message = f"{node.open_files} of {node.most_open_files} file descriptors are in use"
    raise_limit = "systemctl edit sandboxd  # [Service] LimitNOFILE=262144, then restart it"
    name = "file descriptors"
    return _check(name, verdict, message, None if verdict is Verdict.OK else raise_limit)


def _permissions(node: NodeFacts) -> Iterator[Check]:
    found = False
    for file, mode in ((node.state_dir, 0o700), *((secret, 0o600) for secret in node.secrets)):
        check = _private(file, mode)
        if check is not None:
            found = True
            yield check
    if not found:
        yield _check("permissions", Verdict.OK, f"{node.state_dir.path} is the daemon's alone")


def _private(file: FileFacts, mode: int) -> Check | None:
    path = shlex.quote(file.path)
    if file.fault is not None:
        message = f"{file.path}: {file.fault}"
        return _check("permissions", Verdict.FAILED, message, f"ls -ld {path}")
    if file.mode & 0o077 == 0:
        return None
    message = f"{file.path} may be used by others (mode {file.mode:04o})"
    return _check("permissions", Verdict.FAILED, message, f"chmod {mode:o} {path}")


def _group(node: NodeFacts) -> Check:
    name = "admin group"
    for fault in _socket_faults(node):
        return _check(name, Verdict.FAILED, fault, "systemctl restart sandboxd")
    if node.group is None:
        return _check(name, Verdict.OK, "the socket is for the daemon's own user")
    if node.group_exists:
        return _check(name, Verdict.OK, f"the socket is for {node.group}")
    message = f"there is no group {node.group}, so the socket is for the daemon's user only"
    remedy = shlex.join(["groupadd", "--system", node.group])
    return _check(name, Verdict.WARNING, message, f"{remedy} && systemctl restart sandboxd")


def _socket_faults(node: NodeFacts) -> Iterator[str]:
    """Yield how the socket differs from what is configured, as somebody has changed it."""
    socket = node.socket
    if socket is None:
        return
    if socket.fault is not None:
        yield f"{socket.path}: {socket.fault}"
    elif node.group is None or not node.group_exists:
        if socket.mode & 0o077:
            yield (
                f"{socket.path} may be used by others (mode {socket.mode:04o}, group "
                f"{node.socket_group}), and is to be for the daemon's user only"
            )
    elif (node.socket_group, socket.mode) != (node.group, 0o660):
        yield (
            f"{socket.path} is for the group {node.socket_group} (mode {socket.mode:04o}), and is "
            f"to be for {node.group}"
        )


def _backups(backups: BackupFacts) -> Check:
    name, newest = "backups", backups.newest_at
    last = None if newest is None else f"the newest is of {newest:%Y-%m-%d %H:%M} UTC"
    if backups.fault is not None:
        where = shlex.quote(backups.directory)
        remedy = f"df -h {where} && ls -la {where}"
        return _check(name, Verdict.WARNING, f"{backups.fault}; {last or 'none is known'}", remedy)
    if backups.keep == 0:
        return _check(name, Verdict.OK, "the daemon makes none itself")
    return _check(name, Verdict.OK, f"one is made every day; {last or 'there is none yet'}")


def _forge(forge: ForgeFacts) -> Check:
    name = f"forge {forge.name}"
    if not forge.git:
        message = "git is not installed: nothing can be published"
        return _check(name, Verdict.FAILED, message, "apt-get install git")
    if not forge.files:
        message = f"nothing opens {forge.url}: it has neither token nor ssh key"
        return _check(name, Verdict.WARNING, message, "sandboxd --check-config")
    for file in forge.files:
        path = shlex.quote(file.path)
        if file.fault is not None:
            message = f"{file.path}: {file.fault}"
            return _check(name, Verdict.FAILED, message, f"ls -ld {path}")
        if file.mode & 0o077:
            message = f"{file.path} may be used by others (mode {file.mode:04o})"
            return _check(name, Verdict.WARNING, message, f"chmod 600 {path}")
    return _check(name, Verdict.OK, f"{forge.url} can be published to")


def _records(store: StoreFacts) -> Check:
    if not store.unreadable:
        return _check("records", Verdict.OK, "every record that was met can be read")
    others = len(store.unreadable) - 1
    message = f"{store.unreadable[0]}; it is passed over"
    message += f", and so are {others} others" if others else ""
    return _check("records", Verdict.FAILED, message, _LOG)


def _clock(store: StoreFacts) -> Check:
    until = store.clock_doubted_until
    if until is not None:
        message = "it is suddenly far ahead of what has passed: what is kept and old by it is "
        message += f"removed from {until:%Y-%m-%d %H:%M} UTC on, unless it is set right before"
        return _check("clock", Verdict.WARNING, message, "timedatectl set-ntp true")
    if not store.clock_steps:
        return _check("clock", Verdict.OK, "it was not set within the last day")
    steps = sorted(store.clock_steps.items())
    told = ", ".join(f"{seconds:+.1f} s at {at:%Y-%m-%d %H:%M} UTC" for at, seconds in steps[-3:])
    message = f"it was set {len(steps)} times within the last day: {told}"
    return _check("clock", Verdict.WARNING, message, "timedatectl set-ntp true")


def _fleet(store: StoreFacts) -> Check:
    if store.hosts or store.fault is not None:
        return _check("fleet", Verdict.OK, f"{store.hosts} hosts are known")
    remedy = sandboxctl("host", "add", "--help")
    return _check("fleet", Verdict.WARNING, "no host is known: nothing can be placed", remedy)
