"""How source VMs are got into, to be prepared, and how much a look at one may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scheduler.config.quantities import Seconds, Whole
from scheduler.config.sections import AbsolutePath, Section
from scheduler.validation.fields import UserName


class SourcesSection(Section):
    """The operator's way in, and the limits of inspections."""

    ssh_key: AbsolutePath | None = None
    """The private key that preparation logs in with; without one nothing is prepared."""
    ssh_user: UserName = "root"
    """As whom, unless a request says otherwise: root, or somebody with sudo."""
    inspection_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 30
    max_inspection_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 300
    """No look may ask for more."""
    output_bytes: Annotated[Whole, Field(ge=1024, le=16 << 20)] = 256 << 10
    """What is kept of each of its two streams."""
    per_source: Annotated[Whole, Field(ge=1, le=16)] = 4
    """At once."""
    at_once: Annotated[Whole, Field(ge=1, le=1000)] = 32
    """On all source VMs together."""
