"""The asynchronous face of the repositories: the same methods, awaited.

Each face is a table of its repository's public methods; types flow through, so `await
tx.sandboxes.get(id)` is checked like the synchronous call. A test keeps the tables complete.
"""

from __future__ import annotations

from scheduler.store.awaiting import Face, awaited
from scheduler.store.repositories.allocations import Allocations
from scheduler.store.repositories.authorities import SshAuthorities
from scheduler.store.repositories.change_sets import ChangeSets
from scheduler.store.repositories.commands import Commands
from scheduler.store.repositories.consoles import Consoles
from scheduler.store.repositories.decisions import Decisions
from scheduler.store.repositories.diffs import Diffs
from scheduler.store.repositories.drains import Drains
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.hosts import Hosts
from scheduler.store.repositories.idempotency import Idempotency
from scheduler.store.repositories.images import Images
from scheduler.store.repositories.inspections import Inspections
from scheduler.store.repositories.outdated import Outdated
from scheduler.store.repositories.playbook_runs import PlaybookRuns
from scheduler.store.repositories.playbook_tasks import PlaybookTasks
from scheduler.store.repositories.playbooks import Playbooks
from scheduler.store.repositories.publications import Publications
from scheduler.store.repositories.replicas import Replicas
from scheduler.store.repositories.sandboxes import Sandboxes
from scheduler.store.repositories.settings import Settings
from scheduler.store.repositories.snapshots import Snapshots
from scheduler.store.repositories.source_vms import SourceVMs
from scheduler.store.repositories.ssh import SshCertificates, SshSessions
from scheduler.store.repositories.user_data import UserData
from scheduler.store.repositories.verifications import Verifications
from scheduler.store.repositories.volumes import Volumes


class SandboxesFace(Face):
    """Sandboxes, awaited."""

    add = awaited(Sandboxes.add)
    get = awaited(Sandboxes.get)
    by_name = awaited(Sandboxes.by_name)
    find = awaited(Sandboxes.find)
    are_as_many = awaited(Sandboxes.are_as_many)
    live = awaited(Sandboxes.live)
    of_host = awaited(Sandboxes.of_host)
    of_address = awaited(Sandboxes.of_address)
    placed_on = awaited(Sandboxes.placed_on)
    counts = awaited(Sandboxes.counts)
    due = awaited(Sandboxes.due)
    next_expiry = awaited(Sandboxes.next_expiry)
    unsettled = awaited(Sandboxes.unsettled)
    booting_on = awaited(Sandboxes.booting_on)
    replace = awaited(Sandboxes.replace)
    transition = awaited(Sandboxes.transition)
    bury = awaited(Sandboxes.bury)
    shift_expiries = awaited(Sandboxes.shift_expiries)


class HostsFace(Face):
    """Hosts, awaited."""

    add = awaited(Hosts.add)
    get = awaited(Hosts.get)
    by_name = awaited(Hosts.by_name)
    find = awaited(Hosts.find)
    all = awaited(Hosts.all)
    readable = awaited(Hosts.readable)
    of_machine = awaited(Hosts.of_machine)
    replace = awaited(Hosts.replace)
    upsert = awaited(Hosts.upsert)
    observe = awaited(Hosts.observe)
    set_breakers = awaited(Hosts.set_breakers)
    set_state = awaited(Hosts.set_state)
    remove = awaited(Hosts.remove)


class AllocationsFace(Face):
    """Allocations, awaited."""

    claim = awaited(Allocations.claim)
    record = awaited(Allocations.record)
    activate = awaited(Allocations.activate)
    mark_releasing = awaited(Allocations.mark_releasing)
    take_back = awaited(Allocations.take_back)
    resize = awaited(Allocations.resize)
    release = awaited(Allocations.release)
    get = awaited(Allocations.get)
    of_host = awaited(Allocations.of_host)
    holders = awaited(Allocations.holders)
    of_sandbox = awaited(Allocations.of_sandbox)
    ending = awaited(Allocations.ending)
    all = awaited(Allocations.all)
    groups = awaited(Allocations.groups)
    audit = awaited(Allocations.audit)


class VolumesFace(Face):
    """Volumes, awaited."""

    add = awaited(Volumes.add)
    get = awaited(Volumes.get)
    of_owner = awaited(Volumes.of_owner)
    of_sandbox = awaited(Volumes.of_sandbox)
    of_host = awaited(Volumes.of_host)
    planned = awaited(Volumes.planned)
    all = awaited(Volumes.all)
    mark_created = awaited(Volumes.mark_created)
    replace = awaited(Volumes.replace)
    remove = awaited(Volumes.remove)


