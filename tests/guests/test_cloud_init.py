"""A caller's cloud-config beside ours, judged by cloud-init's own code: nothing drops ours."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.guests.authorities import Authorities
from scheduler.guests.seed import REMOVE_SECRETS, guest_access, seed_iso
from scheduler.guests.user_data import user_data_part
from scheduler.validation.cloud_configs import KEPT, fault_of
from tests.fleet.image import unpacked_in
from tests.fleet.process import ProcessError
from tests.guests.machine_sshd import MachineSshd, machine_sshd
from tests.guests.test_seed import KEY, read

PACKAGES = (
    *("cloud-init", "python3-configobj", "python3-six"),
    *("python3-jsonpatch", "python3-json-pointer"),
)
PROGRAM = Path(__file__).with_name("cloud_init.py")
CA, SSHD = "/etc/ssh/sandboxd_ca.pub", "/etc/ssh/sshd_config.d/00-sandboxd.conf"
Document = dict[str, Any]

TAKEN = (
    "",
    "runcmd: [reboot]",
    "write_files:\n- {path: /etc/motd, content: theirs}",
    "write_files:\n- {path: /etc/ssh/sshd_config.d/99-theirs.conf, content: 'Port 22'}",
    "write_files:\n- {path: /etc/motd, content: x, defer: true}\n- {content: without a path}",
    "write_files:\n- {path: /etc/motd, owner: 'nobody-there:x', content: x}",
    "write_files:\n- {path: /etc/motd, permissions: [], encoding: gzip, content: x}",
    "write_files: []\nssh_authorized_keys: [ssh-ed25519 AAAA theirs]\nssh_pwauth: true",
    "ssh_pwauth: {a: b}\nusers: []\ndisable_root: true\nssh_deletekeys: true",
    "users: [default, {name: ana, ssh_authorized_keys: [x]}]\nmerge-how: x\npackages: [git]",
    "a: &a [1]\nb: *a\nc: {<<: {merge_how: list()}}\n? [write_files]\n: 5",
    "write_files:\n- path: /etc/motd\n  content: !!binary AAECAw==",
    "&x x: y\nz: !!int no-number",
    "a: *nowhere",
    "bootcmd: [echo hi, [touch, 5, false], 'false', \"5\", !!str false, 'if [']",
    "bootcmd: []",
)
REFUSED = (
    "merge_how: 'list()+dict(replace)+str()'\nwrite_files: []",
    "merge_type: 'list()+dict(replace)+str()'\nwrite_files: []",
    '"merge\\x5fhow": "list()+dict(replace)+str()"\nwrite_files: []',
    "x: &m merge_how\n*m : 'list()+dict(replace)+str()'\nwrite_files: []",
    "<<: {merge_how: 'list()+dict(replace)+str()'}\nwrite_files: []",
    "{!!merge m: {merge_how: 'list()+dict(replace)+str()'}, write_files: []}",
    "write_files: [5]",
    "write_files: [null]",
    f"write_files: [{{path: {CA}, content: theirs}}]",
    f"write_files: [{{content: theirs, path: //etc/./ssh/../ssh/{Path(CA).name}, defer: yes}}]",
    f"write_files: [{{path: {CA.removeprefix('/')}, content: theirs, append: true}}]",
    f"write_files: [{{path: {SSHD}, content: theirs}}]",
    "write_files: [{path: !!binary L2V0Yy9zc2gvc2FuZGJveGRfY2EucHVi, content: theirs}]",
    f"x: &p {CA}\nwrite_files: [{{path: *p, content: theirs}}]",
    f"x: &f {{path: {CA}, content: theirs}}\nwrite_files: [*f]",
    f"x: &f [{{path: {CA}, content: theirs}}]\nwrite_files: *f",
    f"write_files: [{{<<: {{path: {CA}}}, content: theirs}}]",
    "bootcmd: [false]",
    "bootcmd: [echo, 5]",
    "bootcmd: [{a: b}]",
    "bootcmd: [!!binary AAEC]",
    "x: &x false\nbootcmd: [*x]",
    "bootcmd: {false: b}",
    "x: &x [false]\nbootcmd: *x",
    "cloud_init_modules: []",
    "cloud_config_modules: [runcmd]",
    "cloud_final_modules: []",
)
HARMLESS_HERE = (
    *("ssh_authorized_keys: ssh-ed25519 AAAA", "write_files: {}", "[a]", "a: [", "--- a"),
    *("bootcmd: [null]", "bootcmd: false"),
)
"""Refused because it would be dropped in silence: cloud-init takes nothing of it."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_in(tmp_path_factory.mktemp("cloud-init"), PACKAGES)


@pytest.fixture(scope="module")
def cloud_init(unpacked: Path) -> Path:
    """Where Python finds cloud-init, as Debian has it."""
    return unpacked / "usr" / "lib" / "python3" / "dist-packages"


