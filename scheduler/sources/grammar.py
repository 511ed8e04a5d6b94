"""The grammar of a command that only looks: what a program may be given, word by word.

It is closed: what no rule names is refused, so a program's new or unknown option is refused too. It
knows words, no shell: the words are handed to the program as they are. Whatever begins with a dash
is an option, and `--` is none of ours, because programs find options behind it that we would not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MOST_WORDS = 64
MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a word may be; the whole word must match."""

    name: str
    pattern: re.Pattern[str]
    but_not: re.Pattern[str] | None = None

    def takes(self, word: str) -> bool:
        """Return whether a word is of this kind."""
        if self.but_not is not None and self.but_not.match(word):
            return False
        return self.pattern.fullmatch(word) is not None


def kind(name: str, pattern: str, *, but_not: str | None = None) -> Kind:
    """Return the kind of all words that match."""
    refused = None if but_not is None else re.compile(but_not)
    return Kind(name=name, pattern=re.compile(pattern), but_not=refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words that are no options: of which kind, and how many."""

    of: Kind
    least: int = 0
    most: int = MOST_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What follows a program's name, or one of its verbs."""

    flags: frozenset[str] = frozenset()
    options: Mapping[str, Kind] = field(default_factory=dict)
    """Options that take a value: the next word, or behind `=` for one of two dashes."""
    words: Words | None = None
    clustered: bool = True
    """Whether `-la` is `-l -a`."""
    verbs: Mapping[str, Rule] = field(default_factory=dict)
    """When there are any, the first word must be one of these, and its rule is for the rest."""
    check: Callable[[tuple[str, ...]], str | None] | None = None
    """What else is wrong with the words that are no options."""


def refusal(rules: Mapping[str, Rule], argv: Sequence[str]) -> str | None:
    """Return why these words may not be run; None when they may."""
    if not argv:
        return "no program is named"
    if len(argv) > MOST_WORDS:
        return f"it has more than {MOST_WORDS} words"
    for word in argv:
        if len(word) > MOST_CHARACTERS or not (word.isprintable() and word):
            return f"{_shown(word)} is empty, too long or not printable"
    rule = rules.get(argv[0])
    if rule is None:
        return f"{_shown(argv[0])} is not among the programs that only look"
    return _refused(argv[0], rule, tuple(argv[1:]))


def _refused(name: str, rule: Rule, rest: tuple[str, ...]) -> str | None:
    if rule.verbs:
        verb = rest[0] if rest else None
        if verb is None or verb not in rule.verbs:
            return f"{name} takes one of {', '.join(rule.verbs)} first"
        return _refused(f"{name} {verb}", rule.verbs[verb], rest[1:])
    words: list[str] = []
    left = iter(rest)
    for word in left:
        if word.startswith("-"):
            fault = _option_fault(name, rule, word, left)
            if fault is not None:
                return fault
        else:
            words.append(word)
    return _words_fault(name, rule, tuple(words))


def _option_fault(name: str, rule: Rule, word: str, left: Iterator[str]) -> str | None:
    """Return what is wrong with an option, taking its value from the words that are left."""
    if word in rule.flags:
        return None
    if word in rule.options:
        return _value_fault(name, word, rule.options[word], next(left, None))
    option, equals, value = word.partition("=")
    if equals and option.startswith("--") and option in rule.options:
        return _value_fault(name, option, rule.options[option], value)
    letters = [f"-{letter}" for letter in word[1:]]
    if rule.clustered and not word.startswith("--") and len(letters) > 1:
        if rule.flags.issuperset(letters):
            return None
        if letters[0] in rule.options:
            return _value_fault(name, letters[0], rule.options[letters[0]], word[2:])
    return f"{name} may not be given {_shown(word)}"


def _value_fault(name: str, option: str, wanted: Kind, value: str | None) -> str | None:
    if value is not None and wanted.takes(value):
        return None
    return f"{name} {option} takes {wanted.name}"


def _words_fault(name: str, rule: Rule, words: tuple[str, ...]) -> str | None:
    allowed = rule.words
    if allowed is None:
        return f"{name} may not be given {_shown(words[0])}" if words else None
    for word in words:
        if not allowed.of.takes(word):
            return f"{name} takes {allowed.of.name}, not {_shown(word)}"
    if not allowed.least <= len(words) <= allowed.most:
        return f"{name} takes {allowed.least} to {allowed.most} times {allowed.of.name}"
    return None if rule.check is None else rule.check(words)


def _shown(word: str) -> str:
    return ascii(word if len(word) <= 60 else f"{word[:60]}…")
