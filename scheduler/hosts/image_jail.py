"""Runs one program on one file in a jail; started as a script of its own, by its path.

An image is an attack on whatever parses it. So the parser gets no network, no file but the image
(to read), no other process, little memory and time, and nobody's rights; where the kernel cannot
promise that, nothing is run. It imports the standard library only, since it must start quickly.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Sequence

UNJAILED = 97
"""The exit code of a jail that could not be closed; the program was not run."""
MEMORY_BYTES = 2**30
CPU_SECONDS = 30
OPEN_FILES = 64
NOBODY = 65534
READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self")

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 4, 38, 22
_SECCOMP_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FIRST_RIGHTS = (1 << 13) - 1
"""Everything that the first version of Landlock can forbid; later ones can forbid more."""
_LATER_RIGHTS = ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_LOAD, _EQUAL, _ANSWER = 0x20, 0x15, 0x06
_AT_LEAST = 0x35
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050001
_X32 = 0x40000000
_FORBIDDEN = {
    # socket, socketpair, ptrace, kill, process_vm_readv, process_vm_writev, mount, unshare, bpf
    "x86_64": (0xC000003E, (41, 53, 101, 62, 310, 311, 165, 272, 321)),
    "aarch64": (0xC00000B7, (198, 199, 117, 129, 270, 271, 40, 97, 280)),
}

_libc = ctypes.CDLL(None, use_errno=True)


class Unjailed(Exception):
    """The kernel cannot close the jail."""


def main(arguments: Sequence[str]) -> int:
    """Become `arguments[1:]`, `{}` standing for the open file whose descriptor comes first.

    Returns an exit code only when the jail could not be closed.
    """
    image = int(arguments[0])
    path = f"/proc/self/fd/{image}"
    try:
        _close(image)
    except (OSError, ValueError, Unjailed) as error:
        sys.stderr.write(f"the jail cannot be closed: {error}\n")
        return UNJAILED
    command = [path if one == "{}" else one for one in arguments[1:]]
    environment = {"PATH": "/usr/bin", "LC_ALL": "C", "HOME": "/nonexistent"}
    return os.execve(command[0], command, environment)


def _close(image: int) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    # Whoever changed its user may not look at its own descriptors otherwise.
    _prctl(_PR_SET_DUMPABLE, 1)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _forbid_files(image)
    _forbid_calls()
    os.set_inheritable(image, True)


def _forbid_files(image: int) -> None:
    """Forbid every file but the program's own libraries and the image, which it may read."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise Unjailed("this kernel has no Landlock, or it is switched off")
    handled = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS:
        handled |= right if version >= since else 0
    wanted = ctypes.c_uint64(handled)
    ruleset = _called(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(8), 0)
    try:
        for path in READABLE:
            if os.path.exists(path):  # noqa: PTH110 - a script of few imports
                beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
                is_directory = os.path.isdir(path)  # noqa: PTH112
                rights = _READ_FILE | _EXECUTE | (_READ_DIR if is_directory else 0)
                _allow(ruleset, beneath, rights)
                os.close(beneath)
        _allow(ruleset, image, _READ_FILE)
        _called(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, beneath: int, rights: int) -> None:
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, beneath))
    _called(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)


def _forbid_calls() -> None:
    """Forbid the network, other processes and new namespaces."""
    known = _FORBIDDEN.get(os.uname().machine)
    if known is None:
        raise Unjailed(f"no filter of system calls is known for {os.uname().machine}")
    architecture, numbers = known
    count = len(numbers)
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_ANSWER, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_ANSWER, 0, 0, _KILL),
        *((_EQUAL, count - at, 0, number) for at, number in enumerate(numbers)),
        (_ANSWER, 0, 0, _ALLOW),
        (_ANSWER, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    packed = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.create_string_buffer(packed))


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
