"""What may be run on a source VM: commands that look, and none that the original let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.sources.grammar import MOST_CHARACTERS, MOST_WORDS, Rule, refusal
from scheduler.sources.programs import PROGRAMS, allowed_programs, inspection_fault

LOOKS = """
cat /etc/os-release
cat -n /etc/fstab /etc/hosts
head -n 5 /var/log/syslog
head -n5 /var/log/syslog
tail --lines=100 /var/log/syslog
tail -c +10 /var/log/syslog
ls -la /etc
ls
stat -c %a /etc/shadow
find /etc -maxdepth 2 -name *.conf -type f
find / -xdev -perm -4000
grep -rn PermitRootLogin /etc/ssh
du -sh /var
df -hT
diff -u /etc/passwd /etc/passwd-
ps aux
ps -ef
ps -o pid,comm -C sshd --sort -rss
ss -tulpn
ip addr
ip -br addr show dev eth0
ip addr list
ip route
ip route get 192.0.2.1
ip route show table main
systemctl status ssh.service --no-pager
systemctl list-units --type=service --state failed
systemctl get-default
journalctl -u nginx -n 100 --since -1h
journalctl --boot -1 -p err..alert
dpkg -l
dpkg -S /bin/ls
rpm -qa
rpm -qf /usr/bin/ssh
apt-cache policy nginx
crontab -l
date
date -u +%s
hostname
hostname -f
sysctl -n net.ipv4.ip_forward
getent passwd root
uname -a
mount
""".strip().splitlines()

LET_THROUGH = {
    # W22, by both layers
    "a deleting find": ["find", "/", "-name", "x", "-delete"],
    "a find that runs programs": ["find", "/", "-exec", "rm", "{}", ";"],
    "a find that writes": ["find", "/", "-fprint", "/tmp/x"],
    "awk's system": ["awk", 'BEGIN { system("rm -rf /") }'],
    "env before a program": ["env", "rm", "-rf", "/"],
    "xargs before a program": ["xargs", "rm"],
    "two commands": ["cat", "/etc/hosts", "&", "reboot"],
    "two commands in one word": ["cat /etc/hosts & reboot"],
    "a second command behind a semicolon": ["uptime", ";", "reboot"],
    # W22, by the client
    "sed in place": ["sed", "-i", "s/a/b/", "/etc/hosts"],
    "a command substitution": ["$(reboot)"],
    "a command substitution as a flag": ["ls", "-$(reboot)"],
    "a link set up": ["ip", "link", "set", "eth0", "down"],
    "a link set up, abbreviated": ["ip", "l", "s", "eth0", "down"],
    "an address added": ["ip", "addr", "add", "192.0.2.1/24", "dev", "eth0"],
    "a batch of ip": ["ip", "-batch", "/tmp/x"],
    "another network namespace": ["ip", "netns", "exec", "x", "sh"],
    "a new host name": ["hostname", "evil"],
    "a host name from a file": ["hostname", "-F", "/tmp/x"],
    "a new date": ["date", "-s", "2020-01-01"],
    "a new date, in one word": ["date", "--set=2020-01-01"],
    "a new date without an option": ["date", "010100002020"],
    # W22, by the server
    "a bare reboot": ["reboot"],
    "a path instead of a name": ["/bin/rm", "/etc/passwd"],
    "a path to a program that looks": ["/bin/cat", "/etc/passwd"],
    # what its successor added
    "curl": ["curl", "http://192.0.2.1/"],
    # of their kind
    "a shell": ["sh", "-c", "id"],
    "an interpreter": ["python3", "-c", "1"],
    "sudo": ["sudo", "cat", "/etc/shadow"],
    "an installing rpm": ["rpm", "-i", "/tmp/x.rpm"],
    "an evaluating rpm": ["rpm", "--eval", "%(id)"],
    "an rpm query that evaluates": ["rpm", "-q", "--eval", "%(id)"],
    "an installing dpkg": ["dpkg", "-i", "/tmp/x.deb"],
    "an unpacking dpkg": ["dpkg", "-l", "--unpack", "/tmp/x.deb"],
    "a stopping systemctl": ["systemctl", "stop", "ssh"],
    "systemctl elsewhere": ["systemctl", "-H", "root@192.0.2.1", "status"],
    "a vacuuming journalctl": ["journalctl", "--vacuum-time=1s"],
    "a rotating journalctl": ["journalctl", "--rotate"],
    "a journal followed": ["journalctl", "-f"],
    "a file followed": ["tail", "-f", "/var/log/syslog"],
    "a setting written": ["sysctl", "-w", "kernel.sysrq=1"],
    "a setting written without an option": ["sysctl", "kernel.sysrq=1"],
    "a file system mounted": ["mount", "/dev/vda1", "/mnt"],
    "sockets killed": ["ss", "-K", "dst", "192.0.2.1"],
    "a crontab removed": ["crontab", "-r"],
    "a crontab of a file": ["crontab", "/tmp/x"],
    "a device": ["cat", "/dev/zero"],
    "a device on another path": ["cat", "//./dev/zero"],
    "a device by way of another directory": ["cat", "/etc/../dev/zero"],
    "a device searched": ["grep", "x", "/dev/zero"],
    "a relative path": ["cat", "etc/passwd"],
    "an option behind the end of options": ["cat", "--", "-n"],
    "file compiling": ["file", "-C", "-m", "/tmp/x"],
    "a host name set": ["hostnamectl", "set-hostname", "evil"],
    "a word too many": ["uname", "extra"],
    "a word too few": ["cat"],
    "an option without its value": ["head", "-n"],
    "a value that is none": ["head", "-n", "many", "/etc/hosts"],
    "a value that is none, joined": ["head", "-nmany", "/etc/hosts"],
    "a value that is none, after an equals sign": ["head", "--lines=many", "/etc/hosts"],
    "a cluster with a stranger": ["ls", "-lX"],
    "a cluster where there are none": ["find", "/", "-od"],
    "a verb that is missing": ["systemctl"],
    "ip without end": ["ip", "addr", "show", "up"],
    "ip to nowhere": ["ip", "route", "get"],
    "a grep without a file": ["grep", "root"],
    "nothing": [],
    "an empty word": ["ls", ""],
    "a line break": ["ls", "/tmp\nreboot"],
    "a zero byte": ["ls", "/tmp\0"],
    "an escape": ["ls", "/\x1b[2J"],
    "too many words": ["ls"] + ["/"] * MOST_WORDS,
    "a word that is too long": ["ls", "/" * (MOST_CHARACTERS + 1)],
}


@pytest.mark.parametrize("line", LOOKS)
def test_what_only_looks_may_be_run(line: str) -> None:
    assert inspection_fault(line.split()) is None


@pytest.mark.parametrize("argv", LET_THROUGH.values(), ids=LET_THROUGH)
def test_what_does_more_is_refused(argv: list[str]) -> None:
    assert inspection_fault(argv)


def test_a_refusal_says_what_is_wrong_without_control_characters() -> None:
    assert inspection_fault(["reboot"]) == "'reboot' is not among the programs that only look"
    assert inspection_fault(["find", "/", "-delete"]) == "find may not be given '-delete'"
    assert inspection_fault(["head", "-n", "x", "/a"]) == "head -n takes a number"
    assert inspection_fault(["cat", "a"]) == "cat takes an absolute path outside of /dev, not 'a'"
    assert (inspection_fault(["ls", "\x1b" * 100]) or "").isprintable()
    assert "find" in allowed_programs()


def test_nothing_runs_others_or_writes() -> None:
    others = {"sh", "bash", "env", "xargs", "awk", "sed", "tee", "sort", "vi", "less", "sudo", "su"}
    assert not PROGRAMS.keys() & others
    assert not [name for name in PROGRAMS if "/" in name]


NASTY = st.sampled_from(
    [
        *(
            "-delete",
            "-exec",
            "-ok",
            "-fprint",
            "-fls",
            "--set",
            "-s",
            "-w",
            "-i",
            "-K",
            "-f",
            "--",
        ),
        *("--rotate", "--vacuum-size=1", "--eval", "set", "add", "exec", "stop", "restart", ";"),
        *("&", "|", "&&", ">", "$(id)", "`id`", "-batch", "--pipe", "-F", "-H", "{}", "name=value"),
    ]
)
PLAIN = st.one_of(
    st.sampled_from(["/etc", "5", "root", "-n", "-l", "-a", "show", "addr", "status", "dev"]),
    st.text(max_size=12),
)


def options_of(rule: Rule) -> set[str]:
    """Every option that a rule knows, its verbs' too."""
    deeper = (options_of(verb) | {name} for name, verb in rule.verbs.items())
    return set().union(rule.flags, rule.options, *deeper)


@given(
    program=st.sampled_from(sorted(PROGRAMS)),
    before=st.lists(PLAIN, max_size=4),
    nasty=NASTY,
    after=st.lists(PLAIN, max_size=3),
)
def test_a_word_that_no_rule_names_spoils_the_whole(
    program: str, before: list[str], nasty: str, after: list[str]
) -> None:
    """An option is taken only where it is known, as itself or as letters that all are."""
    argv = [program, *before, nasty, *after]
    if inspection_fault(argv) is not None:
        return
    known = options_of(PROGRAMS[program])
    for index, word in enumerate(argv[1:], 1):
        if word.startswith("-") and argv[index - 1] not in known:
            letters = {f"-{letter}" for letter in word[1:]}
            assert word in known or word.partition("=")[0] in known or letters & known


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_judged_and_only_known_programs_pass(argv: list[str]) -> None:
    fault = refusal(PROGRAMS, argv)
    assert fault is None or fault.isprintable()
    assert fault is not None or argv[0] in PROGRAMS
