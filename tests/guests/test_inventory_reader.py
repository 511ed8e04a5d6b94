"""Answers of guests are read strictly: what is cut off, forged or mad ends as less, never worse."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.guests.inventory_reader import (
    batches,
    read_contents,
    read_digests,
    read_listing,
    read_odd_digests,
    shown,
)
from scheduler.guests.inventory_tables import (
    accounts,
    automatic_alternatives,
    dpkg,
    rpm,
    services,
    system,
)
from scheduler.guests.inventory_values import drafted
from scheduler.model import PackageInfo, ServiceState
from tests.changes.manifests import AT

STAT = b"81a4 3 0 0 9"
ANSWER = b"Spasswd\0root:0\0R/etc\0C2\0/etc\0/etc/a\0" + b"41ed 0 0 0 9\n" + STAT + b"\0D/etc\0Z\0"
PARTS = st.sampled_from(
    [
        *b"C1 C2 C99999 R/etc R/x D/etc E/etc Z L/etc Sdpkg Fdpkg T T9 Sx /etc /etc/a /x -".split(),
        *(STAT, STAT + b"\n" + STAT, b"", b"\xff", b"/etc/\xff\n"),
    ]
)
LINE = st.sampled_from(
    [
        *b"Package: p|Status: install ok installed|Version: 1|Conffiles:|".split(b"|"),
        *(b" /etc/a " + b"a" * 32, b"a:b:1", b"x:0", b"ID=x", b"s.service enabled x", b": : :"),
        *(b"p\t0\t1", b"\xff\t0\t1", b"/i/p.list:/etc/a"),
        b"/i/p.md5sums:" + b"b" * 32 + b"  etc/a",
    ]
)


def test_a_whole_answer() -> None:
    listing = read_listing(ANSWER, [b"/etc"], 10)
    assert [*listing.stats] == [b"/etc", b"/etc/a"]
    assert (listing.done, listing.whole, listing.full) == ({b"/etc"}, True, False)
    assert listing.sections == {"passwd": b"root:0"}


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER.replace(b"R/etc", b"R/srv"),
        ANSWER.replace(b"/etc/a", b"/srv/a"),
        ANSWER.replace(b"/etc/a", b"/etcetera"),
        ANSWER.replace(b"C2", b"C3"),
        ANSWER.replace(b"C2", b"C-2"),
        ANSWER.replace(STAT, b"81a4 x 0 0 9"),
        ANSWER.replace(b"Spasswd", b"Sshadow"),
        ANSWER.replace(b"D/etc", b"D/srv"),
        ANSWER[:-20],
        ANSWER[:-1],
    ],
)
def test_an_answer_that_makes_no_sense_is_not_whole(answer: bytes) -> None:
    listing = read_listing(answer, [b"/etc"], 10)
    assert not listing.whole
    assert not {b"/srv/a", b"/etcetera"} & {*listing.stats}


def test_a_root_is_a_link_where_a_guest_says_so_of_a_root() -> None:
    assert read_listing(ANSWER.replace(b"C2", b"T17\0C2"), [b"/etc"], 9).linked == {b"/etc": 17}
    assert read_listing(ANSWER.replace(b"C2", b"T\0C2"), [b"/etc"], 9).linked == {b"/etc": None}
    for answer in (ANSWER.replace(b"C2", b"Tx\0C2"), b"T17\0" + ANSWER):
        listing = read_listing(answer, [b"/etc"], 9)
        assert (listing.linked, listing.whole) == ({}, False)


def test_what_a_guest_could_not_tell_is_no_empty_answer() -> None:
    told = b"Sdpkg\0\0Sfiles\0\0Sunits\0ssh.service loaded active running\0Z\0"
    whole = drafted(read_listing(told, [], 9)).manifest(AT, ())
    assert (whole.package_manager, whole.service_manager) == ("dpkg", "systemd")
    assert (len(whole.services), whole.omissions) == (1, ())
    failed = told.replace(b"Sdpkg\0\0", b"Sdpkg\0\0Fdpkg\0").replace(b"Z", b"Funits\0Z")
    listing = read_listing(failed, [], 9)
    assert (listing.whole, listing.untold) == (True, {"dpkg", "units"})
    less = drafted(listing).manifest(AT, ())
    assert (less.package_manager, less.service_manager, less.services) == (None, None, ())
    assert [one.path for one in less.omissions] == ["/usr/bin/dpkg", "/usr/bin/systemctl"]
    assert not read_listing(told.replace(b"Z", b"Fsums\0Z"), [], 9).whole


def test_so_many_entries_are_taken() -> None:
    listing = read_listing(ANSWER, [b"/etc"], 1)
    assert (len(listing.stats), listing.full, listing.whole) == (1, True, False)


MANY = 2**18


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_listing(b"\0" * MANY, [b"/etc"], 9),
        lambda: read_listing(b"R/etc\0C999999999\0" + b"\0" * MANY, [b"/etc"], 9),
        lambda: read_listing(b"R/etc\0C43690\0" + b"/etc/\0" * (MANY // 6), [b"/etc"], 9),
        lambda: read_listing(b"R/e\0C2\0/e\0/e\0" + b"\n" * MANY + b"x\0", [b"/e"], 9),
        lambda: read_digests(b"\n" * MANY, [], 64),
        lambda: read_odd_digests(b"\0" * MANY, []),
        lambda: dpkg(b"\n" * MANY, b"", b""),
        lambda: dpkg(b"", b"\n" * MANY, b""),
        lambda: dpkg(b"", b"", b"\n" * MANY),
        lambda: dpkg(b"A:\n\n" * (MANY // 4), b"", b""),
        lambda: dpkg(b"Conffiles:\n" + b" \n" * (MANY // 2), b"", b""),
        lambda: rpm(b"\n" * MANY),
        lambda: services(b"\n" * MANY, b""),
        lambda: automatic_alternatives(b"\n" * MANY),
        lambda: automatic_alternatives(b"f:auto\n" * (MANY // 7)),
        lambda: accounts(b"\n" * MANY),
        lambda: system(b"\n" * MANY),
    ],
)
def test_a_million_times_nothing_takes_no_more_memory_than_it_came_in(
    read: Callable[[], object],
) -> None:
    tracemalloc.start()
    try:
        read()
        assert tracemalloc.get_traced_memory()[1] < 3 * MANY
    finally:
        tracemalloc.stop()


def test_a_chunk_of_more_than_so_many_is_taken_up_to_them_and_told() -> None:
    answer = ANSWER.replace(b"C2", b"C4").replace(b"/etc/a\0", b"/etc/a\0/etc/b\0/etc/c\0")
    answer = answer.replace(STAT, b"-\n-\n" + STAT)
    listing = read_listing(answer, [b"/etc"], 2)
    assert ([*listing.stats], listing.full, listing.whole) == ([b"/etc"], True, False)
    assert [*read_listing(answer, [b"/etc"], 4).stats] == [b"/etc", b"/etc/c"]


def test_a_section_in_many_parts_is_one() -> None:
    answer = b"Srpm\0a\0Srpm\0b\0Z\0"
    assert read_listing(answer, [], 9).sections == {"rpm": b"ab"}


def test_a_file_that_went_meanwhile_is_no_entry() -> None:
    listing = read_listing(ANSWER.replace(STAT, b"-"), [b"/etc"], 10)
    assert ([*listing.stats], listing.whole) == ([b"/etc"], True)


@given(parts=st.lists(PARTS, max_size=30))
def test_a_mad_listing_is_read_all_the_same(parts: list[bytes]) -> None:
    listing = read_listing(b"\0".join(parts) + b"\0", [b"/etc"], 3)
    assert all(name.startswith(b"/etc") for name in listing.stats)
    assert len(listing.stats) <= 3
    manifest = drafted(listing).manifest(AT, ("/etc",))
    assert len(manifest.entries) == len(listing.stats)


@given(answer=st.binary(max_size=400))
def test_noise_is_read_all_the_same(answer: bytes) -> None:
    drafted(read_listing(answer, [b"/etc"], 3)).manifest(AT, ("/etc",))
    read_digests(answer, [b"/etc/a"], 64)
    read_odd_digests(answer, [b"/etc/a"])
    assert read_contents(answer, ["a"]) == {}


@settings(max_examples=50)
@given(lines=st.lists(LINE, max_size=12))
def test_mad_tables_are_read_all_the_same(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    dpkg(text, text, text)
    for one in (accounts, system, rpm):
        one(text)
    services(text, text)


def test_only_digests_that_were_asked_for_count() -> None:
    digest = b"a" * 64
    answer = b"%s  /etc/a\n%s  /etc/b\n%s  /etc/c\nmad\n" % (digest, digest, b"a" * 32)
    assert read_digests(answer, [b"/etc/a", b"/etc/c"], 64) == {b"/etc/a": "a" * 64}
    odd = b"/etc/\n\0%s  -\n\0/etc/x\0%s  -\n\0/etc/gone\n\0\0" % (digest, digest)
    assert read_odd_digests(odd, [b"/etc/\n", b"/etc/gone\n"]) == {b"/etc/\n": "a" * 64}


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


_CONTENTS = (b"one", b"two" * 400)
_PACKED = archive(a=_CONTENTS[0], b=_CONTENTS[1])
_HEAD_BYTES, _SECOND_AT = 512, 1024
"""Where the first member's content begins, and where its last block ends."""


