"""One change set of everything, word for word as it stands in `golden/`.

Whoever changes what is written changes those files too, and a reviewer sees what users will see:

    .venv/bin/python -m tests.changes.test_golden
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.changes.guests import CONTENT, HOSTILE, added, digest, hostile
from tests.changes.test_trees import everything, tree

GOLDEN = Path(__file__).with_name("golden")


def written() -> dict[str, str]:
    """Return the texts of a change set with each kind of wish, two hostile names and a pipe."""
    delta = everything()
    names = hostile("/srv/it", (HOSTILE[0], "a\nb: c")).files
    ours = added("/etc/passwd"), added("/etc/web.conf", mode=0o640)
    made = tree(replace(delta, files=(*delta.files, *names, *ours)))
    assert set(made.contents.values()) == {digest(CONTENT)}
    return {path: content.decode() for path, content in made.files.items()}


def test_a_change_set_is_written_word_for_word() -> None:
    kept = {
        str(path.relative_to(GOLDEN)): path.read_text()
        for path in GOLDEN.rglob("*")
        if path.is_file()
    }
    assert written() == kept


if __name__ == "__main__":
    for name, text in written().items():
        (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_text(text)
