"""A plan as an Ansible role and the playbook that plays it.

The tasks are closed text in which no guest has a word: what a guest chose stands in the role's
defaults, marked `!unsafe`, and a file's content under its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scheduler.changes import ansible_services as units
from scheduler.changes.ansible_yaml import Name, write
from scheduler.changes.plans import Plan, Review, WantedPath
from scheduler.changes.repositories import split
from scheduler.model import EntryKind

TOOL = "ansible"
FIRST = "repository_"
"""How the names of variables begin that are seen to before packages are asked for."""

Document = dict[str, object]

PACKAGE_MODULES: Mapping[str, str] = {
    "dpkg": "ansible.builtin.apt",
    "rpm": "ansible.builtin.dnf",
}


def inexpressible(plan: Plan) -> tuple[Review, ...]:
    """Return what no task can say: Ansible expands `$` in paths, and `~` where one begins so."""
    found = []
    for one in (*plan.removed, *plan.paths):
        if "$" in one.path:
            found.append(_review(one, "Ansible expands variables in the name of a path"))
        elif "$" in one.target or one.target.startswith("~"):
            found.append(_review(one, "Ansible expands words in what a link points to"))
    return tuple(found)


def files(plan: Plan, role: str, title: str) -> dict[str, bytes]:
    """Return the role's and the playbook's own files by their path; contents are not among them."""
    hidden = {one.subject for one in inexpressible(plan)}
    lists = _lists(plan, hidden)
    there = {name: values for name, values in lists.items() if values}
    texts = {
        "site.yml": write([_play(role)]),
        f"roles/{role}/meta/main.yml": write(_meta(title)),
        f"roles/{role}/defaults/main.yml": write(
            {f"{role}_{name}": values for name, values in there.items()}
        ),
        f"roles/{role}/tasks/main.yml": write(_tasks([*there], role, plan)),
    }
    return {path: text.encode("ascii") for path, text in texts.items()}


def contents(plan: Plan, role: str) -> dict[str, str]:
    """Return the paths of the contents that the role brings along, with their digests."""
    hidden = {one.subject for one in inexpressible(plan)}
    digests = {one.sha256 for one in plan.written if one.path not in hidden and one.sha256}
    return {f"roles/{role}/files/{digest}": digest for digest in sorted(digests)}


def _tasks(names: Sequence[str], role: str, plan: Plan) -> list[Document]:
    """Return the tasks for these variables, in their order.

    Where services are restarted, each that may make something new says whether it did.
    """
    tasks: list[Document] = []
    done: list[str] = []
    restarting = bool(plan.reconfigured) or any(one.restarts for one in plan.services)
    for name in names:
        variable = f"{role}_{name}"
        if name in _UNITS:
            continue
        tasks += _TASKS[name.removeprefix(FIRST)](variable, plan)
        if name.startswith(FIRST):
            tasks[-1] |= {"name": f"Repositories first: {str(tasks[-1]['name']).lower()}"}
        if restarting:
            tasks[-1] |= {"register": f"{variable}_done"}
            done.append(f"{variable}_done")
    first = units.ended(f"{role}_ended") if plan.ended else []
    return [*first, *tasks, *_last(role, plan, done)]


_UNITS = ("ended", "reconfigured", "services")
"""Variables whose tasks come before all others, or after them."""


def _last(role: str, plan: Plan, done: Sequence[str]) -> list[Document]:
    """Return what makes use of all that the other tasks put in place."""
    tasks: list[Document] = [dict(_LIBRARIES)] if plan.libraries else []
    if plan.services or plan.rereads:
        tasks.append(units.reread())
    if plan.reconfigured:
        tasks += units.reconfigured(f"{role}_reconfigured", done)
    if plan.services:
        tasks.append(units.services(f"{role}_services", done))
    return tasks


LDCONFIG: Mapping[str, object] = {"argv": ["/sbin/ldconfig"], "removes": "/etc/ld.so.cache"}
"""Where there is no cache, as with musl, nothing reads one."""
_LIBRARIES: Document = {
    "name": "Have the linker look at its libraries again",
    "ansible.builtin.command": dict(LDCONFIG),
    "changed_when": False,
}


def _play(role: str) -> Document:
    return {
        "name": "Bring about what was done in the sandbox",
        "hosts": "all",
        "become": True,
        "gather_facts": False,
        "roles": [{"role": role}],
    }


def _meta(title: str) -> Document:
    return {
        "galaxy_info": {
            "author": "sandboxd",
            "description": title,
            "license": "proprietary",
            "min_ansible_version": "2.14",
            "platforms": [{"name": "GenericLinux", "versions": ["all"]}],
        },
        "dependencies": [],
    }


def _lists(plan: Plan, hidden: set[str]) -> dict[str, list[object]]:
    """Return the role's variables, in the order in which their tasks come."""

    def shown(paths: Sequence[WantedPath]) -> list[WantedPath]:
        return [one for one in paths if one.path not in hidden]

    def of_paths(part: Plan) -> dict[str, list[object]]:
        return {
            "removed": [Name(one.path) for one in shown(part.removed)],
            "accounts": [{**_owned(one), "src": one.sha256} for one in shown(part.accounts)],
            "directories": [_owned(one) for one in shown(part.directories)],
            "files": [{**_owned(one), "src": one.sha256} for one in shown(part.files)],
            "touched": [_owned(one) for one in shown(part.touched)],
            "links": [{**_owned(one), "target": Name(one.target)} for one in shown(part.links)],
        }

    first, rest = split(plan)
    separator = "=" if plan.package_manager == "dpkg" else "-"
    return {
        "ended": [Name(name) for name in plan.ended],
        "absent_packages": [Name(name) for name in plan.absent_packages],
        "purged_packages": [Name(name) for name in plan.purged_packages],
        **{f"{FIRST}{name}": values for name, values in of_paths(first).items()},
        "groups": [{"name": Name(one.name), "gid": one.gid} for one in plan.made.groups],
        "users": [
            {"name": Name(one.name), "uid": one.uid, "gid": one.gid, "home": Name(one.home)}
            for one in plan.made.accounts
        ],
        "packages": [Name(f"{one.name}{separator}{one.version}") for one in plan.packages],
        "homes": [
            {"path": Name(one.home), "owner": Name(one.name), "gid": one.gid} for one in plan.homes
        ],
        "replaced": [
            {"path": Name(one.path), "stays": _STAYS[one.kind]}
            for one in shown(plan.paths)
            if one.was is not None
        ],
        **of_paths(rest),
        "reconfigured": [Name(name) for name in plan.reconfigured],
        "services": [
            {
                "name": Name(one.name),
                **({} if one.enabled is None else {"enabled": one.enabled}),
                **({} if one.running is None else {"state": _RUNS[one.running]}),
                **({"restart": True} if one.restarts else {}),
            }
            for one in plan.services
        ],
    }


