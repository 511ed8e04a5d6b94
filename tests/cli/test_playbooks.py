"""playbook on the command line: made, filled, ordered, given out, taken in and checked."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from scheduler.control.playbook_keeper import PlaybookKeeper
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl


async def test_a_playbook_from_its_making_to_its_end(
    fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    ctl = sandboxctl.run
    made = await ctl("playbook", "create", "web", "--hosts", "web*", "-o", "json")
    assert (made.code, made.document["hosts"], made.document["become"]) == (0, "web*", False)
    params = '{"dest": "/etc/motd", "mode": "0644", "backup": true}'
    task = ("playbook", "task")
    added = await ctl(
        *(*task, "add", "web", "ansible.builtin.copy", "--name", "Greet"),
        *("--param", "content={{ x }}", "--params", params, "--literal"),
    )
    assert added.code == 0, added.err
    assert "literal" in added.out
    assert (await ctl(*task, "add", "web", "ansible.builtin.ping")).code == 0
    ordered = await ctl(*task, "order", "web", "2", "1", "-o", "json")
    assert [one["name"] for one in ordered.document["tasks"]] == ["ansible.builtin.ping", "Greet"]
    assert ordered.document["tasks"][1]["params"]["backup"] is True
    edited = await ctl(*task, "edit", "web", "1", "--name", "Answer", "--param", "data=x")
    assert ["1", "Answer", "ansible.builtin.ping", '{"data":', '"x"}', "-"] in edited.rows
    some_id = ordered.document["tasks"][0]["id"]
    removed = await ctl(*task, "remove", "web", some_id.lower(), "-o", "name")
    assert removed.out.split() == [ordered.document["tasks"][1]["id"]]
    changed = await ctl("playbook", "edit", "web", "--become", "--name", "db", "-o", "name")
    assert changed.out == "db\n"
    listed = await ctl("playbook", "list")
    assert listed.rows[1][:5] == ["db", "web*", "yes", "7", "-"]
    shown = await ctl("playbook", "show", "db")
    assert "hosts:     web*" in shown.out
    given = await ctl("playbook", "export", "db")
    assert given.out.startswith("---\n- name: db\n  hosts: web*\n  become: true\n")
    assert 'content: !unsafe "{{ x }}"' in given.out
    file = tmp_path / "copy.yml"
    file.write_text(given.out)
    taken = await ctl("playbook", "import", str(file), "-o", "name")
    assert taken.out == "copy\n"
    piped = await ctl("playbook", "import", "-", "--name", "piped", stdin=given.out)
    assert "Greet" in piped.out
    planned = await ctl("playbook", "delete", "db", "--dry-run")
    assert "Greet" in planned.out
    assert (await ctl("playbook", "delete", "db")).code == 2
    assert (await ctl("playbook", "delete", "db", "-y", "-o", "name")).out == "db\n"
    assert (await ctl("playbook", "show", "db")).code == 3


async def test_what_cannot_be_is_told(fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path) -> None:
    ctl = sandboxctl.run
    await ctl("playbook", "create", "web")
    for arguments, code, told in (
        (("task", "remove", "web", "1"), 3, "has no task '1'"),
        (("task", "edit", "web", "1"), 2, "nothing to change"),
        (("edit", "web"), 2, "nothing to change"),
        (("task", "add", "web", "ping"), 2, "fully qualified"),
        (("task", "add", "web", "a.b.c", "--params", "{"), 2, "not JSON"),
        (("task", "add", "web", "a.b.c", "--params", "[]"), 2, "no JSON object"),
        (("import", "-"), 2, "name it"),
        (("import",), 2, "either a file or --change-set"),
        (("import", "--change-set", "CHG-1"), 2, "name it"),
        (("import", "--change-set", "CHG-1", "--name", "x"), 3, "CHG-1"),
        (("import", str(tmp_path / "none.yml")), 2, "cannot be read"),
        (("show", "none"), 3, "none"),
    ):
        ran = await ctl("playbook", *arguments)
        assert ran.code == code, (arguments, ran)
        assert told in ran.err, (arguments, ran)


async def test_check_tells_what_ansible_says(
    fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    ctl, plane = sandboxctl.run, fleet.plane
    await ctl("playbook", "create", "web")
    late = await ctl("playbook", "check", "web", "--timeout", "1s")
    assert late.code == 124
    assert "installed where the daemon runs" in late.err
    for script, code in (("exit 0", 0), ("echo 'no such module'; exit 4", 1)):
        fake = tmp_path / f"ansible-{code}"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        await PlaybookKeeper(
            *(plane.store, plane.clock, tmp_path),
            told=plane.journal.poke,
            ansible=partial(str, fake),
        ).keep()
        ran = await ctl("playbook", "check", "web")
        assert ran.code == code
        await ctl("playbook", "edit", "web", "--become")
    assert "no such module" in ran.err