def test_contents_are_what_their_digest_says() -> None:
    wanted = hashlib.sha256(b"one").hexdigest()
    assert read_contents(_PACKED, [wanted]) == {wanted: b"one"}
    assert read_contents(archive(x=b"") + _PACKED, [wanted]) == {wanted: b"one"}


def test_an_archive_of_names_without_end_gives_what_came_before_them() -> None:
    name = tarfile.TarInfo("x")
    name.type = tarfile.GNUTYPE_LONGNAME
    wanted = hashlib.sha256(b"one").hexdigest()
    endless = archive(a=b"one")[:1024] + name.tobuf() * 4000
    assert read_contents(endless, [wanted]) == {wanted: b"one"}


@settings(max_examples=60)
@given(at=st.integers(0, len(_PACKED) - 1), byte=st.integers(0, 255))
@example(at=156, byte=ord("x"))
@example(at=156, byte=ord("S"))
@example(at=124, byte=0xFF)
def test_a_damaged_archive_gives_less_and_nothing_false(at: int, byte: int) -> None:
    first, second = (hashlib.sha256(one).hexdigest() for one in _CONTENTS)
    damaged = _PACKED[:at] + bytes([byte]) + _PACKED[at + 1 :]
    found = read_contents(damaged, [first, second])
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in found.items())
    if at >= _SECOND_AT:
        assert first in found, "what comes before the damage is whole"
    elif at >= _HEAD_BYTES:
        assert second in found, "a member that is damaged inside costs no other one"
        assert (first in found) is (damaged == _PACKED or at >= _HEAD_BYTES + len(b"one"))


