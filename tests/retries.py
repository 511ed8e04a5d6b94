"""A test that fails is run once more where `--reruns` says so; this tells how it failed at first.

What hangs on real kernels, guests and a shared machine's clocks fails by chance now and then. A
few such tests do not fail a run, and cannot be overlooked in it; many are no chance, and fail it.
"""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter

LET_OFF = 2
FAILED_AT_FIRST = "rerun"


def failed_at_first(reporter: TerminalReporter) -> dict[str, list[pytest.TestReport]]:
    """Return, by their ids, the reports of tests that failed before they were run again."""
    tests: dict[str, list[pytest.TestReport]] = {}
    for report in reporter.stats.get(FAILED_AT_FIRST, []):
        tests.setdefault(report.nodeid, []).append(report)
    return tests


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print how each of them failed at first."""
    tests = failed_at_first(terminalreporter)
    if not tests:
        return
    terminalreporter.section("failed at first")
    for nodeid, reports in tests.items():
        for report in reports:
            terminalreporter.write_sep("_", nodeid)
            terminalreporter.line(report.longreprtext)
            for name, text in report.sections:
                terminalreporter.write_sep("-", name)
                terminalreporter.line(text)
    if len(tests) > LET_OFF:
        terminalreporter.line(f"{len(tests)} tests failed at first, {LET_OFF} may: this run failed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where more of them did than chance explains."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    tests = failed_at_first(reporter) if isinstance(reporter, TerminalReporter) else {}
    if session.exitstatus == pytest.ExitCode.OK and len(tests) > LET_OFF:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
