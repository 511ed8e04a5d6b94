"""Entities: frozen values with the seed's JSON names, a file per aggregate."""

from scheduler.model.allocations import Allocation, AllocationState
from scheduler.model.authorities import AuthorityState, SshAuthority
from scheduler.model.change_sets import ChangeSet, ChangeSetState, Check
from scheduler.model.commands import Command, CommandExecRecord, CommandStatus
from scheduler.model.consoles import Console, ConsoleGap
from scheduler.model.decisions import Decision
from scheduler.model.diffs import (
    ChangeDiff,
    CommandSummary,
    Diff,
    ServiceChange,
)
from scheduler.model.drains import Drain, DrainPolicy, DrainState, OnDeadline
from scheduler.model.events import Event
from scheduler.model.hosts import (
    Breaker,
    HostHealth,
    HostResources,
    HostState,
    Transport,
    VirtType,
)
from scheduler.model.idempotency import IdempotencyRecord
from scheduler.model.images import Image, ImageState, Replica, ReplicaState
from scheduler.model.inspections import Inspection, InspectionStatus
from scheduler.model.manifests import (
    FILE_ATTRIBUTES,
    RPM_KEY,
    UNIT_TYPES,
    Delta,
    EntryKind,
    FileChange,
    Ignored,
    Manifest,
    ManifestEntry,
    Omission,
    PackageChange,
    PackageInfo,
    ServiceDifference,
    ServiceState,
    unit_name,
    unit_type,
)
from scheduler.model.observations import (
    AddressReport,
    DomainState,
    ForeignDisk,
    ForeignMachine,
    Heard,
    Inventory,
    Listening,
    Mark,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    StateReason,
)
from scheduler.model.playbook_runs import PlaybookRun, PlayStatus, Recap, SandboxPlay
from scheduler.model.playbooks import Playbook, PlaybookTask
from scheduler.model.publications import Publication, PublicationStatus
from scheduler.model.resources import Overhead, Resources
from scheduler.model.sandboxes import (
    Condition,
    DesiredState,
    Ending,
    HostFailure,
    IpSource,
    OnExpire,
    Phase,
    Readiness,
    Sandbox,
    SandboxState,
)
from scheduler.model.snapshots import Snapshot, SnapshotKind, SnapshotState
from scheduler.model.source_vms import SourceVM
from scheduler.model.ssh import SshCertificate, SshSession
from scheduler.model.verifications import (
    Remainder,
    Verification,
    VerificationPhase,
    VerificationResult,
)
from scheduler.model.volumes import Volume, VolumeRole, VolumeState

__all__ = [
    "FILE_ATTRIBUTES",
    "RPM_KEY",
    "UNIT_TYPES",
    "AddressReport",
    "Allocation",
    "AllocationState",
    "AuthorityState",
    "Breaker",
    "ChangeDiff",
    "ChangeSet",
    "ChangeSetState",
    "Check",
    "Command",
    "CommandExecRecord",
    "CommandStatus",
    "CommandSummary",
    "Condition",
    "Console",
    "ConsoleGap",
    "Decision",
    "Delta",
    "DesiredState",
    "Diff",
    "DomainState",
    "Drain",
    "DrainPolicy",
    "DrainState",
    "Ending",
    "EntryKind",
    "Event",
    "FileChange",
    "ForeignDisk",
    "ForeignMachine",
    "Heard",
    "HostFailure",
    "HostHealth",
    "HostResources",
    "HostState",
    "IdempotencyRecord",
    "Ignored",
    "Image",
    "ImageState",
    "Inspection",
    "InspectionStatus",
    "Inventory",
    "IpSource",
    "Listening",
    "Manifest",
    "ManifestEntry",
    "Mark",
    "ObservedDomain",
    "ObservedPool",
    "ObservedVolume",
    "Omission",
    "OnDeadline",
    "OnExpire",
    "Overhead",
    "PackageChange",
    "PackageInfo",
    "Phase",
    "PlayStatus",
    "Playbook",
    "PlaybookRun",
    "PlaybookTask",
    "Publication",
    "PublicationStatus",
    "Readiness",
    "Recap",
    "Remainder",
    "Replica",
    "ReplicaState",
    "Resources",
    "Sandbox",
    "SandboxPlay",
    "SandboxState",
    "ServiceChange",
    "ServiceDifference",
    "ServiceState",
    "Snapshot",
    "SnapshotKind",
    "SnapshotState",
    "SourceVM",
    "SshAuthority",
    "SshCertificate",
    "SshSession",
    "StateReason",
    "Transport",
    "Verification",
    "VerificationPhase",
    "VerificationResult",
    "VirtType",
    "Volume",
    "VolumeRole",
    "VolumeState",
    "unit_name",
    "unit_type",
]
