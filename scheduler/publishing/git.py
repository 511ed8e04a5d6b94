"""One repository's branch, reached by git's plumbing in a private bare repository of no history.

There is no work tree, so no path of a stranger's ever becomes one here: names travel as bytes from
`ls-tree` to `mktree`. A commit is built from values alone and so is the same every time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from scheduler.errors import RemoteRefused
from scheduler.publishing.access import REMOTE, Access
from scheduler.publishing.programs import Ran, run
from scheduler.publishing.refusals import failure
from scheduler.publishing.secrets import read_token
from scheduler.publishing.telling import told
from scheduler.publishing.trees import Bounds, copied
from scheduler.validation.repositories import is_branch

_BASE = "refs/sandboxd/base"
_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ENTRY = re.compile(
    rb"(?P<mode>[0-9]{6}) (?P<kind>[a-z]+) (?P<sha>[0-9a-f]{40})\t(?P<name>.+)", re.S
)
_TREE_MODE = b"040000"
_TAKEN = "reference already exists"
"""What a server says of a branch that somebody made while we pushed it."""
_SHALLOW = "shallow update not allowed"
_INIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLimits:
    """What one repository may cost."""

    seconds: float = 300.0
    most_file_bytes: int = 2**30
    change_set: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What a repository said of two of its branches; None for one that is not there."""

    base: str | None
    base_sha: str | None
    branch_sha: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who commits, and when."""

    name: str
    email: str
    at: datetime

    def environment(self) -> Mapping[str, str]:
        """Return it as git wants it, for author and committer alike."""
        stamp = f"{int(self.at.timestamp())} +0000"
        return {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", self.name), ("EMAIL", self.email), ("DATE", stamp))
        }


class GitRepository:
    """A repository over https or ssh, from the inside of `opened`."""

    def __init__(self, directory: Path, access: Access, limits: GitLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._environment = access.prepare(directory)
        self._handed_over = access.handed_over
        self._secrets = _secrets_of(access)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, scratch: Path, access: Access, limits: GitLimits
    ) -> AsyncIterator[GitRepository]:
        """Make an empty bare repository under `scratch`; nothing of it is left afterwards."""
        access.check()
        directory = _private_directory(scratch)
        try:
            repository = cls(directory, access, limits)
            await repository._local("init", "--quiet", "--bare", "--template=")
            yield repository
        finally:
            await asyncio.to_thread(rmtree, directory, ignore_errors=True)

    async def heads(self, branch: str, base: str | None) -> Heads:
        """Ask where a branch and its base are; without a base for the default branch."""
        named = "HEAD" if base is None else f"refs/heads/{base}"
        wanted = f"refs/heads/{branch}"
        out = await self._remote(
            "asking the repository", "ls-remote", "--symref", "--", REMOTE, named, wanted
        )
        shas: dict[str, str] = {}
        for line in out.decode("utf-8", "replace").splitlines():
            value, _, name = line.partition("\t")
            if name == "HEAD" and value.startswith("ref: refs/heads/"):
                base = value.removeprefix("ref: refs/heads/")
            elif _SHA.fullmatch(value):
                shas[name] = value
        if base is not None and not is_branch(base):
            raise RemoteRefused(
                f"the repository's default branch has a name that is not taken: {told(base)}",
                reason="base_missing",
                remedy="name another base branch",
            )
        return Heads(base=base, base_sha=shas.get(named), branch_sha=shas.get(wanted))

    async def fetch(self, what: str) -> str:
        """Fetch a branch, or one commit, without history or file contents; return its commit."""
        source = what if _SHA.fullmatch(what) else f"refs/heads/{what}"
        await self._remote(
            "fetching",
            *("fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"),
            *("--no-recurse-submodules", "--filter=blob:none", "--", REMOTE, f"+{source}:{_BASE}"),
        )
        return await self._object("rev-parse", "--verify", "--quiet", f"{_BASE}^{{commit}}")

    async def commit(
        self, directory: Path, folder: str, *, parent: str, message: str, signature: Signature
    ) -> str:
        """Return a commit on `parent` whose folder is the directory's copy, and nothing else new.

        Raises `RemoteRefused` when that would change nothing, or the folder's path is taken.
        """
        subtree = await self._subtree(directory)
        before = await self._object("rev-parse", "--verify", f"{parent}^{{tree}}")
        root = await self._placed(before, folder.encode().split(b"/"), subtree)
        if root == before:
            raise RemoteRefused(
                f"the repository holds exactly this change set in {folder} already",
                reason="nothing_to_change",
                remedy="there is nothing to publish",
            )
        return await self._object(
            "commit-tree", "-p", parent, root, stdin=message.encode(), more=signature.environment()
        )

    async def push(self, commit: str, branch: str) -> None:
        """Make the branch, which must not be there, with a commit.

        Raises `RemoteRefused`: `stale` when it is there after all, `base_rewritten` when the server
        no longer has what the commit is built on, `rejected` when it does not want it.
        """
        target = f"refs/heads/{branch}"
        ran = await self._run(
            *("push", "--porcelain", "--no-verify", f"--force-with-lease={target}:"),
            *("--", REMOTE, f"{commit}:{target}"),
        )
        if ran.code == 0:
            return
        said = self._told(ran)
        verdict = next(
            (line for line in ran.out.decode("utf-8", "replace").splitlines() if line[:2] == "!\t"),
            "",
        )
        if "[rejected]" in verdict or _TAKEN in said:
            raise RemoteRefused(f"branch {branch} is there already", reason="stale")
        if _SHALLOW in verdict:
            # The server lacks the parent's history: nothing of the base is left there.
            raise RemoteRefused("the base branch was rewritten meanwhile", reason="base_rewritten")
        if "[remote rejected]" in verdict:
            why = told(verdict.partition("[remote rejected]")[2])
            raise RemoteRefused(
                f"the repository refused branch {branch} {why}: {said}",
                reason="rejected",
                remedy="see what protects it there, or publish to another branch; then retry",
            )
        raise failure("pushing", ran.code, said, handed_over=self._handed_over)

    async def _subtree(self, directory: Path) -> str:
        copies = _private_directory(self._directory)
        index = {"GIT_INDEX_FILE": str(copies / "index")}
        files = await asyncio.to_thread(copied, directory, copies, self._limits.change_set)
        paths = "".join(f"{file.copy}\n" for file in files)
        out = await self._local(
            "hash-object", "-w", "--no-filters", "--stdin-paths", stdin=paths.encode()
        )
        entries = b"".join(
            f"{'100755' if file.executable else '100644'} {sha}\t{file.path}\0".encode()
            for file, sha in zip(files, out.decode().split(), strict=True)
        )
        await self._local("update-index", "-z", "--index-info", stdin=entries, more=index)
        return await self._object("write-tree", more=index)

    async def _placed(self, tree: str | None, folder: Sequence[bytes], subtree: str) -> str:
        """Return a tree like the one given, but for the folder in it."""
        name, *below = folder
        entries = [] if tree is None else await self._entries(tree)
        there = next((match for match in entries if match["name"] == name), None)
        if there is not None and there["mode"] != _TREE_MODE:
            raise RemoteRefused(
                f"in the repository {told(name.decode())} is no folder",
                reason="folder_taken",
                remedy="publish to another folder",
            )
        if below:
            inner = None if there is None else there["sha"].decode()
            subtree = await self._placed(inner, below, subtree)
        kept = b"".join(match[0] + b"\0" for match in entries if match is not there)
        placed = _TREE_MODE + b" tree " + subtree.encode() + b"\t" + name + b"\0"
        return await self._object("mktree", "-z", "--missing", stdin=kept + placed)

    async def _entries(self, tree: str) -> list[re.Match[bytes]]:
        out = await self._local("ls-tree", "-z", tree)
        matches = [_ENTRY.fullmatch(entry) for entry in out.split(b"\0") if entry]
        return [match for match in matches if match is not None]

    async def _object(
        self, *arguments: str, stdin: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> str:
        out = await self._local(*arguments, stdin=stdin, more=more)
        sha = out.decode("ascii", "replace").strip()
        if not _SHA.fullmatch(sha):
            raise failure(arguments[0], 0, "it named no object")
        return sha

    async def _local(
        self, *arguments: str, stdin: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> bytes:
        ran = await self._run(*arguments, stdin=stdin, more=more, seconds=_INIT_SECONDS)
        if ran.code:
            raise failure(f"git {arguments[0]}", ran.code, self._told(ran))
        return ran.out

    async def _remote(self, what: str, *arguments: str) -> bytes:
        ran = await self._run(*arguments)
        if ran.code:
            said = self._told(ran)
            raise failure(what, ran.code, said, handed_over=self._handed_over)
        return ran.out

    async def _run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        more: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Ran:
        return await run(
            ["git", *arguments],
            environment={**self._environment, **(more or {})},
            directory=self._directory,
            seconds=self._limits.seconds if seconds is None else seconds,
            most_file_bytes=self._limits.most_file_bytes,
            stdin=stdin,
        )

    def _told(self, ran: Ran) -> str:
        return told(ran.errors, secrets=self._secrets)


def _secrets_of(access: Access) -> tuple[str, ...]:
    if access.token_file is None:
        return ()
    return (read_token(access.token_file, handed_over=access.handed_over),)


def _private_directory(scratch: Path) -> Path:
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(mkdtemp(dir=scratch))
