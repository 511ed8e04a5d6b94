"""Settings that hold a password, a token or a secret key: `NAME=value` in whatever notation.

A name tells that a value may be one, and the value whether it is: what refers to a secret, stands
for one or only speaks of one is none. A guest chose what is read here, so a look costs what its
length is: names are read once, and no more of a value than `MOST_VALUE_BYTES`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass

LEAST_VALUE_BYTES = 6
MOST_VALUE_BYTES = 200
_LOOK_BACK_BYTES = 80

_ENDINGS = (
    *(b"password", b"passwd", b"passphrase", b"bindpw", b"authtok", b"authpass", b"psk"),
    *(b"apikey", b"api_key", b"api-key", b"secretkey", b"secret_key", b"secret-key"),
    *(b"access_key", b"accesskey", b"secret_key_base", b"requirepass", b"masterauth"),
)
"""How the name of a setting ends that is a password."""
_WORDS = (b"pass", b"pwd", b"secret", b"token")
"""What is one only as a word of the name: nobody's password is kept by a bypass."""
_SIGN = re.compile(
    rb"(?:%s)([\"']?+)([ \t]*+)(=>|:=|[=:>])([ \t]*+)" % b"|".join((*_ENDINGS, *_WORDS))
)
"""What ends a name in lower case, and sets it."""
_NAME = f"{string.ascii_letters}{string.digits}_.-".encode()
_WORD = re.compile(
    rb"(?:\A|.*[_.-])(?:%s)\Z|.*[a-z0-9](?:Pass|Pwd|Secret|Token)\Z"
    rb"|.*(?i:db|sql|pg|root|user|admin|ftp|smtp|mail|ldap)(?i:pass|pwd)\Z"
    % b"|".join(b"(?i:%s)" % one for one in _WORDS)
)
_COMMENT = re.compile(rb"[ \t]*+(?:[#;]|//|<!--|--[ \t])|[ \t]++\*[ \t]")
_REMARK = re.compile(rb"[ \t]#")
# What a line may begin with before the name that it sets.
_HEAD = re.compile(
    rb"[ \t\"']*+(?:-[ \t]++)?+"
    rb"(?i:(?:export|set|setenv|declare|readonly|local|const|let|var|env|arg)[ \t]++"
    rb"(?:-x[ \t]++)?+)?+[\"'$@]*+"
)
_VALUE = re.compile(
    rb'[bufBUF]?"((?:[^"\\\r\n\0]|\\.){0,%d}+)'
    rb"|[bufBUF]?'([^'\r\n\0]{0,%d}+)"
    rb"|([^\s\0]{0,%d}+)" % ((MOST_VALUE_BYTES,) * 3)
)
_REFERENCE = re.compile(
    # Of shells, templates, macros and systemd's specifiers, names of variables and of files,
    rb"[\"'\\`]|\$[{(]|\{[{%]|<|%[{(]|%[a-zA-Z]/|@[A-Za-z_]++@|%[A-Za-z_]++%\Z"
    rb"|(?:\$[A-Za-z_0-9:.]++[-/]*+)++\Z|\$\w++(?:->|\[)"
    rb"|(?:~|\.{1,2})?/[\w./@~%{}$:-]*+\Z|[\w.-]++/[\w./-]*\.[a-z]{2,5}\Z"
    rb"|[a-z][a-z0-9+.-]*+:/|(?:env|file|vault|cmd|exec|keyring)[:(]"
    # masks, what a language has of its own, and what a form or a schema says.
    rb"|[*xX.#?-]++\Z|#[0-9a-fA-F]{3,8}\Z|0x[0-9a-fA-F]{1,16}\Z|\[[A-Z_ ]++\]\Z"
    rb"|(?i:(?:true|false|yes|no|none|null|nil|ask|prompt|required|requisite|sufficient|optional"
    rb"|include|enabled|disabled|default|undefined|unset|empty|string|integer|number|boolean"
    rb"|object|array)(?:\Z|[\s.,;]))",
)
_ENDS = {b"=": b"\"'", b"&": b"&", b"?": b"&", b";": b";"}
"""What may stand before a name within a line, and ends the value then."""
# Unquoted, as code, structures, tags, anchors and records of accounts are.
_CODE = re.compile(
    rb"[rR][\"']|[\[({|>&:=]|\*\w++\Z|![A-Za-z_:/]++\Z|[x!*]:"
    rb"|[A-Za-z_][\w.]*+[\[(](?:[\"')\]]|.*[,)\]]\Z|\Z)|(?:self|this|os|process|config|settings|params|args|env)\.[a-z]"
)
_NSSWITCH = re.compile(rb"(?:files|compat|systemd|sss|ldap|nis|nisplus|db|winbind|extrausers)\Z")
_ELEMENT = re.compile(rb"([^<\s]{0,%d}+)</" % MOST_VALUE_BYTES)
_DOTTED = re.compile(rb"@?[A-Za-z_]++(?:(?:\.|::)[A-Za-z_]++)++[,;]?\Z")
_PLAIN = re.compile(rb"[A-Za-z]?[a-z_-]*+[.,;:]?\Z")
# Of Redis, keepalived and HAProxy; and of SQL.
_SPACED = re.compile(
    rb"(?im:^[ \t]*+(?![#;])(?:\S++[ \t]++){0,4}?"
    rb"(?:requirepass|masterauth|auth_pass|insecure-password)[ \t]++[\"']?[^\s\"'$%{<]{4})"
    rb"|(?i:\b(?:identified[ \t]++by|password)[ \t]++'[^'\s$%{<]{6})"
)
_CLIENTS = (b"mysql", b"mariadb", b"sshpass")
_ARGUMENT = re.compile(
    rb"(?m:^[ \t]*+#.*+)|[\n|;&]|(%s)" % b"|".join(_CLIENTS)
    + rb"|(?<=[ \t])-p(?:(?<=sshpass -p)[ \t]++)?(?!\d{1,5}\b)[\"']?([^\s\"'$`<{%-]{4})"
)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A name that is set, where it stands, and how."""

    name: bytes
    sign: bytes
    quote: bytes
    """What closes the name."""
    apart: str
    """On which sides of the sign there are blanks: `<`, `>`, both or none."""
    begin: int
    end: int
    """Where its value begins."""


def password_in(content: bytes) -> bool:
    """Return whether a text holds a password, a token or a secret key in a setting."""
    content = _uncommented(content)
    return _has_setting(content) or bool(_SPACED.search(content)) or _has_argument(content)


def _uncommented(content: bytes) -> bytes:
    """Return a text without the comments of markup, which may go over many lines."""
    kept, at = [], 0
    while (begin := content.find(b"<!--", at)) >= 0 and (end := content.find(b"-->", begin)) >= 0:
        kept.append(content[at:begin])
        at = end + 3
    return b"".join((*kept, content[at:])) if kept else content


def _has_setting(content: bytes) -> bool:
    line, looked, comment, remark = 0, 0, _COMMENT.match(content) is not None, False
    for one in _settings(content):
        # Nothing is looked at twice, however many settings a line has.
        turn = content.rfind(b"\n", looked, one.begin)
        if turn >= 0:
            line = looked = turn + 1
            comment, remark = _COMMENT.match(content, line) is not None, False
        remark = remark or _REMARK.search(content, looked, one.begin) is not None
        looked = one.begin
        if comment:
            continue
        end = _closing(content, line, one, remark=remark)
        if end is not None and _is_secret(one, *_value(content, one.end, end)):
            return True
    return False


def _settings(content: bytes) -> Iterator[_Setting]:
    # Few texts have many: looking for an end in lower case takes a third of looking at each name.
    for found in _SIGN.finditer(content.lower()):
        quote, before, sign, after = found.groups()
        end = found.start(1)
        before_it = content[max(0, end - _LOOK_BACK_BYTES) : end]
        name = before_it[len(before_it.rstrip(_NAME)) :]
        if len(name) == _LOOK_BACK_BYTES:
            continue
        if name.lower().endswith(_ENDINGS) or _WORD.match(name):
            apart = f"{'<' if before else ''}{'>' if after else ''}"
            yield _Setting(name, sign, quote, apart, end - len(name), found.end())


def _closing(content: bytes, line: int, one: _Setting, *, remark: bool) -> bytes | None:
    """Return what ends an unquoted value besides blanks; None where nothing is set.

    Within a line a name is set where a notation says so: prose has names, too.
    """
    before = content[max(line, one.begin - _LOOK_BACK_BYTES) : one.begin]
    last, there = before[-1:], before.rstrip(b" \t")[-1:]
    at_once = one.sign == b"=" and not one.apart
    if one.sign == b">":
        return b"<" if last == b"<" else None
    if one.sign == b":" and one.apart == "<":
        return None  # a mark of some text's, not a sign
    if one.begin - line <= _LOOK_BACK_BYTES and _HEAD.fullmatch(before):
        return last if last in (b'"', b"'") and not one.quote else b""
    if last in (b'"', b"'"):
        return last if at_once else b",}])" if one.quote else None
    if there in (b"{", b",", b"[", b"(") and not before.endswith(b"${"):
        return b",}])"
    if at_once and (last in _ENDS or (last in (b" ", b"\t") and not remark)):
        return _ENDS.get(last, b"\"'")
    return None


def _value(content: bytes, begin: int, closing: bytes) -> tuple[bytes, bool, bytes]:
    """Return a value, whether it is quoted, and what follows it in its line."""
    found = (_ELEMENT if closing == b"<" else _VALUE).match(content, begin)
    if found is None:
        return b"", False, b""
    follows = content[found.end() : found.end() + 2]
    value = found[found.lastindex or 0]
    if found.lastindex != 3:
        return value, True, follows
    if _CODE.match(value):
        return b"", False, b""
    for mark in closing:
        value = value.partition(bytes((mark,)))[0]
    return value.rstrip(b"\"',;"), False, follows


def _is_secret(one: _Setting, value: bytes, quoted: bool, follows: bytes) -> bool:
    value = value.removeprefix(b"pass:")  # as OpenSSL has it
    # The first of them without a blank: what else is quoted is a sentence.
    if len(value) < LEAST_VALUE_BYTES or len(value[:LEAST_VALUE_BYTES].split()) != 1:
        return False
    if _REFERENCE.match(value):
        return False
    name = one.name.lower()
    if name == b"passwd" and _NSSWITCH.match(value):
        return False
    if name.endswith(_WORDS) and not quoted and one.apart and _DOTTED.match(value):
        return False  # part of a program, in whatever language
    prose = one.sign == b":" and follows[:1] in (b" ", b"\t") and follows[1:].isalpha()
    bare = name.rpartition(b".")[2] in _WORDS
    return not (_PLAIN.match(value) and (bare or (prose and not quoted)))


def _has_argument(content: bytes) -> bool:
    """Return whether a client of a database is told its password by its arguments."""
    if not any(one in content for one in _CLIENTS):
        return False
    client = False
    for found in _ARGUMENT.finditer(content):
        if found[2] is not None:
            if client:
                return True
        else:
            client = found[1] is not None
    return False
