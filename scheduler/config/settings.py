"""The whole configuration as one frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scheduler.config.changes import ChangesSection
from scheduler.config.hosts import readable
from scheduler.config.publishing import ForgeSection, PublishingSection
from scheduler.config.sections import (
    ApiSection,
    BackupsSection,
    CommandsSection,
    DaemonSection,
    GuestsSection,
    ImagesSection,
    LifecycleSection,
    MetricsSection,
    PlacementSection,
    RetentionSection,
    StoreSection,
)
from scheduler.config.source_vms import SourcesSection
from scheduler.validation.fields import refusal
from scheduler.validation.hosts import AddHost

MOST_HOSTS = 10_000
MOST_FORGES = 100
LOOKS = 2
"""A look may take as long as the period, so facts have to be believed for so many periods."""


class Settings(BaseModel):
    """Everything the daemon is told; `hosts[i].model_fields_set` are the fields the file names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    daemon: DaemonSection = Field(default_factory=DaemonSection)
    store: StoreSection = Field(default_factory=StoreSection)
    api: ApiSection = Field(default_factory=ApiSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    placement: PlacementSection = Field(default_factory=PlacementSection)
    lifecycle: LifecycleSection = Field(default_factory=LifecycleSection)
    retention: RetentionSection = Field(default_factory=RetentionSection)
    backups: BackupsSection = Field(default_factory=BackupsSection)
    guests: GuestsSection = Field(default_factory=GuestsSection)
    images: ImagesSection = Field(default_factory=ImagesSection)
    changes: ChangesSection = Field(default_factory=ChangesSection)
    publishing: PublishingSection = Field(default_factory=PublishingSection)
    commands: CommandsSection = Field(default_factory=CommandsSection)
    sources: SourcesSection = Field(default_factory=SourcesSection)
    hosts: tuple[Annotated[AddHost, BeforeValidator(readable)], ...] = Field(
        (), max_length=MOST_HOSTS
    )
    forges: tuple[ForgeSection, ...] = Field((), max_length=MOST_FORGES)

    @model_validator(mode="after")
    def _facts_outlast_a_missed_look(self) -> Self:
        if self.placement.stale_after_seconds < LOOKS * self.lifecycle.poll_seconds:
            raise refusal(
                "placement.stale_after_seconds is less than twice lifecycle.poll_seconds: hosts"
                " that are well would be refused, as seen too long ago",
                "raise placement.stale_after_seconds or lower lifecycle.poll_seconds",
            )
        return self

    @property
    def state_dir(self) -> Path:
        """Return the directory that holds database, keys and lock."""
        return self.daemon.state_dir

    @property
    def socket(self) -> Path:
        """Return where the admin socket is bound."""
        return self.api.socket

    @property
    def backup_dir(self) -> Path:
        """Return where backups are put."""
        return self.backups.directory or self.state_dir / "backups"

    @property
    def database_url(self) -> str:
        """Return the database as named, else SQLite in the state directory."""
        return self.store.database_url or f"sqlite:///{self.state_dir / 'sandboxd.db'}"
