"""The review file: what the code of a change set does not say, for people, as Markdown.

Names from guests stand in code spans with everything escaped that a reader would not see, so that
none can end its span, begin a heading or pose as one of our sentences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from scheduler.changes.plans import Review
from scheduler.model import Delta, Ignored

_TICKS = re.compile(r"`+")


def markdown(title: str, delta: Delta, reviews: Sequence[Review], notes: Sequence[Review]) -> str:
    """Return the whole file."""
    sections = [
        _section("Not in the code", [_told(one) for one in _ordered(reviews)]),
        _section("In the code, but look twice", [_told(one) for one in _ordered(notes)]),
        _section("Left out as noise", [_counted(one) for one in delta.ignored]),
        _section(
            "To be known",
            [
                *([_PACKAGES] if delta.packages else []),
                *([_RESTARTS] if any(one.package is None for one in delta.files) else []),
            ],
        ),
    ]
    said = [section for section in sections if section]
    if not reviews:
        said.insert(0, "Everything that changed is in the code.\n")
    return "\n".join([f"# Review: {title}\n", *said])


_PACKAGES = (
    "Packages are asked for by name and version, from the repositories that a machine has and "
    "those of this change, whose files and keys are put in place before: one that was installed "
    "from a file has to be put into a repository first, and a version that a repository no longer "
    "has cannot be installed from it."
)


_RESTARTS = (
    "Services of this change that are to run are restarted on a machine to which something of it "
    "was new. Others may read the changed files as well: restart those where they do."
)


def code(text: str) -> str:
    """Return text from a guest as a code span that shows it exactly."""
    shown = json.dumps(text)
    longest = max((len(run) for run in _TICKS.findall(shown)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence}{shown}{fence}"


def _section(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "\n".join([f"## {heading}\n", *(f"- {line}" for line in lines), ""])


def _told(review: Review) -> str:
    tool = f" ({review.tool} only)" if review.tool else ""
    return f"{review.kind} {code(review.subject)}: {_plain(review.reason)}{tool}"


def _counted(ignored: Ignored) -> str:
    return f"{ignored.differences} under {code(ignored.rule)}"


def _ordered(reviews: Iterable[Review]) -> list[Review]:
    return sorted(reviews, key=lambda one: (one.kind, one.subject, one.tool or "", one.reason))


def _plain(reason: str) -> str:
    """Return a reason in which nothing is markup; parts of some come from the guest."""
    return re.sub(r"[^A-Za-z0-9 ',.:;/()-]", lambda match: f"&#{ord(match[0])};", reason)
