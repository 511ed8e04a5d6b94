"""A sandbox changed in many ways over `sandboxctl`, and what must be told of it afterwards.

What was done stands here once, as a script and as what a diff and a review file must say of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from scheduler.cli.main import cli
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES, Host
from tests.fleet.process import wait_until
from tests.fleet.python_image import MEMORY_MIB, OFFERED, OFFERED_VERSION
from tests.proof.daemon import Daemon, Document

IMAGE = "small-python.qcow2"
JOB = "JOB-proof"
MANY_S = 900

HOME = "/root"
"""Where root lives in the guest."""
KEY = f"{HOME}/.ssh/id_ed25519"

EARLIER = "mkdir -p /srv/earlier && echo kept >/srv/earlier/file && echo mine >>/etc/motd"
"""Done before the first snapshot: no part of the change, and missing on every clone."""
INSTALL = f"apt-get update -q && apt-get install -y -q {OFFERED}"
CHANGE = rf"""
set -e
echo 'level = 2' >/etc/{OFFERED}.conf
rm /etc/host.conf
rm -r /etc/skel
echo '# more' >>/etc/inputrc
chown 33:33 /etc/issue
chmod 4711 /etc/issue
rm /etc/issue.net
ln -s issue /etc/issue.net
ln -sfn /nowhere /etc/rmt
mkdir -m 750 /opt/own
chown 33:33 /opt/own
printf 'x' >"/opt/own/a name with
a line and 'quotes' \"twice\" {{{{ lookup('pipe','touch ran') }}}} %{{x}}"
printf '\000\377' >/opt/own/ünïcode
: >/opt/own/empty
chmod 600 /opt/own/empty
ln -s '{{{{ braces }}}} and spaces' /opt/own/link
mkdir /opt/own/directory
touch '/opt/own/a $HOME'
mkfifo /opt/own/pipe
python3 -c 'import os; open(b"/opt/own/\xff", "w")'
head -c 300000 /dev/zero >/opt/own/large
mkdir -p -m 700 {HOME}/.ssh
echo '-----BEGIN OPENSSH PRIVATE KEY-----' >{KEY}
echo noise >>/var/log/noise
echo noise >/etc/machine-id
echo noise >>{HOME}/.bash_history
"""
HOSTILE = (
    "/opt/own/a name with\na line and 'quotes' \"twice\" {{ lookup('pipe','touch ran') }} %{x}"
)
ADDED = {
    f"/etc/{OFFERED}.conf",
    *("/opt/own", HOSTILE, "/opt/own/ünïcode", "/opt/own/empty", "/opt/own/link"),
    *("/opt/own/directory", "/opt/own/a $HOME", "/opt/own/pipe", "/opt/own/\\xff"),
    *("/opt/own/large", KEY),
}
MODIFIED = {"/etc/inputrc", "/etc/issue", "/etc/issue.net", "/etc/rmt"}
REMOVED = {
    *("/etc/host.conf", "/etc/skel"),
    *(f"/etc/skel/{name}" for name in (".bash_logout", ".bashrc", ".profile")),
}
REVIEWED = {
    *("/opt/own/a $HOME", "/opt/own/pipe", "/opt/own/\\xff", "/opt/own/large"),
    KEY,
    "*",
}
"""What no code can say, and so is missing on every clone; and services, of which the guest has
nobody who could tell."""


@dataclass(frozen=True)
class Bench:
    """Hosts, a daemon over them, and what a user asks of it."""

    fleet: Fleet
    daemon: Daemon

    def sandboxctl(self, *arguments: str, stdin: str | None = None) -> Result:
        environment = {"SANDBOXD_SOCKET": str(self.daemon.socket), "USER": "ana"}
        return CliRunner().invoke(
            cli, arguments, env=environment, input=stdin, catch_exceptions=False
        )

    def told(self, *arguments: str, stdin: str | None = None, code: int = 0) -> Document:
        """Return what a command says in JSON; it must end with this exit code."""
        ran = self.sandboxctl(*arguments, "-o", "json", stdin=stdin)
        assert ran.exit_code == code, f"{ran.stderr}{ran.stdout}{self.daemon.log_tail()}"
        document: Document = json.loads(ran.stdout)
        return document

    def hosts_come_up(self) -> None:
        for host in self.fleet:
            wait_until(
                lambda name=host.name: self.daemon.host(name)["health"] == "UP",  # type: ignore[misc]
                what=f"{host.name} UP",
                limit_s=180,
                every_s=0.2,
            )

    def create(self, name: str) -> Document:
        """Create a sandbox of the image and return it once its sshd answers."""
        size = ("--vcpus", "1", "--memory", f"{MEMORY_MIB}MiB", "--storage", "512MiB")
        return self.told(
            *("create", IMAGE, "--name", name, "--job", JOB, "--ready", "ssh", *size),
        )

    def run(self, name: str, script: str, *, code: int = 0) -> str:
        """Run a script in a guest by `sandboxctl exec`."""
        ran = self.sandboxctl("exec", "--script", "-", name, stdin=script)
        assert ran.exit_code == code, ran.stderr + ran.stdout
        return ran.stdout

    def snapshot(self, name: str, snapshot: str) -> None:
        made = self.told("snapshot", "create", name, snapshot)
        assert (made["state"], bool(made["manifest_ref"])) == ("READY", True), made

    def change_set(self, id: str) -> Document:
        found: Document = self.daemon.api.get(f"/v1/change-sets/{id}")
        return found

    def reaches(self, id: str, phases: Sequence[str]) -> Document:
        """Wait until a verification is in one of these phases; return the change set."""

        def there() -> bool:
            return (self.change_set(id)["verification"] or {}).get("phase") in phases

        wait_until(there, what=f"{id} {phases}", limit_s=MANY_S, every_s=0.1)
        return self.change_set(id)

    def plays(self) -> bool:
        """Return whether the daemon has ansible-playbook at work."""
        assert self.daemon.process is not None
        pid = self.daemon.process.pid
        children = [
            child
            for file in Path(f"/proc/{pid}/task").glob("*/children")
            for child in file.read_text().split()
        ]
        lines = [Path(f"/proc/{child}/cmdline") for child in children]
        return any(b"site.yml" in one.read_bytes() for one in lines if one.exists())

    def no_clone_is_left(self, name: str) -> None:
        """Nothing but this sandbox is on any host, and nothing else is reserved."""
        wait_until(
            lambda: (
                [one["sandbox_name"] for one in self.daemon.api.items("/v1/sandboxes")] == [name]
            ),
            what="the end of every clone",
            limit_s=MANY_S,
            every_s=0.3,
        )
        assert [one for host in self.fleet for one in _domains(host)] == [name]
        kept = [one.name for host in self.fleet for one in host.file(IMAGES).iterdir()]
        ours = str(self.daemon.sandbox(name)["id"]).lower()
        assert {one for one in kept if not one.startswith(ours)} == {"small.qcow2", IMAGE}

    def nothing_is_left(self) -> None:
        """Every host is as it was before."""
        for host in self.fleet:
            assert _domains(host) == []
            assert {one.name for one in host.file(IMAGES).iterdir()} == {"small.qcow2", IMAGE}
            record = self.daemon.host(host.name)
            reserved = {key: value for key, value in record.items() if key.startswith("reserved_")}
            assert set(reserved.values()) == {0}, reserved


def _domains(host: Host) -> list[str]:
    return host.virsh("list", "--all", "--name").split()


def check_diff(diff: Document) -> None:
    """A diff tells what was done and nothing more."""
    told = diff["diff_json"]
    assert set(told["files_added"]) == ADDED
    assert set(told["files_modified"]) == MODIFIED
    assert set(told["files_removed"]) == REMOVED
    assert told["packages_added"] == [{"name": OFFERED, "version": OFFERED_VERSION}]
    assert (told["packages_removed"], told["services_changed"]) == ([], [])
    assert [one["exit_code"] for one in told["commands_run"]] == [0, 0, 3]
