"""Counts for the daemon how each host's tasks ended: a plugin of Ansible's, run in the jail.

What a guest says is a value here and never a line that is read, so no guest can forge a recap. It
is written anew after each task, so that a play that is cut short has one too.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

FILE = "SANDBOXD_RECAP"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Writes the counts of all hosts to the file that the environment names."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "sandboxd_recap"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._counts: dict[str, dict[str, int]] = {}
        self._faults: dict[str, str] = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result, "ok", *(["changed"] if result.is_changed() else []))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._count(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._faults[result._host.get_name()] = _told(result)
        self._count(result, *(("ok", "ignored") if ignore_errors else ("failed",)))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._faults[result._host.get_name()] = _told(result)
        self._count(result, "unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in stats.processed:
            summary = dict(stats.summarize(host))
            summary["failed"] = summary.pop("failures")
            self._counts[host] = summary
        self._write()

    def _count(self, result: Any, *kinds: str) -> None:
        counts = self._counts.setdefault(result._host.get_name(), {})
        for kind in kinds:
            counts[kind] = counts.get(kind, 0) + 1
        self._write()

    def _write(self) -> None:
        path = os.environ[FILE]
        with open(f"{path}.draft", "w", encoding="ascii") as file:  # noqa: PTH123
            json.dump({"counts": self._counts, "faults": self._faults}, file)
        os.replace(f"{path}.draft", path)  # noqa: PTH105


def _told(result: Any) -> str:
    said = result._result.get("msg")
    return f"{result._task.get_name()}: {said}"[:500]
