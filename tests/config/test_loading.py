"""The configuration as a whole: layers, defaults, and what the daemon reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from scheduler.config import BadConfiguration, Settings, load
from scheduler.errors import Invalid
from scheduler.model import Overhead
from scheduler.placement.policy import Policy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def loaded(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    file.write_text(text)
    return load(file, environ=environ or {})


def test_no_configuration_at_all_gives_a_working_daemon() -> None:
    settings = load(None, environ={})
    assert settings.state_dir == Path("/var/lib/sandboxd")
    assert settings.socket == Path("/run/sandboxd/admin.sock")
    assert settings.database_url == "sqlite:////var/lib/sandboxd/sandboxd.db"
    assert settings.metrics.address == ("127.0.0.1", 9723)
    assert settings.placement.overhead == Overhead()
    assert settings.hosts == ()
    guests = settings.guests
    assert (guests.default_vcpus, guests.default_memory_mb, guests.default_storage_mb) == (
        2,
        2048,
        10240,
    )
    life = settings.lifecycle
    assert (life.poll_seconds, life.provision_timeout_seconds) == (10, 600)
    assert (life.default_ttl_seconds, life.max_ttl_seconds) == (None, None)


def test_a_state_directory_takes_everything_that_is_not_named_elsewhere(
    file: Path, tmp_path: Path
) -> None:
    settings = load(None, state_dir=tmp_path, environ={})
    assert settings.state_dir == tmp_path
    assert settings.socket == tmp_path / "admin.sock"
    assert settings.api.group == ""
    assert settings.metrics.address == ("127.0.0.1", 0)
    assert settings.database_url == f"sqlite:///{tmp_path}/sandboxd.db"
    file.write_text(
        '[daemon]\nstate_dir = "/elsewhere"\n'
        '[api]\nsocket = "/x/y.sock"\n[store]\ndatabase_url = "postgres://h/d"\n'
    )
    settings = load(file, state_dir=tmp_path, environ={})
    assert settings.state_dir == tmp_path
    assert settings.socket == Path("/x/y.sock")
    assert settings.database_url == "postgres://h/d"


def test_a_relative_state_directory_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    assert load(None, state_dir=Path("box"), environ={}).state_dir == Path("/tmp/box")


def test_durations_and_sizes_are_read_as_people_write_them(file: Path) -> None:
    settings = loaded(
        file,
        """
        [lifecycle]
        poll_seconds = 2.5
        shutdown_seconds = "1m30s"
        default_ttl_seconds = "2h"
        max_ttl_seconds = 86400
        [guests]
        default_memory_mb = "4GiB"
        default_storage_mb = "1 TiB"
        max_memory_mb = "4096 MiB"
        [placement]
        overhead_base_mb = "2048KiB"
        [[hosts]]
        name = "alpha"
        system_reserved_memory_mb = "2GiB"
        """,
    )
    life, guests = settings.lifecycle, settings.guests
    assert (life.poll_seconds, life.shutdown_seconds, life.default_ttl_seconds) == (2.5, 90, 7200)
    assert (guests.default_memory_mb, guests.default_storage_mb) == (4096, 1024 * 1024)
    assert settings.placement.overhead.base_mb == 2
    assert settings.hosts[0].system_reserved_memory_mb == 2048


def test_a_host_tells_which_fields_the_file_named(file: Path) -> None:
    settings = loaded(
        file,
        """
        [[hosts]]
        name = "alpha"
        uri = "qemu:///system"
        ratio_cpu = 2
        [hosts.labels]
        zone = "a"
        [[hosts]]
        name = "beta"
        address = "beta.example"
        transport = "ssh"
        """,
    )
    alpha, beta = settings.hosts
    assert alpha.model_fields_set == {"name", "uri", "ratio_cpu", "labels"}
    assert (alpha.ratio_cpu, alpha.pool, alpha.labels) == (2.0, "default", {"zone": "a"})
    assert (beta.transport, beta.address, beta.ssh_port) == ("ssh", "beta.example", 22)


def test_the_environment_wins_over_the_file_setting_by_setting(file: Path) -> None:
    settings = loaded(
        file,
        '[placement]\npolicy = "pack"\nstale_after_seconds = 30\n',
        {
            "SANDBOXD_PLACEMENT__POLICY": "balanced",
            "SANDBOXD_STORE__AUTO_MIGRATE": "false",
            "SANDBOXD_LIFECYCLE__POLL_SECONDS": "5s",
            "SANDBOXD_LIFECYCLE__BUILD_ATTEMPTS": "7",
            "SANDBOXD_SOCKET": "/the/clients/own",
            "PATH": "/bin",
        },
    )
    assert (settings.placement.policy, settings.placement.stale_after_seconds) == ("balanced", 30)
    assert settings.store.auto_migrate is False
    assert (settings.lifecycle.poll_seconds, settings.lifecycle.build_attempts) == (5, 7)


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"SANDBOXD_DAEMON__STATE_DIR": "/elsewhere"}
    assert load(None, environ=environ).state_dir == Path("/elsewhere")
    assert load(None, state_dir=tmp_path, environ=environ).state_dir == tmp_path


def test_a_list_in_the_environment_is_the_files_array(file: Path, tmp_path: Path) -> None:
    environ = {
        "SANDBOXD_CHANGES__ROOTS": '["/etc", "/srv/a b"]',
        "SANDBOXD_CHANGES__EXCLUDE": " [] ",
    }
    changes = loaded(file, '[changes]\nroots = ["/a"]\nexclude = ["/b"]\n', environ).changes
    assert (changes.roots, changes.exclude) == (("/etc", "/srv/a b"), ())
    (tmp_path / "changes__roots").write_text('[\n  "/opt",\n]\n')
    assert load(None, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).changes.roots == ("/opt",)


@pytest.mark.parametrize(
    "text", ["", "/etc", "/etc:/srv", '"/etc"', '["/etc"', '["/etc"]\nmore = 1', "{a = 1}", "1"]
)
def test_a_text_that_is_no_list_is_a_fault_that_shows_how(text: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load(None, environ={"SANDBOXD_CHANGES__ROOTS": text})
    (fault,) = refused.value.faults
    assert fault.path == "SANDBOXD_CHANGES__ROOTS"
    assert """'["/etc", "/srv"]'""" in fault.remedy


@pytest.mark.parametrize("text", ["[]", "[1]", '["etc"]', '[["/etc"]]'])
def test_what_a_list_in_the_environment_holds_is_checked(text: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load(None, environ={"SANDBOXD_CHANGES__ROOTS": text})
    assert all(fault.path.startswith("changes.roots") for fault in refused.value.faults)


def test_credentials_win_over_the_file_and_lose_to_the_environment(
    file: Path, tmp_path: Path
) -> None:
    secrets = tmp_path / "credentials"
    secrets.mkdir()
    (secrets / "store__database_url").write_text("postgres://u:canary@h/d\n")
    (secrets / "cluster.key").write_bytes(b"\xff\x00")
    environ = {"CREDENTIALS_DIRECTORY": str(secrets)}
    settings = loaded(file, '[store]\ndatabase_url = "postgres://h/file"\n', environ)
    assert settings.database_url == "postgres://u:canary@h/d"
    assert "canary" not in repr(settings)
    environ["SANDBOXD_STORE__DATABASE_URL"] = "postgres://h/env"
    assert load(file, environ=environ).database_url == "postgres://h/env"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe", "not UTF-8"), (b"x" * 70_000, "longer than 65536")],
)
def test_a_credential_that_cannot_be_a_setting_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "store__database_url").write_bytes(content)
    with pytest.raises(BadConfiguration) as refused:
        load(None, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    (fault,) = refused.value.faults
    assert fault.path == "store__database_url"
    assert words in fault.message
    assert "LoadCredential" in fault.remedy


def test_a_credential_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store__database_url").mkdir()
    with pytest.raises(BadConfiguration) as refused:
        load(None, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "Is a directory" in refused.value.faults[0].message


def test_every_fault_is_told_at_once(file: Path) -> None:
    text = """
        [placement]
        policy = "random"
        [lifecycle]
        poll_seconds = "never"
        [[hosts]]
        name = "alpha"
        [[hosts]]
        name = "alpha"
        ratio_cpu = -1
        """
    with pytest.raises(BadConfiguration) as refused:
        loaded(file, text, {"SANDBOXD_NOSUCH__THING": "1"})
    error = refused.value
    assert isinstance(error, Invalid)
    assert [fault.path for fault in error.faults] == [
        "placement.policy",
        "lifecycle.poll_seconds",
        "hosts.1.ratio_cpu",
        "SANDBOXD_NOSUCH__THING",
        "hosts.1.name",
    ]
    assert error.message.startswith(f"{file} has 5 faults:\n  placement.policy: ")
    assert error.message.count("\n") == 5
    assert error.remedy is not None
    assert "--check-config" in error.remedy
    assert set(error.details) == {fault.path for fault in error.faults}


def test_the_policies_are_those_of_placement(file: Path) -> None:
    for policy in Policy:
        assert loaded(file, f'[placement]\npolicy = "{policy}"\n').placement.policy == policy


@pytest.mark.parametrize("listen", ["[::1]:9723", "0.0.0.0:0"])
def test_metrics_may_listen_on_any_address_of_the_machine(file: Path, listen: str) -> None:
    host, port = loaded(file, f'[metrics]\nlisten = "{listen}"\n').metrics.address
    assert (host, port) in {("::1", 9723), ("0.0.0.0", 0)}


def test_facts_are_to_be_believed_for_two_looks(file: Path) -> None:
    both = "[placement]\nstale_after_seconds = {}\n[lifecycle]\npoll_seconds = 120\n"
    assert loaded(file, both.format(240)).lifecycle.poll_seconds == 120
    with pytest.raises(BadConfiguration) as refused:
        loaded(file, both.format(239))
    (fault,) = refused.value.faults
    for name in ("placement.stale_after_seconds", "lifecycle.poll_seconds"):
        assert name in fault.message
        assert name in fault.remedy
