"""What a guest's shell is told: one fixed program, and one line of data that it reads.

No word of a caller's is on the command line of the login shell, which may be any shell: the program
there is always the same, and reads from its standard input a line in which every value is quoted,
plain text between single quotes and everything else as octal digits for `printf`. Until that line
has come whole, nothing of the caller's has run; what follows it is the command's standard input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.errors import Invalid

MARK = "SANDBOXD_COMMAND"
"""The variable that every process of a command inherits, and is found by."""

OWN_FAILURE = 125
"""The exit code of what failed before the caller's program began."""

VECTOR_LIMIT_BYTES = 96 * 1024
"""Arguments and environment together; Linux takes 128 KiB for a single one of them."""

# Shells keep these for themselves: they cannot be set, or do not stay as they are set.
KEPT_BY_SHELLS = frozenset(
    {
        *("_", "UID", "EUID", "PPID", "GROUPS", "IFS", "LINENO", "OPTIND", "OPTARG", "RANDOM"),
        *("SRANDOM", "SECONDS", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO", "BASHPID", "ENV"),
        *("BASH_ENV", "PWD", "OLDPWD", "SHLVL", "DIRSTACK", "HISTCMD", "EPOCHSECONDS"),
        *("EPOCHREALTIME", "FUNCNAME", "PS4", "POSIXLY_CORRECT", "TMOUT", "COMP_WORDBREAKS"),
    }
)

_ID = re.compile(r"CMD-[0-9A-Z]{26}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OWN_NAMES = re.compile(r"sandboxd_.*|SANDBOXD_.*|BASH_.*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PLAIN = re.compile(rb"[\x20-\x7e]*")
_AS_IT_STANDS = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ")
_NEWLINE = "sandboxd_newline"
# Debian's `su -c` leaves the terminal's session, so that Ctrl-C would not reach the program.
_SU_ON_TERMINAL = (
    "sandboxd_su=-c; case $(su --help 2>&1) in"
    " *--session-command*) sandboxd_su=--session-command ;; esac"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A program to start: its arguments, and what it starts with.

    Strings are UTF-8; a byte that is none is a lone surrogate, as Python has it in file names.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    work_dir: str | None = None
    user: str | None = None


def check_invocation(invocation: Invocation) -> Invocation:
    """Return the invocation; raises Invalid naming each field that could not be passed on."""
    faults = dict(_faults(invocation))
    if faults:
        raise Invalid(
            "; ".join(f"{path}: {fault}" for path, fault in faults.items()),
            remedy="correct these fields; larger things go to the command's standard input",
            details=faults,
        )
    return invocation


def command_line(command_id: str) -> str:
    """Return what the login shell is given: the same for every command but for its id."""
    if not _ID.fullmatch(command_id):
        raise Invalid("command_id: it is not an id of ours")
    return (
        f"exec env {MARK}={command_id} /bin/sh -c"
        f" 'IFS= read -r sandboxd_line || exit {OWN_FAILURE}; eval \"$sandboxd_line\"'"
    )


def line_of(invocation: Invocation, *, login: str, terminal: bool = False) -> bytes:
    """Return the line that starts the invocation for a shell logged in as the user `login`.

    A terminal, which began without, echoes and has lines from here on.
    """
    parts = [f"export {name}={quoted(value)}" for name, value in invocation.env.items()]
    if terminal:
        parts.insert(0, f"stty echo icanon || exit {OWN_FAILURE}")
    user = invocation.user if invocation.user != login else None
    if user is None:
        if invocation.work_dir is not None:
            parts.append(f"cd -- {quoted(invocation.work_dir)} || exit {OWN_FAILURE}")
        parts.append(f"exec {_vector(invocation.argv)}")
    else:
        how = "-c"
        if terminal:
            parts.append(_SU_ON_TERMINAL)
            how = '"$sandboxd_su"'
        parts.append(f"exec su -s /bin/sh {how} {_vector(_as_user(user, invocation))}")
    line = "; ".join(parts)
    if _NEWLINE in line:
        line = f"{_NEWLINE}=$(printf '\\012x'); {_NEWLINE}=${{{_NEWLINE}%x}}; {line}"
    return line.encode("ascii") + b"\n"


def quoted(value: str) -> str:
    """Return the value as a word of the shell's language, in printable ASCII on one line."""
    raw = _encoded(value)
    if _PLAIN.fullmatch(raw):
        return "'" + raw.decode("ascii").replace("'", "'\\''") + "'"
    body = raw.rstrip(b"\n")
    digits = "".join(chr(byte) if byte in _AS_IT_STANDS else f"\\{byte:03o}" for byte in body)
    # A command's result loses the newlines at its end.
    return f"\"$(printf '{digits}')\"" + f'"${_NEWLINE}"' * (len(raw) - len(body))


def _vector(argv: Sequence[str]) -> str:
    return " ".join(quoted(argument) for argument in argv)


def _as_user(user: str, invocation: Invocation) -> tuple[str, ...]:
    """Return what `su -c` is told to start the program as another user, in its directory."""
    if invocation.work_dir is None:
        return ('exec "$@"', "--", user, "sh", *invocation.argv)
    enter = f'cd -- "$1" || exit {OWN_FAILURE}; shift; exec "$@"'
    return (enter, "--", user, "sh", invocation.work_dir, *invocation.argv)


def _faults(invocation: Invocation) -> list[tuple[str, str]]:
    named = [(f"argv[{index}]", value) for index, value in enumerate(invocation.argv)]
    named += [(f"env.{name}", value) for name, value in invocation.env.items()]
    faults = [
        (path, fault) for path, value in named if (fault := _fault_of_text(value)) is not None
    ]
    faults += [
        (f"env.{name}", fault)
        for name in invocation.env
        if (fault := _fault_of_name(name)) is not None
    ]
    if not invocation.argv or not invocation.argv[0]:
        faults.append(("argv", "the program to run is missing"))
    elif invocation.argv[0].startswith("-"):
        faults.append(("argv[0]", "a program's name does not begin with a dash"))
    if not faults and sum(len(_encoded(value)) for _, value in named) > VECTOR_LIMIT_BYTES:
        faults.append(
            ("argv", f"arguments and environment have more than {VECTOR_LIMIT_BYTES} bytes")
        )
    if invocation.work_dir is not None and (fault := _fault_of_directory(invocation.work_dir)):
        faults.append(("work_dir", fault))
    if invocation.user is not None and not _USER.fullmatch(invocation.user):
        faults.append(("user", "it is not the name of a Unix user"))
    return faults


def _fault_of_name(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return "a variable's name has at most 128 letters, digits and underscores"
    if name in KEPT_BY_SHELLS or _OWN_NAMES.fullmatch(name):
        return "shells and sandboxd keep this name for themselves"
    return None


def _fault_of_directory(path: str) -> str | None:
    if not path.startswith("/"):
        return "it is not an absolute path"
    if len(path) > 4095:
        return "it is longer than a path can be"
    return _fault_of_text(path)


def _fault_of_text(value: str) -> str | None:
    if "\0" in value:
        return "it contains a zero byte"
    try:
        _encoded(value)
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return None


def _encoded(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
