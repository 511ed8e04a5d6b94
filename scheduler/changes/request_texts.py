"""What reviewers read first: the commit's message and the request's text, from values alone."""

from __future__ import annotations

from scheduler.model import ChangeSet, Publication, Verification, VerificationResult

LONGEST_TEXT = 20_000


def commit_message(publication: Publication) -> str:
    """Return the message of the commit; the same publication always has the same one."""
    parts = [publication.title, publication.message, _trailers(publication)]
    return "\n\n".join(part for part in parts if part) + "\n"


def request_text(
    publication: Publication, change_set: ChangeSet, verification: Verification | None = None
) -> str:
    """Return the request's text as Markdown: what is in it, where it comes from, what proved it."""
    facts = [
        f"- change set `{change_set.id}` of job `{change_set.job_id}`",
        f"- recorded in sandbox `{change_set.sandbox_id}`, diff `{change_set.diff_id}`",
        f"- everything is in `{publication.folder}/`",
        f"- {_proof(verification)}",
    ]
    parts = [publication.message, "\n".join(facts)]
    return "\n\n".join(part for part in parts if part)[:LONGEST_TEXT]


def _proof(verification: Verification | None) -> str:
    if verification is None or verification.result is None:
        return "**not verified**: nobody has tried it on a fresh clone"
    if verification.result is not VerificationResult.PASSED:
        return f"verification on a fresh clone: **{verification.result}**"
    left = sum(one.reviewed for one in verification.remaining)
    rest = f", but for {left} that `REVIEW.md` lists" if left else ""
    return f"verified: played on a fresh clone, which then was what the sandbox was{rest}"


def _trailers(publication: Publication) -> str:
    return f"Change-Set: {publication.change_set_id}\nJob: {publication.job_id}"