@pytest.mark.parametrize(
    ("raw", "text", "literal"),
    [
        (b"/etc/a", "/etc/a", True),
        ("/etc/ä\n".encode(), "/etc/ä\n", True),
        (b"/etc/\\xff", r"/etc/\xff", True),
        (b"/etc/\xff", r"/etc/\xff", False),
        (b"/etc/\\\xff", r"/etc/\x5c\xff", False),
    ],
)
def test_names_as_text(raw: bytes, text: str, *, literal: bool) -> None:
    assert shown(raw) == (text, literal)


def test_lots_hold_so_many_bytes_or_one_file() -> None:
    names = [(b"a", 1), (b"b", 2), (b"c", 9), (b"d", 1)]
    assert [*batches(names, 3)] == [[b"a", b"b"], [b"c"], [b"d"]]
    assert [*batches([], 3)] == []


def test_what_dpkg_knows() -> None:
    status = (
        b"Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21\n"
        b"Conffiles:\n /etc/dpkg.cfg " + b"a" * 32 + b"\n /etc/old " + b"b" * 32 + b" obsolete\n"
        b"Description: text\n /etc/false " + b"c" * 32 + b"\n\n"
        b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        b"Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2:1~x\n\n"
        b"Package: bad name\nStatus: install ok installed\nVersion: 1\n"
    )
    owned = b"/var/lib/dpkg/info/libc6:i386.list:/opt/lib\nmad\n"
    sums = b"/var/lib/dpkg/info/libc6:i386.md5sums:" + b"d" * 32 + b"  opt/lib\nx.md5sums:mad\n"
    found = dpkg(status, owned, sums)
    assert found.installed == (
        PackageInfo(name="dpkg", version="1.21"),
        PackageInfo(name="libc6:i386", version="2:1~x"),
    )
    assert found.owners == {b"/etc/dpkg.cfg": "dpkg", b"/etc/old": "dpkg", b"/opt/lib": "libc6"}
    assert found.sums[b"/opt/lib"] == "d" * 32
    assert b"/etc/false" not in found.sums


def test_what_rpm_knows() -> None:
    assert rpm(
        b"bash\t0\t5.1-1\nbind\t32\t9.16-2\nmad\n\t\t\ngpg-pubkey\t0\t35-62\n"
    ).installed == (
        PackageInfo(name="bash", version="5.1-1"),
        PackageInfo(name="bind", version="32:9.16-2"),
    )


def test_what_systemd_knows() -> None:
    files = b"ssh.service enabled enabled\ncron.service disabled enabled\nx.service static -\nmad\n"
    files += b"sshd.service alias -\nnet.service enabled-runtime enabled\n"
    units = (
        "ssh.service loaded active running SSH\n● bad.service loaded failed failed B\n"
        "sshd.service loaded active running SSH\n"
        "gone.service not-found inactive dead gone\n"
    ).encode()
    assert services(files, units) == (
        ServiceState(name="bad", enabled=None, active=False),
        ServiceState(name="cron", enabled=False, active=False),
        ServiceState(name="net", enabled=False, active=False),
        ServiceState(name="ssh", enabled=True, active=True),
        ServiceState(name="x", enabled=None, active=False),
    )


