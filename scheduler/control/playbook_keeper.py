"""Keeps the files of playbooks as the store has them, and what Ansible says to each revision.

A pass over all: it writes what differs, removes what no playbook is, and asks Ansible about
revisions it has not seen. Names of files come from ids, so that no name can lead elsewhere. The
first ones also remove the directories of plays that a daemon's death left.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from scheduler.clock import Clock
from scheduler.control.rounds import each
from scheduler.errors import Invalid, NotFound
from scheduler.guests.ansible import CheckLate, find_ansible, syntax_fault
from scheduler.guests.stages import sweep
from scheduler.ids import Prefix
from scheduler.model import Event, Playbook
from scheduler.service.playbook_reports import PlaybookReport, rendered, report_of
from scheduler.statedir import on_disk
from scheduler.store import ListOptions, Page, Store, Transaction

DIRECTORY = "playbooks"
_ID = re.compile(rf"{Prefix.PLAYBOOK}-[0-9A-HJKMNP-TV-Z]{{26}}")
_PAGE = 500
CHECKS_A_PASS = 5
LATE_CHECKS = 3
"""A check that did not end in time is begun so often before that is told of its playbook."""
LATE_AGAIN_SECONDS = 30.0
"""How soon one that did not end in time is begun again: the machine may be less busy by then."""

_log = structlog.get_logger("scheduler.control")


class PlaybookKeeper:
    """One pass over all playbooks; `told` is called when something was recorded."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        state_dir: Path,
        *,
        told: Callable[[], None],
        ansible: Callable[[], str | None] = find_ansible,
    ) -> None:
        self._store = store
        self._clock = clock
        self._directory = state_dir / DIRECTORY
        self._told = told
        self._ansible = ansible
        self._swept = False
        self._checks = 0
        """How often Ansible was asked in this pass."""
        self._late: dict[str, tuple[int, int]] = {}
        """The revision of a playbook whose check did not end in time, and how often it did not."""

    async def keep(self) -> float | None:
        """Write, remove and check what needs it; wants to go on soon while some is unchecked."""
        if not self._swept:
            await self._sweep_stages()
        known = [one for one in await self._all() if _ID.fullmatch(one.id)]
        self._checks = 0
        await each("playbooks", known, self._keep)
        with on_disk("files of playbooks that are no more cannot be removed"):
            await asyncio.to_thread(self._sweep, {self._path(one.id) for one in known})
        self._late = {one.id: self._late[one.id] for one in known if one.id in self._late}
        if self._checks >= CHECKS_A_PASS:
            return 0.0
        return LATE_AGAIN_SECONDS if self._late else None

    async def _sweep_stages(self) -> None:
        """Remove what ended daemons had played; who ends from now on leaves it to the next one.

        It is looked for until nothing is found: what they started may write for a moment longer.
        """
        with on_disk("what ended daemons had played cannot be removed"):
            found = await asyncio.to_thread(sweep)
        for left in found:
            _log.info("removed what an ended daemon had played", path=str(left))
        self._swept = not found

    async def _keep(self, playbook: Playbook) -> None:
        """Bring one playbook up to date."""
        try:
            report = await self._store.read(lambda tx: report_of(tx, tx.playbooks.get(playbook.id)))
        except NotFound:
            return
        try:
            text = await asyncio.to_thread(rendered, report)
        except Invalid as error:
            await self._record(report, fault=error.message, checked=True)
            return
        with on_disk(f"the file of playbook {report.name} cannot be written"):
            await asyncio.to_thread(self._write, report.id, text)
        ansible = self._ansible() if self._checks < CHECKS_A_PASS else None
        if ansible is None or report.checked_revision == report.revision:
            await self._record(report, fault=None, checked=False)
            return
        self._checks += 1
        try:
            fault = await self._fault(ansible, report)
        except CheckLate as late:
            if self._counted(report) < LATE_CHECKS:
                _log.warning("checked again later", playbook=report.id, why=str(late))
                await self._record(report, fault=None, checked=False)
                return
            fault = str(late)
        self._late.pop(report.id, None)
        await self._record(report, fault=fault, checked=True)

    def _counted(self, report: PlaybookReport) -> int:
        """Count a check that did not end in time; return how many did not of this revision."""
        revision, times = self._late.get(report.id, (report.revision, 0))
        times = times + 1 if revision == report.revision else 1
        self._late[report.id] = (report.revision, times)
        return times

    async def _fault(self, ansible: str, report: PlaybookReport) -> str | None:
        """Return what Ansible says against a playbook's file, by the playbook's name."""
        path = self._path(report.id)
        with (
            on_disk(f"playbook {report.name} cannot be checked"),
            tempfile.TemporaryDirectory(prefix="sandboxd-check-") as scratch,
        ):
            fault = await syntax_fault(ansible, path, Path(scratch))
        return None if fault is None else fault.replace(str(path), f"{report.name}.yml")

    async def _record(self, report: PlaybookReport, *, fault: str | None, checked: bool) -> None:
        """Write down what is news."""
        path = str(self._path(report.id))
        seen = checked and (report.checked_revision, report.check_fault) != (report.revision, fault)
        if seen or report.file_path != path:
            note = partial(self._note, report, file_path=path, checked=seen, fault=fault)
            await self._store.submit(note)
            self._told()

    def _note(
        self,
        report: PlaybookReport,
        tx: Transaction,
        *,
        file_path: str,
        checked: bool,
        fault: str | None,
    ) -> None:
        noted = tx.playbooks.note(
            report.id,
            revision=report.revision,
            file_path=file_path,
            checked=checked,
            fault=fault,
        )
        if noted and checked:
            said = "Ansible takes it" if fault is None else "Ansible does not take it"
            tx.events.add(
                Event(
                    at=self._clock.now(),
                    kind="playbook.checked",
                    reason_code="valid" if fault is None else "invalid",
                    message=f"playbook {report.name}: {said}",
                    evidence={
                        "playbook_id": report.id,
                        "name": report.name,
                        "revision": report.revision,
                        "fault": fault,
                    },
                )
            )

    async def _all(self) -> list[Playbook]:
        found: list[Playbook] = []
        options = ListOptions(limit=_PAGE)
        while True:
            page = await self._store.read(partial(_page, options))
            found += page.items
            if page.next_cursor is None:
                return found
            options = ListOptions(limit=_PAGE, cursor=page.next_cursor)

    def _path(self, playbook_id: str) -> Path:
        return self._directory / f"{playbook_id.lower()}.yml"

    def _sweep(self, wanted: set[Path]) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            if path not in wanted and path.is_file():
                path.unlink()
                _log.info("playbook file removed", path=str(path))

    def _write(self, playbook_id: str, text: str) -> None:
        """Have the file hold this text, at once and whole."""
        path, content = self._path(playbook_id), text.encode("ascii")
        if path.exists() and path.read_bytes() == content:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()  # what is left of it would fill the disk still more
            raise


def _page(options: ListOptions, tx: Transaction) -> Page[Playbook]:
    return tx.playbooks.find(options)