class DecisionsFace(Face):
    """Decisions, awaited."""

    add = awaited(Decisions.add)
    get = awaited(Decisions.get)
    of_sandbox = awaited(Decisions.of_sandbox)


class EventsFace(Face):
    """Events, awaited."""

    add = awaited(Events.add)
    find = awaited(Events.find)
    page = awaited(Events.page)
    pruned_through = awaited(Events.pruned_through)
    latest = awaited(Events.latest)
    before_last = awaited(Events.before_last)


class IdempotencyFace(Face):
    """Kept answers, awaited."""

    get = awaited(Idempotency.get)
    add = awaited(Idempotency.add)


class OutdatedFace(Face):
    """What is outdated, awaited."""

    answers = awaited(Outdated.answers)
    commands = awaited(Outdated.commands)
    inspections = awaited(Outdated.inspections)
    playbook_runs = awaited(Outdated.playbook_runs)
    decisions = awaited(Outdated.decisions)
    ssh_certificates = awaited(Outdated.ssh_certificates)
    ssh_sessions = awaited(Outdated.ssh_sessions)
    diffs = awaited(Outdated.diffs)
    consoles = awaited(Outdated.consoles)
    tombstones = awaited(Outdated.tombstones)
    events = awaited(Outdated.events)
    surplus_events = awaited(Outdated.surplus_events)
    remove = awaited(Outdated.remove)


class DrainsFace(Face):
    """Drains, awaited."""

    add = awaited(Drains.add)
    get = awaited(Drains.get)
    active = awaited(Drains.active)
    latest = awaited(Drains.latest)
    replace = awaited(Drains.replace)
    find = awaited(Drains.find)


class SnapshotsFace(Face):
    """Snapshots, awaited."""

    add = awaited(Snapshots.add)
    get = awaited(Snapshots.get)
    by_name = awaited(Snapshots.by_name)
    find = awaited(Snapshots.find)
    of_sandbox = awaited(Snapshots.of_sandbox)
    unfinished = awaited(Snapshots.unfinished)
    of_host = awaited(Snapshots.of_host)
    unfinished_on = awaited(Snapshots.unfinished_on)
    counts = awaited(Snapshots.counts)
    manifest_refs = awaited(Snapshots.manifest_refs)
    replace = awaited(Snapshots.replace)
    remove = awaited(Snapshots.remove)


class CommandsFace(Face):
    """Commands, awaited."""

    add = awaited(Commands.add)
    get = awaited(Commands.get)
    find = awaited(Commands.find)
    running = awaited(Commands.running)
    places = awaited(Commands.places)
    ask_kill = awaited(Commands.ask_kill)
    finish = awaited(Commands.finish)


class ConsolesFace(Face):
    """Consoles, awaited."""

    get = awaited(Consoles.get)
    has_text = awaited(Consoles.has_text)
    unended = awaited(Consoles.unended)
    put = awaited(Consoles.put)


class DiffsFace(Face):
    """Diffs, awaited."""

    add = awaited(Diffs.add)
    get = awaited(Diffs.get)
    between = awaited(Diffs.between)
    manifest_refs = awaited(Diffs.manifest_refs)
    digests = awaited(Diffs.digests)
    find = awaited(Diffs.find)


class ChangeSetsFace(Face):
    """Change sets, awaited."""

    add = awaited(ChangeSets.add)
    get = awaited(ChangeSets.get)
    by_job = awaited(ChangeSets.by_job)
    find = awaited(ChangeSets.find)
    unfinished = awaited(ChangeSets.unfinished)
    replace = awaited(ChangeSets.replace)


class VerificationsFace(Face):
    """Verifications, awaited."""

    add = awaited(Verifications.add)
    get = awaited(Verifications.get)
    unfinished = awaited(Verifications.unfinished)
    replace = awaited(Verifications.replace)


class PublicationsFace(Face):
    """Publications, awaited."""

    add = awaited(Publications.add)
    get = awaited(Publications.get)
    by_branch = awaited(Publications.by_branch)
    unsettled = awaited(Publications.unsettled)
    find = awaited(Publications.find)
    replace = awaited(Publications.replace)
    set_status = awaited(Publications.set_status)


