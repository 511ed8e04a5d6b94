"""How git reaches a repository: an environment of nothing but what it needs, and strict ssh.

No configuration of a user or a system is read, no hook is run, no redirect followed, and no other
protocol spoken. The token goes from its file to git by a program that answers for one origin only.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scheduler.errors import RemoteRefused
from scheduler.validation.repositories import RepositoryAddress

PROTOCOLS = "https:ssh"
REMOTE = "origin"
_ASKPASS = """#!/bin/sh
# Answers git's question for one origin's user and token, and no other.
case "$1" in
"Username for '$SANDBOXD_ORIGIN': ") printf '%s\\n' "$SANDBOXD_USERNAME" ;;
"Password for '$SANDBOXD_ASKED': ") exec cat "$SANDBOXD_TOKEN_FILE" ;;
*) exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A repository and what opens it."""

    address: RepositoryAddress
    username: str = "git"
    token_file: Path | None = None
    handed_over: bool = False
    """Whether that file is a credential: a copy that systemd made when the daemon started."""
    ca_file: Path | None = None
    ssh_key: Path | None = None
    ssh_known_hosts: Path | None = None

    def check(self) -> None:
        """Raise `RemoteRefused` when nothing is configured that could open it."""
        over_ssh = self.address.scheme == "ssh"
        if over_ssh and (self.ssh_key is None or self.ssh_known_hosts is None):
            raise _closed("ssh_key and ssh_known_hosts")
        if not over_ssh and self.token_file is None:
            raise _closed("token_file, or the credential of its token")

    def prepare(self, directory: Path) -> Mapping[str, str]:
        """Write what git needs into a private directory; return the environment it runs in."""
        askpass, home = directory / "askpass", directory / "home"
        home.mkdir(mode=0o700)
        askpass.write_text(_ASKPASS)
        askpass.chmod(0o700)
        asked = self.address.origin.replace("://", f"://{self.username}@", 1)
        environment = {
            "PATH": os.defpath,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "TMPDIR": str(directory),
            "LC_ALL": "C",
            "GIT_DIR": str(directory / "repository.git"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": PROTOCOLS,
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": self._ssh(),
            "GIT_ASKPASS": str(askpass),
            "SSH_ASKPASS": str(askpass),
            "SANDBOXD_ORIGIN": self.address.origin,
            "SANDBOXD_ASKED": asked,
            "SANDBOXD_USERNAME": self.username,
            "SANDBOXD_TOKEN_FILE": str(self.token_file or os.devnull),
        }
        return environment | dict(_configuration(self._settings()))

    def _settings(self) -> Iterator[tuple[str, str]]:
        yield from (
            (f"remote.{REMOTE}.url", self.address.url),
            # Contents of files are left where they are: only names are needed to build on them.
            (f"remote.{REMOTE}.promisor", "true"),
            (f"remote.{REMOTE}.partialclonefilter", "blob:none"),
            ("core.hooksPath", os.devnull),
            ("core.fsync", "none"),
            ("credential.helper", ""),
            ("http.followRedirects", "false"),
            ("http.lowSpeedLimit", "100"),
            ("http.lowSpeedTime", "60"),
            ("protocol.allow", "never"),
            ("protocol.https.allow", "always"),
            ("protocol.ssh.allow", "always"),
            ("transfer.credentialsInUrl", "die"),
            ("fetch.recurseSubmodules", "false"),
            ("push.recurseSubmodules", "no"),
            ("push.gpgSign", "false"),
            ("commit.gpgSign", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
        )
        if self.ca_file is not None:
            yield "http.sslCAInfo", str(self.ca_file)

    def _ssh(self) -> str:
        known = self.ssh_known_hosts or Path(os.devnull)
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f'"{known}"',
            "GlobalKnownHostsFile": os.devnull,
            "UpdateHostKeys": "no",
            "ClearAllForwardings": "yes",
            "PermitLocalCommand": "no",
            "PasswordAuthentication": "no",
            "ConnectTimeout": "30",
            "ServerAliveInterval": "15",
        }
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        key = self.ssh_key or Path(os.devnull)
        program = shutil.which("ssh", path=os.defpath) or "ssh"
        return shlex.join([program, "-F", "none", "-i", str(key), *given])


def _configuration(settings: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield variables that git reads settings from; nothing of a value is interpreted."""
    count = 0
    for key, value in settings:
        yield f"GIT_CONFIG_KEY_{count}", key
        yield f"GIT_CONFIG_VALUE_{count}", value
        count += 1
    yield "GIT_CONFIG_COUNT", str(count)


def _closed(what: str) -> RemoteRefused:
    return RemoteRefused(
        f"nothing is configured that would open the repository: its forge has no {what}",
        reason="no_token",
        remedy="add it to the forge in the configuration, restart sandboxd, then retry",
    )
