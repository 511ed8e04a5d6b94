"""What libvirt's errors mean, by the pair of origin and code."""

from __future__ import annotations

import sys

import libvirt
import pytest

from scheduler.errors import HostRefused, HostUnreachable
from scheduler.hosts.failures import (
    Failure,
    ObjectAbsent,
    ObjectBusy,
    let_go,
    meaning_of,
    translate,
)
from tests.hosts.interleaved import libvirt_error

# (origin, code): numbers as libvirt's daemon sends them, so that a renamed constant is noticed.
RPC, REMOTE, STORAGE, QEMU, DOM, TEST = 7, 13, 18, 10, 20, 12


@pytest.mark.parametrize(
    ("origin", "code", "failure"),
    [
        (RPC, 1, Failure.LOST),  # client socket is closed; keepalive timeout
        (RPC, 38, Failure.LOST),  # cannot write data: broken pipe
        (RPC, 39, Failure.REFUSED),  # unable to encode message payload: ours was too big
        (REMOTE, 38, Failure.LOST),
        (0, 5, Failure.LOST),
        (DOM, 6, Failure.LOST),
        (STORAGE, 1, Failure.BUSY),  # pool has asynchronous jobs running
        (STORAGE, 55, Failure.BUSY),
        (STORAGE, 38, Failure.REFUSED),  # a file of the pool is gone
        (STORAGE, 49, Failure.ABSENT),
        (STORAGE, 50, Failure.ABSENT),
        (STORAGE, 90, Failure.EXISTS),
        (QEMU, 42, Failure.ABSENT),
        (QEMU, 87, Failure.BUSY),
        (QEMU, 68, Failure.BUSY),  # cannot acquire state change lock
        (QEMU, 55, Failure.REFUSED),
        (QEMU, 1, Failure.REFUSED),
        (QEMU, 9, Failure.REFUSED),  # the name is taken
        (QEMU, 92, Failure.REFUSED),  # XML does not validate
        (19, 43, Failure.ABSENT),
        (33, 62, Failure.ABSENT),
        (TEST, 42, Failure.ABSENT),
        (RPC, 45, Failure.DENIED),
        (DOM, 88, Failure.DENIED),
        (99, 9999, Failure.REFUSED),
    ],
)
def test_the_pair_of_origin_and_code_decides(origin: int, code: int, failure: Failure) -> None:
    assert meaning_of(origin, code) is failure


def an_error() -> libvirt.libvirtError:
    """Return a real error of libvirt: nobody has this domain."""
    conn = libvirt.open("test:///default")
    try:
        conn.lookupByUUIDString("00000000-0000-4000-8000-000000000000")
    except libvirt.libvirtError as error:
        return error
    finally:
        conn.close()
    raise AssertionError("a domain of the null UUID")


def test_an_error_says_what_why_and_what_next() -> None:
    cause = an_error()
    error = translate(cause, host="h1", doing="look up", alive=True)
    assert isinstance(error, ObjectAbsent)
    assert error.message.startswith("host h1 could not look up: Domain not found")
    assert error.remedy
    assert error.details["libvirt_code"] == libvirt.VIR_ERR_NO_DOMAIN
    assert error.__cause__ is cause


def test_any_error_on_a_dead_connection_is_a_lost_one() -> None:
    error = translate(an_error(), host="h1", doing="look up", alive=False)
    assert isinstance(error, HostUnreachable)
    assert "connection is lost" in error.message


def test_absent_and_busy_are_answers_of_the_host() -> None:
    assert issubclass(ObjectAbsent, HostRefused)
    assert issubclass(ObjectBusy, HostRefused)


class Held:
    """Something whose holders can be counted."""


def fail(thing: object) -> None:
    assert thing is not None
    raise KeyError


def test_an_errors_frames_hold_nothing_afterwards() -> None:
    held = Held()

    before = sys.getrefcount(held)
    try:
        fail(held)
    except KeyError as error:
        let_go(error)
        assert sys.getrefcount(held) == before


def test_nor_do_the_frames_of_the_error_before_it() -> None:
    held = Held()

    def fail_again(thing: object) -> None:
        try:
            fail(thing)
        except KeyError:
            raise ValueError from None

    before = sys.getrefcount(held)
    try:
        fail_again(held)
    except ValueError as error:
        let_go(error)
        assert sys.getrefcount(held) == before


def test_nor_does_what_a_comprehension_closed_over() -> None:
    held = Held()

    def look_at(thing: object) -> str:
        fail(thing)
        return "never"

    def fail_in_a_comprehension(thing: object) -> list[str]:
        return [look_at(thing) for _ in range(1)]

    before = sys.getrefcount(held)
    try:
        fail_in_a_comprehension(held)
    except KeyError as error:
        let_go(error)
        assert sys.getrefcount(held) == before


def test_what_is_said_is_one_line() -> None:
    error = libvirt_error(QEMU, 9, "operation failed: Error while writing VM state\r\n")
    told = translate(error, host="h1", doing="make a snapshot", alive=True)
    assert told.message == (
        "host h1 could not make a snapshot: operation failed: Error while writing VM state"
    )


def test_an_error_that_lost_its_code_is_asked_for_again() -> None:
    """As a collection does to it that frees an object of libvirt's before the code is read."""
    # The constructor takes what went wrong last in this thread, whatever test that was in.
    libvirt.virResetLastError()
    wiped = libvirt.libvirtError("virStorageVolLookupByName() failed")
    assert wiped.get_error_code() is None
    busy = translate(wiped, host="alpha", doing="make the disk", alive=True)
    assert isinstance(busy, ObjectBusy)
    assert "virStorageVolLookupByName() failed" in busy.message
    assert isinstance(translate(wiped, host="alpha", doing="look", alive=False), HostUnreachable)
