"""The gate that an ingested image passes: its bytes are judged before anything is built on them.

Two readers must agree: our own, which looks at the header alone, and qemu-img, which looks at the
whole in a jail and is never trusted with more (see `jail`). Formats are always stated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, NoReturn

from scheduler import interpreter
from scheduler.errors import HostRefused, Unavailable
from scheduler.hosts.image_header import HEADER_BYTES, read_image_header
from scheduler.jails import LIBRARIES, UNJAILED, JailPlan

SECTOR_BYTES = 512
LONGEST_SECONDS = 120.0
MEMORY_BYTES = 2**30
MOST_SAID_BYTES = 2**20
"""An image with endless snapshots would make qemu-img talk for ever."""
_LEAKS = 3
"""What `qemu-img check` ends with when space is lost and nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An image that may be cloned; `virtual_bytes` is what a guest sees as its disk's size."""

    format: str
    virtual_bytes: int


def judge_image(name: str, path: Path, *, most_virtual_bytes: int) -> Judged:
    """Return what an image is; blocking.

    Raises `HostRefused` for one that must not be cloned, and `Unavailable` when this machine
    cannot judge it safely.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = read_image_header(name, file.read(HEADER_BYTES))
        virtual = header.capacity or size
        if header.format == "raw" and (size == 0 or size % SECTOR_BYTES):
            _refuse(name, f"{size} bytes are no whole disk: it is empty, cut short or no image")
        if virtual > most_virtual_bytes:
            _refuse(name, f"its virtual size of {virtual} bytes is over {most_virtual_bytes}")
        told = _ask(name, file.fileno(), "info", header.format)
        _compare(name, told, header.format, virtual)
        if header.format == "qcow2":
            _check(name, _ask(name, file.fileno(), "check", header.format), size)
    return Judged(format=header.format, virtual_bytes=virtual)


def _compare(name: str, told: Mapping[str, Any], image_format: str, virtual: int) -> None:
    specific = told.get("format-specific") or {}
    data = specific.get("data") or {}
    why = None
    if told.get("format") != image_format or told.get("virtual-size") != virtual:
        why = "its header says one thing and qemu-img another"
    elif any(key in told for key in ("backing-filename", "full-backing-filename")):
        why = "it depends on another file (a backing file)"
    elif "data-file" in data:
        why = "it keeps its data in another file (a data file)"
    elif told.get("encrypted") or "encrypt" in data:
        why = "it is encrypted"
    elif data.get("corrupt") or told.get("dirty-flag"):
        why = "it was not closed properly or is marked as corrupt"
    if why is not None:
        _refuse(name, why)


def _check(name: str, told: Mapping[str, Any], size: int) -> None:
    if told.get("corruptions") or told.get("check-errors"):
        _refuse(name, f"qemu-img finds {told.get('corruptions', 0)} corruptions in it")
    end = told.get("image-end-offset", 0)
    # The last cluster need not be there whole: QEMU reads what is missing of it as zeros.
    if end - size >= _cluster_bytes(told):
        _refuse(name, f"it is cut short: {size} bytes are there of {end}")


def _cluster_bytes(told: Mapping[str, Any]) -> int:
    return int(told.get("cluster-size", 2**16))


def _ask(name: str, descriptor: int, verb: str, image_format: str) -> Mapping[str, Any]:
    """Have qemu-img look at the open file from within the jail."""
    program = shutil.which("qemu-img")
    if program is None:
        raise Unavailable(
            "images cannot be checked here: qemu-img is not installed on the control node",
            remedy="install it: apt-get install qemu-utils",
        )
    command = [program, verb, "--output=json", "-U", "-f", image_format, "{}"]
    code, said, complained = _run(jail_of(descriptor).command(*command), descriptor)
    if code == UNJAILED:
        raise Unavailable(
            f"images cannot be checked here: {complained}",
            remedy="run the daemon on a kernel with Landlock (5.13 or later, lsm=landlock,...)",
        )
    if code != 0 and not (verb == "check" and code in (2, _LEAKS)):
        _refuse(name, f"qemu-img {verb} cannot read it: {complained or f'it ended with {code}'}")
    try:
        told = json.loads(said)
    except ValueError:
        _refuse(name, f"what qemu-img {verb} says of it cannot be read")
    if not isinstance(told, dict):
        _refuse(name, f"what qemu-img {verb} says of it cannot be read")
    return told


def jail_of(descriptor: int) -> JailPlan:
    """Return what qemu-img may do: read one open file, and its own libraries."""
    return JailPlan(
        readable=(*LIBRARIES, "/proc/self"),
        descriptor=descriptor,
        memory_bytes=MEMORY_BYTES,
        cpu_seconds=30,
        file_bytes=0,
        open_files=64,
    )


def _run(arguments: list[str], descriptor: int) -> tuple[int, bytes, str]:
    """Run the jail and return its exit code, its output and the last line of its complaints."""
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(descriptor,),
        cwd="/",
        start_new_session=True,
    ) as process:
        interpreter.release(process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        timer = Timer(LONGEST_SECONDS, process.kill)
        timer.start()
        try:
            said = process.stdout.read(MOST_SAID_BYTES + 1)
            if len(said) > MOST_SAID_BYTES:
                process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LONGEST_SECONDS)
            complained = process.stderr.read(4096) or b""
        finally:
            timer.cancel()
            process.kill()
    lines = complained.decode("utf-8", "replace").strip().splitlines() or [""]
    text = "".join(one if one.isprintable() else "?" for one in lines[-1])
    return process.returncode, said, text[:300]


def _refuse(name: str, why: str) -> NoReturn:
    raise HostRefused(
        f"image {name!r} cannot be cloned: {why}",
        remedy="convert it on a machine you trust: qemu-img convert -O qcow2 OLD NEW",
        details={"image": name},
    )
