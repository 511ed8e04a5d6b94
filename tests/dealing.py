"""Side by side, a file's tests stay together, and so do all files with tests on real hosts.

The process that deals out tests collects none and sees ids only, which do not tell a marker; and
since pytest 9.2 nothing can be added to an id, as xdist's own groups do. So those that collect
write down which of their files have a test that is marked, wherever its mark comes from.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

NOTES = pytest.StashKey[Path]()
INPUT = "files_on_real_hosts"
REAL_HOSTS = "real hosts"


def file_of(nodeid: str) -> str:
    """Return the part of a test's id that names its file."""
    return nodeid.partition("::")[0]


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """Deals out whole files, and all that have tests on real hosts to one process."""

    def schedule(self) -> None:
        """Deal them out, now that everybody has collected."""
        notes = self.config.stash[NOTES].iterdir()
        self._on_real_hosts = {file for note in notes for file in note.read_text().splitlines()}
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        file = file_of(nodeid)
        return REAL_HOSTS if file in self._on_real_hosts else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Keep together what shares servers, whatever `--dist` says."""
    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a process that will collect where to write down what it finds."""
    config = node.config
    if NOTES not in config.stash:
        directory = TemporaryDirectory(prefix="dealing-")
        config.add_cleanup(directory.cleanup)
        config.stash[NOTES] = Path(directory.name)
    node.workerinput[INPUT] = str(config.stash[NOTES] / node.gateway.id)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write it down before the ids are sent, where somebody deals out tests."""
    note = getattr(session.config, "workerinput", {}).get(INPUT)
    if note is not None:
        marked = (item.nodeid for item in session.items if item.get_closest_marker("fleet"))
        Path(note).write_text("\n".join(sorted({file_of(nodeid) for nodeid in marked})))
