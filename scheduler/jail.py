"""Runs one program in a jail that it closes around it; started as a script of its own, by its path.

What others wrote, an image or a play, is an attack on whatever reads it. So the reader gets no
network, no files but those named, no signals to others, bounded memory and time, and nobody's
rights or none; where the kernel cannot promise that, nothing is run. It imports the standard
library only, since it must start quickly.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

UNJAILED = 97
"""The exit code of a jail that could not be closed; the program was not run."""
NOBODY = 65534
LIBRARIES = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")
_LOOK_SECONDS = 0.2

_SET_DUMPABLE, _CAPBSET_DROP, _SET_SECUREBITS = 4, 24, 28
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS, _SET_SECCOMP = 36, 38, 22
_NOROOT_LOCKED = 0x2F
_CAPABILITY_VERSION = 0x20080522
_SECCOMP_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FIRST_RIGHTS = (1 << 13) - 1
"""Everything that the first version of Landlock can forbid; later ones can forbid more."""
_LATER_RIGHTS = ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14
_DEVICES = 1 << 6 | 1 << 11 | 1 << 15
_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3
_SINCE_TCP, _SINCE_SCOPES = 4, 6

_LOAD, _EQUAL, _AT_LEAST, _AND, _ANSWER = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN, _PRETEND = 0x00050001, 0x00050026, 0x00050000
"""EPERM; ENOSYS, after which programs try older calls; success, though nothing is done."""
_X32 = 0x40000000
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_NONE = -1
"""A call that arm64 does without."""
_CALLS: Mapping[str, tuple[int, int]] = {
    # other processes: signals, memory, limits, places in the queue
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # the network, and what reaches it without these calls
    "socket": (41, 198),
    "socketpair": (53, 199),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # other views of the machine
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # owners and attributes of the user's files, which Landlock does not guard; nor always lengths
    "chown": (92, _NONE),
    "fchown": (93, 55),
    "lchown": (94, _NONE),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "truncate": (76, 45),
}
# Modes and times are no less, but programs that copy or unpack give up where these are refused.
_PRETENDED: Mapping[str, tuple[int, int]] = {
    "chmod": (90, _NONE),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, _NONE),
    "utimes": (235, _NONE),
    "futimesat": (261, _NONE),
    "utimensat": (280, 88),
}
# What these are asked for stands in memory, where a filter cannot look.
_UNREADABLE: Mapping[str, tuple[int, int]] = {"openat2": (437, 437), "clone3": (435, 435)}
_ANSWERS = ((_CALLS, _REFUSE), (_PRETENDED, _PRETEND), (_UNREADABLE, _UNKNOWN))
_WHOLE, _NAMESPACES, _HOW_OPENED = 0xFFFFFFFF, 0x7E020080, 0o1003
# Without any right to read or write, and so to forbid; and cutting off what may be read only.
_ODDLY_OPENED = (0o3, 0o1000, 0o1003)
_ARGUED: Sequence[tuple[tuple[int, int], int, int, tuple[int, ...], bool]] = (
    # prlimit64 of another process; fcntl that has the kernel send signals to whom one likes
    ((302, 261), 0, _WHOLE, (0,), True),
    ((72, 25), 1, _WHOLE, (8, 10, 15), False),
    # clone into other namespaces; open and openat
    ((56, 220), 0, _NAMESPACES, (0,), True),
    ((2, _NONE), 1, _HOW_OPENED, _ODDLY_OPENED, False),
    ((257, 56), 2, _HOW_OPENED, _ODDLY_OPENED, False),
    # ioctl that sets flags, generation, attributes, verity or encryption of a file
    (
        *((16, 29), 1, _WHOLE),
        *((0x40086602, 0x40087602, 0x401C5820, 0x40806685, 0x800C6613), False),
    ),
)
"""Calls by which bits of an argument are looked at: they must be one of these, or may not be."""

_libc = ctypes.CDLL(None, use_errno=True)


class Unjailed(Exception):
    """The kernel cannot close the jail."""


def main(arguments: Sequence[str]) -> int:
    """Run `arguments[1:]` as `arguments[0]`, a plan in JSON, has it; see `scheduler.jails`.

    Returns an exit code only when the jail could not be closed, or when it kept watch outside.
    """
    plan: dict[str, Any] = json.loads(arguments[0])
    if plan["leashed"]:
        return _leashed(plan, arguments[1:])
    return _entered(plan, arguments[1:])


def _entered(plan: Mapping[str, Any], command: Sequence[str]) -> int:
    """Close the jail around this process and become the command."""
    try:
        _close(plan)
    except (OSError, ValueError, Unjailed) as error:
        sys.stderr.write(f"the jail cannot be closed: {error}\n")
        return UNJAILED
    path = f"/proc/self/fd/{plan['descriptor']}"
    argv = [path if one == "{}" else one for one in command]
    return os.execve(argv[0], argv, plan["environment"])


def _leashed(plan: Mapping[str, Any], command: Sequence[str]) -> int:
    """Watch over a jailed child until it ends or standard input does; leave nobody behind.

    Whatever it started and left is given to this process by the kernel, in whatever session.
    """
    _prctl(_SET_CHILD_SUBREAPER, 1)
    if plan["nobody"]:
        for directory in plan["private"]:
            _give_away(directory)
    child = os.fork()
    if child == 0:
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os._exit(_entered(plan, command))
    code: int | None = None
    while code is None:
        held, _, _ = select.select([0], [], [], _LOOK_SECONDS)
        if held and not os.read(0, 4096):
            break
        code = _reaped(child)
    _end_all()
    return 1 if code is None else code


def _reaped(child: int) -> int | None:
    """Bury whoever has ended; return the child's code once it has."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return None
            if pid == child:
                return abs(os.waitstatus_to_exitcode(status))
    return None