def seeds(tmp_path: Path, texts: Sequence[str]) -> list[str]:
    """Return the user data of seeds with these cloud-configs, whether they are taken or not."""
    access = guest_access(Authorities.open(tmp_path).signer, "SBX-01")
    own = read(seed_iso("SBX-01", "box", [KEY], access, remove_secrets=True), "user-data")
    return [user_data_part(own, f"#cloud-config\n{text}\n").decode("ascii") for text in texts]


def judged(cloud_init: Path, seeds: Sequence[str]) -> list[Document]:
    """Return what cloud-init makes of each."""
    environment = {**os.environ, "PYTHONPATH": str(cloud_init), "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=json.dumps(seeds).encode(),
        env=environment,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    answers: list[Document] = json.loads(ran.stdout)
    return answers


def ours_of(seed: str) -> Document:
    """Return the daemon's own part of a seed."""
    part = next(one for one in email.message_from_string(seed).walk() if not one.is_multipart())
    found: Document = yaml.safe_load(str(part.get_payload()))
    return found


def is_whole(ours: Document, answer: Document) -> bool:
    """Return whether the guest is told all that our part says, and writes our files as they are."""
    config, files = answer["config"], answer["files"]
    (removing,) = ours["bootcmd"]
    wanted = {
        one["path"]: [int(one["permissions"], 8), one["content"]] for one in ours["write_files"]
    }
    return (
        config["ssh_pwauth"] is False
        and set(ours["ssh_authorized_keys"]) <= set(config["ssh_authorized_keys"])
        and wanted.items() <= files.items()
        and not KEPT.keys() & config.keys()
        and config["bootcmd"][0] == removing
        and REMOVE_SECRETS.splitlines()[0] in answer["boot"]
    )


def test_ours_survives_whatever_is_taken(cloud_init: Path, tmp_path: Path) -> None:
    texts = seeds(tmp_path, [*TAKEN, *HARMLESS_HERE])
    assert [fault_of(f"#cloud-config\n{text}") for text in TAKEN] == [None] * len(TAKEN)
    for text, seed, answer in zip(
        (*TAKEN, *HARMLESS_HERE), texts, judged(cloud_init, texts), strict=True
    ):
        assert is_whole(ours_of(seed), answer), text
    motd = judged(cloud_init, texts[2:3])[0]["files"]["/etc/motd"]
    assert motd == [0o644, "theirs"]


def test_what_is_refused_would_have_dropped_or_replaced_ours(
    cloud_init: Path, tmp_path: Path
) -> None:
    texts = seeds(tmp_path, REFUSED)
    for text, seed, answer in zip(REFUSED, texts, judged(cloud_init, texts), strict=True):
        assert fault_of(f"#cloud-config\n{text}") is not None, text
        assert not is_whole(ours_of(seed), answer), text


def boot(machine: MachineSshd, path: str, script: str) -> None:
    """Run what cloud-init runs first; that a command of theirs fails is theirs."""
    with suppress(ProcessError):
        machine.run("env", path, "/bin/sh", "-c", script)


def test_a_clone_removes_its_sources_secrets_first_and_once(
    cloud_init: Path, unpacked: Path, tmp_path: Path
) -> None:
    """What cloud-init makes of the seed and runs as it boots; all that it touches is an overlay."""
    own = read(seed_iso("SBX-01", "box", [KEY], remove_secrets=True), "user-data")
    theirs = "#cloud-config\nbootcmd: [[cp, /etc/machine-id, /var/theirs], 'false', 'if [']\n"
    (answer,) = judged(cloud_init, [user_data_part(own, theirs).decode("ascii")])
    of_the_source = "0123456789abcdef0123456789abcdef\n"
    key = "/etc/ssh/ssh_host_ed25519_key"
    with machine_sshd(tmp_path / "machine") as machine:
        machine.run("mount", "-t", "tmpfs", "tmpfs", "/var")
        machine.run("mkdir", "-p", "/var/lib/dbus", "/var/lib/cloud/instances/SBX-01")
        machine.run("ln", "-s", "/var/lib/cloud/instances/SBX-01", "/var/lib/cloud/instance")
        for path in (key, "/etc/machine-id"):
            machine.write(path, of_the_source)
        path = f"PATH={unpacked}/usr/bin:{os.environ['PATH']}"
        boot(machine, path, answer["boot"])
        made = machine.read("/etc/machine-id")
        assert (made == of_the_source, machine.has(key)) == (False, False)
        assert machine.read("/var/theirs") == made
        machine.write(key, "its own")
        boot(machine, path, answer["boot"])
        assert (machine.read("/etc/machine-id"), machine.read(key)) == (made, "its own")
