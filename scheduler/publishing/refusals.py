"""What git's words mean: a no that stays a no, or trouble that may pass.

git tells by sentences only; in the C locale they have been the same for many years. What is not
recognised is taken for trouble that may pass, and is bounded by the attempts.
"""

from __future__ import annotations

from scheduler.errors import RemoteRefused, RemoteUnavailable, SandboxdError
from scheduler.publishing.secrets import renewing

_NO: tuple[tuple[str, str, str], ...] = (
    ("authentication failed", "unauthorised", "check the forge's token"),
    ("could not read username", "unauthorised", "check the forge's token and username"),
    ("could not read password", "unauthorised", "check the forge's token and username"),
    ("invalid username or password", "unauthorised", "check the forge's token"),
    ("permission denied (", "unauthorised", "check the forge's ssh_key"),
    ("returned error: 401", "unauthorised", "check the forge's token"),
    ("returned error: 403", "unauthorised", "give the token the right to write there"),
    ("returned error: 404", "repository_missing", "check its URL, and what the token may see"),
    ("repository not found", "repository_missing", "check its URL, and what the token may see"),
    ("/' not found", "repository_missing", "check its URL, and what the token may see"),
    ("does not appear to be a git repository", "repository_missing", "check its URL"),
    ("host key verification failed", "host_key_unknown", "put the host's key into ssh_known_hosts"),
    ("unable to update url base from redirection", "redirected", "name the address it leads to"),
    ("file size limit exceeded", "too_large", "raise publishing.max_repository_mb"),
    ("file too large", "too_large", "raise publishing.max_repository_mb"),
    ("signal 25", "too_large", "raise publishing.max_repository_mb"),
)
"""What is found in the lower-cased text, the reason it stands for, and what mends it."""
_SIGXFSZ = -25


def failure(what: str, code: int, told: str, *, handed_over: bool = False) -> SandboxdError:
    """Return the error that git's failure to do something stands for.

    `handed_over` says that the token is a credential, of which another takes a restart.
    """
    message = f"{what} failed: {told or f'git ended with code {code}'}"
    if code in (_SIGXFSZ, 128 - _SIGXFSZ):
        return RemoteRefused(message, reason="too_large", remedy=_NO[-1][2])
    said = told.lower()
    for words, reason, remedy in _NO:
        if words in said:
            of_token = reason == "unauthorised" and "token" in remedy
            remedy = renewing(remedy, handed_over=handed_over and of_token)
            return RemoteRefused(message, reason=reason, remedy=remedy)
    if "returned error: 30" in said:
        remedy = "name the address it leads to; then publish anew"
        return RemoteRefused(message, reason="redirected", remedy=remedy)
    return RemoteUnavailable(message, remedy="it is tried again")