class PlaybooksFace(Face):
    """Playbooks, awaited."""

    add = awaited(Playbooks.add)
    get = awaited(Playbooks.get)
    by_name = awaited(Playbooks.by_name)
    find = awaited(Playbooks.find)
    replace = awaited(Playbooks.replace)
    note = awaited(Playbooks.note)
    remove = awaited(Playbooks.remove)


class PlaybookTasksFace(Face):
    """Playbook tasks, awaited."""

    add = awaited(PlaybookTasks.add)
    get = awaited(PlaybookTasks.get)
    find = awaited(PlaybookTasks.find)
    replace = awaited(PlaybookTasks.replace)
    remove = awaited(PlaybookTasks.remove)
    reorder = awaited(PlaybookTasks.reorder)
    next_position = awaited(PlaybookTasks.next_position)


class SourceVMsFace(Face):
    """Source VMs, awaited."""

    by_name = awaited(SourceVMs.by_name)
    upsert = awaited(SourceVMs.upsert)
    get = awaited(SourceVMs.get)
    find = awaited(SourceVMs.find)
    all = awaited(SourceVMs.all)
    readable = awaited(SourceVMs.readable)
    replace = awaited(SourceVMs.replace)


class PlaybookRunsFace(Face):
    """Runs of playbooks, awaited."""

    add = awaited(PlaybookRuns.add)
    get = awaited(PlaybookRuns.get)
    unfinished = awaited(PlaybookRuns.unfinished)
    find = awaited(PlaybookRuns.find)
    replace = awaited(PlaybookRuns.replace)


class InspectionsFace(Face):
    """Inspections, awaited."""

    add = awaited(Inspections.add)
    get = awaited(Inspections.get)
    waiting = awaited(Inspections.waiting)
    find = awaited(Inspections.find)
    finish = awaited(Inspections.finish)


class ImagesFace(Face):
    """Images, awaited."""

    add = awaited(Images.add)
    get = awaited(Images.get)
    by_reference = awaited(Images.by_reference)
    of_digest = awaited(Images.of_digest)
    of_owner = awaited(Images.of_owner)
    find = awaited(Images.find)
    all = awaited(Images.all)
    readable = awaited(Images.readable)
    replace = awaited(Images.replace)
    clones = awaited(Images.clones)
    cloned = awaited(Images.cloned)
    remove = awaited(Images.remove)


class ReplicasFace(Face):
    """Replicas, awaited."""

    add = awaited(Replicas.add)
    get = awaited(Replicas.get)
    of_image = awaited(Replicas.of_image)
    of_host = awaited(Replicas.of_host)
    all = awaited(Replicas.all)
    readable = awaited(Replicas.readable)
    replace = awaited(Replicas.replace)
    remove = awaited(Replicas.remove)


class UserDataFace(Face):
    """User data, awaited."""

    add = awaited(UserData.add)
    get = awaited(UserData.get)
    remove = awaited(UserData.remove)


class SshAuthoritiesFace(Face):
    """SSH authorities, awaited."""

    add = awaited(SshAuthorities.add)
    all = awaited(SshAuthorities.all)
    by_reference = awaited(SshAuthorities.by_reference)
    replace = awaited(SshAuthorities.replace)
    guests = awaited(SshAuthorities.guests)
    machines = awaited(SshAuthorities.machines)
    guest_counts = awaited(SshAuthorities.guest_counts)
    machine_counts = awaited(SshAuthorities.machine_counts)


class SshCertificatesFace(Face):
    """SSH certificates, awaited."""

    add = awaited(SshCertificates.add)
    get = awaited(SshCertificates.get)
    find = awaited(SshCertificates.find)
    revoke_of_sandbox = awaited(SshCertificates.revoke_of_sandbox)
    revoke_of_authority = awaited(SshCertificates.revoke_of_authority)
    replace = awaited(SshCertificates.replace)


class SshSessionsFace(Face):
    """SSH sessions, awaited."""

    add = awaited(SshSessions.add)
    find = awaited(SshSessions.find)
    unended = awaited(SshSessions.unended)
    replace = awaited(SshSessions.replace)


class SettingsFace(Face):
    """Settings, awaited."""

    get = awaited(Settings.get)
    put = awaited(Settings.put)
    ensure = awaited(Settings.ensure)
    raise_to = awaited(Settings.raise_to)
