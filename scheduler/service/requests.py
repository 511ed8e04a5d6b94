"""What callers may ask for: the JSON bodies, checked whole and refused with every fault at once.

Hosts are described in `scheduler.validation`, since the configuration file has them too. A field
that is not listed is refused as unknown.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from scheduler.changes.globs import LONGEST_PATTERN
from scheduler.changes.noise import MOST_RULES
from scheduler.model import DrainPolicy, OnDeadline, OnExpire, Readiness, SnapshotKind
from scheduler.validation.fields import (
    PROSE,
    Fingerprint,
    ForgeUser,
    ForgeWord,
    ImageDigest,
    ImageName,
    IpAddress,
    Labels,
    MachineUuid,
    MemoryMb,
    Name,
    ObjectName,
    Owner,
    Reason,
    SourceName,
    SshPublicKeys,
    StorageMb,
    TtlSeconds,
    UserData,
    UserName,
    Vcpus,
    refusal,
)
from scheduler.validation.repositories import BranchName, FolderName, RepositoryUrl

NoisePattern = Annotated[str, Field(min_length=1, max_length=LONGEST_PATTERN)]


class _Request(BaseModel):
    """Refuses unknown fields and values of another JSON type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Wanted(_Request):
    """What placement looks at; unset sizes become the daemon's defaults."""

    base_image: ImageName
    vcpus: Vcpus | None = None
    memory_mb: MemoryMb | None = None
    storage_mb: StorageMb | None = None
    network: ObjectName | None = None
    host: Name | None = None
    """Place it on this host or nowhere."""
    host_selector: Labels = Field(default_factory=dict)
    anti_affinity_group: Owner | None = None
    """No two sandboxes of one group share a host."""


class _Origin(_Request):
    """What a sandbox may be made of, where that is not an image."""

    source_vm: SourceName | None = None
    """Instead of an image: the newest that was frozen of this machine, by NAME or HOST/NAME."""


