"""Units as they are to be: of every type, instances of templates, and those that went."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.changes.plans import plan
from scheduler.changes.wanted_services import may_restart, wanted_services
from scheduler.model import (
    Delta,
    EntryKind,
    FileChange,
    PackageChange,
    ServiceDifference,
    ServiceState,
)
from tests.changes.guests import CONTENT, added, digest, entry, removed

GONE = PackageChange(name="wireguard", before="1", after=None)


def asked(
    name: str,
    before: tuple[bool | None, bool | None] | None,
    after: tuple[bool | None, bool | None] | None,
    *files: FileChange,
    packages: tuple[PackageChange, ...] = (),
) -> list[object]:
    """Return what is wished for of one unit, or why nothing is."""
    states = [
        None if one is None else ServiceState(name=name, enabled=one[0], active=one[1])
        for one in (before, after)
    ]
    change = ServiceDifference(name=name, before=states[0], after=states[1])
    wanted, faults = wanted_services(
        Delta(services=(change,), service_manager="systemd", files=files, packages=packages)
    )
    return [
        *((one.enabled, one.running) for one in wanted.present),
        *(f"{name} is stopped" for name in wanted.ended),
        *(reason.partition(":")[0] for _, reason in faults),
    ]


@pytest.mark.parametrize("name", ["backup.timer", "podman.socket", "srv-data.mount", "x@1.path"])
def test_a_unit_of_any_type_is_enabled_and_started(name: str) -> None:
    assert asked(name, None, (True, True)) == [(True, True)]


def test_a_target_is_enabled_and_runs_when_what_it_wants_does() -> None:
    assert asked("nfs-client.target", (False, None), (True, None)) == [(True, None)]


@pytest.mark.parametrize("name", ["wg-quick@wg0", "backup@srv.timer", "wg@x.example"])
def test_an_instance_that_no_link_enables_any_more_is_disabled(name: str) -> None:
    assert asked(name, (True, True), (None, True)) == [(False, True)]
    assert asked(name, (True, True), None) == [(False, False)]
    assert asked(name, (True, True), (False, True)) == [(False, True)]
    assert asked(name, (None, True), (None, False)) == [(None, False)]


def test_an_instance_whose_template_has_gone_is_stopped_and_not_asked_for() -> None:
    assert asked("wg@0", (True, True), None, packages=(GONE,)) == ["it is gone"]
    for name, file in (("wg@0", "wg@.service"), ("wg@0.timer", "wg@.timer")):
        template = removed(f"/etc/systemd/system/{file}")
        assert asked(name, (True, True), None, template) == [f"{name} is stopped"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("foo", "/etc/systemd/system/foo.service"),
        ("foo", "/usr/local/lib/systemd/system/foo.service"),
        ("foo", "/etc/init.d/foo"),
        ("backup.timer", "/etc/systemd/system/backup.timer"),
        ("odd.timer.service", "/etc/systemd/system/odd.timer.service"),
    ],
)
@pytest.mark.parametrize("before", [(True, True), (True, False), (False, True), (None, True)])
def test_a_unit_whose_own_file_goes_is_stopped_before(
    name: str, path: str, before: tuple[bool | None, bool | None]
) -> None:
    """Nothing else would: it runs on without a file, everywhere."""
    assert asked(name, before, None, removed(path)) == [f"{name} is stopped"]


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("srv.mount", "/etc/systemd/system/srv.mount", "where it is active it stays"),
        ("networking", "/etc/init.d/networking", "the play could lose its way"),
    ],
)
def test_what_is_not_stopped_without_harm_is_left_to_somebody(
    name: str, path: str, reason: str
) -> None:
    change = ServiceDifference(name=name, before=ServiceState(name=name), after=None)
    delta = Delta(services=(change,), service_manager="systemd", files=(removed(path),))
    wanted, ((told, why),) = wanted_services(delta)
    assert (wanted.ended, told) == ((), name)
    assert reason in why


def test_timers_and_sockets_are_stopped_before_what_they_would_start_again() -> None:
    names = ("a", "a.socket", "a.timer", "b")
    changes = tuple(
        ServiceDifference(name=name, before=ServiceState(name=name), after=None) for name in names
    )
    files = tuple(
        removed(f"/etc/systemd/system/{name}{'' if '.' in name else '.service'}") for name in names
    )
    wanted, _ = wanted_services(Delta(services=changes, service_manager="systemd", files=files))
    assert wanted.ended == ("a.socket", "a.timer", "a", "b")


UNIT = "/etc/systemd/system/nginx.service"


@pytest.mark.parametrize(
    ("change", "services"),
    [
        (added(f"{UNIT}.d/o.conf"), ("nginx",)),
        (removed(f"{UNIT}.d/o.conf"), ("nginx",)),
        (removed(f"{UNIT}.d", EntryKind.DIRECTORY), ("nginx",)),
        (added("/usr/local/lib/systemd/system/a@1.service"), ("a@1",)),
        (FileChange(before=entry(UNIT, sha256="a" * 64), after=entry(UNIT)), ("nginx",)),
        (FileChange(before=entry(UNIT, mode=0o600), after=entry(UNIT)), ()),
        (replace(added(UNIT), package="nginx"), ()),
        (added(UNIT, EntryKind.SYMLINK, target="/dev/null"), ()),
        (added("/etc/systemd/system/a@.service"), ()),
        (added("/etc/systemd/system/a-.service.d/o.conf"), ()),
        (added("/etc/systemd/system/service.d/o.conf"), ()),
        (added("/etc/systemd/system/nginx.socket.d/o.conf"), ()),
        (added("/etc/systemd/system/$(id).service"), ()),
        (added("/etc/systemd/system.conf"), ()),
    ],
)
def test_services_of_which_only_a_units_file_changed_are_named(
    change: FileChange, services: tuple[str, ...]
) -> None:
    wanted, _ = wanted_services(Delta(files=(change,), service_manager="systemd"))
    assert wanted.reconfigured == services


@pytest.mark.parametrize(
    ("name", "of_many"),
    [
        ("a@.service", True),
        ("a@.service.d/o.conf", True),
        ("a-.service.d/o.conf", True),
        ("service.d/o.conf", True),
        ("a@1.service", False),
        ("a.service.d/o.conf", False),
        ("a@.timer", False),
    ],
)
def test_files_of_many_services_are_named(name: str, *, of_many: bool) -> None:
    change = added(f"/etc/systemd/system/{name}")
    delta = Delta(files=(change,), service_manager="systemd")
    assert wanted_services(delta)[0].of_many == ((change.path,) if of_many else ())
    notes = {one.subject for one in plan(delta, {digest(CONTENT): CONTENT}).notes}
    assert (change.path in notes) is of_many


def test_a_service_that_is_told_is_reconfigured_by_that() -> None:
    state = ServiceState(name="nginx", enabled=True, active=False)
    change = ServiceDifference(name="nginx", before=None, after=state)
    files = (added(f"{UNIT}.d/o.conf"),)
    delta = Delta(files=files, services=(change,), service_manager="systemd")
    assert wanted_services(delta)[0].reconfigured == ()
    other = replace(delta, services=(), service_manager=None)
    assert wanted_services(other)[0].reconfigured == ()


def test_a_unit_that_is_not_enabled_any_more_and_runs_on_is_disabled() -> None:
    assert asked("nginx", (True, True), (False, True)) == [(False, True)]
    assert asked("static", (True, True), (None, True)) == [(False, True)]
    gone = "it is gone, and nothing that the code does would stop it where it runs"
    assert asked("nginx", (True, True), None) == [gone]
    link = removed("/etc/systemd/system/multi-user.target.wants/static.service")
    assert asked("static", (True, True), (None, True), link) == [(None, True)]


@pytest.mark.parametrize("name", ["own", "own.service", "own.timer"])
def test_a_unit_that_runs_on_without_its_file_is_left_for_review(name: str) -> None:
    file = removed(f"/etc/systemd/system/{'own.service' if name == 'own' else name}")
    assert asked(name, (True, True), (None, True), file) == ["its file is gone"]
    assert asked(name, (True, True), (False, True), file) == [(False, True)]


@pytest.mark.parametrize(
    ("name", "restarts"),
    [
        *((name, True) for name in ("nginx", "ssh", "ssh.service", "wg-quick@wg0", "network2x")),
        *((name, False) for name in ("networking", "NetworkManager", "systemd-networkd", "dbus")),
        *((name, False) for name in ("auditd.service", "getty@tty1", "user@0", "ifup@eth0")),
        *((name, False) for name in ("lightdm", "gdm3", "backup.timer", "a.socket", "srv.mount")),
    ],
)
def test_what_carries_the_play_or_a_login_is_never_restarted(name: str, *, restarts: bool) -> None:
    assert may_restart(name) is restarts