def test_a_template_is_no_service_and_an_enabled_instance_of_it_is_one() -> None:
    files = b"wg-quick@.service disabled enabled\nmasked@x.service masked enabled\n"
    units = b"wg-quick@wg0.service loaded active exited WireGuard\n"
    assert services(files, units) == (
        ServiceState(name="masked@x", enabled=False, active=False),
        ServiceState(name="wg-quick@wg0", enabled=None, active=True),
    )
    wants = b"/etc/systemd/system/multi-user.target.wants"
    names = [wants + b"/wg-quick@wg0.service", wants + b"/masked@x.service", wants + b"/b@.service"]
    links = b"".join(b"L%s\0/x\0" % name for name in names)
    answer = b"Sfiles\0%s\0Sunits\0%s\0R/etc\0C3\0%s\0%s\0%sD/etc\0Z\0" % (
        *(files, units, b"\0".join(names), b"\n".join([b"a1ff 1 0 0 9"] * 3), links),
    )
    assert drafted(read_listing(answer, [b"/etc"], 9)).manifest(AT, ("/etc",)).services == (
        ServiceState(name="masked@x", enabled=False, active=False),
        ServiceState(name="wg-quick@wg0", enabled=True, active=True),
    )


def test_units_of_other_types_are_told_where_somebody_can_enable_them() -> None:
    files = (
        b"backup.timer enabled enabled\npodman.socket disabled enabled\nstatic.timer static -\n"
        b"data.mount enabled enabled\nnfs-client.target enabled enabled\nx@.timer disabled -\n"
        b"odd.timer.service enabled enabled\nuser.slice enabled -\n.timer enabled -\n"
    )
    units = (
        b"backup.timer loaded active waiting B\nstatic.timer loaded active waiting S\n"
        b"run-docker.mount loaded active mounted /run/docker\nx@1.timer loaded active waiting X\n"
        b"nfs-client.target loaded active active N\nmulti-user.target loaded active active M\n"
    )
    assert services(files, units, ["x@1.timer"]) == (
        ServiceState(name="backup.timer", enabled=True, active=True),
        ServiceState(name="data.mount", enabled=True, active=False),
        ServiceState(name="nfs-client.target", enabled=True, active=None),
        ServiceState(name="odd.timer.service", enabled=True, active=False),
        ServiceState(name="podman.socket", enabled=False, active=False),
        ServiceState(name="x@1.timer", enabled=True, active=True),
    )


ALTERNATIVES = b"".join(
    b"/var/lib/dpkg/alternatives/" + line + b"\n"
    for line in (
        *(b"vi:auto", b"vi:/usr/bin/vi", b"vi:vi.1.gz", b"vi:/usr/share/man/vi.1.gz", b"vi:"),
        *(b"vi:/usr/bin/vim.tiny", b"vi:15", b"vi:/usr/share/man/vim.1.gz", b"vi:"),
        *(b"iptables:manual", b"iptables:/usr/sbin/iptables", b"iptables:iptables-save"),
        *(b"iptables:/usr/sbin/iptables-save", b"iptables:", b"pager:auto", b"mad"),
    )
)


def test_alternatives_that_the_package_manager_does_not_choose_are_told() -> None:
    assert automatic_alternatives(ALTERNATIVES) == {b"vi", b"vi.1.gz", b"pager"}
    names = [b"/etc/alternatives/" + one for one in (b"vi", b"vi.1.gz", b"iptables", b"own")]
    links = b"".join(b"L%s\0/x\0" % name for name in names)
    listed = b"R/etc\0C4\0%s\0%s\0%sD/etc\0Z\0" % (
        *(b"\0".join(names), b"\n".join([b"a1ff 1 0 0 9"] * 4), links),
    )

    def chosen(told: bytes) -> tuple[str, ...] | None:
        listing = read_listing(told + listed, [b"/etc"], 9)
        assert listing.whole
        return drafted(listing).manifest(AT, ("/etc",)).chosen_alternatives

    told = b"Salternatives\0%s\0" % ALTERNATIVES
    assert chosen(told) == ("/etc/alternatives/iptables", "/etc/alternatives/own")
    assert chosen(told + b"Falternatives\0") is None
    assert chosen(b"") is None


def test_who_and_what_a_system_is() -> None:
    assert accounts(b"root:0\nother:0\nbad\n:1\nx:y\n") == {0: "root"}
    text = b"ID=debian\nNAME=\"Debian GNU\"\nVERSION_ID='12'\nEVIL=$(id)\nID_LIKE=a b\n"
    assert system(text) == {"ID": "debian", "NAME": "Debian GNU", "VERSION_ID": "12"}
