"""What a caller gives reaches the program byte for byte, through every shell a guest may have."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scheduler.errors import Invalid
from scheduler.guests.wrapper import (
    VECTOR_LIMIT_BYTES,
    Invocation,
    check_invocation,
    command_line,
    line_of,
    quoted,
)
from scheduler.ids import Prefix, new_id
from tests.fleet.image import busybox

# Whatever bytes there are, as Python has them in arguments: lone surrogates for what is no UTF-8.
BYTES = st.binary(max_size=40).map(
    lambda raw: raw.replace(b"\0", b"\n").decode("utf-8", "surrogateescape")
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
SHELLISH = st.text(st.sampled_from("'\"\\$`!*?~#;&|<>(){}[]=%-\n\t \r\x01\x7f\x1bxn0"), max_size=40)
VALUES = BYTES | TEXT | SHELLISH
# What the login shell starts: `exec env MARK=… /bin/sh -c WRAPPER`.
WRAPPER = shlex.split(command_line(new_id(Prefix.COMMAND)))[-1]


@pytest.fixture(scope="module", params=["dash", "bash", "bash in UTF-8", "busybox"])
def shell(request: pytest.FixtureRequest) -> tuple[Sequence[str], dict[str, str]]:
    """A shell as the program that runs the wrapper, and its environment."""
    match request.param:
        case "dash":
            return ["dash"], {}
        case "bash":
            return ["bash", "--posix"], {"LC_ALL": "C"}
        case "busybox":
            return [str(busybox()), "sh"], {}
        case _:
            return ["bash", "--posix"], {"LC_ALL": "C.UTF-8"}


def started(
    shell: tuple[Sequence[str], dict[str, str]], invocation: Invocation, stdin: bytes = b""
) -> bytes:
    """Run the wrapper in the shell and return what the invocation's program wrote."""
    program, environment = shell
    done = subprocess.run(
        [*program, "-c", WRAPPER],
        input=line_of(invocation, login="root") + stdin,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        check=True,
    )
    return done.stdout


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(VALUES, min_size=1, max_size=4))
@example(arguments=["", "a\n", "\n\n", "\n", "%s%%", "-n", "\\0101"])
@example(arguments=["$(id)", "`id`", "'; id; '", "a\tb", "~", "*"])
@example(arguments=["\udc80\udc81\udc88\udcff", "\x01\x7f", "\udce2x"])
def test_i11_arguments_arrive_as_they_are(
    shell: tuple[Sequence[str], dict[str, str]], arguments: list[str]
) -> None:
    answer = started(shell, Invocation(argv=("/usr/bin/printf", "%s\\0", *arguments)))
    assert answer == b"".join(os.fsencode(argument) + b"\0" for argument in arguments)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, max_size=3))
@example(values=["\x80\x81", "é\n", "\udcff"])
def test_i11_the_environment_arrives_as_it_is_and_nothing_is_added(
    shell: tuple[Sequence[str], dict[str, str]], values: list[str]
) -> None:
    env = {f"Given_{index}": value for index, value in enumerate(values)}
    answer = started(shell, Invocation(argv=("env", "-0"), env=env)).split(b"\0")
    for name, value in env.items():
        assert os.fsencode(f"{name}={value}") in answer
    assert not [entry for entry in answer if entry.startswith(b"sandboxd_")]


def test_i11_standard_input_begins_right_behind_the_line(
    shell: tuple[Sequence[str], dict[str, str]],
) -> None:
    given_in = bytes(range(256)) * 300 + b"\n"
    assert started(shell, Invocation(argv=("cat",), env={"A": "\n"}), given_in) == given_in


def test_i11_a_directory_is_entered_as_it_is_named(
    shell: tuple[Sequence[str], dict[str, str]], tmp_path: Path
) -> None:
    odd = tmp_path / "-P $(id) 'x'\n"
    odd.mkdir()
    answer = started(shell, Invocation(argv=("/bin/pwd",), work_dir=str(odd)))
    assert answer == os.fsencode(odd) + b"\n"


def test_a_line_that_did_not_come_whole_runs_nothing(
    shell: tuple[Sequence[str], dict[str, str]], tmp_path: Path
) -> None:
    program, environment = shell
    witness = tmp_path / "ran"
    line = line_of(Invocation(argv=("touch", str(witness))), login="root")
    done = subprocess.run(
        [*program, "-c", WRAPPER],
        input=line[:-1],
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    assert done.returncode == 125
    assert not witness.exists()


@given(value=VALUES)
def test_a_quoted_value_is_one_printable_line(value: str) -> None:
    assert all(" " <= character <= "~" for character in quoted(value))


@pytest.mark.parametrize(
    ("invocation", "path"),
    [
        (Invocation(argv=()), "argv"),
        (Invocation(argv=("",)), "argv"),
        (Invocation(argv=("-c",)), "argv[0]"),
        (Invocation(argv=("a", "b\0c")), "argv[1]"),
        (Invocation(argv=("a", "\ud800")), "argv[1]"),
        (Invocation(argv=("a", "x" * VECTOR_LIMIT_BYTES)), "argv"),
        (Invocation(argv=("a",), env={"A B": ""}), "env.A B"),
        (Invocation(argv=("a",), env={"PPID": "1"}), "env.PPID"),
        (Invocation(argv=("a",), env={"SANDBOXD_COMMAND": "x"}), "env.SANDBOXD_COMMAND"),
        (Invocation(argv=("a",), env={"A": "\0"}), "env.A"),
        (Invocation(argv=("a",), work_dir="x"), "work_dir"),
        (Invocation(argv=("a",), work_dir="/" + "x" * 4096), "work_dir"),
        (Invocation(argv=("a",), work_dir="/\0"), "work_dir"),
        (Invocation(argv=("a",), user="-x"), "user"),
        (Invocation(argv=("a",), user="root\n"), "user"),
    ],
)
def test_what_no_guest_could_be_asked_is_refused(invocation: Invocation, path: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_invocation(invocation)
    assert list(refusal.value.details) == [path]


def test_a_command_line_holds_only_ids_of_ours() -> None:
    with pytest.raises(Invalid):
        command_line("CMD-$(id)")


def test_what_can_be_asked_passes() -> None:
    invocation = Invocation(argv=("a",), env={"A": "b"}, work_dir="/x", user="nobody")
    assert check_invocation(invocation) is invocation