_RUNS = {True: "started", False: "stopped"}
_STAYS = {EntryKind.FILE: "isreg", EntryKind.DIRECTORY: "isdir", EntryKind.SYMLINK: "islnk"}


def _owned(one: WantedPath) -> Document:
    document: Document = {
        "path": Name(one.path),
        "owner": Name(one.owner),
        "group": Name(one.group),
    }
    return document if one.kind is EntryKind.SYMLINK else {**document, "mode": one.mode}


_OWNER = {"owner": "{{ item.owner }}", "group": "{{ item.group }}"}
_MODE = {**_OWNER, "mode": "{{ item.mode }}"}


def _absent_packages(variable: str, plan: Plan) -> list[Document]:
    return [_of_packages("Remove packages", variable, plan, state="absent")]


def _purged_packages(variable: str, plan: Plan) -> list[Document]:
    title = "Remove packages and their configuration"
    return [_of_packages(title, variable, plan, state="absent", purge=True)]


def _packages(variable: str, plan: Plan) -> list[Document]:
    how: Document = {"state": "present"}
    if any(one.replaces for one in plan.packages):
        how["allow_downgrade"] = True
    if plan.package_manager == "dpkg":
        how["update_cache"] = True
    return [_of_packages("Install packages in the versions that were seen", variable, plan, **how)]


def _groups(variable: str, _plan: Plan) -> list[Document]:
    parameters = {"name": "{{ item.name }}", "gid": "{{ item.gid }}", "system": True}
    return [
        {
            "name": "Make groups with the numbers that were seen",
            "ansible.builtin.group": parameters,
            **_each(variable, "name"),
        }
    ]


def _users(variable: str, _plan: Plan) -> list[Document]:
    parameters = {
        "name": "{{ item.name }}",
        "uid": "{{ item.uid }}",
        "group": "{{ item.gid }}",
        "home": "{{ item.home }}",
        "create_home": False,
        "system": True,
    }
    return [
        {
            "name": "Make accounts with the numbers that were seen",
            "ansible.builtin.user": parameters,
            **_each(variable, "name"),
        }
    ]


