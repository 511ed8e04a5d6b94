"""Units as they are to be: of every type, instances of templates, and those that went."""

from __future__ import annotations

import pytest

from scheduler.changes.wanted_services import may_restart, wanted_services
from scheduler.model import Delta, FileChange, PackageChange, ServiceDifference, ServiceState
from tests.changes.guests import removed

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
        *((one.enabled, one.running) for one in wanted),
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


def test_an_instance_whose_template_may_have_gone_is_not_asked_for() -> None:
    assert asked("wg@0", (True, True), None, packages=(GONE,)) == ["it is gone"]
    for name, file in (("wg@0", "wg@.service"), ("wg@0.timer", "wg@.timer")):
        template = removed(f"/etc/systemd/system/{file}")
        assert asked(name, (True, True), None, template) == ["it is gone"]


def test_a_unit_that_is_not_enabled_any_more_and_runs_on_is_disabled() -> None:
    assert asked("nginx", (True, True), (False, True)) == [(False, True)]
    assert asked("static", (True, True), (None, True)) == [(False, True)]
    assert asked("nginx", (True, True), None) == ["it is gone"]
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
