"""Query parameters: listings, selectors, waiting. Their text is checked here, once."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from scheduler.errors import Invalid
from scheduler.model import HostHealth, HostState, ImageState, PublicationStatus, SandboxState
from scheduler.placement.demand import ANY_IMAGE
from scheduler.service.requests import Wanted
from scheduler.store import (
    ChangeSetFilter,
    ImageFilter,
    ListOptions,
    PublicationFilter,
    SandboxFilter,
    SshFilter,
)
from scheduler.validation.fields import (
    IMAGE,
    LABEL_KEY,
    LABEL_VALUE,
    LEAST_MEMORY_MB,
    MOST_MEMORY_MB,
    MOST_STORAGE_MB,
    MOST_VCPUS,
    NAME,
    OBJECT,
    OWNER,
    Name,
    refusal,
)

LONGEST_WAIT_SECONDS = 300.0
REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$"

Reference = Annotated[str, Path(pattern=REFERENCE, description="An id, or a sandbox's name.")]
HostName = Annotated[str, Path(pattern=NAME, description="A host's name.")]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
_DURATION = re.compile(r"([0-9]+)(ms|s|m|)")


def _not_too_long(wait: str | None) -> str | None:
    """Refuse a wait with the request: once something is done it is too late for a refusal."""
    if (wait_seconds(wait) or 0.0) > LONGEST_WAIT_SECONDS:
        raise refusal(
            f"wait is longer than {LONGEST_WAIT_SECONDS:.0f} s",
            "wait in turns: ask again when the answer says it has not settled",
        )
    return wait


Wait = Annotated[
    str | None,
    AfterValidator(_not_too_long),
    Query(
        pattern=r"^[0-9]{1,6}(ms|s|m)?$",
        description="Answer once it has settled, or after this long, such as 30s.",
    ),
]

DryRun = Annotated[bool, Query(description="Decide, tell, and change nothing.")]


def _a_time(text: str) -> str:
    try:
        moment_of(text)
    except (ValueError, OverflowError):
        raise refusal(
            "this is no time", "give it as RFC 3339 has it, such as 2026-01-05T12:00:00Z"
        ) from None
    return text


_Time = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
        r"(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
    ),
    AfterValidator(_a_time),
    Field(json_schema_extra={"format": "date-time"}),
]

_KEY = re.compile(LABEL_KEY)
_VALUE = re.compile(LABEL_VALUE)


class _Page(BaseModel):
    """Which page of a listing."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str | None, Field(max_length=1024)] = None

    def options(self) -> ListOptions:
        """Return the page that is asked for."""
        return ListOptions(limit=self.limit, cursor=self.cursor)


class _Ordered(_Page):
    """Which page of a listing, and by what it is ordered."""

    order_by: Annotated[
        str,
        Field(pattern=r"^-?[a-z_]{1,40}$|^$", description="A field; '-' before it: descending."),
    ] = ""

    def options(self) -> ListOptions:
        """Return the page that is asked for."""
        return ListOptions(
            limit=self.limit,
            cursor=self.cursor,
            order_by=self.order_by.removeprefix("-"),
            asc=bool(self.order_by) and not self.order_by.startswith("-"),
        )


class _Labelled(_Ordered):
    """Which page of a listing, its order, and the labels that what is listed carries."""

    label: Annotated[list[str], Field(max_length=16, description="key=value; may repeat.")] = []

    def labels(self) -> dict[str, str] | None:
        """Return the labels that what is listed must carry."""
        return dict(map(_label, self.label)) or None


class SandboxQuery(_Labelled):
    """Which sandboxes."""

    name: Annotated[str | None, Field(pattern=NAME)] = None
    id_prefix: Annotated[str | None, Field(pattern=r"^[A-Z0-9-]{1,40}$")] = None
    agent_id: Annotated[str | None, Field(pattern=OWNER)] = None
    job_id: Annotated[str | None, Field(pattern=OWNER)] = None
    base_image: Annotated[str | None, Field(pattern=IMAGE)] = None
    state: SandboxState | None = None
    host: Annotated[str | None, Field(pattern=NAME)] = None
    include_deleted: bool = False

    def wanted(self) -> SandboxFilter:
        """Return the store's filter; the host's name is looked up by the service."""
        return SandboxFilter(
            vm_name=self.name,
            id_prefix=self.id_prefix,
            agent_id=self.agent_id,
            job_id=self.job_id,
            base_image=self.base_image,
            state=self.state,
            labels=self.labels(),
            include_deleted=self.include_deleted,
        )


class HostQuery(_Labelled):
    """Which hosts."""

    state: HostState | None = None
    health: HostHealth | None = None


class InspectionQuery(_Page):
    """Which looks at a source VM."""


class DiffQuery(_Page):
    """Which diffs of a sandbox."""


