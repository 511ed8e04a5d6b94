"""ssh and tunnel, and what is known of logins: certificates, sessions, revocation."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import ssh as views

Document = dict[str, Any]

_PROGRAM = "from scheduler.cli.main import main; main()"
"""This very program, wherever it was installed."""
_HOST_KEYS = "ssh-ed25519-cert-v01@openssh.com"


@click.command(
    cls=Verb, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option("-l", "--user", default="root", help="As whom; root, unless said otherwise.")
@click.option(
    "-i",
    "--identity",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A private key of yours with its .pub beside it; a fresh one, unless given.",
)
@click.argument("sandbox")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(
    session: Session, *, sandbox: str, command: tuple[str, ...], user: str, identity: Path | None
) -> None:
    """Log in to SANDBOX, or run COMMAND there, with OpenSSH.

    The daemon signs a certificate for the key, good for this sandbox and a few minutes, and carries
    the connection; the guest must prove who it is. Exits as ssh does: with the guest's code, or
    255.
    """
    box = find_sandbox(session.client, sandbox)
    with tempfile.TemporaryDirectory(prefix="sandboxctl-") as directory:
        files = Path(directory)
        key = identity or _fresh_key(files)
        issued = _certificate(session, box["id"], key)
        (files / "login-cert.pub").write_text(f"{issued['certificate']}\n")
        (files / "known_hosts").write_text(issued["known_hosts"])
        argv = _argv(session.socket_path, box["id"], issued["id"], key, files)
        try:
            ended = subprocess.run([*argv, "-l", user, box["id"], *command], check=False)
        except FileNotFoundError as error:
            raise _no_openssh() from error
    click.get_current_context().exit(ended.returncode if ended.returncode >= 0 else Exit.FAILED)


@click.command(cls=Verb)
@click.argument("sandbox")
@click.option("--certificate", required=True, help="Your certificate for it, by its id.")
def tunnel(session: Session, *, sandbox: str, certificate: str) -> None:
    """Connect standard input and output to SANDBOX's sshd: a ProxyCommand for ssh.

    sandboxctl ssh does all of it; this is for other programs that speak SSH.
    """
    from scheduler.cli.tunnels import carry, open_tunnel, parts_of

    path = f"/v1/sandboxes/{segment(sandbox)}/tunnel?certificate={quote(certificate, safe='')}"
    connection = open_tunnel(session.socket_path, path)
    carry(connection, parts_of(sys.stdin.fileno()), sys.stdout.fileno())


@click.group()
def login() -> None:
    """Logins to guests: certificates that were issued, sessions that were held."""


@login.command("certificates", cls=Verb)
@click.option("--sandbox", help="Only those for this sandbox.")
@click.option("--actor", help="Only this caller's.")
def certificates(session: Session, *, sandbox: str | None, actor: str | None) -> None:
    """List the certificates that were issued, newest first."""
    query = {"sandbox_id": _id_of(session, sandbox), "actor": actor}
    found = list(session.client.items("/v1/ssh-certificates", query, at_most=500))
    session.printer.many(found, views.certificates(session.now()))


@login.command("sessions", cls=Verb)
@click.option("--sandbox", help="Only those with this sandbox.")
@click.option("--actor", help="Only this caller's.")
def sessions(session: Session, *, sandbox: str | None, actor: str | None) -> None:
    """List the connections to guests that the daemon carried, newest first."""
    query = {"sandbox_id": _id_of(session, sandbox), "actor": actor}
    found = list(session.client.items("/v1/ssh-sessions", query, at_most=500))
    session.printer.many(found, views.sessions(session.now()))


@login.command("revoke", cls=Verb)
@click.argument("certificate", required=False)
@click.option("--sandbox", help="Every certificate for this sandbox.")
def revoke(session: Session, *, certificate: str | None, sandbox: str | None) -> None:
    """Have CERTIFICATE begin no session any more; those that it began end at once."""
    if (certificate is None) == (sandbox is None):
        raise click.UsageError("name either a certificate or --sandbox")
    if certificate is None:
        box = segment(str(_id_of(session, sandbox)))
        ended = session.client.post(f"/v1/sandboxes/{box}/ssh-certificates/revoke")
        session.printer.one(dict(ended), views.REVOKED)
        return
    revoked = session.client.post(f"/v1/ssh-certificates/{segment(certificate)}/revoke")
    session.printer.one(revoked, views.certificates(session.now()))


def _id_of(session: Session, reference: str | None) -> str | None:
    return None if reference is None else str(find_sandbox(session.client, reference)["id"])


def _fresh_key(directory: Path) -> Path:
    key = directory / "login"
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sandboxctl", "-f", str(key)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise _no_openssh() from error
    return key


def _certificate(session: Session, sandbox_id: str, key: Path) -> Document:
    public = key.with_name(f"{key.name}.pub")
    try:
        text = public.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(
            f"the public half of {key} cannot be read: {error}",
            exit_code=Exit.USAGE,
            hint=f"write it: ssh-keygen -y -f {shlex.quote(str(key))} > {shlex.quote(str(public))}",
        ) from error
    issued: Document = session.client.post(
        f"/v1/sandboxes/{segment(sandbox_id)}/ssh-certificates", {"public_key": text}
    )
    return issued


def _argv(socket_path: str, sandbox_id: str, certificate: str, key: Path, files: Path) -> list[str]:
    """Return the ssh command without user, host and what to run; nothing of the user's settings."""
    proxy = shlex.join(
        [
            *(sys.executable, "-c", _PROGRAM, "tunnel"),
            *(
                "--socket",
                str(Path(socket_path).absolute()),
                "--certificate",
                certificate,
                sandbox_id,
            ),
        ]
    )
    settings = {
        "ProxyCommand": proxy.replace("%", "%%"),
        "IdentityFile": _quoted(key),
        "CertificateFile": _quoted(files / "login-cert.pub"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": _quoted(files / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": sandbox_id,
        "HostKeyAlgorithms": _HOST_KEYS,
        "PreferredAuthentications": "publickey",
        "ClearAllForwardings": "yes",
        "LogLevel": "INFO",  # with ERROR a connection that is closed early is not told at all
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    return ["ssh", "-F", "none", *options]


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def _no_openssh() -> Failure:
    return Failure(
        "there is no OpenSSH client here",
        exit_code=Exit.FAILED,
        hint="install it: apt-get install openssh-client",
    )
