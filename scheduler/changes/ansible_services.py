"""The role's tasks for units of systemd, closed text as all the others.

Ansible can start, stop and restart a service, and fails for one that is not there: so what is to
happen only where a unit is loaded, or runs, is looked at first.
"""

from __future__ import annotations

from collections.abc import Sequence

Document = dict[str, object]

_MODULE = "ansible.builtin.systemd_service"
_LOADED = "item.status.LoadState | default('not-found') != 'not-found'"
_RUNS = "item.status.ActiveState | default('inactive') in ['active', 'activating', 'reloading']"
_EACH_ITEM = {"label": "{{ item.item }}"}


def ended(variable: str) -> list[Document]:
    """Return what has units stopped whose files go, where they are loaded."""
    looked = f"{variable}_seen"
    return [
        _look("Look at units that go", variable, looked),
        {
            "name": "Stop units that go",
            _MODULE: {"name": "{{ item.item }}", "state": "stopped"},
            "loop": f"{{{{ {looked}.results }}}}",
            "loop_control": _EACH_ITEM,
            "when": [_LOADED],
        },
    ]


def reread() -> Document:
    """Return what has systemd read its units again."""
    return {"name": "Have systemd read its units again", _MODULE: {"daemon_reload": True}}


def reconfigured(variable: str, done: Sequence[str]) -> list[Document]:
    """Return what has services restarted that run, where anything was new."""
    looked = f"{variable}_seen"
    return [
        _look("Look at services of which the units changed", variable, looked),
        {
            "name": "Restart those that run",
            _MODULE: {"name": "{{ item.item }}", "state": "restarted"},
            "loop": f"{{{{ {looked}.results }}}}",
            "loop_control": _EACH_ITEM,
            "when": [f"{variable}_changed | bool", _RUNS],
            **_new(variable, done),
        },
    ]


def services(variable: str, done: Sequence[str]) -> Document:
    """Return what has units enabled and run; one of those that restart starts once, not twice."""
    state = "item.state | default(omit)"
    if done:
        restarted = f"item.restart | default(false) and {variable}_changed | bool"
        state = f"'restarted' if {restarted} else {state}"
    return {
        "name": "Enable and start services",
        _MODULE: {
            "name": "{{ item.name }}",
            "enabled": "{{ item.enabled | default(omit) }}",
            "state": f"{{{{ {state} }}}}",
        },
        "loop": f"{{{{ {variable} }}}}",
        "loop_control": {"label": "{{ item.name }}"},
        **_new(variable, done),
    }


def _new(variable: str, done: Sequence[str]) -> Document:
    """Return the variable that says whether anything was new."""
    if not done:
        return {}
    came = " or ".join(f"{one} is changed" for one in done)
    return {"vars": {f"{variable}_changed": f"{{{{ {came} }}}}"}}


def _look(title: str, variable: str, looked: str) -> Document:
    return {
        "name": title,
        _MODULE: {"name": "{{ item }}", "daemon_reload": False},
        "loop": f"{{{{ {variable} }}}}",
        "register": looked,
        "failed_when": False,
    }
