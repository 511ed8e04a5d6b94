"""What a test needs of the machine, `@pytest.mark.needs("root", "promtool")`: root, or programs.

Where it is not there the test is skipped; in the whole proof, which installs all of it and says so
by SANDBOXD_TEST_WHOLE, it fails, since nobody reads which proofs a green run did not hold.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

WHOLE = "SANDBOXD_TEST_WHOLE"
ROOT = "root"


def lacking(reason: str) -> NoReturn:
    """Skip the test that runs, or fail it where nothing may be lacking."""
    if os.environ.get(WHOLE):
        pytest.fail(f"{reason}, and {WHOLE} says that nothing is lacking", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look before the first fixture is made."""
    for mark in item.iter_markers("needs"):
        for what in mark.args:
            if what == ROOT:
                if os.geteuid() != 0:
                    lacking("it takes root")
            elif shutil.which(what) is None:
                lacking(f"{what} is not installed")
