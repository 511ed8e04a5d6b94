"""docs/events.md has every kind of event and every reason code that the code writes, and no other.

Kinds and codes are texts all over the daemon; this reads them there, as nothing else lists them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scheduler.model import (
    ChangeSetState,
    Ending,
    ImageState,
    PublicationStatus,
    VerificationPhase,
)

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "events.md").read_text()
ROOMS = ("control", "lifecycle", "service", "store/repositories")
NOUNS = (
    "change_set|clock|command|diff|drain|fleet|host|image|ledger|playbook|playbook_run|publication"
    "|sandbox|snapshot|source|ssh|ssh_authority"
)
KIND = re.compile(rf"({NOUNS})\.[a-z_]*[a-z]")
STEM = re.compile(rf"({NOUNS})\.([a-z]+_)?")
SETTINGS = {"clock.bases", "clock.boot_id", "clock.latest", "clock.offset", "clock.trust"}
"""Of the same shape, and no events."""
NAMED: dict[str, set[str]] = {
    "change_set.": {one.value.lower() for one in ChangeSetState} - {"pending"},
    "change_set.verification_": {one.value.lower() for one in VerificationPhase},
    "image.": {one.value.lower() for one in ImageState} & {"checking", "ready", "refused"},
    "publication.": {one.value.lower() for one in PublicationStatus} - {"pending"}
    | {"planned", "deferred"},
}
"""What follows a stem, where it is a state that a thing comes to."""
TOLD_BY = {"_tell": "snapshot.", "run_event": "playbook_run."}
"""Who is handed what follows a stem."""
GIVES_UP = {"_gave_up", "_broken", "elsewhere"}
"""Who is handed a sandbox's reason code."""
ELSEWHERE = {
    "breaker_open": "lifecycle/rules.py",
    "closed": "control/breakers.py",
    "deferred": "changes/publications.py",
    "held_by_budget": "control/orphans.py",
    "host_unreachable": "control/converger.py",
    "open": "control/breakers.py",
    "polled": "control/looks.py",
    "probing": "control/breakers.py",
}
"""Codes that are handed on before they are a reason, and the file that names each."""
PROPER = re.compile(r"[a-z]+(_[a-z]+)*")


def trees() -> Iterator[ast.Module]:
    for room in ROOMS:
        for path in sorted((ROOT / "scheduler" / room).rglob("*.py")):
            yield ast.parse(path.read_text())


def nodes() -> Iterator[ast.AST]:
    for tree in trees():
        yield from ast.walk(tree)


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts that an expression may be, as far as they are written down there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value)


def called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def kinds() -> set[str]:
    found: set[str] = set()
    stems: set[str] = set()
    for node in nodes():
        for text in texts(node) if isinstance(node, ast.Constant) else ():
            found |= {text} if KIND.fullmatch(text) else set()
            stems |= {text} if STEM.fullmatch(text) else set()
        stem = TOLD_BY.get(called(node))
        if stem is not None:
            assert isinstance(node, ast.Call)
            said = {text for argument in node.args for text in texts(argument)}
            found |= {stem + text for text in said if PROPER.fullmatch(text)}
    assert stems == {*NAMED, *TOLD_BY.values()}
    return (found | {stem + end for stem, ends in NAMED.items() for end in ends}) - SETTINGS


def codes() -> set[str]:
    constants = {
        target.id: text
        for node in nodes()
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
        for text in texts(node.value)
    }
    found = {ending.value for ending in Ending}
    for node in nodes():
        if isinstance(node, ast.keyword) and node.arg == "reason_code":
            named = constants.get(node.value.id) if isinstance(node.value, ast.Name) else None
            found |= {*texts(node.value), *((named,) if named else ())}
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            # An ending of a domain: its code, and its words.
            code, words = ([*texts(part)][:1] or [""] for part in node.elts)
            found |= set(code) if words[0].startswith("the ") else set()
        elif called(node) in GIVES_UP:
            assert isinstance(node, ast.Call)
            found |= {text for argument in node.args[:2] for text in texts(argument)}
    return {text for text in found if PROPER.fullmatch(text)}


def rows(begin: str, end: str | None = None) -> list[str]:
    """Return the names in the first column of the tables between two headings."""
    part = DOCUMENT[DOCUMENT.index(f"## {begin}") :]
    part = part if end is None else part[: part.index(f"## {end}")]
    firsts = re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE)
    return [name for first in firsts for name in re.findall(r"`([a-z_.]+)`", first)]


def test_every_kind_of_event_is_documented() -> None:
    documented = rows("Kinds", "Reason codes of sandboxes")
    assert sorted(documented) == sorted(kinds())


def test_every_reason_code_is_documented() -> None:
    assert set(rows("Reason codes of sandboxes")) == codes() | set(ELSEWHERE)
    for code, place in ELSEWHERE.items():
        assert f'"{code}"' in (ROOT / "scheduler" / place).read_text()
