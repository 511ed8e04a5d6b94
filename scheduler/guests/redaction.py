"""Secrets taken out of what a command says, before anybody keeps or sees it.

Those a caller named are found anywhere, others by their look. A stream is cut anywhere, so what may
begin a secret is held back until more has come. It protects from accidents: who wants to tell one
can write it backwards. Guests choose what is read here: a look costs no more than its bytes do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

LEAST_SECRET_BYTES = 4
"""Shorter ones would blank out ordinary text."""

NAMED = "named"
_KEY = "private_key"
_HELD_BYTES = 4096
_KEPT_BYTES = 1024
_KEY_BYTES = 32 * 1024
_MARGIN = 64

_LOOKS_BUT_WEB_TOKENS: Mapping[str, bytes] = {
    _KEY: rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    "aws_access_key": rb"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])",
    "aws_secret_key": rb"(?i:aws_secret_access_key)[\"']?[ \t]*[=:][ \t]*[\"']?[A-Za-z0-9/+=]{30,}",
    "token": (
        rb"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
        rb"|xox[abeoprs]-[A-Za-z0-9-]{10,}|(?<![A-Za-z0-9])(?:sk|rk|pk)[-_][A-Za-z0-9_-]{20,}"
        rb"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,})"
    ),
    "bearer": rb"(?i:bearer)[ \t]+[A-Za-z0-9._~+/=-]{8,}",
    "url_password": rb"(?<=://)[^\s/:@\x00-\x1f]*:[^\s/@\x00-\x1f]+(?=@)",
}
_WEB_TOKEN = rb"eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}"
_LOOKS = {
    **_LOOKS_BUT_WEB_TOKENS,
    "token": b"(?:%s|%s)" % (_LOOKS_BUT_WEB_TOKENS["token"], _WEB_TOKEN),
}
_ANCHORS = (
    *(b"-----BEGIN ", b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
    *(b"github_pat_", b"glpat-", b"xox", b"sk-", b"sk_", b"rk-", b"rk_", b"pk-", b"pk_"),
    *(b"npm_", b"pypi-", b"eyJ", b"://"),
)
"""How whatever looks like a secret begins, or what stands before it. Most of what programs write
has none of these, which is seen at once; where there is one, only there every look is tried."""
_ANCHORS_OF_ANY_CASE = (b"bearer", b"aws_")
_IN_ANY_CASE = [b"(?i:%s)" % anchor for anchor in _ANCHORS_OF_ANY_CASE]
_KEY_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_WEB_TOKEN_PART = re.compile(rb"[A-Za-z0-9_-]*")
# A header line's first half may be all that has come, or what follows it may go on.
_UNFINISHED = re.compile(
    rb"(?:(?i:bearer)[ \t]*|(?i:aws_secret_access_key)[\"']?[ \t]*[=:]?[ \t]*[\"']?"
    rb"|-----BEGIN [A-Z0-9 ]{0,60})(?:[A-Za-z0-9\-]\S*+)?\Z"
)
_TOKEN_BEGINS = re.compile(rb"[A-Za-z0-9\-]")
_GOES_ON = re.compile(rb"[A-Za-z0-9._~+/=-]*")


class Redactor:
    """One stream's: bytes in as they come, bytes out that may be seen; `end` gives the rest."""

    def __init__(self, secrets: Collection[bytes] = ()) -> None:
        self._secrets = tuple(sorted(set(secrets), key=len, reverse=True))
        self._pattern = _pattern(self._secrets, _LOOKS)
        self._but_web_tokens = _pattern(self._secrets, _LOOKS_BUT_WEB_TOKENS)
        self._anchors = (*_ANCHORS, *self._secrets)
        begins = map(re.escape, self._anchors)
        self._beginning = re.compile(b"|".join([*begins, *_IN_ANY_CASE]))
        self._pending = b""
        self._in_key: int | None = None
        """How much of a private key has been swallowed; None outside of one."""
        self._goes_on = False
        self.found: Counter[str] = Counter()
        """How many of each kind were taken out."""

    def feed(self, data: bytes) -> bytes:
        """Return what can be told apart from a secret by now."""
        return self._cleared(data, final=False)

    def end(self) -> bytes:
        """Return what was held back: nothing more comes."""
        return self._cleared(b"", final=True)

    def _cleared(self, data: bytes, *, final: bool) -> bytes:
        self._pending += data
        out: list[bytes] = []
        suspicious = self._suspicious()
        while self._step(out, suspicious=suspicious, final=final):
            pass
        return b"".join(out)

    def _step(self, out: list[bytes], *, suspicious: bool, final: bool) -> bool:
        """Take one thing off the pending bytes; return whether there may be another."""
        if self._in_key is not None:
            return self._swallow_key(final=final)
        if self._goes_on:
            rest = _GOES_ON.match(self._pending)
            self._pending = self._pending[rest.end() if rest else 0 :]
            if not self._pending:
                return False
            self._goes_on = False
        found = self._first() if suspicious else None
        safe = len(self._pending) if final else self._safe()
        if found is None or found.start() >= safe:
            out.append(self._pending[:safe])
            self._pending = self._pending[safe:]
            return False
        if found.end() > safe and not self._overflowing:
            out.append(self._pending[: found.start()])
            self._pending = self._pending[found.start() :]
            return False
        return self._take(found, out)

    def _suspicious(self) -> bool:
        """Return whether there may be a secret in the pending bytes at all."""
        pending, lowered = self._pending, self._pending.lower()
        return any(anchor in pending for anchor in self._anchors) or any(
            anchor in lowered for anchor in _ANCHORS_OF_ANY_CASE
        )

    def _first(self) -> re.Match[bytes] | None:
        """Return the first secret in the pending bytes."""
        at = barren = 0
        while (begins := self._beginning.search(self._pending, at)) is not None:
            at = begins.end() if begins[0] == b"://" else begins.start()
            first_in_part = at >= barren
            pattern = self._pattern if first_in_part else self._but_web_tokens
            found = pattern.match(self._pending, at)
            if found is not None:
                return found
            if first_in_part and begins[0] == b"eyJ":
                # Whatever was missing is missing for all that begin in the same part, too.
                part = _WEB_TOKEN_PART.match(self._pending, at)
                barren = part.end() if part else 0
            at = begins.start() + 1
        return None

    def _take(self, found: re.Match[bytes], out: list[bytes]) -> bool:
        kind = found.lastgroup or NAMED
        self.found[kind] += 1
        out += [self._pending[: found.start()], b"[redacted:%s]" % kind.encode()]
        # What ends where the data ends may go on in what comes next.
        self._goes_on = found.end() == len(self._pending) and kind not in (NAMED, _KEY)
        self._pending = self._pending[found.end() :]
        if kind == _KEY:
            self._in_key = 0
        return bool(self._pending)

    def _swallow_key(self, *, final: bool) -> bool:
        assert self._in_key is not None
        end = _KEY_END.search(self._pending)
        if end is not None:
            self._pending, self._in_key = self._pending[end.end() :], None
            return bool(self._pending)
        swallowed = len(self._pending) if final else max(0, len(self._pending) - _MARGIN)
        self._pending = self._pending[swallowed:]
        self._in_key += swallowed
        if self._in_key > _KEY_BYTES:
            # No key is that long: only its first line stood there.
            self._in_key = None
            return True
        return False

    @property
    def _overflowing(self) -> bool:
        return len(self._pending) > _HELD_BYTES

    def _safe(self) -> int:
        """Return how many of the pending bytes are no beginning of anything."""
        pending = self._pending
        if self._overflowing:
            return max(0, min(len(pending) - _KEPT_BYTES, self._before_named(pending)))
        tail_at = max(0, len(pending) - _HELD_BYTES)
        unfinished = _UNFINISHED.search(pending, tail_at)
        held_from = len(pending) if unfinished is None else unfinished.start()
        return min(held_from, _last_token(pending, tail_at), self._before_named(pending))

    def _before_named(self, pending: bytes) -> int:
        """Return where the longest beginning of a named secret begins at the end of the bytes."""
        first = len(pending)
        for secret in self._secrets:
            for size in range(min(len(secret) - 1, len(pending)), len(pending) - first, -1):
                if pending.endswith(secret[:size]):
                    first = min(first, len(pending) - size)
                    break
        return first


def _pattern(secrets: Collection[bytes], looks: Mapping[str, bytes]) -> re.Pattern[bytes]:
    """Return what finds any of the secrets, the first of them foremost, and all of such a look."""
    named = b"|".join(map(re.escape, secrets))
    kinds = {NAMED: named, **looks} if named else looks
    return re.compile(b"|".join(b"(?P<%s>%s)" % (k.encode(), look) for k, look in kinds.items()))


def _last_token(pending: bytes, tail_at: int) -> int:
    """Return where the word begins that the bytes end in, and that may go on as a token."""
    words = pending[tail_at:].rsplit(None, 1)
    if not words or pending[-1:].isspace():
        return len(pending)
    begins = _TOKEN_BEGINS.search(pending, len(pending) - len(words[-1]))
    return len(pending) if begins is None else begins.start()


def redacted(text: str, secrets: Collection[bytes] = ()) -> str:
    """Return a text without the secrets in it."""
    redactor = Redactor(secrets)
    cleared = redactor.feed(text.encode("utf-8", "surrogateescape")) + redactor.end()
    return cleared.decode("utf-8", "replace")
