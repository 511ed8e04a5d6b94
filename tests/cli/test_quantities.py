"""Durations and sizes: what people may write and what they read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.quantities import (
    mebibytes_of,
    seconds_of,
    share,
    short_duration,
    short_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("0s", 0)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "1.5h", "-1h", "1w", "h", "1h ", "1H", "1٣s", "9" * 12])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="90s, 15m, 2h"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("512M", 512), ("512MiB", 512), ("4GiB", 4096), ("4G", 4096), ("1.5G", 1536), ("1T", 1 << 20)],
)
def test_sizes_are_read(text: str, mebibytes: int) -> None:
    assert mebibytes_of(text) == mebibytes


@pytest.mark.parametrize("text", ["", "4", "4GB", "4KiB", "-4G", "4 GiB", "4g", "1e3G", "inf"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="512M or 4GiB"):
        mebibytes_of(text)


def test_a_part_of_a_mebibyte_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        mebibytes_of("0.5M")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (7500, "2h5m"), (86400 * 3 + 59, "3d")],
)
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


@given(st.integers(min_value=1, max_value=10**9))
def test_a_shown_duration_reads_back_as_never_more(seconds: int) -> None:
    read = seconds_of(short_duration(seconds))
    assert read <= seconds < read + 86400


@pytest.mark.parametrize(
    ("mebibytes", "text"),
    [(0, "0 MiB"), (512, "512 MiB"), (1536, "1.5 GiB"), (-2048, "-2 GiB"), (3 << 20, "3 TiB")],
)
def test_sizes_are_shown_in_their_largest_unit(mebibytes: int, text: str) -> None:
    assert short_size(mebibytes) == text


def test_a_share_has_one_unit() -> None:
    assert share(512, 65536) == "0.5/64 GiB"
    assert share(1 << 20, 3 << 20) == "1/3 TiB"
    assert share(0, 512) == "0/512 MiB"
