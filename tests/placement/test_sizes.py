"""Amounts as people read them."""

from __future__ import annotations

import pytest

from scheduler.placement.sizes import mebibytes, told_apart


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 MiB"),
        (1_023, "1023 MiB"),
        (1_024, "1.0 GiB"),
        (4_300, "4.2 GiB"),
        (2**20, "1024.0 GiB"),
        (-2_048, "-2.0 GiB"),
    ],
)
def test_mebibytes(amount: int, words: str) -> None:
    assert mebibytes(amount) == words


@pytest.mark.parametrize(
    ("have", "need", "words"),
    [
        (3_174, 4_300, ("3.1 GiB", "4.2 GiB")),
        (4_299, 4_300, ("4299 MiB", "4300 MiB")),
        (512, 4_096, ("512 MiB", "4.0 GiB")),
    ],
)
def test_two_amounts_never_look_equal(have: int, need: int, words: tuple[str, str]) -> None:
    assert told_apart(have, need) == words
