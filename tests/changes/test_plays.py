"""Playbooks as YAML: what Ansible reads is what was stored, and data in it is never evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.changes.ansible_reading import DEEPEST as DEEPEST_TEXT
from scheduler.changes.ansible_reading import MOST_CHARACTERS, Unreadable, read
from scheduler.changes.ansible_yaml import Unsafe, as_data, is_template, write
from scheduler.changes.plays import DEEPEST, MOST_TASKS, parse, render
from scheduler.errors import Invalid
from scheduler.model import PlaybookTask
from tests.clocks import START

# What YAML 1.1 or 1.2 take for something else than text, what they fold, and templates.
ODD = (
    *("no", "on", "~", "null", "0o17", "017", "1_000", "1e3", "12:30", "2024-01-01", "=", "<<"),
    *("- a", "a: b", "# c", "!unsafe x", "&a", "*a", "%YAML", "---", "...", "'", '"', "|", ">", ""),
    *(" lead", "trail ", "\n", "\n\n a\n", "a\nb", "  a\n b\n", "\ttab\n", "a \n", "\r\n", "\x85"),
    *("{{ 1 + 1 }}", "{% if x %}", "{# c #}", "#jinja2: variable_start_string:'[%'\n[% 1 %]"),
    *("\u2028", "\ufeff", "\U0001f600", "\x07", "\x1b[31m", "\u202e", ".inf", ".NaN", "0x1f"),
)
TEXT = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from(ODD), max_size=4).map("".join),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXT,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
PARAMS = st.dictionaries(TEXT, VALUES, max_size=4)
NAMES = (
    st.from_regex(r"[ -z|~]{1,60}", fullmatch=True)
    .filter(lambda name: not is_template(name))
    .filter(bool)
)
MODULES = st.sampled_from(["ansible.builtin.copy", "community.general.ini_file", "a.b.c.d"])


def written(stored: list[PlaybookTask], **changes: Any) -> str:
    play: dict[str, Any] = {"name": "web", "hosts": "all", "become": False}
    return render(**play | changes, tasks=stored)


def task(position: int = 0, **changes: Any) -> PlaybookTask:
    made = PlaybookTask(
        id=f"TSK-{position}",
        playbook_id="PBK-1",
        position=position,
        name=f"task {position}",
        module="ansible.builtin.copy",
        created_at=START,
    )
    return replace(made, **changes)


@st.composite
def tasks(draw: st.DrawFn) -> list[PlaybookTask]:
    count = draw(st.integers(0, 3))
    return [
        task(
            position,
            name=draw(NAMES),
            module=draw(MODULES),
            params=draw(PARAMS),
            literal=draw(st.booleans()),
        )
        for position in draw(st.permutations(range(count)))
    ]


def plain(value: object) -> object:
    """Ansible's values as the plain ones they stand for."""
    if isinstance(value, dict):
        return {plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in (*value.keys(), *value.values()):
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


@settings(max_examples=40)
@given(hosts=st.sampled_from(["all", "web*", "a:&b:!c", "db[0-3]"]), become=..., stored=tasks())
def test_what_ansible_reads_is_what_was_stored(
    hosts: str, become: bool, stored: list[PlaybookTask]
) -> None:
    text = written(stored, hosts=hosts, become=become)
    assert text.isascii()
    (play,) = DataLoader().load(trust_as_template(text))
    ordered = sorted(stored, key=lambda one: one.position)
    assert plain(play) == {
        "name": "web",
        "hosts": hosts,
        **({"become": True} if become else {}),
        "tasks": [{"name": one.name, one.module: one.params or None} for one in ordered],
    }


@settings(max_examples=40)
@given(params=PARAMS)
def test_data_is_never_evaluated_by_ansible(params: dict[str, Any]) -> None:
    text = written([task(params=params, literal=True)])
    loader = DataLoader()
    (play,) = loader.load(trust_as_template(text))
    read_back = play["tasks"][0]["ansible.builtin.copy"]
    templar = Templar(loader=loader, variables={})
    assert plain(templar.template(read_back)) == (params or None)
    for found in strings(read_back):
        assert plain(templar.template(found)) == found


def test_what_an_operator_wrote_as_a_template_is_one() -> None:
    text = written([task(params={"content": "{{ 1 + 1 }}"})])
    loader = DataLoader()
    (play,) = loader.load(trust_as_template(text))
    found = play["tasks"][0]["ansible.builtin.copy"]["content"]
    assert Templar(loader=loader, variables={}).template(found) == 2


@settings(max_examples=40)
@given(become=..., stored=tasks())
def test_a_rendered_playbook_is_read_back_as_it_was(
    become: bool, stored: list[PlaybookTask]
) -> None:
    play = parse(written(stored, become=become))
    assert (play.name, play.hosts, play.become) == ("web", "all", become)
    ordered = sorted(stored, key=lambda one: one.position)
    assert [(one.name, one.module, one.params) for one in play.tasks] == [
        (one.name, one.module, one.params) for one in ordered
    ]
    for parsed, one in zip(play.tasks, ordered, strict=True):
        templates = any(is_template(text) for text in strings(one.params))
        assert parsed.literal == (one.literal and templates)


@settings(max_examples=40)
@given(value=VALUES)
def test_reading_is_the_inverse_of_writing(value: object) -> None:
    assert read(write(as_data(value))) == value


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("x" * 201, "longer than 200"),
        ("a\nb", "control characters"),
        ("a\x1b[2Jb", "control characters"),
        ("\u202eexe", "control characters"),
        ("{{ lookup('pipe','id') }}", "which Ansible would evaluate"),
        ("{% raw %}", "which Ansible would evaluate"),
    ],
)
def test_a_name_that_would_be_evaluated_is_not_written(name: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        written([task(name=name)])
    with pytest.raises(Invalid, match=why):
        written([], name=name)


@pytest.mark.parametrize(
    "module", ["copy", "name", "ansible.builtin", "a.b.c: {}", "../x.y.z", "A.B.C", "a.b.c\n", ""]
)
def test_a_module_has_a_fully_qualified_name(module: str) -> None:
    with pytest.raises(Invalid, match=r"task 1: .* fully qualified"):
        written([task(module=module)])


@pytest.mark.parametrize("hosts", ["", "{{ x }}", "a b", "a\nb", "@file", "x" * 201, "-e"])
def test_hosts_are_a_pattern(hosts: str) -> None:
    with pytest.raises(Invalid, match="hosts"):
        written([], hosts=hosts)
    with pytest.raises(Invalid, match="hosts"):
        parse(write([{"hosts": hosts}]))


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"a": nested(DEEPEST)}, "nested deeper"),
        ({"a": float("nan")}, "JSON does not have"),
        ({"a": float("inf")}, "JSON does not have"),
        ({"a": b"x"}, "is a bytes"),
        ({1: "x"}, "is no string"),
        ({"a": "\ud800"}, "surrogate"),
    ],
)
def test_parameters_are_what_json_has(params: dict[str, object], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        written([task(params=params)])


def test_tuples_are_lists() -> None:
    text = written([task(params={"a": ("x", "{{ y }}")}, literal=True)])
    assert parse(text).tasks[0].params == {"a": ["x", "{{ y }}"]}


HEAD = "- hosts: all\n  tasks:\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "line 2, column 1"),
        ("- hosts: all\n- hosts: all", "one play"),
        ("hosts: all", "one play"),
        ("x", "one play"),
        ("", "one play"),
        ("- hosts: all\n  hosts: web", "same key twice at line 1"),
        ("- hosts: all\n  vars: {a: 1}\n  roles: []", "'roles', 'vars'"),
        ("- hosts: all\n  become: 1", "become true or false"),
        ("- hosts: all\n  name: 1", "name is a string"),
        ("- hosts: 1", "pattern of host names"),
        ("- hosts: all\n  tasks: 1", "list of at most"),
        (f"{HEAD}  - a.b.c:", "task 1: it is no mapping with a name"),
        (f"{HEAD}  - x", "task 1: it is no mapping with a name"),
        (f"{HEAD}  - name: x", "not no module"),
        (f"{HEAD}  - {{name: x, a.b.c: , when: y}}", "'a.b.c', 'when'"),
        (f"{HEAD}  - {{name: x, copy: {{}}}}", "task 1: 'copy' is no fully qualified"),
        (f"{HEAD}  - {{name: x, {'y' * 99}: {{}}}}", r"yyy\.\.\.' is no fully"),
        (f"{HEAD}  - {{name: x, a.b.c: ls -l}}", "no mapping"),
        (f"{HEAD}  - {{name: x, a.b.c: {{d: 2024-01-01}}}}", "is a date: write it in quotes"),
        (f"{HEAD}  - {{name: x, a.b.c: {{d: !unsafe '{{{{ x }}}}', e: '{{{{ y }}}}'}}}}", "others"),
        (f"{HEAD}  - {{name: x, a.b.c: {{d: !unsafe [x]}}}}", "marks something else"),
        (f"{HEAD}  - {{name: x, a.b.c: {{d: !vault x}}}}", "could not determine a constructor"),
        (f"{HEAD}  - {{name: x, a.b.c: {{d: &a x, e: *a}}}}", "anchors and aliases"),
        ("- hosts: \x07", "character that YAML does not allow"),
        ("[" * 100_000, f"nests deeper than {DEEPEST_TEXT}"),
        ("x" * (MOST_CHARACTERS + 1), "longer than"),
        ("- hosts: 0001-99-99", "date or number"),
    ],
)
def test_what_is_not_kept_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        parse(text)
    assert caught.value.remedy


