"""A forge as a whole on loopback: repositories over https and ssh, and an API beside them.

git's own http-backend and git-shell serve the repositories, behind TLS with a token and behind a
real sshd; the API is one of `dialects`. What was asked, and with which headers, is kept.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fleet.certificates import ADDRESS, Authority
from tests.fleet.process import Server, on_free_port
from tests.fleet.ssh import make_key, public_key
from tests.guests.sshd import wait_for_sshd
from tests.publishing.dialects import DIALECTS, Dialect, Fault, Reply

TOKEN = "canary-token-5c1d9e"
OWNER = "infra"
BACKEND = "/usr/lib/git-core/git-http-backend"


def git(*arguments: str, at: Path, stdin: bytes | None = None) -> str:
    """Run git as whoever works on the other side, without anybody's configuration."""
    environment = {
        **{key: os.environ[key] for key in ("PATH",)},
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Ana"), ("EMAIL", "ana@example.org"))
        },
    }
    ran = subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments],
        cwd=at,
        env=environment,
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, (arguments, ran.stderr)
    return ran.stdout.decode(errors="replace").strip()


@dataclass
class House:
    """The server; its repositories are under `root`, named OWNER/NAME.git."""

    directory: Path
    dialect: Dialect
    port: int = 0
    ssh_port: int = 0
    seen: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, path and headers of every request."""
    replies: deque[Reply] = field(default_factory=deque)
    """What the API answers next instead of what it should."""
    lose_answers: int = 0
    """So many answers of the API get lost after the work was done."""
    before_git: Callable[[str], object] = lambda _path: None
    """Called with the path of every request to a repository, before it is served."""

    @property
    def root(self) -> Path:
        return self.directory / "repositories"

    @property
    def url(self) -> str:
        return f"https://{ADDRESS}:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.directory / "pki" / "cacert.pem"

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def ssh_key(self) -> Path:
        return self.directory / "ssh" / "key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "ssh" / "known_hosts"

    def https(self, name: str = "site") -> str:
        return f"{self.url}/{OWNER}/{name}.git"

    def ssh(self, name: str = "site") -> str:
        user = pwd.getpwuid(os.getuid()).pw_name
        return f"ssh://{user}@{ADDRESS}:{self.ssh_port}/{OWNER}/{name}.git"

    def repository(self, name: str = "site") -> Path:
        """Return a repository, made with one commit on main when it is new."""
        path = self.root / OWNER / f"{name}.git"
        if not path.exists():
            path.mkdir(parents=True)
            git("init", "--quiet", "--bare", "--initial-branch=main", at=path)
            for key in ("http.receivepack", "uploadpack.allowFilter"):
                git("config", key, "true", at=path)
            self.write(name, {"README": "first\n"})
        return path

    def write(self, name: str, files: Mapping[str, str], branch: str = "main") -> str:
        """Commit files to a branch, as a colleague would; return the commit."""
        at = self.root / OWNER / f"{name}.git"
        tip = subprocess.run(
            [
                "git",
                "-c",
                "safe.directory=*",
                "rev-parse",
                "--verify",
                "-q",
                f"refs/heads/{branch}",
            ],
            cwd=at,
            capture_output=True,
            check=False,
        ).stdout.decode()
        head = tip.strip()
        entries = git("ls-tree", head, at=at).splitlines() if head else []
        kept = [line for line in entries if line.partition("\t")[2] not in files]
        for path, content in files.items():
            sha = git("hash-object", "-w", "--stdin", at=at, stdin=content.encode())
            kept.append(f"100644 blob {sha}\t{path}")
        return self.commit(name, "\n".join(kept) + "\n", branch, parent=head)

    def commit(self, name: str, entries: str, branch: str, parent: str = "") -> str:
        """Commit a tree of these entries, whatever they are."""
        at = self.root / OWNER / f"{name}.git"
        tree = git("mktree", "--missing", at=at, stdin=entries.encode())
        parents = ("-p", parent) if parent else ()
        sha = git("commit-tree", tree, *parents, "-m", f"on {branch}", at=at)
        git("update-ref", f"refs/heads/{branch}", sha, at=at)
        return sha

    def head(self, branch: str, name: str = "site") -> str | None:
        """Return where a branch is, None when there is none."""
        at = self.root / OWNER / f"{name}.git"
        refs = git("for-each-ref", "--format=%(refname) %(objectname)", at=at).splitlines()
        return dict(line.split(" ") for line in refs).get(f"refs/heads/{branch}")

    def files(self, branch: str, name: str = "site") -> dict[str, str]:
        """Return what a branch holds: modes by path."""
        at = self.root / OWNER / f"{name}.git"
        listed = git("ls-tree", "-r", f"refs/heads/{branch}", at=at).splitlines()
        return {line.partition("\t")[2]: line[:6] for line in listed}

    def hook(self, script: str, name: str = "site") -> None:
        """Protect a repository by what is run before it receives."""
        path = self.root / OWNER / f"{name}.git" / "hooks" / "pre-receive"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def merge(self, number: int, name: str = "site") -> None:
        """Merge a request, as a reviewer does, and remove its branch."""
        one = self.dialect.requests[number]
        at = self.root / OWNER / f"{name}.git"
        git("update-ref", f"refs/heads/{one.base}", one.sha, at=at)
        git("update-ref", "-d", f"refs/heads/{one.head}", at=at)
        one.state = "merged"

    def api_calls(self) -> list[tuple[str, str]]:
        """Return what the API was asked, in order."""
        return [(method, path) for method, path, _ in self.seen if path.startswith("/api/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _TlsServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def serve(self) -> None:
        house = self.server.house
        body = self._body()
        headers = {key.lower(): value for key, value in self.headers.items()}
        house.seen.append((self.command, self.path, headers))
        if self.path.startswith("/api/"):
            self._api(house, headers, body)
        else:
            self._git(house, headers, body)

    do_GET = do_POST = do_PUT = do_PATCH = serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _api(self, house: House, headers: Mapping[str, str], body: bytes) -> None:
        parts = urlsplit(self.path)
        if house.replies:
            self._send(house.replies.popleft())
            return
        if not house.dialect.admits(headers, TOKEN):
            self._send(Reply(401, {"message": "Bad credentials"}))
            return
        document = json.loads(body) if body else None
        query = dict(parse_qsl(parts.query))
        path = parts.path.removeprefix(house.dialect.base)
        try:
            reply = house.dialect.answer(self.command, path, query, document)
        except Fault as fault:
            reply = fault.reply
        if house.lose_answers:
            house.lose_answers -= 1
            self.close_connection = True
            return
        self._send(reply)

    def _git(self, house: House, headers: Mapping[str, str], body: bytes) -> None:
        house.before_git(self.path)
        kind, _, encoded = headers.get("authorization", "").partition(" ")
        password = base64.b64decode(encoded).decode().partition(":")[2] if kind == "Basic" else ""
        if password != TOKEN:
            challenge = {"www-authenticate": 'Basic realm="git"'}
            self._send(Reply(401, {"message": "who are you?"}, challenge))
            return
        if house.replies:
            self._send(house.replies.popleft())
            return
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(house.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "REMOTE_USER": "sandboxd",
            "REMOTE_ADDR": ADDRESS,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        ran = subprocess.run(
            [BACKEND], env=environment, input=body, capture_output=True, check=False
        )
        head, _, content = ran.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for key, value in fields.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send(self, reply: Reply) -> None:
        content = reply.raw if reply.raw is not None else json.dumps(reply.document).encode()
        self.send_response(reply.status)
        for key, value in {"content-type": "application/json", **reply.headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _TlsServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, house: House) -> None:
        self.house = house
        super().__init__((ADDRESS, 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki = house.directory / "pki"
        context.load_cert_chain(pki / "servercert.pem", pki / "serverkey.pem")
        self.context = context

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        secured = self.context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return secured, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of the play."""


