"""How change sets are published, and the forges that they may be published to.

A repository on no forge named here is never contacted. Secrets are files, read when they are needed
and never part of the settings. A new token in `token_file` needs no restart; one that systemd hands
over does, since a credential is a copy that it makes when it starts the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from scheduler.config.quantities import Mebibytes, Seconds, Whole
from scheduler.config.sections import AbsolutePath, Attempts, Section
from scheduler.validation.faults import Fault
from scheduler.validation.fields import Name, refusal

CREDENTIAL = "forge__"
"""A credential `forge__NAME` is the token of the forge NAME."""
_ADDRESS_REMEDY = "give https://HOST, with a port or a path if it has one, and nothing else"


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refusal("this is no web address", _ADDRESS_REMEDY) from None
    plain = f"https://{parts.hostname}" + (f":{port}" if port else "") + parts.path
    if parts.scheme != "https" or not parts.hostname or text.lower() != plain.lower():
        raise refusal("this is no plain https address", _ADDRESS_REMEDY)
    if not text.isascii() or not text.isprintable() or ".." in text:
        raise refusal("this is no plain https address", _ADDRESS_REMEDY)
    return text.rstrip("/")


WebAddress = Annotated[
    str,
    StringConstraints(max_length=300, pattern=r"^https://[!-~]+$"),
    AfterValidator(_web_address),
]
PersonName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f<>\"\\]{1,100}$")]
EmailAddress = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,190}$")
]
Login = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._@+-]{0,99}$")]


class PublishingSection(Section):
    """Commits, pull and merge requests."""

    author_name: PersonName = "sandboxd"
    author_email: EmailAddress = "sandboxd@localhost"
    """Who commits, as the repository's history shows it."""
    attempts: Attempts = 8
    """So often in a row a step may not succeed before the publication has failed.

    Looks at an open request are not counted: `follow_seconds` bounds them.
    """
    git_seconds: Seconds = 300
    """How long one call to a repository may take."""
    max_repository_mb: Annotated[Mebibytes, Field(ge=1)] = 1024
    """The largest pack that a repository may send, file contents left out where it can do that."""
    max_change_set_mb: Annotated[Mebibytes, Field(ge=1)] = 64
    max_files: Annotated[Whole, Field(ge=1, le=100_000)] = 2000
    poll_seconds: Seconds = 900
    """How often, at the longest, an open request is looked at; fresh ones are more often."""
    follow_seconds: Seconds = 7_776_000
    """A request that nobody has decided after this long is followed no further."""


class ForgeSection(Section):
    """A server with repositories and requests, and what opens it."""

    name: Name
    kind: Literal["github", "gitlab", "gitea", "forgejo"]
    url: WebAddress
    """Where its repositories are: what a repository's URL begins with."""
    api_url: WebAddress | None = None
    """Where its API is, if not where its kind has it."""
    token_file: AbsolutePath | None = None
    """The token; by default the credential `forge__NAME`."""
    username: Login | None = None
    """The user that the token is of, if git over https must be told."""
    ssh_key: AbsolutePath | None = None
    ssh_known_hosts: AbsolutePath | None = None
    """For repositories over ssh; host keys are always verified."""
    ca_file: AbsolutePath | None = None
    """The authorities to be believed, if not those of this machine."""

    @model_validator(mode="after")
    def _ssh_is_whole(self) -> Self:
        if (self.ssh_key is None) is not (self.ssh_known_hosts is None):
            raise refusal(
                "only one of ssh_key and ssh_known_hosts is set",
                "set both, or neither for https only",
            )
        return self

    @property
    def host(self) -> str:
        """Return the host of its repositories."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Return the port of its repositories over https."""
        return urlsplit(self.url).port or 443

    @property
    def prefix(self) -> str:
        """Return what the paths of its repositories begin with, such as `git/`; often nothing."""
        path = urlsplit(self.url).path.strip("/")
        return f"{path}/" if path else ""

    @property
    def api(self) -> str:
        """Return where its API is."""
        if self.api_url is not None:
            return self.api_url
        if self.kind == "github":
            hosted = self.host == "github.com"
            return "https://api.github.com" if hosted else f"{self.url}/api/v3"
        return f"{self.url}/api/{'v4' if self.kind == 'gitlab' else 'v1'}"


def with_credentials(forges: object, directory: Path | None) -> object:
    """Return the forges with the token that systemd hands over, where they name none."""
    if not isinstance(forges, list) or directory is None:
        return forges
    return [_with_credential(forge, directory) for forge in forges]


def _with_credential(forge: Any, directory: Path) -> object:
    name = forge.get("name") if isinstance(forge, Mapping) else None
    if not isinstance(name, str) or "token_file" in forge or not name.replace("-", "").isalnum():
        return forge
    path = directory / f"{CREDENTIAL}{name}"
    return {**forge, "token_file": str(path)} if path.is_file() else forge


def twins(forges: object) -> Iterator[Fault]:
    """Yield a fault for every forge whose name or URL an earlier one has already."""
    seen: dict[tuple[str, str], int] = {}
    for number, forge in enumerate(forges if isinstance(forges, list) else ()):
        for key in ("name", "url"):
            value = forge.get(key) if isinstance(forge, Mapping) else None
            earlier = seen.setdefault((key, str(value).rstrip("/")), number)
            if isinstance(value, str) and earlier != number:
                yield Fault(
                    path=f"forges.{number}.{key}",
                    message=f"forges.{earlier} has this {key} already",
                    remedy=f"give every forge a {key} of its own",
                )
