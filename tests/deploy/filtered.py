"""Run a program that may make only the system calls that are named: FILE PROGRAM ARGUMENT...

Run by Debian's own Python, which has the library that systemd uses; nothing of ours is imported.
"""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

import seccomp  # type: ignore[import-not-found]

names, *program = sys.argv[1:]
calls = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
for name in Path(names).read_text().split():
    with suppress(RuntimeError, ValueError):  # this library or processor may not know all of them
        calls.add_rule(seccomp.ALLOW, name)
calls.load()
os.execv(program[0], program)
