"""Secrets never come through, however they are cut; everything else does, in time and unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.guests.redaction import Redactor, redacted
from tests.costs import cpu_seconds

KEY = (
    b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
    + b"b3BlbnNzaC1rZXktdjEAAAAA\n" * 30
    + b"-----END OPENSSH PRIVATE KEY-----"
)
# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "private_key": KEY,
    "aws_access_key": b"AKIA" + b"IOSFODNN7EXAMPLE",
    "aws_secret_key": b"aws_secret_access_key = " + b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "token": b"ghp" + b"_0123456789abcdefghijABCDEFGHIJ012345",
    "bearer": b"Bearer " + b"abc.def-ghi_jkl~0123456789",
    "url_password": b"robot:hunter2!x",
    "named": b"correct horse\nbattery",
}
BEFORE = {"url_password": b"postgres://"}
AFTER = {"url_password": b"@db.example/app"}


def cleared(data: bytes, cuts: list[int], secrets: tuple[bytes, ...] = ()) -> bytes:
    """Feed the data in pieces and return all that comes out."""
    redactor, at, out = Redactor(secrets), 0, b""
    for cut in sorted({cut % (len(data) + 1) for cut in cuts}):
        out += redactor.feed(data[at:cut])
        at = cut
    return out + redactor.feed(data[at:]) + redactor.end()


@pytest.mark.parametrize("kind", SECRETS)
@given(
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    before=st.sampled_from([b"", b"x ", b"\n", b"log: ", b"\x1b[1m", b"-----", b"corr "]),
    after=st.sampled_from([b"", b" y", b"\n", b"\x00", b" correct"]),
)
def test_a_secret_never_comes_through_however_it_is_cut(
    kind: str, cuts: list[int], before: bytes, after: bytes
) -> None:
    before, after = before + BEFORE.get(kind, b""), AFTER.get(kind, b"") + after
    data = before + SECRETS[kind] + after
    out = cleared(data, cuts, (SECRETS["named"],))
    assert out == before + b"[redacted:%s]" % kind.encode() + after


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_what_is_no_secret_comes_through_unchanged(data: bytes, cuts: list[int]) -> None:
    assert cleared(data, cuts, (b"correct horse",)) == data


@given(
    text=st.text(st.sampled_from("correct hse\nAKI-BEGINbearer :/@"), max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=8),
)
def test_where_it_is_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    data = text.encode()
    assert cleared(data, cuts, (b"correct", b"or")) == cleared(data, [], (b"correct", b"or"))


PIECES = (
    *(*SECRETS.values(), b"postgres://", b"@", b":", b"/", b" ", b"\n", b"x", b"xox", b"xoxb-"),
    *(b"0123456789abcdef", b"sk-", b"task_", b"SK_", b"glpat-", b"github_pat_", b"npm_", b"pypi-"),
    *(b"eyJ", b".", b"BEARER ", b"AWS_Secret_access_KEY=", b"ASIA", b"-----", b"BEGIN ", b"-"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_what_is_looked_at_more_closely_is_all_that_could_be_found(data: bytes) -> None:
    redactor = Redactor((SECRETS["named"], b"xx"))
    redactor._pending = data
    everywhere, first = redactor._pattern.search(data), redactor._first()
    assert (everywhere and everywhere.span()) == (first and first.span())
    assert everywhere is None or redactor._suspicious()


@pytest.mark.parametrize("data", [b"password: ", b"....", b"done\n", b"50% ", b"\x1b[2K\r"])
def test_a_prompt_and_the_end_of_a_line_are_not_held_back(data: bytes) -> None:
    assert Redactor().feed(data) == data


def test_what_never_pauses_is_held_back_only_so_far() -> None:
    redactor = Redactor()
    blob = b"QUJD" * 5000
    out = redactor.feed(blob)
    assert len(blob) - len(out) <= 1024
    assert out + redactor.end() == blob


def test_a_token_without_an_end_is_swallowed_to_where_it_ends() -> None:
    token = b"glpat-" + b"a" * 20_000
    assert cleared(b"x " + token + b" y", list(range(0, 20_000, 777))) == b"x [redacted:token] y"


def test_the_first_line_of_a_key_alone_does_not_swallow_everything() -> None:
    head = b"-----BEGIN PRIVATE KEY-----\n"
    out = cleared(head + b"line of a log\n" * 10_000, list(range(0, 140_000, 4000)))
    assert out.startswith(b"[redacted:private_key]")
    assert out.endswith(b"line of a log\n")
    assert cleared(head + b"cut", []) == b"[redacted:private_key]"


def test_what_was_found_is_counted() -> None:
    redactor = Redactor([b"hunter2"])
    redactor.feed(b"hunter2 hunter2 ")
    redactor.feed(SECRETS["token"] + b"\n")
    assert redactor.found == {"named": 2, "token": 1}


def test_a_text_is_cleared_at_once() -> None:
    assert redacted("curl -H 'Authorization: Bearer abcdefghij'") == (
        "curl -H 'Authorization: [redacted:bearer]'"
    )


WEB_TOKEN = b"eyJ" + b"hbGciOiJSUzI1NiJ9" + b".eyJzdWIiOiIxMjM0NTYifQ" + b".c2lnbmF0dXJlX3NpZw"


@pytest.mark.parametrize(
    "token",
    [
        WEB_TOKEN,
        b"eyJ" + b"h" * 3000 + b"." + b"p" * 20_000 + b"." + b"s" * 700,
        b"eyJ" * 9 + WEB_TOKEN,
    ],
)
def test_web_tokens_are_hidden_whatever_stands_before_them_and_however_long(token: bytes) -> None:
    for before in (b"", b"eyJ ", b"eyJshort.", b"x" * 5000 + b" ", b"eyJ" * 50 + b"!"):
        out = cleared(before + token + b"\n", [])
        assert out == before + b"[redacted:token]\n"


@pytest.mark.parametrize(
    "flood",
    [
        *(b"eyJ", b"eyJaaaaaaaa.b.", b"a", b"AKIA" + b"IOSFODNN7EXAMPLE.", b"://a:b@.", b"bearer "),
        *(b"aws_secret_access_key", b"-----BEGIN ", b"sk-", b"://a:", b"bearer\t\t\t\t\t\t"),
    ],
)
@pytest.mark.parametrize("end", [b"", b" "])
def test_what_a_flood_of_beginnings_costs_grows_as_its_length(flood: bytes, end: bytes) -> None:
    def seconds(size: int) -> float:
        data = flood * (size // len(flood)) + end
        return cpu_seconds(lambda: cleared(data, []))

    # A floor, since what takes next to no time is measured badly; four times as much is linear.
    assert seconds(64 * 1024) < 8 * max(seconds(16 * 1024), 0.02)
