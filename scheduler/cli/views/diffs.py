"""A diff for people: what came, went and changed, then what nobody can tell and what is noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scheduler.cli.printing import Printer
from scheduler.cli.tables import Cell, Column

Document = dict[str, Any]

LONGEST_COMMAND = 72
"""A command may be a whole script; all of it is in the documents."""
_STYLES: Mapping[str, str] = {"+": "green", "-": "red", "~": "yellow"}
_LINE_STYLES: Mapping[str, str] = {"+": "green", "-": "red", "@": "cyan"}


def differs(diff: Document) -> bool:
    """Return whether anything is different."""
    delta = diff["delta"] or {}
    return any(delta.get(part) for part in ("files", "packages", "services"))


def draw(printer: Printer, diff: Document, *, brief: bool) -> None:
    """Print a diff; `brief` only counts."""
    delta = diff["delta"] or {}
    printer.lines([_summary(diff)])
    if not brief:
        files = [one for one in delta["files"] if one["package"] is None]
        _packages(printer, delta["packages"], delta["files"])
        _part(printer, "FILE", (_file(one) for one in files))
        _part(printer, "SERVICE", map(_service, delta["services"]))
        _part(printer, "COMMAND", map(_command, diff["diff_json"]["commands_run"]))
        for text in diff.get("texts", ()):
            _text(printer, text)
        _part(
            printer, "NOT COMPARED", (("?", one["path"], one["reason"]) for one in delta["unknown"])
        )
    ignored = delta["ignored"]
    if ignored:
        total = sum(one["differences"] for one in ignored)
        rules = ", ".join(f"{one['rule']} ({one['differences']})" for one in ignored)
        printer.lines(["", f"left out as noise: {total}: {rules}"])


def _summary(diff: Document) -> str:
    delta = diff["delta"] or {}
    files = [one for one in delta["files"] if one["package"] is None]
    counts = [
        _counted(files, "file"),
        _counted(delta["packages"], "package"),
        _counted(delta["services"], "service"),
        _counted(diff["diff_json"]["commands_run"], "command"),
    ]
    signs = [_sign(one) for one in files]
    split = ", ".join(
        f"{signs.count(sign)} {word}"
        for sign, word in (("+", "added"), ("~", "changed"), ("-", "removed"))
        if sign in signs
    )
    told = f" ({split})" if split else ""
    head = f"{diff['id']}: {diff['from_snapshot']} -> {diff['to_snapshot']}"
    return f"{head}: {counts[0]}{told}, {', '.join(counts[1:])}"


def _counted(items: Sequence[object], word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"


Row = tuple[str, str, str]


def _part(printer: Printer, title: str, rows: Iterable[Row]) -> None:
    documents = [{"sign": sign, "name": name, "what": what} for sign, name, what in rows]
    if not documents:
        return
    printer.lines([""])
    printer.table(
        (
            Column(header="", cell=lambda row: Cell(row["sign"], _STYLES.get(row["sign"], ""))),
            Column(
                header=title,
                cell=lambda row: Cell(row["name"], _STYLES.get(row["sign"], "")),
                flexible=True,
            ),
            Column(header="WHAT", cell=lambda row: row["what"], flexible=True),
        ),
        documents,
    )


def _sign(change: Document) -> str:
    if change["before"] is None:
        return "+"
    return "-" if change["after"] is None else "~"


def _packages(printer: Printer, packages: Sequence[Document], files: Sequence[Document]) -> None:
    def row(one: Document) -> Row:
        versions = [one[side] for side in ("before", "after") if one[side] is not None]
        brought = [file for file in files if file["package"] == one["name"]]
        of_it = f" ({_counted(brought, 'file')})" if brought else ""
        return _sign(one), one["name"], " -> ".join(versions) + of_it

    _part(printer, "PACKAGE", map(row, packages))


def _file(change: Document) -> Row:
    before, after = change["before"], change["after"]
    entry = after or before
    if before is None or after is None:
        what = f"{entry['kind']} {_mode(entry)} {_owner(entry)}"
        if entry["target"] is not None:
            what += f" -> {entry['target']}"
        elif entry["kind"] == "file":
            what += f" {entry['size']} B"
        return _sign(change), entry["path"], what
    return _sign(change), entry["path"], ", ".join(_differences(before, after))


def _differences(before: Document, after: Document) -> Iterable[str]:
    if before["kind"] != after["kind"]:
        target = "" if after["target"] is None else f" -> {after['target']}"
        yield f"{before['kind']} -> {after['kind']}{target}"
        return
    if before["target"] != after["target"]:
        yield f"target {before['target']} -> {after['target']}"
    if (before["sha256"], before["size"]) != (after["sha256"], after["size"]):
        yield f"content {before['size']} B -> {after['size']} B"
    if before["mode"] != after["mode"]:
        yield f"mode {_mode(before)} -> {_mode(after)}"
    if (before["uid"], before["gid"]) != (after["uid"], after["gid"]):
        yield f"owner {_owner(before)} -> {_owner(after)}"


def _mode(entry: Document) -> str:
    return f"{entry['mode']:04o}"


def _owner(entry: Document) -> str:
    owner, group = entry["owner"] or entry["uid"], entry["group"] or entry["gid"]
    return f"{owner}:{group}"


def _service(change: Document) -> Row:
    words = {"enabled": ("disabled", "enabled"), "active": ("stopped", "running")}
    told = []
    for key, (off, on) in words.items():
        was, now = ((change[side] or {}).get(key) for side in ("before", "after"))
        if was != now:
            told.append(
                " -> ".join("-" if one is None else on if one else off for one in (was, now))
            )
    return _sign(change), change["name"], ", ".join(told)


def _command(command: Document) -> Row:
    code = command["exit_code"]
    ended = "no exit code" if code is None else f"exit {code}"
    said = " ".join(command["cmd"].split())
    if len(said) > LONGEST_COMMAND:
        said = f"{said[: LONGEST_COMMAND - 3]}..."
    return " ", said, f"{ended}, {command['at']}"


def _text(printer: Printer, text: Document) -> None:
    printer.lines([""])
    if text["text"] is None:
        printer.lines([f"{text['path']}: not shown: {text['reason']}"])
        return
    printer.styled((line, _LINE_STYLES.get(line[:1], "")) for line in text["text"].split("\n"))