def _end_all() -> None:
    with suppress(ChildProcessError):
        while True:
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - a script of few imports
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The name in parentheses may hold anything; state and parent follow it.
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    yield int(name)


def _give_away(directory: str) -> None:
    """Have nobody own a directory of ours with all that is in it."""
    for parent, directories, files in os.walk(directory):
        os.chown(parent, NOBODY, NOBODY)
        for name in (*directories, *files):
            os.chown(os.path.join(parent, name), NOBODY, NOBODY, follow_symlinks=False)  # noqa: PTH118


def _close(plan: Mapping[str, Any]) -> None:
    # While this may still be root: nobody may not even look for all of them.
    opened = [(_opened(path), False) for path in plan["readable"] if os.path.exists(path)]  # noqa: PTH110
    opened += [(_opened(path), True) for path in plan["writable"] if os.path.exists(path)]  # noqa: PTH110
    for kind, most in plan["limits"].items():
        number = getattr(resource, f"RLIMIT_{kind}")
        hard = resource.getrlimit(number)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (allowed, allowed))
    # Who thinks that it has taken a file's rights away from others has never given any.
    os.umask(0o077)
    if plan["nobody"]:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    else:
        _give_up_rights()
    # Whoever changed its user may not look at its own descriptors otherwise.
    _prctl(_SET_DUMPABLE, 1)
    _prctl(_SET_NO_NEW_PRIVS, 1)
    _forbid_files(opened, plan["descriptor"])
    _forbid_calls(plan["allowed_calls"])
    if plan["descriptor"] is not None:
        os.set_inheritable(plan["descriptor"], True)


def _give_up_rights() -> None:
    """Keep the user, and none of root's rights: not now, and not by running what root owns."""
    for capability in range(64):
        _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    _libc.prctl(_SET_SECUREBITS, ctypes.c_ulong(_NOROOT_LOCKED), 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    none = bytes(24)
    held = ctypes.create_string_buffer(none, len(none))
    # Who holds none has nothing to give up, and under the unit's filter may not even say so.
    if _libc.capget(header, held) == 0 and held.raw == none:
        return
    if _libc.capset(header, ctypes.create_string_buffer(none, len(none))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _opened(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _forbid_files(opened: Sequence[tuple[int, bool]], descriptor: int | None) -> None:
    """Forbid every file but what was opened, each perhaps to be written, and the descriptor."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise Unjailed("this kernel has no Landlock, or it is switched off")
    handled = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS:
        handled |= right if version >= since else 0
    wanted = [handled]
    if version >= _SINCE_TCP:
        wanted.append(_TCP)
    if version >= _SINCE_SCOPES:
        wanted.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    packed = ctypes.create_string_buffer(struct.pack(f"={len(wanted)}Q", *wanted))
    ruleset = _called(_CREATE_RULESET, packed, ctypes.c_size_t(8 * len(wanted)), 0)
    reading = _READ_FILE | _EXECUTE | _READ_DIR
    writing = handled & ~_EXECUTE & ~_DEVICES
    try:
        for beneath, written in opened:
            _allow(ruleset, beneath, writing if written else reading)
            os.close(beneath)
        if descriptor is not None:
            _allow(ruleset, descriptor, _READ_FILE)
        _called(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, beneath: int, rights: int) -> None:
    if not stat.S_ISDIR(os.fstat(beneath).st_mode):
        rights &= _OF_FILES
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, beneath))
    _called(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)


def _forbid_calls(allowed: Sequence[str]) -> None:
    """Forbid the network, other processes, new namespaces and what files are beside their bytes.

    Paths cannot be looked at by a filter, so it forbids these in the private directory, too.
    """
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        raise Unjailed(f"no filter of system calls is known for {os.uname().machine}")
    architecture, at = known
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_ANSWER, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_ANSWER, 0, 0, _KILL),
    ]
    for calls, answer in _ANSWERS:
        for name, call in calls.items():
            if name not in allowed and call[at] != _NONE:
                program += [(_EQUAL, 0, 1, call[at]), (_ANSWER, 0, 0, answer)]
    for call, argument, mask, values, only in _ARGUED:
        if call[at] != _NONE:
            program += _looked_at(call[at], argument, mask, values, only=only)
    program.append((_ANSWER, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    packed = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    _prctl(_SET_SECCOMP, _SECCOMP_FILTER, ctypes.create_string_buffer(packed))


def _looked_at(
    number: int, argument: int, mask: int, values: Sequence[int], *, only: bool
) -> list[tuple[int, int, int, int]]:
    """Return the filter of a call by bits of an argument's lower half; others go past it."""
    tests = [(_EQUAL, len(values) - place - 1, 0, one) for place, one in enumerate(values[:-1])]
    last = (_EQUAL, 0, 1, values[-1])
    hit, miss = (_ALLOW, _REFUSE) if only else (_REFUSE, _ALLOW)
    block = [(_LOAD, 0, 0, 16 + 8 * argument), (_AND, 0, 0, mask), *tests, last]
    block += [(_ANSWER, 0, 0, hit), (_ANSWER, 0, 0, miss)]
    return [(_EQUAL, 0, len(block), number), *block]


def _prctl(option: int, value: int, more: object = 0) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), more, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _called(number: int, *arguments: object) -> int:
    answer = int(_libc.syscall(number, *arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
