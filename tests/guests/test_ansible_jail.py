"""Who is in Ansible's jail finds a private directory, no network, and nobody but itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler import jails
from scheduler.clock import SystemClock
from scheduler.errors import GuestUnreachable
from scheduler.guests.ansible import find_ansible, syntax_fault
from scheduler.guests.ansible_jail import ansible_jail, jail_fault, run_jailed
from scheduler.guests.authorities import Authorities
from scheduler.guests.doors import door
from scheduler.guests.players import AnsiblePlayer
from scheduler.guests.seed import guest_access
from scheduler.guests.ways import GuestWays
from scheduler.jails import JAIL, UNJAILED
from scheduler.processes import Ended
from tests.guests.loopback import directly
from tests.guests.sshd import HOST, SANDBOX, guest_sshd
from tests.waits import until

pytestmark = pytest.mark.timeout(900)

PYTHON = "/usr/bin/python3"
SECRET = "only the daemon knows"
ESCAPES = {
    "shadow": "open('/etc/shadow').read()",
    "the state directory": "open('{state}/cluster.key').read()",
    "a link to it": "os.symlink('{state}/cluster.key', 'link'); open('link').read()",
    "the daemon's environment": "open('/proc/{pid}/environ').read()",
    "its own parent's": "open(f'/proc/{{os.getppid()}}/environ').read()",
    "a list of what there is": "os.listdir('/tmp')",
    "the host's configuration": "os.listdir('/etc/ssh')",
    "a file elsewhere": "open('{state}/made', 'w')",
    "the code that is run": "open('{code}', 'a')",
    "a device": "os.mknod('device', 0o20666, os.makedev(1, 1))",
    "a network socket": "socket.create_connection(('127.0.0.1', {port}))",
    "the admin socket": "socket.socket(socket.AF_UNIX).connect('{state}/admin.sock')",
    "an abstract socket": "socket.socket(socket.AF_UNIX).connect(b'\\0jail-{pid}')",
    "a pair of sockets": "socket.socketpair()",
    "io_uring": "called(425, 1, ctypes.create_string_buffer(120))",
    "a signal": "os.kill({pid}, 0)",
    "a signal by a descriptor": "called(424, os.pidfd_open({pid}), 9, 0, 0)",
    "a signal by the kernel": "fcntl.fcntl(0, fcntl.F_SETOWN, {pid})",
    "another one's limits": "resource.prlimit({pid}, resource.RLIMIT_NOFILE, (1, 1))",
    "another one's memory": "called(101, 16, {pid}, 0, 0)",
    "another one's place": "os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
    "a namespace": "called(272, 0x10000000)",
    "a child in a namespace": "called(56, 0x10000011, 0, 0, 0, 0)",
    "a mount": "called(165, b'none', b'/tmp', b'tmpfs', 0, 0)",
    "root's rights": "os.chown('/usr/bin/true', 0, 0)",
    "too much memory": "bytearray(5 * 2**30)",
}
PROBE = """
import ctypes, fcntl, os, resource, socket
def called(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


@pytest.fixture
def private(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir(mode=0o700)
    return tmp_path / "private"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A daemon's directory, with a key and a socket that listens, as an abstract one does."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    (directory / "cluster.key").write_text(SECRET)
    (directory / "cluster.key").chmod(0o600)
    with socket.socket(socket.AF_UNIX) as admin, socket.socket(socket.AF_UNIX) as abstract:
        admin.bind(str(directory / "admin.sock"))
        abstract.bind(b"\0jail-%d" % os.getpid())
        for one in (admin, abstract):
            one.listen()
        yield directory


async def inside(private: Path, script: str, *, seconds: float = 180) -> Ended:
    environment = {"PATH": "/usr/bin", "HOME": str(private)}
    jail = ansible_jail(PYTHON, private, environment, cpu_seconds=60)
    return await run_jailed(
        replace(jail, programs=(PYTHON,)),
        *(PYTHON, "-I", "-S", "-c", PROBE + script),
        cwd=private,
        limit_seconds=seconds,
        most_bytes=65536,
    )


@pytest.mark.parametrize("probe", ESCAPES.values(), ids=ESCAPES)
async def test_nothing_gets_out(private: Path, state: Path, probe: str) -> None:
    with listening() as port:
        known = {"state": state, "pid": os.getpid(), "port": port, "code": __file__}
        ended = await inside(private, probe.format(**known))
    assert ended.code == 1, ended
    last = ended.output.splitlines()[-1]
    assert last.startswith(("PermissionError", "OSError", "MemoryError")), ended.output
    assert SECRET not in ended.output


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_what_ansible_needs_is_there(private: Path) -> None:
    (private / "given").write_text("in")
    ended = await inside(
        private,
        "import multiprocessing, pathlib, pwd\n"
        "pathlib.Path('made').write_text(pathlib.Path('given').read_text() + ' and out')\n"
        "multiprocessing.SimpleQueue().put(1)\n"
        "os.rename('made', 'kept'); os.mkfifo('pipe'); open('/dev/null', 'w').write('x')\n"
        "print(pwd.getpwuid(os.getuid()).pw_name, os.environ, os.getgroups())\n",
    )
    assert ended.code == 0, ended.output
    assert (private / "kept").read_text() == "in and out"
    name, _, rest = ended.output.partition(" ")
    assert name == ("nobody" if os.geteuid() == 0 else os.environ["USER"])
    assert str(private) in rest
    others = set(os.environ) - {"PATH", "HOME", "LC_CTYPE"}
    assert not [one for one in others if f"'{one}':" in rest]


BESIDE = """
import errno, struct
key, readable = {key!r}, {readable!r}
there = os.open(readable, os.O_RDONLY)
held = os.open(key, os.O_PATH)
how = struct.pack("QQQ", 3, 0, 0)
refused = [
    lambda: os.chown(key, -1, -1), lambda: os.fchown(there, -1, -1),
    lambda: os.setxattr(key, "user.x", b"1"), lambda: os.setxattr(there, "user.x", b"1"),
    lambda: os.removexattr(key, "user.kept"), lambda: os.removexattr(there, "user.kept"),
    lambda: os.truncate(key, 0), lambda: os.open(key, 3), lambda: os.open(key, 3 | os.O_TRUNC),
    lambda: os.open(readable, os.O_RDONLY | os.O_TRUNC),
    lambda: called(437, -100, key.encode(), how, len(how)),
    lambda: fcntl.ioctl(there, 0x40086602, struct.pack("L", 0x40)),
]
for one in refused:
    try:
        one()
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.ENOSYS), error
    else:
        raise SystemExit(str(refused.index(one)))
os.chmod(key, 0o666); os.chmod(os.path.dirname(key), 0o777); os.fchmod(there, 0o4777)
called(452, held, b"", 0o666, 0x1000)
os.utime(key, (1, 1)); os.utime(there, (1, 1)); os.utime(f"/proc/self/fd/{{held}}", (1, 1))
"""


@pytest.mark.parametrize("version", [None, 2], ids=["this kernel", "one before 6.2"])
async def test_what_the_daemons_files_are_beside_their_bytes_stays(
    private: Path, state: Path, monkeypatch: pytest.MonkeyPatch, version: int | None
) -> None:
    """Landlock does not guard it: who is the daemon's user could open its files to everybody."""
    if version is not None:
        code, asked = JAIL.read_text(), "    if version < 1:\n"
        assert asked in code
        (private / "jail.py").write_text(code.replace(asked, f"    version = {version}\n{asked}"))
        monkeypatch.setattr(jails, "JAIL", private / "jail.py")
    key, readable = state / "cluster.key", state / "readable"
    readable.write_text("as it is")
    for one in (key, readable):
        one.chmod(0o600)
        with suppress(OSError):  # not every file system keeps such
            os.setxattr(one, "user.kept", b"1")
    before = [beside(one) for one in (key, readable, state)]
    jail = ansible_jail(PYTHON, private, {"PATH": "/usr/bin"}, cpu_seconds=60)
    # Nobody can reach the private directory, so it is the daemon's user who runs there.
    ended = await run_jailed(
        replace(jail, programs=(private,), readable=(*jail.readable, readable)),
        *(PYTHON, "-I", "-S", "-c", PROBE + BESIDE.format(key=str(key), readable=str(readable))),
        cwd=private,
        limit_seconds=180,
        most_bytes=65536,
    )
    assert ended.code == 0, ended
    assert [beside(one) for one in (key, readable, state)] == before


def beside(path: Path) -> tuple[object, ...]:
    there = path.stat()
    told = (there.st_mode, there.st_uid, there.st_gid, there.st_size, there.st_mtime_ns)
    return (*told, *os.listxattr(path))


async def test_what_others_have_too_keeps_its_owner(private: Path, tmp_path: Path) -> None:
    """Nobody comes to own the private directory alone: whatever else may be written is shared."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    (shared / "somebody's").write_text("kept")
    plan = ansible_jail(PYTHON, private, {}, cpu_seconds=60)
    assert [*plan.private] == [private]
    ended = await run_jailed(
        replace(plan, programs=(PYTHON,), writable=(*plan.writable, shared)),
        *(PYTHON, "-I", "-S", "-c", "pass"),
        cwd=private,
        limit_seconds=180,
        most_bytes=4096,
    )
    assert ended.code == 0, ended.output
    owners = [one.stat().st_uid for one in (shared, shared / "somebody's")]
    assert owners == [os.geteuid(), os.geteuid()]


LEAVER = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/usr/bin/sleep", ["{mark}", "600"], {{}})
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("then", ["", "open('/dev/null').read(); import time; time.sleep(600)"])
async def test_nobody_is_left_behind(private: Path, then: str) -> None:
    mark = f"left-by-{private.parent.name}"
    ended = await inside(private, LEAVER.format(mark=mark) + then, seconds=15 if then else 180)
    assert ended.code == (None if then else 0), ended.output
    await until(lambda: not running(mark))


def running(mark: str) -> list[str]:
    found = []
    for one in Path("/proc").iterdir():
        try:
            if one.name.isdigit() and mark.encode() in (one / "cmdline").read_bytes():
                found.append(one.name)
        except OSError:
            continue
    return found


async def test_without_a_jail_nothing_is_played(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jail_fault(Ended(code=UNJAILED, output="the jail cannot be closed: x")) is not None
    assert jail_fault(Ended(code=0, output="")) is None


async def test_the_door_opens_to_pipes_of_that_name_alone(private: Path, tmp_path: Path) -> None:
    opened: list[str] = []

    async def nowhere() -> object:
        opened.append("once")
        raise GuestUnreachable("there is no guest")

    (tmp_path / "precious").write_text("kept")
    async with door(private, nowhere):  # type: ignore[arg-type]
        name = "0" * 32
        (private / f"{name}.up").symlink_to(tmp_path / "precious")
        (private / f"{name}.down").symlink_to(tmp_path / "precious")
        (private / f"{'1' * 32}.up").write_text("no pipe")
        bell = os.open(private / "door", os.O_WRONLY)
        for line in (name, "1" * 32, "2" * 32, "../../etc/passwd", "x" * 5000):
            os.write(bell, f"{line}\n".encode())
        os.mkfifo(private / f"{'3' * 32}.up")
        os.mkfifo(private / f"{'3' * 32}.down")
        ends = [
            os.open(private / f"{'3' * 32}.up", os.O_RDWR | os.O_NONBLOCK),
            os.open(private / f"{'3' * 32}.down", os.O_RDONLY | os.O_NONBLOCK),
        ]
        os.write(bell, f"{'3' * 32}\n".encode())
        await until(lambda: bool(opened))
        os.set_blocking(ends[1], True)
        reading = threading.Thread(target=os.read, args=(ends[1], 1), daemon=True)
        reading.start()
        await until(lambda: not reading.is_alive(), what="the end of a way to nowhere")
        for one in (*ends, bell):
            os.close(one)
    assert opened == ["once"]
    assert (tmp_path / "precious").read_text() == "kept"


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: "tell"
      ansible.builtin.copy:
        dest: "{dest}"
        content: "{content}"
"""
LOOKUPS = (
    "lookup('ansible.builtin.file', '{state}/cluster.key', errors='ignore')",
    "lookup('ansible.builtin.file', '/etc/shadow', errors='ignore')",
    "lookup('ansible.builtin.pipe', 'cat {state}/cluster.key || true', errors='ignore')",
    "lookup('ansible.builtin.pipe', 'env', errors='ignore')",
    "lookup('ansible.builtin.env', 'JAIL_CANARY', default='unset')",
    "lookup('ansible.builtin.pipe', 'chmod 0666 {state}/cluster.key; echo tried')",
    # It takes the rights to its file from others.
    "lookup('ansible.builtin.password', 'made/password')",
    "lookup('ansible.builtin.url', 'http://127.0.0.1:{port}/', errors='ignore')",
)


async def test_the_lookups_of_a_play_find_nothing_of_the_daemons(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAIL_CANARY", SECRET)
    authorities = Authorities.open(tmp_path)
    told, play = tmp_path / "told", tmp_path / "play"
    play.mkdir()
    with (
        listening() as port,
        guest_sshd(tmp_path, guest_access(authorities.signer, SANDBOX.id)) as guest,
    ):
        content = " | ".join(f"{{{{ {one.format(state=state, port=port)} }}}}" for one in LOOKUPS)
        (play / "site.yml").write_text(PLAY.format(dest=told, content=content))
        ways = GuestWays(authorities, SystemClock(), directly, port=guest.port)
        played = await AnsiblePlayer(ways, limit_seconds=400).play(play, guest.sandbox, HOST)
    assert played.succeeded, played.log
    assert SECRET not in told.read_text() + played.log
    assert "root:" not in told.read_text()
    assert "unset" in told.read_text()
    assert "tried" in told.read_text()
    assert (state / "cluster.key").stat().st_mode & 0o777 == 0o600
    assert str(state) not in told.read_text()


async def test_a_check_of_the_syntax_runs_nothing_outside(private: Path, state: Path) -> None:
    ansible = find_ansible()
    assert ansible is not None
    file = state / "play.yml"
    file.write_text(
        "- hosts: all\n  tasks:\n    - ansible.builtin.import_tasks: "
        f"\"{{{{ lookup('ansible.builtin.pipe', 'cat {state}/cluster.key; "
        f"touch {state}/ran; echo none.yml') }}}}\"\n"
    )
    said = await syntax_fault(ansible, file, private)
    assert said is not None
    assert SECRET not in said
    assert not (state / "ran").exists()


SHOUT = """
import sys
key = "-----BEGIN OPENSSH PRIVATE KEY-----\\n" + "b3BlbnNzaC1rZXkt\\n" * 60 + "-----END OPENSSH "
sys.stdout.write("glpat-" + "a" * 40 + "\\n" + key + "PRIVATE KEY-----\\n" + "x\\n" * 100)
"""


@pytest.mark.parametrize("most", [230, 700, 1300])
async def test_the_end_of_what_was_said_has_no_rest_of_a_secret(private: Path, most: int) -> None:
    jail = ansible_jail(PYTHON, private, {}, cpu_seconds=60)
    ended = await run_jailed(
        jail, PYTHON, "-c", SHOUT, cwd=private, limit_seconds=180, most_bytes=most
    )
    assert ended.code == 0
    assert ended.output.endswith("x\n")
    assert "b3Bl" not in ended.output
    assert "aaaa" not in ended.output
