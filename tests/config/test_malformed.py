"""Malformed configuration, row by row: each refused with its path and a remedy, nothing quoted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scheduler.config import BadConfiguration, load

HOST = '[[hosts]]\nname = "alpha"\n'

ROWS = [
    # wrong types
    ("number for a path", "[daemon]\nstate_dir = 5", "daemon.state_dir"),
    ("text for a flag", '[store]\nread_only = "yes"', "store.read_only"),
    ("a store that only reads", "[store]\nread_only = true", "store.read_only"),
    ("number for a flag", "[metrics]\nenabled = 1", "metrics.enabled"),
    ("flag for a number", "[lifecycle]\nbuild_attempts = true", "lifecycle.build_attempts"),
    ("fraction for a number", "[guests]\ndefault_vcpus = 1.5", "guests.default_vcpus"),
    ("array for a duration", "[lifecycle]\npoll_seconds = [10]", "lifecycle.poll_seconds"),
    ("date for a text", "[metrics]\nlisten = 2026-01-01", "metrics.listen"),
    ("value for a section", "placement = 3", "placement"),
    ("array for a section", "[[placement]]\npolicy = 'pack'", "placement"),
    ("table for the hosts", '[hosts]\nname = "alpha"', "hosts"),
    ("text for a host", 'hosts = ["alpha"]', "hosts.0"),
    ("number for a name", "[[hosts]]\nname = 7", "hosts.0.name"),
    ("text for a port", HOST + 'ssh_port = "22"', "hosts.0.ssh_port"),
    ("number for a label", HOST + "labels = {zone = 1}", "hosts.0.labels.zone"),
    ("text for the labels", HOST + 'labels = "zone=a"', "hosts.0.labels"),
    # unknown names
    ("unknown section", "[plaicement]\npolicy = 'pack'", "plaicement"),
    ("a later section", "[web]\nport = 1", "web"),
    ("unknown setting", "[placement]\npolici = 'pack'", "placement.polici"),
    ("unknown field", HOST + "ratio_cpus = 2", "hosts.0.ratio_cpus"),
    ("unknown policy", "[placement]\npolicy = 'first-fit'", "placement.policy"),
    ("unknown level", "[daemon]\nlog_level = 'LOUD'", "daemon.log_level"),
    ("unknown transport", HOST + "transport = 'carrier'", "hosts.0.transport"),
    ("tls without an address", HOST + "transport = 'tls'", "hosts.0"),
    ("unknown accelerator", HOST + "virt_type = 'xen'", "hosts.0.virt_type"),
    # hostile characters
    ("control character in a name", '[[hosts]]\nname = "a\\u001b[31m"', "hosts.0.name"),
    ("newline in a name", '[[hosts]]\nname = "alpha\\n"', "hosts.0.name"),
    ("separator in a name", '[[hosts]]\nname = "../alpha"', "hosts.0.name"),
    ("XML in a pool", HOST + "pool = '<pool/>'", "hosts.0.pool"),
    ("path as a network", HOST + "network = 'a/b'", "hosts.0.network"),
    ("shell in a user", HOST + "ssh_user = 'root;id'", "hosts.0.ssh_user"),
    ("option as an address", HOST + "address = '-oProxyCommand=x'", "hosts.0.address"),
    ("NUL in a path", HOST + 'ssh_key = "/a\\u0000b"', "hosts.0.ssh_key"),
    ("NUL in the state directory", '[daemon]\nstate_dir = "/a\\u0000"', "daemon.state_dir"),
    ("relative path", "[api]\nsocket = 'admin.sock'", "api.socket"),
    ("blank in a group", "[api]\ngroup = 'a b'", "api.group"),
    ("letters of another script", '[[hosts]]\nname = "αλφα"', "hosts.0.name"),
    ("empty name", '[[hosts]]\nname = ""', "hosts.0.name"),
    ("a name too long", f'[[hosts]]\nname = "{"a" * 64}"', "hosts.0.name"),
    ("blank in a label", HOST + 'labels = {"a b" = "x"}', "hosts.0.labels.a b"),
    # numbers out of bounds
    ("looks rarer than facts are believed", "[lifecycle]\npoll_seconds = 30.5", ""),
    ("negative count", "[guests]\ndefault_vcpus = -1", "guests.default_vcpus"),
    ("no attempts", "[lifecycle]\nstart_attempts = 0", "lifecycle.start_attempts"),
    ("negative ratio", HOST + "ratio_cpu = -0.5", "hosts.0.ratio_cpu"),
    ("ratio that is no number", HOST + "ratio_memory = nan", "hosts.0.ratio_memory"),
    ("infinite ratio", HOST + "ratio_storage = inf", "hosts.0.ratio_storage"),
    ("infinite period", "[lifecycle]\npoll_seconds = inf", "lifecycle.poll_seconds"),
    ("huge count", f"[guests]\ndefault_vcpus = 1{'0' * 300}", "guests.default_vcpus"),
    ("huge reserve", HOST + f"system_reserved_cpus = {2**63}", "hosts.0.system_reserved_cpus"),
    ("no port", HOST + "ssh_port = 0", "hosts.0.ssh_port"),
    ("port too great", "[metrics]\nlisten = '127.0.0.1:65536'", "metrics.listen"),
    ("no port at all", "[metrics]\nlisten = '127.0.0.1'", "metrics.listen"),
    ("a host name to listen on", "[metrics]\nlisten = 'localhost:9723'", "metrics.listen"),
    ("too little memory", "[guests]\ndefault_memory_mb = 1", "guests.default_memory_mb"),
    ("part of a MiB", "[guests]\nmax_memory_mb = '1KiB'", "guests.max_memory_mb"),
    ("a size of another kind", "[guests]\nmax_memory_mb = '4GB'", "guests.max_memory_mb"),
    ("a duration in words", "[lifecycle]\nmax_ttl_seconds = 'a day'", "lifecycle.max_ttl_seconds"),
    ("a life of no time", "[lifecycle]\ndefault_ttl_seconds = 0", "lifecycle.default_ttl_seconds"),
    ("a life of ages", "[lifecycle]\nmax_ttl_seconds = '9999999d'", "lifecycle.max_ttl_seconds"),
    # what does not fit together
    ("ttl", "[lifecycle]\ndefault_ttl_seconds = 9\nmax_ttl_seconds = 8", "lifecycle"),
    ("sizes", "[guests]\nmax_storage_mb = 100", "guests"),
    ("no name", "[[hosts]]\naddress = 'alpha'", "hosts.0.name"),
    ("a name twice", HOST + HOST, "hosts.1.name"),
    ("ssh without an address", HOST + "transport = 'ssh'", "hosts.0"),
    ("test without its URI", HOST + "transport = 'test'", "hosts.0"),
    ("plain TCP", HOST + "uri = 'qemu+tcp://alpha/system'", "hosts.0.uri"),
    ("TLS over a socket", HOST + "uri = 'qemu+tls://alpha/system'", "hosts.0"),
    ("another database", "[store]\ndatabase_url = 'mysql://h/d'", "store.database_url"),
    ("escape in the database", '[store]\ndatabase_url = "sqlite:///\\u001b"', "store.database_url"),
    ("too few connections", "[store]\nmax_open_conns = 1", "store.max_open_conns"),
]


@pytest.mark.parametrize(("text", "path"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_malformed_setting_is_refused_with_its_path(tmp_path: Path, text: str, path: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text + "\n")
    with pytest.raises(BadConfiguration) as refused:
        load(file, environ={})
    fault = next(fault for fault in refused.value.faults if fault.path == path)
    assert fault.message
    assert fault.remedy
    assert all(line.isprintable() for line in refused.value.message.splitlines())


FILES = [
    ("syntax error", b"[daemon]\nstate_dir = \n", "line 2", "correct"),
    ("key twice", b"[daemon]\n[daemon]\n", "line 2", "correct"),
    ("raw control character", b'[daemon]\nlog_level = "\x1b"\n', "line 2", "correct"),
    ("byte order mark", b"\xef\xbb\xbf[daemon]\n", "byte order mark", "without"),
    ("UTF-16", "[daemon]\n".encode("utf-16"), "line 1 is not UTF-8", "UTF-8"),
    ("Latin-1", b"[daemon]\n# caf\xe9\n", "line 2 is not UTF-8", "UTF-8"),
    ("10 MB", b"#" * 10_000_000, "larger than 1048576 bytes", "name"),
    ("deep arrays", b"a = " + b"[" * 100_000, "too deeply", "two levels"),
    ("endless number", b"a = " + b"9" * 5000, "too many digits", "smaller"),
]


@pytest.mark.parametrize(
    ("content", "words", "remedy"), [pytest.param(*row[1:], id=row[0]) for row in FILES]
)
def test_a_file_that_is_no_toml_is_refused(
    tmp_path: Path, content: bytes, words: str, remedy: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(BadConfiguration) as refused:
        load(file, environ={})
    (fault,) = refused.value.faults
    assert words in fault.message
    assert remedy in fault.remedy
    assert str(file) in refused.value.message
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.toml", "No such file"),
        ("directory", "not a regular file"),
        ("pipe", "not a regular file"),
        ("nul\0", "NUL"),
        ("x" * 300, "name too long"),
    ],
    ids=["missing", "directory", "pipe", "NUL", "long"],
)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadConfiguration) as refused:
        load(tmp_path / name, environ={})
    assert words in refused.value.faults[0].message
    assert refused.value.faults[0].remedy


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    file.chmod(0)
    with as_nobody(), pytest.raises(BadConfiguration) as refused:
        load(file, environ={})
    assert "Permission denied" in refused.value.faults[0].message


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run as a user without rights, since root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_fault_repeats_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[store]\ndatabase_url = "oracle://u:canary@h/d"\ncanary_key = "canary"\n')
    with pytest.raises(BadConfiguration) as refused:
        load(file, environ={})
    told = refused.value.message + str(refused.value.details)
    assert "canary" not in told.replace("canary_key", "")


def test_a_hostile_key_is_shown_harmless_and_short(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[daemon]\n"\\u001b]0;{"x" * 10_000}" = 1\n')
    with pytest.raises(BadConfiguration) as refused:
        load(file, environ={})
    (fault,) = refused.value.faults
    assert fault.path.startswith(r"daemon.\x1b]0;")
    assert len(fault.path) < 250


def test_a_hostile_variable_is_shown_harmless() -> None:
    with pytest.raises(BadConfiguration) as refused:
        load(None, environ={"SANDBOXD_A__\x1b[31m": "1"})
    assert refused.value.message.splitlines()[1].isprintable()


def test_very_many_faults_are_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[daemon]\n" + "".join(f"k{number} = 1\n" for number in range(1000)))
    with pytest.raises(BadConfiguration) as refused:
        load(file, environ={})
    assert len(refused.value.faults) == 50
