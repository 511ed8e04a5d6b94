"""Where a repository is and what a branch may be called: few characters, so that none can act.

What passes here is no option, no revision syntax, no path out of a folder and no URL with a secret,
whichever program it is handed to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from scheduler.validation.fields import refusal

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
_PATH = r"(?P<path>[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+){1,10})"
_HTTPS = re.compile(rf"(?P<scheme>https)://{_HOST}(?::(?P<port>[0-9]{{1,5}}))?/{_PATH}/?", re.ASCII)
_SSH = re.compile(
    rf"(?P<scheme>ssh)://(?:(?P<user>[a-z_][a-z0-9_-]{{0,31}})@)?{_HOST}"
    rf"(?::(?P<port>[0-9]{{1,5}}))?/{_PATH}/?",
    re.ASCII,
)
_SCP = re.compile(rf"(?P<user>[a-z_][a-z0-9_-]{{0,31}})@{_HOST}:(?!/){_PATH}", re.ASCII)
_COMPONENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]{0,126}[A-Za-z0-9_+-])?", re.ASCII)
LONGEST_URL = 500
LONGEST_BRANCH = 200
LONGEST_FOLDER = 300
DEFAULT_PORTS = {"https": 443, "ssh": 22}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAddress:
    """A repository as its URL names it; `user` is an ssh login, never a secret."""

    scheme: str
    host: str
    port: int
    path: str
    """Without the leading slash and without `.git`."""
    suffix: str = ""
    """`.git` where the URL had it: servers differ in whether they want it."""
    user: str | None = None

    @property
    def url(self) -> str:
        """Return the one way to write it, by which two publications are the same."""
        login = f"{self.user}@" if self.user else ""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{login}{self.host}{port}/{self.path}{self.suffix}"

    @property
    def origin(self) -> str:
        """Return scheme, host and port, as git asks for credentials."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def repository_address(text: str) -> RepositoryAddress | None:
    """Return where a URL leads, None for one that names no repository over https or ssh."""
    if len(text) > LONGEST_URL:
        return None
    for pattern in (_HTTPS, _SSH, _SCP):
        match = pattern.fullmatch(text)
        if match is not None:
            return _address(match)
    return None


def _address(match: re.Match[str]) -> RepositoryAddress | None:
    groups = match.groupdict()
    scheme = groups.get("scheme") or "ssh"
    port = int(groups.get("port") or DEFAULT_PORTS[scheme])
    path = groups["path"].removesuffix(".git")
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or part.startswith(("-", "~")) for part in parts)
    if odd or not 0 < port < 65536:
        return None
    return RepositoryAddress(
        scheme=scheme,
        host=groups["host"].lower(),
        port=port,
        path=path,
        suffix=".git" if groups["path"].endswith(".git") else "",
        user=groups.get("user"),
    )


def is_branch(name: str) -> bool:
    """Return whether a text may be a branch here: what git allows, less what could be misread."""
    return len(name) <= LONGEST_BRANCH and name != "HEAD" and _are_components(name)


def is_folder(name: str) -> bool:
    """Return whether a text names a folder within a repository."""
    parts = name.lower().split("/")
    return len(name) <= LONGEST_FOLDER and ".git" not in parts and _are_components(name)


def _are_components(name: str) -> bool:
    return all(
        _COMPONENT.fullmatch(part) and ".." not in part and not part.endswith(".lock")
        for part in name.split("/")
    )


def _repository_url(text: str) -> str:
    address = repository_address(text)
    if address is None:
        raise refusal(
            "this is no repository over https or ssh",
            "give https://HOST/OWNER/NAME.git or git@HOST:OWNER/NAME.git, without a password",
        )
    return address.url


def _branch(text: str) -> str:
    if not is_branch(text):
        raise refusal(
            "this is no name for a branch",
            f"use at most {LONGEST_BRANCH} of A-Z, a-z, 0-9 and '._+-', in parts with '/' between",
        )
    return text


def _folder(text: str) -> str:
    if not is_folder(text):
        raise refusal(
            "this is no folder of a repository",
            "name it from the repository's root, such as roles/web, in A-Z, a-z, 0-9 and '._+-'",
        )
    return text


_Text = Annotated[str, StringConstraints(max_length=LONGEST_URL)]
RepositoryUrl = Annotated[_Text, AfterValidator(_repository_url)]
BranchName = Annotated[_Text, AfterValidator(_branch)]
FolderName = Annotated[_Text, AfterValidator(_folder)]