def _homes(variable: str, _plan: Plan) -> list[Document]:
    looked = f"{variable}_seen"
    return [
        {
            "name": "Look for homes that packages may have left to whoever makes the account",
            "ansible.builtin.stat": {"path": "{{ item.path }}", **_NO_DETAILS},
            **_each(variable),
            "register": looked,
        },
        {
            "name": "Make homes that are missing",
            "ansible.builtin.file": {
                "path": "{{ item.item.path }}",
                "state": "directory",
                "owner": "{{ item.item.owner }}",
                "group": "{{ item.item.gid }}",
                "mode": "0755",
            },
            "loop": f"{{{{ {looked}.results }}}}",
            "loop_control": {"label": "{{ item.item.path }}"},
            "when": ["not item.stat.exists"],
        },
    ]


_NO_DETAILS = {"get_attributes": False, "get_checksum": False, "get_mime": False}


def _of_packages(title: str, variable: str, plan: Plan, **how: object) -> Document:
    module = PACKAGE_MODULES[plan.package_manager or ""]
    return {"name": title, module: {"name": f"{{{{ {variable} }}}}", **how}}


def _replaced(variable: str, _plan: Plan) -> list[Document]:
    looked = f"{variable}_seen"
    return [
        {
            "name": "Look at what becomes something else",
            "ansible.builtin.stat": {
                "path": "{{ item.path }}",
                "follow": False,
                **_NO_DETAILS,
            },
            **_each(variable),
            "register": looked,
        },
        {
            "name": "Remove what is in the way",
            "ansible.builtin.file": {"path": "{{ item.item.path }}", "state": "absent"},
            "loop": f"{{{{ {looked}.results }}}}",
            "loop_control": {"label": "{{ item.item.path }}"},
            "when": ["item.stat.exists", "not item.stat[item.item.stays]"],
        },
    ]


def _removed(variable: str, _plan: Plan) -> list[Document]:
    return [
        {
            "name": "Remove files and directories",
            "ansible.builtin.file": {"path": "{{ item }}", "state": "absent"},
            "loop": f"{{{{ {variable} }}}}",
        }
    ]


def _accounts(variable: str, plan: Plan) -> list[Document]:
    return [{**task, "name": "Put accounts in place"} for task in _files(variable, plan)]


def _directories(variable: str, _plan: Plan) -> list[Document]:
    parameters = {"path": "{{ item.path }}", "state": "directory", **_MODE}
    return [{"name": "Make directories", "ansible.builtin.file": parameters, **_each(variable)}]


def _files(variable: str, _plan: Plan) -> list[Document]:
    parameters = {"src": "{{ item.src }}", "dest": "{{ item.path }}", **_MODE}
    return [{"name": "Put files in place", "ansible.builtin.copy": parameters, **_each(variable)}]


def _touched(variable: str, _plan: Plan) -> list[Document]:
    parameters = {"path": "{{ item.path }}", "state": "file", **_MODE}
    return [{"name": "Set owners and modes", "ansible.builtin.file": parameters, **_each(variable)}]


def _links(variable: str, _plan: Plan) -> list[Document]:
    parameters = {
        "path": "{{ item.path }}",
        "src": "{{ item.target }}",
        "state": "link",
        "force": True,
        "follow": False,
        **_OWNER,
    }
    return [{"name": "Make symbolic links", "ansible.builtin.file": parameters, **_each(variable)}]


def _each(variable: str, label: str = "path") -> Document:
    return {
        "loop": f"{{{{ {variable} }}}}",
        "loop_control": {"label": f"{{{{ item.{label} }}}}"},
    }


_TASKS: Mapping[str, Callable[[str, Plan], list[Document]]] = {
    "absent_packages": _absent_packages,
    "purged_packages": _purged_packages,
    "groups": _groups,
    "users": _users,
    "packages": _packages,
    "homes": _homes,
    "replaced": _replaced,
    "removed": _removed,
    "accounts": _accounts,
    "directories": _directories,
    "files": _files,
    "touched": _touched,
    "links": _links,
}
"""Who writes the tasks for which of the role's variables, but for those of units."""


def _review(one: WantedPath, reason: str) -> Review:
    return Review(kind="path", subject=one.path, reason=reason, tool=TOOL)
