"""Which cloud-configs are refused and how that is told; why is proven with cloud-init itself."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scheduler.validation.cloud_configs import DEEPEST, KEPT, LISTS, MOST_EVENTS, fault_of

CA = "/etc/ssh/sandboxd_ca.pub"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", None),
        ("packages: [git]", None),
        ("write_files: [{path: /etc/motd, content: hello}]", None),
        ("write_files: [{path: /etc/ssh/sshd_config.d/10-mine.conf}]", None),
        ("? [merge_how]\n: a\nb: {merge_how: c}", None),
        ("merge_how: x", "sets merge_how, and how both parts are taken together"),
        ("x: &m merge_how\n*m : y", "takes its own keys from elsewhere"),
        ("!!merge x: {merge_how: y}", "takes its own keys from elsewhere"),
        ("write_files: {}", "write_files of the cloud-config is no list"),
        ("write_files: [{path: /a}, 5]", "entry 2 of the cloud-config's write_files is no mapping"),
        ("write_files: [{<<: {path: /a}}]", "entry 1 of the cloud-config's write_files takes keys"),
        (f"write_files: [{{path: {CA}}}]", "entry 1 .* writes a file of the daemon's own"),
        (f"write_files: [{{path: etc/ssh/../{CA}}}]", None),
        ("- a", "is no mapping"),
        ("a: [1", "is no YAML: line 3, column 1"),
        ("a: \ud800", "cannot be read"),
        ("a: " + "[" * (DEEPEST + 2), "cannot be read: it has too many parts, or some too deep"),
        ("a: [" + "1, " * MOST_EVENTS + "]", "cannot be read: it has too many parts"),
    ],
)
def test_what_is_said(text: str, told: str | None) -> None:
    fault = fault_of(f"#cloud-config\n{text}\n")
    if told is None:
        assert fault is None
    else:
        assert fault is not None
        with pytest.raises(ValueError, match=told):
            raise ValueError(fault)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([CA, "merge_how", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
keys = st.sampled_from([*KEPT, *LISTS, "runcmd", "x"])


@given(st.dictionaries(keys, values, max_size=4))
def test_what_is_taken_sets_nothing_of_ours(config: dict[str, object]) -> None:
    if fault_of(yaml.safe_dump(config)) is not None:
        return
    assert not KEPT.keys() & config.keys()
    assert all(isinstance(config[name], list) for name in LISTS if name in config)
    assert all(isinstance(file, dict) for file in config.get("write_files", []))  # type: ignore[attr-defined]
