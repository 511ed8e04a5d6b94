"""The gate: sound images pass, hostile ones are refused, and the jail holds whoever is inside.

Everything here runs as it does in the daemon: the parser is nobody, sees no file but the image and
may write none, so that no image of this corpus could do any harm to the machine that judges it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler import jails
from scheduler.errors import HostRefused, Unavailable
from scheduler.hosts.image_gate import MEMORY_BYTES, Judged, jail_of, judge_image
from scheduler.jails import UNJAILED
from tests.fleet.process import RUN_LIMIT_S
from tests.hosts import images

MOST = 2**40
PROBES = {
    "reads no other file": "open('/etc/shadow').read()",
    "reads no file that all may read": "open('/etc/passwd').read()",
    "lists no directory": "import os; os.listdir('/')",
    "writes no file": "open('/tmp/escaped', 'w')",
    "writes not even the image": "open('{}', 'r+b').write(b'x')",
    "makes no socket": "import socket; socket.socket()",
    "makes no socket of any family": "import socket; socket.socket(socket.AF_UNIX)",
    "signals nobody": "import os; os.kill(os.getppid(), 0)",
    "takes no more memory": f"bytearray({2 * MEMORY_BYTES})",
    "is not root": "import os; os.setuid(0) if os.getuid() else 1/0",
}


def inside(image: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the jail, beside an image."""
    with image.open("rb") as file:
        return subprocess.run(
            jail_of(file.fileno()).command(*command),
            pass_fds=(file.fileno(),),
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    made = images.sound(tmp_path / "image")
    made.chmod(0o644)
    return made


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_sound_image_passes(tmp_path: Path, image_format: str) -> None:
    made = images.sound(tmp_path / "image", 16, image_format)
    made.chmod(0o644)
    assert judge_image("sound", made, most_virtual_bytes=MOST) == Judged(
        format=image_format, virtual_bytes=16 * images.MIB
    )


@pytest.mark.parametrize("make", images.HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_image_is_refused_and_nothing_is_touched(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    made = make(tmp_path / "image")
    made.chmod(0o644)
    before = {path: _fingerprint(path) for path in (*tmp_path.iterdir(), Path(images.SECRET))}
    with pytest.raises(HostRefused, match="cannot be cloned") as refused:
        judge_image("hostile", made, most_virtual_bytes=MOST)
    assert refused.value.message.isprintable()
    assert "qemu-img convert" in (refused.value.remedy or "")
    assert {path: _fingerprint(path) for path in before} == before


def test_what_only_one_of_the_readers_sees_is_refused(tmp_path: Path) -> None:
    """A disagreement is a refusal: here our own reader is fooled and qemu-img is not."""
    made = images.with_hidden_data_file(tmp_path / "image")
    made.chmod(0o644)
    with pytest.raises(HostRefused):
        judge_image("two faces", made, most_virtual_bytes=MOST)


def test_the_largest_disk_allowed_passes_and_no_larger_one(image: Path) -> None:
    size = 16 * images.MIB
    assert judge_image("just", image, most_virtual_bytes=size).virtual_bytes == size
    with pytest.raises(HostRefused, match="virtual size"):
        judge_image("over", image, most_virtual_bytes=size - 1)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_the_jail_holds(image: Path, probe: str) -> None:
    ran = inside(image, "/usr/bin/python3", "-I", "-S", "-c", probe.replace("{}", str(image)))
    assert ran.returncode == 1, ran
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(("PermissionError", "MemoryError", "OSError")), ran.stderr


def test_what_is_in_the_jail_can_read_the_image(image: Path) -> None:
    ran = inside(image, "/usr/bin/sha256sum", "{}")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[0] == hashlib.sha256(image.read_bytes()).hexdigest()


def test_a_jail_that_cannot_be_closed_runs_nothing(image: Path) -> None:
    """Root without the right to become nobody would be root inside: it is not let in."""
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--securebits=+noroot")
    with image.open("rb") as file:
        ran = subprocess.run(
            [
                *powerless,
                *jail_of(file.fileno()).command("/usr/bin/true"),
            ],
            pass_fds=(file.fileno(),),
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )
    assert ran.returncode == UNJAILED
    assert "the jail cannot be closed" in ran.stderr


def test_a_machine_without_qemu_img_says_so(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="qemu-img is not installed"):
        judge_image("sound", image, most_virtual_bytes=MOST)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('[]')", "cannot be read"),
        ("print('{')", "cannot be read"),
        ("print('x' * 2**21)", "cannot read it"),
        ('print(\'{"format": "qcow2", "virtual-size": 1}\')', "one thing and qemu-img another"),
        ("import sys; print('\\x1b[31mbad', file=sys.stderr); sys.exit(1)", r"\?\[31mbad"),
    ],
    ids=["no object", "no JSON", "endless", "another size", "escapes"],
)
def test_what_the_parser_says_is_not_trusted_either(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    liar = tmp_path / "liar"
    liar.mkdir(mode=0o755)
    program = liar / "qemu-img"
    program.write_text(f"#!/usr/bin/python3 -IS\n{script}\n")
    program.chmod(0o755)
    jail = tmp_path / "jail.py"
    jail.write_text(f"import os, sys\nos.execv({str(program)!r}, sys.argv[2:])\n")
    monkeypatch.setattr(jails, "JAIL", jail)
    monkeypatch.setattr(shutil, "which", lambda _name: str(program))
    with pytest.raises(HostRefused, match=why):
        judge_image("sound", image, most_virtual_bytes=MOST)


def _fingerprint(path: Path) -> tuple[int, int, str]:
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if status.st_size < 2**28 else ""
    return status.st_size, status.st_mtime_ns, digest
