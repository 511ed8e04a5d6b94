"""The configured forges: which one a repository is on, what opens it, and who speaks to it.

A repository on none of them is contacted by nobody; that is the list of allowed hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scheduler.clock import Clock
from scheduler.config.publishing import ForgeSection
from scheduler.errors import Invalid
from scheduler.publishing import gitea, github, gitlab
from scheduler.publishing.access import Access
from scheduler.publishing.forge import Forge
from scheduler.publishing.speaking import Speaker
from scheduler.validation.repositories import RepositoryAddress, repository_address

_KINDS: Mapping[str, tuple[Callable[[Speaker], Forge], Callable[[str], Mapping[str, str]], str]] = {
    "github": (github.GitHub, github.authorise, "x-access-token"),
    "gitlab": (gitlab.GitLab, gitlab.authorise, "oauth2"),
    "gitea": (gitea.Gitea, gitea.authorise, "oauth2"),
    "forgejo": (gitea.Gitea, gitea.authorise, "oauth2"),
}
"""Adapter, headers, and the user that each kind takes for a token over https."""


class Forges:
    """Belongs to no thread: nothing here changes.

    `credentials` is where systemd puts its copies of the secrets that the unit names.
    """

    def __init__(
        self, forges: Sequence[ForgeSection], clock: Clock, *, credentials: Path | None = None
    ) -> None:
        self._forges = {forge.name: forge for forge in forges}
        self._clock = clock
        self._credentials = credentials

    def of(self, repo_url: str) -> ForgeSection:
        """Return the forge that a repository is on; raises `Invalid` when none is configured."""
        address = repository_address(repo_url)
        matching = [forge for forge in self._forges.values() if address and _holds(forge, address)]
        if not matching:
            known = ", ".join(forge.url for forge in self._forges.values()) or "none"
            raise Invalid(
                f"no configured forge has the repository {repo_url}",
                remedy=f"add its forge to the configuration as [[forges]]; known: {known}",
                details={"repo_url": "it is on no configured forge"},
            )
        return max(matching, key=lambda forge: _fits(forge, address))

    def kind(self, name: str) -> str:
        """Return what kind the forge of a name is; one that is configured no more has none."""
        forge = self._forges.get(name)
        return "unknown" if forge is None else forge.kind

    def all(self) -> tuple[ForgeSection, ...]:
        """Return every configured forge."""
        return tuple(self._forges.values())

    def access(self, repo_url: str) -> Access:
        """Return what opens a repository to git."""
        forge, address = self.of(repo_url), repository_address(repo_url)
        assert address is not None
        return Access(
            address=address,
            username=forge.username or _KINDS[forge.kind][2],
            token_file=forge.token_file,
            handed_over=self._handed_over(forge),
            ca_file=forge.ca_file,
            ssh_key=forge.ssh_key,
            ssh_known_hosts=forge.ssh_known_hosts,
        )

    def path(self, repo_url: str) -> str:
        """Return a repository's path on its forge, as the forge's API knows it."""
        forge, address = self.of(repo_url), repository_address(repo_url)
        assert address is not None
        over_ssh = address.scheme == "ssh"
        return address.path if over_ssh else address.path.removeprefix(forge.prefix)

    def adapter(self, repo_url: str) -> Forge:
        """Return who speaks to the forge of a repository."""
        forge = self.of(repo_url)
        make, authorise, _ = _KINDS[forge.kind]
        return make(
            Speaker(
                forge.api,
                token_file=forge.token_file,
                handed_over=self._handed_over(forge),
                authorise=authorise,
                ca_file=forge.ca_file,
                now=lambda: self._clock.now().timestamp(),
            )
        )

    def _handed_over(self, forge: ForgeSection) -> bool:
        """Return whether a forge's token lies where systemd puts its copies."""
        token, directory = forge.token_file, self._credentials
        return token is not None and directory is not None and token.is_relative_to(directory)


def _holds(forge: ForgeSection, address: RepositoryAddress) -> bool:
    if address.host != forge.host:
        return False
    if address.scheme == "ssh":
        return True
    return address.port == forge.port and address.path.startswith(forge.prefix)


def _fits(forge: ForgeSection, address: RepositoryAddress | None) -> int:
    """Return how well a forge fits: over https by the path that it is under, over ssh by none."""
    over_ssh = address is not None and address.scheme == "ssh"
    return -len(forge.prefix) if over_ssh else len(forge.prefix)
