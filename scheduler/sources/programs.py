"""The programs that only look, with everything that each may be given.

No interpreter, no pager, no editor, nothing that runs another program or writes where it is told,
and nothing that waits for more. A program whose option without a value does harm (`rpm -i`) has its
harmless beginnings as verbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.sources.grammar import Kind, Rule, Words, kind, refusal

NUMBER = kind("a number", r"[0-9]{1,7}")
SIGNED = kind("a number", r"[+-]?[0-9]{1,7}")
PATH = kind("an absolute path", r"/.*")
FILE = kind("an absolute path outside of /dev", r"/.*", but_not=r"/+(\./+)*dev(/|$)|.*/\.\.(/|$)")
"""What is read whole: devices and pipes of /dev give what others wait for."""
TEXT = kind("a text that begins with no dash", r"[^-].*")
GLOB = kind("a pattern of names", r"[^-/][^/]*")
NAME = kind("a name", r"[A-Za-z0-9][A-Za-z0-9@.+:~_\\-]*")
NAMES = kind("names with commas between", r"[A-Za-z0-9][A-Za-z0-9@.+:~_,%=\\-]*")
UNIT = kind("a unit", r"[A-Za-z0-9*][A-Za-z0-9@.+:~_*\\-]*")
PACKAGE = kind("a package or an absolute path", r"/.*|[A-Za-z0-9][A-Za-z0-9.+:~_*-]*")
SETTING = kind("a setting's name", r"[a-z0-9][a-z0-9_./-]*")
MOMENT = kind("a point in time", r"[A-Za-z0-9+][A-Za-z0-9 :.+-]*|-[0-9]+[a-z]+")
PRIORITY = kind("a priority", r"[a-z0-9]+(\.\.[a-z0-9]+)?")
BOOT = kind("a boot", r"-?[0-9]{1,5}")
FILE_TYPE = kind("one of b c d f l p s", r"[bcdflps]")
SIZE = kind("a size", r"[+-]?[0-9]{1,12}[bckwMG]?")
ACCOUNT_TABLE = kind(
    "passwd, group, hosts, services or a name in it",
    r"passwd|group|hosts|services|protocols|networks|ahosts|[a-z0-9][A-Za-z0-9_.:-]*",
)
DATE_FORMAT = kind("a format that begins with +", r"\+.*")
PS_STYLE = kind("aux, ax or auxww", r"auxw{0,2}|ax")
IP_WORD = kind("a word", r"[A-Za-z0-9][A-Za-z0-9.:/@_-]*")


def _flags(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _of(kind: Kind, least: int = 0, most: int = 32) -> Words:
    return Words(of=kind, least=least, most=most)


_IP_OBJECTS = ("addr", "address", "link", "route", "rule", "neigh")
_IP_ENDS = ("dev", "table")


def _ip_fault(words: tuple[str, ...]) -> str | None:
    """Return what is wrong with `ip OBJECT [show|list] [dev NAME | table NAME]`."""
    if words[0] not in _IP_OBJECTS:
        return f"ip takes one of {', '.join(_IP_OBJECTS)}"
    rest = words[1:]
    if rest and words[0] == "route" and rest[0] == "get":
        return None if len(rest) == 2 else "ip route get takes an address"
    if rest and rest[0] in ("show", "list"):
        rest = rest[1:]
    if not rest or (len(rest) == 2 and rest[0] in _IP_ENDS):
        return None
    return "ip only shows: ip OBJECT [show] [dev NAME | table NAME]"


def _grep_fault(words: tuple[str, ...]) -> str | None:
    """Return what is wrong with `grep PATTERN FILE...`: only the pattern may be any text."""
    fault = next((word for word in words[1:] if not FILE.takes(word)), None)
    return None if fault is None else f"grep PATTERN takes {FILE.name}, not {fault!a}"


_HEAD = Rule(
    flags=_flags("-q -v"),
    options={"-n": SIGNED, "-c": SIGNED, "--lines": SIGNED, "--bytes": SIGNED},
    words=_of(FILE, 1),
)
_UNITS = Rule(
    flags=_flags("-a -l --all --failed --full --no-pager --plain --no-legend --value"),
    options={
        **dict.fromkeys(("-t", "--type", "--state", "-p", "--property"), NAMES),
        "-n": NUMBER,
        "--lines": NUMBER,
        "-o": NAME,
        "--output": NAME,
    },
    words=_of(UNIT),
)
_PACKAGES = Rule(words=_of(PACKAGE))
_NOTHING = Rule()

FILES: Mapping[str, Rule] = {
    "cat": Rule(flags=_flags("-A -b -E -n -s -T -v"), words=_of(FILE, 1)),
    "df": Rule(flags=_flags("-a -h -H -i -k -l -m -P -T --total"), words=_of(PATH)),
    "diff": Rule(flags=_flags("-u -q -r -b -w -i -N"), words=_of(FILE, 2, 2)),
    "du": Rule(
        flags=_flags("-a -b -c -h -k -m -s -x"),
        options={"-d": NUMBER, "--max-depth": NUMBER},
        words=_of(PATH, 1),
    ),
    "file": Rule(flags=_flags("-b -i -L"), words=_of(FILE, 1)),
    "find": Rule(
        flags=_flags("-print -not -o -a -empty -xdev -ls -depth"),
        options={
            "-maxdepth": NUMBER,
            "-mindepth": NUMBER,
            "-name": GLOB,
            "-iname": GLOB,
            "-path": TEXT,
            "-type": FILE_TYPE,
            "-user": NAME,
            "-group": NAME,
            "-mtime": SIGNED,
            "-mmin": SIGNED,
            "-size": SIZE,
            "-perm": kind("a mode", r"[-/]?[0-7]{1,4}"),
        },
        words=_of(PATH, 1),
        clustered=False,
    ),
    "grep": Rule(
        flags=_flags("-i -n -r -l -L -c -v -w -x -E -F -H -h -o -s -q -I -a"),
        options={"-A": NUMBER, "-B": NUMBER, "-C": NUMBER, "-m": NUMBER},
        words=_of(TEXT, 2),
        check=_grep_fault,
    ),
    "head": _HEAD,
    "ls": Rule(flags=_flags("-1 -a -A -d -F -h -i -l -L -n -r -R -S -t -Z"), words=_of(PATH)),
    "md5sum": Rule(words=_of(FILE, 1)),
    "readlink": Rule(flags=_flags("-f -e -m"), words=_of(PATH, 1)),
    "sha256sum": Rule(words=_of(FILE, 1)),
    "stat": Rule(flags=_flags("-f -L -t"), options={"-c": TEXT}, words=_of(PATH, 1)),
    "tail": _HEAD,
    "wc": Rule(flags=_flags("-c -l -m -w -L"), words=_of(FILE, 1)),
}

MACHINE: Mapping[str, Rule] = {
    "date": Rule(flags=_flags("-u -R -I --utc"), words=_of(DATE_FORMAT, 0, 1)),
    "findmnt": Rule(flags=_flags("-a -D -J -l -n -r -t"), options={"-o": NAMES}, words=_of(PATH)),
    "free": Rule(flags=_flags("-b -g -h -k -m -t -w")),
    "getent": Rule(words=_of(ACCOUNT_TABLE, 1, 2)),
    "hostname": Rule(flags=_flags("-d -f -i -I -s")),
    "hostnamectl": Rule(verbs={"status": _NOTHING}),
    "id": Rule(flags=_flags("-g -G -n -r -u"), words=_of(NAME, 0, 1)),
    "ip": Rule(
        flags=_flags("-4 -6 -br -brief -d -j -json -o -s"),
        words=_of(IP_WORD, 1, 4),
        clustered=False,
        check=_ip_fault,
    ),
    "lsblk": Rule(flags=_flags("-a -b -d -f -i -J -l -n -p -r -t"), options={"-o": NAMES}),
    "lscpu": Rule(flags=_flags("-J -e -p")),
    "lsmod": _NOTHING,
    "lspci": Rule(flags=_flags("-k -n -nn -v -vv")),
    "mount": Rule(flags=_flags("-l")),
    "netstat": Rule(flags=_flags("-a -i -l -n -p -r -s -t -u")),
    "nproc": Rule(flags=_flags("--all")),
    "ps": Rule(
        flags=_flags("-A -e -f -F -H -l -L -T -w --no-headers --forest"),
        options={
            "-C": NAME,
            "-o": NAMES,
            "-p": NAMES,
            "-u": NAMES,
            "--sort": kind("keys", r"[+-]?[a-z_%,+-]+"),
        },
        words=_of(PS_STYLE, 0, 1),
    ),
    "ss": Rule(flags=_flags("-4 -6 -a -e -H -i -l -m -n -o -p -s -t -u -x")),
    "sysctl": Rule(flags=_flags("-a -n -e"), words=_of(SETTING)),
    "timedatectl": Rule(verbs={"status": _NOTHING, "show": _NOTHING}),
    "uname": Rule(flags=_flags("-a -i -m -n -o -p -r -s -v")),
    "uptime": Rule(flags=_flags("-p -s")),
    "who": Rule(flags=_flags("-a -b -H -q -r -u")),
}

SERVICES: Mapping[str, Rule] = {
    "apt-cache": Rule(
        verbs=dict.fromkeys(("policy", "show", "showpkg", "depends", "rdepends"), _PACKAGES)
    ),
    "apt-mark": Rule(verbs=dict.fromkeys(("showhold", "showmanual", "showauto"), _PACKAGES)),
    "crontab": Rule(verbs={"-l": _NOTHING}),
    "dpkg": Rule(
        verbs={
            **dict.fromkeys(("-l", "-L", "-s", "-S"), _PACKAGES),
            **dict.fromkeys(("--get-selections", "--print-architecture"), _NOTHING),
        }
    ),
    "dpkg-query": Rule(verbs=dict.fromkeys(("-W", "-l", "-L", "-s", "-S"), _PACKAGES)),
    "journalctl": Rule(
        flags=_flags("-b -k -q -r -x --no-pager --list-boots --disk-usage --utc --no-hostname"),
        options={
            "-u": UNIT,
            "-n": NUMBER,
            "-p": PRIORITY,
            "-t": NAME,
            "-o": NAME,
            "-S": MOMENT,
            "-U": MOMENT,
            "--boot": BOOT,
            "--unit": UNIT,
            "--lines": NUMBER,
            "--priority": PRIORITY,
            "--output": NAME,
            "--since": MOMENT,
            "--until": MOMENT,
        },
    ),
    "rpm": Rule(
        verbs=dict.fromkeys(
            ("-q", "-qa", "-qc", "-qd", "-qf", "-qi", "-ql", "-qR", "-qs"), _PACKAGES
        )
    ),
    "systemctl": Rule(
        verbs={
            **dict.fromkeys(
                (
                    *("status", "show", "cat", "is-active", "is-enabled", "is-failed"),
                    *("list-units", "list-unit-files", "list-timers", "list-sockets"),
                    "list-dependencies",
                ),
                _UNITS,
            ),
            "get-default": _NOTHING,
        }
    ),
}

PROGRAMS: Mapping[str, Rule] = {**FILES, **MACHINE, **SERVICES}


def inspection_fault(argv: Sequence[str]) -> str | None:
    """Return why a command is none that only looks; None when it is one."""
    return refusal(PROGRAMS, argv)


def allowed_programs() -> str:
    """Return the programs' names, for people."""
    return ", ".join(sorted(PROGRAMS))
