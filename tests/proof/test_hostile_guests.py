"""Guests that mean harm, on a real host: addresses that are not theirs, floods, escape sequences.

`victim` does nothing wrong; `mallory` takes its address and poses as an sshd; `liar` asks for no
lease, and has an agent that names addresses of others.
"""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fleet.process import wait_until
from tests.proof.commanding import CLIENT, LONG_S, Commanding, commanding

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

FOREIGN = "10.99.0.9"
EVIL = "\\033]0;owned\\007\\033[2J\\033[31mred\\302\\233m\\r\\n"
GROWTH_MB = 64
POSE = f"""
mv /usr/sbin/sshd /usr/sbin/sshd.away
kill "$(cat /run/sshd.pid)"
(while :; do
    printf 'SSH-2.0-{EVIL}' | nc -l -p 22
    (printf '{EVIL}'; yes) | nc -l -p 22
    cat /dev/zero | nc -l -p 22
done) >/dev/null 2>&1 &
"""
# From its next boot on it asks for no lease; its agent names a foreign address, then the victim's.
LIE = """
sed -i 's/^.*udhcpc -i.*$/sh \\/etc\\/agent \\&/' /etc/rc
cat >/etc/agent <<'END'
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] && exec 3<>"/dev/${port##*/}"
done
mac=$(cat /sys/class/net/eth0/address)
[ -e /etc/lied ] && address=VICTIM || address=FOREIGN
: >/etc/lied
sync
entry='{"ip-address": "'$address'", "ip-address-type": "ipv4", "prefix": 24}'
nic='{"name": "eth0", "hardware-address": "'$mac'", "ip-addresses": ['$entry']}'
while read -r line <&3; do
    case $line in
    *guest-sync*) id=${line##*:} && echo '{"return": '"${id%%\\}*}"'}' >&3 ;;
    *guest-network-get-interfaces*) echo '{"return": ['"$nic"']}' >&3 ;;
    *) echo '{"error": {"class": "CommandNotFound", "desc": "unknown"}}' >&3 ;;
    esac
done
END
(sleep 1; kill -USR2 $(pidof udhcpc)) >/dev/null 2>&1 &
sync
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commanding]:
    with commanding(tmp_path_factory.mktemp("hostile")) as made:
        for name in ("victim", "mallory", "liar"):
            made.story.create(name, ready="ssh")
        for name in ("victim", "mallory", "liar"):
            made.daemon.wait_for(name, seconds=LONG_S, state="RUNNING")
        yield made


def on_a_terminal(world: Commanding, *words: str) -> bytes:
    """Return what `sandboxctl` writes when it has a terminal for output and errors."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "SANDBOXD_SOCKET": str(world.daemon.socket), "TERM": "xterm"}
    with subprocess.Popen(
        [*CLIENT, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # a terminal whose other side is gone
            while block := os.read(ours, 65536):
                said += block
        process.wait(LONG_S)
    os.close(ours)
    return said


def is_inert(said: bytes) -> bool:
    """Return whether nothing in it steers a terminal, but for what draws our own colours."""
    text = said.decode("utf-8")
    return not any(one in text for one in ("\x1b]", "\x1b[2J", "\x07", "\x9b"))


def memory_mb(world: Commanding) -> int:
    assert world.daemon.process is not None
    status = Path(f"/proc/{world.daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def test_escape_sequences_reach_no_terminal(world: Commanding) -> None:
    told = on_a_terminal(world, "exec", "mallory", "--", "printf", EVIL)
    assert b"owned" in told
    assert is_inert(told), told
    newest = world.newest("mallory")["id"]
    for words in (("command", "output", newest), ("command", "show", newest)):
        again = on_a_terminal(world, *words)
        assert again
        assert is_inert(again), again
    piped = world.exec("mallory", "--", "printf", EVIL)
    assert piped.stdout == EVIL.encode().decode("unicode_escape").encode("latin-1")


def test_a_guest_cannot_send_as_another_once_it_has_its_address(world: Commanding) -> None:
    """libvirt's filter: the same ping passes with the guest's own address."""
    victim = world.daemon.sandbox("victim")["ip_address"]
    line = 'ip a add "$1/32" dev eth0; ping -c 2 -W 2 -I "$1" 192.168.122.1 >/dev/null; echo $?'
    stolen = world.exec(
        "mallory", "--", "sh", "-c", f'{line}; ip a del "$1/32" dev eth0', "sh", victim
    )
    assert stolen.stdout == b"1\n", stolen
    own = world.exec(
        "mallory", "--", "sh", "-c", "ping -c 2 -W 2 192.168.122.1 >/dev/null; echo $?"
    )
    assert own.stdout == b"0\n", own


def test_who_poses_as_an_sshd_floods_and_colours_nobody(world: Commanding) -> None:
    assert world.exec("--script", "-", "mallory", stdin=POSE.encode()).returncode == 0
    # No connection from before is left to be joined.
    world.daemon.kill()
    world.daemon.start()
    assert world.exec("victim", "hostname").stdout == b"victim\n"
    before = memory_mb(world)
    refused = on_a_terminal(world, "exec", "mallory", "true")
    assert b"nothing was run" in refused, refused
    assert is_inert(refused), refused
    assert memory_mb(world) < before + GROWTH_MB
    assert world.exec("victim", "hostname").stdout == b"victim\n"


def test_a_foreign_address_is_told_and_never_dialled(world: Commanding) -> None:
    host, liar = world.fleet["h1"], world.daemon.sandbox("liar")["ip_address"]
    victim = world.daemon.sandbox("victim")["ip_address"]
    script = LIE.replace("FOREIGN", FOREIGN).replace("VICTIM", victim)
    assert world.exec("--script", "-", "liar", stdin=script.encode()).returncode == 0
    # The lease it gave back would be believed.
    wait_until(lambda: liar not in host.virsh("net-dhcp-leases", "default"), what="its lease gone")
    host.run("iptables", "-I", "OUTPUT", "-d", FOREIGN)
    boots_again(world)
    wait_until(lambda: refuses(world, FOREIGN), what="the foreign address", limit_s=LONG_S)
    refused = world.exec("liar", "true")
    assert (refused.returncode, b"only a RUNNING one" in refused.stderr) == (125, True), refused
    counted = host.run("iptables", "-L", "OUTPUT", "-v", "-n", "-x")
    assert [line.split()[:2] for line in counted.splitlines() if FOREIGN in line] == [["0", "0"]]


def test_who_names_anothers_address_is_not_taken_for_that_guest(world: Commanding) -> None:
    victim = world.daemon.sandbox("victim")["ip_address"]
    world.fleet["h1"].virsh("reset", "liar")
    wait_until(lambda: refuses(world, victim), what="the victim's address", limit_s=LONG_S)
    assert world.exec("victim", "hostname").stdout == b"victim\n"
    assert world.daemon.sandbox("victim")["ip_address"] == victim


def boots_again(world: Commanding) -> None:
    """Pull `liar`'s plug and have it started."""
    world.fleet["h1"].virsh("destroy", "liar")
    world.daemon.wait_for("liar", state="ERROR")
    world.daemon.api.post("/v1/sandboxes/liar/retry")


def refuses(world: Commanding, address: str) -> bool:
    """Return whether `liar` is told to name this address, which is not used."""
    liar = world.daemon.sandbox("liar")
    return liar["ip_address"] is None and any(
        one["kind"] == "address_refused" and address in one["message"] for one in liar["conditions"]
    )
