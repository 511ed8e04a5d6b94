"""A source VM's preparation, step by step, against a real sshd with an /etc of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from scheduler.clock import SystemClock
from scheduler.errors import GuestError, GuestUnreachable, GuestUntrusted
from scheduler.guests.authorities import Authorities
from scheduler.guests.execution import run
from scheduler.guests.seed import REMOVE_SECRETS, seed_iso
from scheduler.guests.source_preparation import arguments_of, prove, take_step
from scheduler.guests.source_scripts import ACCOUNT, CA_FILE, PRINCIPALS_FILE, SCRIPTS
from scheduler.guests.source_ways import Place, SourceWays
from scheduler.sources.preparations import StepName
from tests.fleet.process import free_port
from tests.guests.loopback import directly
from tests.guests.machine_sshd import SOURCE, SSHD, MachineSshd, machine_sshd
from tests.guests.sshd import ADDRESS, HOST, user_data

pytestmark = pytest.mark.timeout(120)

PLACE = Place(source=SOURCE, host=HOST, address=ADDRESS)
DROP_IN = "/etc/ssh/sshd_config.d/90-sandboxd-source.conf"
CONFIG = "/etc/ssh/sshd_config"
ON_MACHINE = tuple(step for step in StepName if step is not StepName.PROVE)


@pytest.fixture(params=["drop-in", "one file"])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MachineSshd]:
    with machine_sshd(tmp_path / "machine", include=request.param == "drop-in") as running:
        yield running


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[MachineSshd]:
    with machine_sshd(tmp_path / "machine") as running:
        yield running


def ways_to(machine: MachineSshd, directory: Path) -> SourceWays:
    directory.mkdir(exist_ok=True)
    authorities = Authorities.open(directory)
    return SourceWays(authorities, SystemClock(), directly, key=machine.key, port=machine.port)


async def prepare(ways: SourceWays, *steps: StepName, user: str = "root") -> list[str]:
    said = []
    async with ways.as_operator(PLACE, user) as entered:
        for step in steps or ON_MACHINE:
            taken = await take_step(step, entered, user, *arguments_of(step, PLACE, ways))
            said.append(taken.said)
    return said


async def test_a_machine_is_prepared_and_again_without_a_change_and_opens_to_nobody_else(
    machine: MachineSshd, tmp_path: Path
) -> None:
    ways = ways_to(machine, tmp_path / "state")
    first = await prepare(ways)
    assert first[0] == "root"
    assert first[3:] == ["made", "made", "made", "made", "made"]
    assert (await prove(ways, PLACE)).said == f"logged in as {ACCOUNT}"
    before = machine.read(CONFIG), machine.read("/etc/passwd"), machine.read(CA_FILE)
    assert (await prepare(ways))[3:] == ["there", "there", "there", "there", "made"]
    assert before == (machine.read(CONFIG), machine.read("/etc/passwd"), machine.read(CA_FILE))
    assert machine.read(PRINCIPALS_FILE) == "SVM-01\n"
    assert not [name for name in machine.run("ls", "-a", "/etc/ssh").split() if "sandboxd-" in name]
    async with ways.as_onlooker(PLACE) as entered:
        assert (await run(entered.connection, ("id", "-un"))).stdout.decode().strip() == ACCOUNT
        refused = await run(entered.connection, ("cat", "/etc/shadow"))
        assert not refused.ok
    strangers = (
        (ways, replace(PLACE, source=replace(SOURCE, id="SVM-02"))),
        (ways_to(machine, tmp_path / "other"), PLACE),
        (ways, replace(PLACE, source=replace(SOURCE, ca_fingerprint="SHA256:gone"))),
    )
    for stranger, place in strangers:
        with pytest.raises(GuestUnreachable):
            async with stranger.as_onlooker(place):
                raise AssertionError


@pytest.mark.slow
async def test_a_death_in_the_middle_of_a_step_is_made_good_by_taking_it_again(
    plain: MachineSshd, tmp_path: Path
) -> None:
    """The shell is killed before each line that writes something, and sshd is whole each time."""
    ways = ways_to(plain, tmp_path / "state")
    await prepare(ways, *ON_MACHINE[:6])
    original, deaths = plain.read(CONFIG), 0
    async with ways.as_operator(PLACE, "root") as entered:
        for script in _killed(SCRIPTS[StepName.CONFIGURE]):
            died = await run(entered.connection, ("/bin/sh", "-s"), stdin=script.encode())
            deaths += died.ended.exit_code != 0
            plain.run(SSHD, "-t")
            said = await prepare(ways, StepName.CONFIGURE)
            assert said in (["made"], ["there"])
            assert plain.read(CONFIG) == original
            plain.run("rm", DROP_IN)
    assert deaths > 5
    assert await prepare(ways, StepName.CONFIGURE, StepName.RELOAD) == ["made", "made"]
    assert (await prove(ways, PLACE)).said


def _killed(script: str) -> Iterator[str]:
    """Yield the script with a death before each of its lines that changes something."""
    lines = script.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.lstrip().startswith(("rm ", "mv ", "printf ", "chmod ", "why=", "cp ", "cmp ")):
            killed = "".join([*lines[:index], "kill -9 $$\n", *lines[index:]])
            if subprocess.run(["sh", "-n"], input=killed.encode(), check=False).returncode == 0:
                yield killed


async def test_where_nothing_makes_accounts_one_is_written(
    plain: MachineSshd, tmp_path: Path
) -> None:
    ways = ways_to(plain, tmp_path / "state")
    for program in ("useradd", "adduser"):
        plain.run("mount", "--bind", "/dev/null", f"/usr/sbin/{program}")
    before = {file: plain.read(file) for file in ("/etc/passwd", "/etc/group", "/etc/shadow")}
    assert await prepare(ways, StepName.ACCOUNT) == ["made"]
    assert await prepare(ways, StepName.ACCOUNT) == ["there"]
    for file, old in before.items():
        new = plain.read(file)
        assert new.startswith(old)
        assert new.count(ACCOUNT) == 1
    await prepare(ways)
    assert (await prove(ways, PLACE)).said


async def test_a_machine_without_an_sshd_program_says_so(
    plain: MachineSshd, tmp_path: Path
) -> None:
    """Something else lets the operator in there, of which nothing is known."""
    ways = ways_to(plain, tmp_path / "state")
    before = plain.run("ls", "-laR", "/etc/ssh"), plain.read("/etc/passwd")
    async with ways.as_operator(PLACE, "root") as entered:
        # The running sshd would take no further login without it.
        plain.run("mount", "--bind", "/dev/null", SSHD)
        with pytest.raises(GuestError, match="there is no sshd program") as caught:
            await take_step(StepName.CHECK, entered, "root")
    assert "on the machine" in (caught.value.remedy or "")
    assert (plain.run("ls", "-laR", "/etc/ssh"), plain.read("/etc/passwd")) == before


async def test_a_broken_configuration_is_left_as_it_was(plain: MachineSshd, tmp_path: Path) -> None:
    machine, ways = plain, ways_to(plain, tmp_path / "state")
    broken = machine.read(CONFIG) + "NoSuchSetting yes\n"
    machine.write(CONFIG, broken)
    for step in (StepName.CHECK, StepName.CONFIGURE, StepName.RELOAD):
        with pytest.raises(GuestError, match="NoSuchSetting") as caught:
            await prepare(ways, step)
        assert "refuses" in caught.value.message
        assert caught.value.remedy
    assert machine.read(CONFIG) == broken
    assert not machine.has(DROP_IN)


async def test_what_another_block_decides_is_not_taken_over(
    machine: MachineSshd, tmp_path: Path
) -> None:
    ways = ways_to(machine, tmp_path / "state")
    theirs = f"Match User {ACCOUNT}\n    TrustedUserCAKeys /etc/ssh/theirs.pub\nMatch all\n"
    machine.write(CONFIG, theirs + machine.read(CONFIG))
    before = machine.read(CONFIG)
    with pytest.raises(GuestError, match="left as it was: another block"):
        await prepare(ways, StepName.CONFIGURE)
    assert machine.read(CONFIG) == before
    assert not machine.has(DROP_IN)


async def test_an_sshd_that_takes_no_such_block_keeps_its_configuration(
    machine: MachineSshd, tmp_path: Path
) -> None:
    ways = ways_to(machine, tmp_path / "state")
    machine.run("mount", "-t", "tmpfs", "tmpfs", "/usr/local/sbin")
    old = '#!/bin/sh\ngrep -qs sandboxd "$3" && echo "Bad directive" && exit 255\nexit 0\n'
    machine.write("/usr/local/sbin/sshd", old)
    machine.run("chmod", "755", "/usr/local/sbin/sshd")
    before = machine.read(CONFIG)
    with pytest.raises(GuestError, match="left as it was: Bad directive"):
        await prepare(ways, StepName.CONFIGURE)
    assert machine.read(CONFIG) == before
    assert not machine.has(DROP_IN)


async def test_a_user_needs_sudo_without_a_password(plain: MachineSshd, tmp_path: Path) -> None:
    ways = ways_to(plain, tmp_path / "state")
    plain.run("useradd", "--no-create-home", "--home-dir", "/", "-p", "*", "deployer")
    with pytest.raises(GuestError, match="deployer cannot become root by sudo") as caught:
        await prepare(ways, StepName.LOG_IN, user="deployer")
    assert "NOPASSWD" in (caught.value.remedy or "")
    plain.write("/etc/sudoers.d/deployer", "deployer ALL=(ALL) NOPASSWD: ALL\n")
    assert (await prepare(ways, user="deployer"))[0] == "root"
    assert (await prove(ways, PLACE)).said
    plain.run("mount", "--bind", "/dev/null", "/usr/bin/sudo")
    with pytest.raises(GuestError, match="sudo"):
        await prepare(ways, StepName.LOG_IN, user="deployer")


async def test_without_sshd_key_or_trust_nothing_is_begun(
    plain: MachineSshd, tmp_path: Path
) -> None:
    ways = ways_to(plain, tmp_path / "state")
    nobody = replace(plain, port=free_port())
    with pytest.raises(GuestUnreachable, match="was not reached at 127"):
        await prepare(ways_to(nobody, tmp_path / "state"), StepName.LOG_IN)
    keyless = SourceWays(
        Authorities.open(tmp_path / "state"), SystemClock(), directly, key=None, port=plain.port
    )
    with pytest.raises(GuestUnreachable, match="no key for source VMs"):
        await prepare(keyless, StepName.LOG_IN)
    async with ways.as_operator(PLACE, "root") as entered:
        pinned = replace(SOURCE, host_key=entered.host_key)
    async with ways.as_operator(replace(PLACE, source=pinned), "root") as entered:
        assert entered.host_key == pinned.host_key
    fingerprint = plain.run("ssh-keygen", "-l", "-f", str(plain.host_key)).split()[1]
    async with ways.as_operator(replace(PLACE, expected_key=fingerprint), "root"):
        pass
    other = replace(SOURCE, host_key=f"ssh-ed25519 {'A' * 68}")
    for wrong in (replace(PLACE, source=other), replace(PLACE, expected_key="SHA256:x")):
        with pytest.raises(GuestUntrusted, match="another host key") as caught:
            async with ways.as_operator(wrong, "root"):
                raise AssertionError
        assert fingerprint in caught.value.message
    with pytest.raises(GuestUnreachable, match=f"lets {ACCOUNT} not in"):
        async with ways.as_onlooker(PLACE):
            raise AssertionError
    plain.write("/etc/ssh/operator.pub", "\n")
    with pytest.raises(GuestUnreachable, match="lets root not in") as refused:
        await prepare(ways, StepName.LOG_IN)
    assert "authorized_keys" in (refused.value.remedy or "")


async def test_what_is_secret_is_listed_and_nothing_of_it_is_read(
    plain: MachineSshd, tmp_path: Path
) -> None:
    ways = ways_to(plain, tmp_path / "state")
    plain.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    plain.write("/etc/ssh/ssh_host_ed25519_key", "PRIVATE")
    plain.run("useradd", "-d", "/run/amy", "-p", "$6$salt$hash", "amy")
    plain.run("mkdir", "-p", "/run/amy/.ssh", "/run/amy/.aws")
    for path in (".ssh/authorized_keys", ".ssh/id_rsa", ".ssh/id_rsa.pub", ".aws/credentials"):
        plain.write(f"/run/amy/{path}", "PRIVATE")
    async with ways.as_operator(PLACE, "root") as entered:
        taken = await take_step(StepName.SURVEY, entered, "root")
    found = {(secret.kind, secret.what) for secret in taken.secrets}
    assert found >= {
        ("machine_id", "/etc/machine-id"),
        ("host_key", "/etc/ssh/ssh_host_ed25519_key"),
        ("authorized_keys", "/run/amy/.ssh/authorized_keys"),
        ("private_key", "/run/amy/.ssh/id_rsa"),
        ("credentials", "/run/amy/.aws/credentials"),
        ("password", "amy"),
    }
    assert not [what for _, what in found if what.endswith(".pub")]
    assert "PRIVATE" not in str(taken)
    assert taken.said == f"{len(taken.secrets)} found"
    assert not taken.cloud_init


def test_a_clones_first_boot_removes_what_identified_its_source(plain: MachineSshd) -> None:
    """The seed's script, on a machine of which all that it touches is an overlay."""
    plain.run("mount", "-t", "tmpfs", "tmpfs", "/var")
    plain.run("mkdir", "-p", "/var/lib/dbus", "/var/log", "/var/lib/cloud/instances/SBX-01")
    plain.run("mkdir", "-p", "/var/lib/cloud/instances/i-source")
    plain.run("ln", "-s", "/var/lib/cloud/instances/SBX-01", "/var/lib/cloud/instance")
    machine_id = "0123456789abcdef0123456789abcdef\n"
    gone = (
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/etc/ssh/sandboxd_source_principals",
        "/var/lib/dbus/machine-id",
        "/var/log/cloud-init.log",
    )
    for path in (*gone, "/etc/machine-id", "/etc/ssh/sandboxd_host_key"):
        plain.write(path, machine_id)
    plain.run("/bin/sh", "-c", REMOVE_SECRETS)
    assert not [path for path in gone if plain.has(path)]
    assert plain.has("/etc/ssh/sandboxd_host_key")
    made = plain.read("/etc/machine-id")
    assert made != machine_id
    assert len(made.strip()) == 32
    assert plain.run("ls", "/var/lib/cloud/instances").split() == ["SBX-01"]


def test_only_who_asks_has_secrets_removed() -> None:
    def own_part(*, remove: bool) -> dict[str, object]:
        iso = seed_iso("SBX-01", "box", [], remove_secrets=remove)
        document: dict[str, object] = yaml.safe_load(user_data(iso))
        return document

    assert "bootcmd" not in own_part(remove=False)
    commands = own_part(remove=True)["bootcmd"]
    once = ["cloud-init-per", "instance", "sandboxd-secrets", "/bin/sh", "-c"]
    assert commands == [[*once, REMOVE_SECRETS]]
