"""Make text from elsewhere harmless before it reaches a terminal.

Guests, hosts and other users choose names, labels and reasons. A control sequence in one of them
could rewrite the screen, and a bidirectional mark could make `deny` read as something else; so what
Python does not call printable is shown as its escape. That covers C0, C1, bidi and invisible
format characters at once.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return one line of text in which every unprintable character is shown as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _shown(char) for char in text)


def printable_lines(text: str) -> str:
    """Return the text escaped line by line; only its newlines survive."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_json(document: str) -> str:
    """Return serialised JSON with the same meaning and only printable characters and newlines.

    Outside strings JSON holds nothing unprintable but whitespace, so what is left is inside one
    and may be written as its `\\u` escape.
    """
    lines = document.split("\n")
    return "\n".join(
        "".join(char if char.isprintable() else _json_escape(char) for char in line)
        for line in lines
    )


def _shown(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