@contextmanager
def opened(directory: Path, kind: str = "github") -> Iterator[House]:
    """Run a house until the block is left."""
    directory.mkdir(parents=True, exist_ok=True)
    Authority("forge").server(directory / "pki")
    house = House(directory=directory, dialect=DIALECTS[kind]())
    house.root.mkdir()
    house.token_file.write_text(f"{TOKEN}\n")
    with _TlsServer(house) as server:
        house.port = server.server_address[1]
        house.dialect.origin = house.url
        house.dialect.shas = lambda branch: house.head(branch)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield house
        finally:
            server.shutdown()
            thread.join()


_SSHD = """Port {port}
ListenAddress {address}
HostKey {directory}/host
AuthorizedKeysFile {directory}/authorized
PidFile none
StrictModes no
UsePAM yes
PasswordAuthentication no
PermitRootLogin yes
LogLevel DEBUG1
ForceCommand {directory}/serve
"""
_SERVE = """#!/bin/sh
# Repositories are named from the root of what is served.
asked=$(printf %s "$SSH_ORIGINAL_COMMAND" | sed "s#'/#'{root}/#")
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
exec git-shell -c "$asked"
"""


@contextmanager
def with_sshd(house: House) -> Iterator[Server]:
    """Serve the house's repositories over ssh, too."""
    directory = house.directory / "ssh"
    directory.mkdir()
    make_key(house.ssh_key, "publisher")
    make_key(directory / "host", "host")
    (directory / "authorized").write_text(f"{public_key(house.ssh_key)}\n")
    serve = directory / "serve"
    serve.write_text(_SERVE.format(root=house.root))
    serve.chmod(0o755)
    key = " ".join(public_key(directory / "host").split()[:2])
    config, log = directory / "sshd_config", directory / "log"
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def start(port: int) -> Server:
        config.write_text(_SSHD.format(port=port, address=ADDRESS, directory=directory))
        started = Server.start(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], log=log)
        wait_for_sshd(started, log, port)
        house.ssh_port = port
        return started

    sshd = on_free_port(start)
    house.known_hosts.write_text(f"[{ADDRESS}]:{house.ssh_port} {key}\n")
    try:
        yield sshd
    finally:
        sshd.kill()