def test_too_many_tasks_are_refused() -> None:
    many = [{"name": "x", "a.b.c": None}] * (MOST_TASKS + 1)
    with pytest.raises(Invalid, match=str(MOST_TASKS)):
        parse(write([{"hosts": "all", "tasks": many}]))


def test_a_play_without_a_name_has_none() -> None:
    play = parse("- hosts: all\n")
    assert (play.name, play.tasks) == (None, ())


def test_a_task_marked_as_data_is_literal() -> None:
    play = parse(f"{HEAD}  - {{name: x, a.b.c: {{d: !unsafe '{{{{ x }}}}', e: [plain]}}}}")
    assert play.tasks[0].literal
    assert play.tasks[0].params == {"d": "{{ x }}", "e": ["plain"]}
    assert not isinstance(play.tasks[0].params["d"], Unsafe)


def test_what_people_see_is_what_people_write() -> None:
    text = written(
        [
            task(1, name="Write it: now", params={"dest": "/etc/x", "content": "a\nb\n"}),
            task(0, module="ansible.builtin.ping"),
        ],
        become=True,
    )
    assert text == (
        "---\n"
        "- name: web\n"
        "  hosts: all\n"
        "  become: true\n"
        "  tasks:\n"
        "    - name: task 0\n"
        "      ansible.builtin.ping: null\n"
        "    - name: 'Write it: now'\n"
        "      ansible.builtin.copy:\n"
        "        dest: /etc/x\n"
        "        content: |\n"
        "          a\n"
        "          b\n"
    )


def test_a_text_that_is_no_yaml_is_unreadable_with_its_place() -> None:
    with pytest.raises(Unreadable, match=re.escape("line 2, column")):
        read("a: b\n- c")