class ImageQuery(_Page):
    """Which images."""

    state: ImageState | None = None
    name: Annotated[str | None, Field(pattern=IMAGE)] = None

    def wanted(self) -> ImageFilter:
        """Return the store's filter."""
        return ImageFilter(state=self.state, name=self.name)


class PlaybookQuery(_Ordered):
    """Which playbooks."""


class PlaybookRunQuery(_Page):
    """Which runs of a playbook."""


class SnapshotQuery(_Page):
    """Which snapshots of a sandbox."""


class ChangeSetQuery(_Page):
    """Which change sets."""

    job_id: Annotated[str | None, Field(pattern=OWNER)] = None
    sandbox_id: Annotated[str | None, Field(pattern=REFERENCE)] = None
    diff_id: Annotated[str | None, Field(pattern=REFERENCE)] = None

    def wanted(self) -> ChangeSetFilter:
        """Return the store's filter."""
        return ChangeSetFilter(job_id=self.job_id, sandbox_id=self.sandbox_id, diff_id=self.diff_id)


class PublicationQuery(_Page):
    """Which publications."""

    job_id: Annotated[str | None, Field(pattern=OWNER)] = None
    change_set_id: Annotated[str | None, Field(pattern=REFERENCE)] = None
    status: PublicationStatus | None = None

    def wanted(self) -> PublicationFilter:
        """Return the store's filter."""
        return PublicationFilter(
            job_id=self.job_id, change_set_id=self.change_set_id, status=self.status
        )


class SshQuery(_Page):
    """Which certificates or sessions."""

    sandbox_id: Annotated[str | None, Field(max_length=64)] = None
    actor: Annotated[str | None, Field(max_length=128)] = None

    def wanted(self) -> SshFilter:
        """Return the store's filter."""
        return SshFilter(sandbox_id=self.sandbox_id, actor=self.actor)


class SourceQuery(_Page):
    """Which machines that are not ours."""

    host: Annotated[str | None, Field(pattern=NAME, description="A host's name.")] = None


class EventQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[int, Field(ge=0, le=2**62, description="Only after this number.")] = 0
    since_time: _Time | None = Field(None, description="Only at this time or later.")
    until_time: _Time | None = Field(None, description="Only before this time.")
    last: Annotated[
        int | None, Field(ge=0, le=1000, description="Begin so many before the end; 0: only news.")
    ] = None
    cursor: Annotated[str | None, Field(pattern=r"^[0-9]{1,18}$")] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    sandbox_id: Annotated[str | None, Field(pattern=REFERENCE)] = None
    host_id: Annotated[str | None, Field(pattern=REFERENCE)] = None
    host: Annotated[str | None, Field(pattern=NAME, description="A host's name.")] = None
    kind: Annotated[str | None, Field(pattern=r"^[a-z_.]{1,60}$")] = None
    actor: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9:._-]{1,80}$")] = None


class CapacityQuery(BaseModel):
    """For how many sandboxes of which size there is room, and when."""

    model_config = ConfigDict(extra="forbid")

    vcpus: Annotated[int, Field(ge=1, le=MOST_VCPUS)] | None = None
    memory_mb: Annotated[int, Field(ge=LEAST_MEMORY_MB, le=MOST_MEMORY_MB)] | None = None
    storage_mb: Annotated[int, Field(ge=1, le=MOST_STORAGE_MB)] | None = None
    base_image: Annotated[str | None, Field(pattern=IMAGE)] = None
    network: Annotated[str | None, Field(pattern=OBJECT)] = None
    host: Annotated[str | None, Field(pattern=NAME, description="On this host only.")] = None
    label: Annotated[
        list[str], Field(max_length=16, description="A host's key=value; may repeat.")
    ] = []
    anti_affinity_group: Annotated[str | None, Field(pattern=OWNER)] = None
    at: _Time | None = Field(None, description="Once the leases until then have ended.")
    without_host: Annotated[
        list[Name], Field(max_length=16, description="As if this host were away; may repeat.")
    ] = []

    def wanted(self) -> Wanted:
        """Return what placement is asked: every part of it is checked by now."""
        return Wanted.model_construct(
            base_image=self.base_image or ANY_IMAGE,
            vcpus=self.vcpus,
            memory_mb=self.memory_mb,
            storage_mb=self.storage_mb,
            network=self.network,
            host=self.host,
            host_selector=dict(map(_label, self.label)),
            anti_affinity_group=self.anti_affinity_group,
        )


def moment_of(text: str | None) -> datetime | None:
    """Return the time that an RFC 3339 text names, in UTC; None for none."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def wait_seconds(wait: str | None) -> float | None:
    """Return how long to wait, None for not at all."""
    match = None if wait is None else _DURATION.fullmatch(wait)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
        raise Invalid(
            "a label selector is not of the form key=value",
            remedy="use label=key=value, once for each label",
            details={"query.label": "malformed"},
        )
    return key, value