class CreateSandbox(Wanted, _Origin):
    """A sandbox to be made; only the image, or a source VM, and the agent are required."""

    base_image: Annotated[ImageName, Field(validate_default=True)] = ""
    remove_secrets: bool = False
    """Have its first boot remove what identifies the source VM; takes cloud-init in it."""
    agent_id: Owner
    job_id: Owner | None = None
    sandbox_name: Name | None = None
    ttl_seconds: TtlSeconds | None = None
    """Seconds it may live from the moment it is ready; null is no limit."""
    provision_timeout_seconds: Annotated[int, Field(ge=10, le=86400)] | None = None
    """Seconds it may take to come up; the daemon's default when unset."""
    labels: Labels = Field(default_factory=dict)
    auto_start: bool = True
    ssh_public_keys: SshPublicKeys = Field(default_factory=list)
    user_data: UserData | None = None
    """A #cloud-config or a script that the guest reads at its first boot; never shown again."""
    isolation: bool | None = None
    """Keep its guest and other isolated ones apart; the daemon's default when unset."""
    on_expire: Annotated[OnExpire, Field(strict=False)] = OnExpire.DESTROY
    ready: Annotated[Readiness, Field(strict=False)] = Readiness.ADDRESS
    """What makes it RUNNING: that its address is known, or that SSH answers there as well."""

    @field_validator("base_image", mode="wrap")
    @classmethod
    def _one_origin(
        cls, image: object, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        """Take one of both; a fault among others, so that all are told at once."""
        if "source_vm" in info.data and (image != "") == (info.data["source_vm"] is not None):
            raise refusal(
                "it is not said what the sandbox is made of",
                "give base_image or source_vm, and not both",
            )
        return check(image) if image != "" else image

    @model_validator(mode="after")
    def _secrets_of_a_source(self) -> Self:
        if self.remove_secrets and self.source_vm is None:
            raise refusal("only a clone of a source VM has its secrets", "leave remove_secrets out")
        return self


class FreezeSource(_Request):
    """How to call the image that is made of a source VM."""

    name: ObjectName | None = None


class TakeImage(_Request):
    """An image to be taken in: bytes that will be uploaded, or a volume of a host's pool."""

    name: ObjectName
    digest: ImageDigest | None = None
    """What the bytes to come add up to."""
    size_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = None
    host: Name | None = None
    volume: ImageName | None = None
    """A volume of that host's pool, which nobody may be writing to."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        upload = (self.digest, self.size_bytes)
        fetch = (self.host, self.volume)
        given = [source for source in (upload, fetch) if source != (None, None)]
        if len(given) != 1 or None in given[0]:
            raise refusal(
                "it is not said where the image comes from",
                "give digest and size_bytes of what you will upload, or host and volume",
            )
        return self


class CreateDiff(_Request):
    """Two snapshots of a sandbox, by name, and what does not count between them."""

    model_config = ConfigDict(populate_by_name=True)

    from_snapshot: ObjectName = Field(alias="from")
    to_snapshot: ObjectName = Field(alias="to")
    noise: Annotated[list[NoisePattern], Field(max_length=MOST_RULES)] = []
    """Patterns of paths to leave out beside the defaults."""


class PrefetchImage(_Request):
    """Which hosts are to hold an image before anybody asks for it; none named is every host."""

    hosts: Annotated[list[Name], Field(max_length=1000)] = Field(default_factory=list)
    host_selector: Labels = Field(default_factory=dict)
    """Only hosts with these labels."""


class CreateSnapshot(_Request):
    """A point of a sandbox to be kept under a name."""

    name: ObjectName
    kind: Annotated[SnapshotKind, Field(strict=False)] = SnapshotKind.INTERNAL
    """INTERNAL keeps the memory of a guest that runs, EXTERNAL its disk alone; one a sandbox."""
    manifest: bool | None = None
    """Whether to list the guest's files, packages and services; if it can be asked, when null."""


class MakeChangeSet(_Request):
    """A diff that is to become code."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")] = "sandbox_changes"
    """What the Ansible role and the Puppet module are called."""


class PublishChangeSet(_Request):
    """Where a change set is to be published, and what its reviewers read."""

    repo_url: RepositoryUrl
    branch: BranchName
    """A branch of its own, which must not be there yet."""
    base: BranchName | None = None
    """The branch it is proposed for; the repository's default branch unless given."""
    folder: FolderName | None = None
    """Where in the repository it goes, replacing what is there; `sandboxd/JOB` unless given."""
    title: Annotated[Reason, Field(max_length=200)] = ""
    message: Annotated[str, StringConstraints(pattern=PROSE, max_length=10_000)] = ""
    labels: Annotated[list[ForgeWord], Field(max_length=20)] = Field(default_factory=list)
    reviewers: Annotated[list[ForgeUser], Field(max_length=20)] = Field(default_factory=list)
    unverified: bool = False
    """Publish it although no verification of it has passed; reviewers are told."""

    @model_validator(mode="after")
    def _apart_from_its_base(self) -> Self:
        if self.branch == self.base:
            raise refusal("branch and base are the same", "give the change set a branch of its own")
        return self


class TerminalWindow(_Request):
    """How large a terminal is, in characters."""

    columns: Annotated[int, Field(ge=1, le=10_000)]
    rows: Annotated[int, Field(ge=1, le=10_000)]


class OnTerminal(TerminalWindow):
    """The terminal that a command is to run on."""

    type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$")] = "xterm"
    """What `TERM` says in the guest."""


class RunCommand(_Request):
    """A command to be run in a guest: a program with its arguments, or a script for `/bin/sh`."""

    argv: Annotated[list[str], Field(min_length=1, max_length=4096)] | None = None
    script: Annotated[str, Field(min_length=1)] | None = None
    """Given to the standard input of `/bin/sh -s`, or of `argv` if that is there too."""
    stdin_base64: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")] | None = None
    """What the program reads from its standard input."""
    stdin_follows: bool = False
    """Its standard input is sent to `/v1/commands/{id}/input` as soon as it is accepted."""
    terminal: OnTerminal | None = None
    """It runs on a terminal, which is opened at `/v1/commands/{id}/terminal` once accepted."""
    env: Annotated[dict[str, str], Field(max_length=256)] = Field(default_factory=dict)
    secret_env: Annotated[dict[str, str], Field(max_length=256)] = Field(default_factory=dict)
    """As `env`; the values are taken out of whatever is kept or shown."""
    redact: Annotated[list[str], Field(max_length=64)] = Field(default_factory=list)
    """More texts to be taken out."""
    work_dir: str | None = None
    user: str | None = None
    """Whom the program runs as, when not as root."""
    timeout_seconds: Annotated[int, Field(ge=1, le=10**8)] | None = None

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if self.argv is None and self.script is None:
            raise refusal("it is not said what to run", "give argv, script, or both")
        if self.script is not None and self.stdin_base64 is not None:
            raise refusal(
                "a script takes the standard input that stdin_base64 wants",
                "leave one of them out",
            )
        if self.stdin_follows and (self.script is not None or self.stdin_base64 is not None):
            raise refusal(
                "stdin_follows, and its standard input is here already",
                "leave out script and stdin_base64, or stdin_follows",
            )
        inputs = (self.script, self.stdin_base64, self.stdin_follows or None)
        if self.terminal is not None and inputs != (None, None, None):
            raise refusal(
                "a terminal is the command's standard input, and another one is asked for",
                "leave out script, stdin_base64 and stdin_follows, or terminal",
            )
        return self


class PrepareSource(_Request):
    """How to get into a source VM that its operator agrees to have prepared."""

    user: UserName | None = None
    """As whom to log in: root, or somebody who becomes root by sudo without a password."""
    address: IpAddress | None = None
    """Where it answers, when its host cannot tell."""
    host_key: Fingerprint | None = None
    """The fingerprint its host key must have; also of a key that was replaced since."""


class InspectSource(_Request):
    """A command that only looks, word by word; no shell reads it."""

    argv: Annotated[list[str], Field(min_length=1, max_length=64)]
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None


class SignLogin(_Request):
    """A key of the caller's own that is to open a sandbox for a few minutes."""

    public_key: Annotated[str, Field(min_length=1, max_length=8192)]
    """One line, as a `.pub` file has it."""


class RetireAuthority(_Request):
    """How to let an SSH authority go."""

    force: bool = False
    """Also while guests live that trust no other: nobody logs in to them any more."""


class ExtendLease(_Request):
    """A longer life: it ends `ttl_seconds` from now, or when it would have, if that is later."""

    ttl_seconds: TtlSeconds


class Because(_Request):
    """Why an operator does what they do; kept with the event."""

    reason: Reason = ""


class MoveSandbox(Because):
    """How to take a sandbox to another host."""

    to_host: Name | None = None
    """This host or none; null lets placement choose."""


class AcceptIdentity(_Request):
    """Which machine is to be taken for a host from now on."""

    host_uuid: MachineUuid
    """The UUID that the machine was refused with; see the host's `refused_host_uuid`."""


class DrainHost(Because):
    """How to empty a host."""

    policy: Annotated[DrainPolicy, Field(strict=False)] = DrainPolicy.DESTROY
    deadline_seconds: TtlSeconds | None = 3600
    """When patience ends; null waits for ever."""
    on_deadline: Annotated[OnDeadline, Field(strict=False)] = OnDeadline.DESTROY


class AdoptOrphan(Because):
    """How to take a domain over."""

    force: bool = False
    """Also beyond the limits of its host."""


class RebuildFleet(Because):
    """How to restore what a lost database knew."""

    force: bool = False
    """Also beyond the limits of the hosts."""


class ForgetSandbox(Because):
    """How to let a sandbox go of which nobody can prove that it is gone."""

    host: Name | None = None
    """Only what it holds on this host; null is everything it holds."""
    force: bool = False
    """Also while the host answers, where deleting would be the right thing."""
