"""What of a caller's cloud-config would drop or replace the daemon's, which is merged with it.

Only names are looked at: the text is read as events, never made into values, so that nothing in it
can grow. What each rule keeps away is proven with cloud-init's own code.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping

import yaml

CLOUD_CONFIG = "#cloud-config"

LISTS = ("ssh_authorized_keys", "write_files", "bootcmd")
"""Lists that both have; only what is a list too can be taken together with one."""

KEPT: Mapping[str, str] = {
    "merge_how": "how both parts are taken together",
    "merge_type": "how both parts are taken together",
    "cloud_init_modules": "which of cloud-init's modules run",
    "cloud_config_modules": "which of cloud-init's modules run",
    "cloud_final_modules": "which of cloud-init's modules run",
}
"""Keys that are not the caller's to set, and what they would change."""

MOST_EVENTS, DEEPEST = 5000, 64
"""How much of a text is looked at, so that no reader of it is kept for long."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OURS = re.compile(r"/etc/ssh/(sandboxd_[^/]*|sshd_config\.d/00-sandboxd\.conf)")
_BINARY, _MERGE = "tag:yaml.org,2002:binary", "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_resolve: Callable[..., object] = yaml.SafeLoader("").resolve
ELSEWHERE = "<<"
"""The key that stands for those of another mapping, or for one that is an alias."""

_Place = tuple[str | int, ...]
"""Where something stands: the keys and numbers that lead there from the top."""


def fault_of(text: str) -> str | None:
    """Return what is wrong with a cloud-config; None for one that leaves ours as it is."""
    try:
        return next((fault for place, node in _nodes(text) for fault in _faults(place, node)), None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f": line {mark.line + 1}, column {mark.column + 1}"
        return f"the cloud-config is no YAML{where}"
    except (yaml.YAMLError, ValueError) as error:
        return f"the cloud-config cannot be read: {error}".partition("\n")[0]


def _faults(place: _Place, node: yaml.NodeEvent) -> Iterator[str]:
    match place:
        case () if not isinstance(node, yaml.MappingStartEvent):
            if not isinstance(node, yaml.ScalarEvent) or node.value:
                yield "the cloud-config is no mapping of names to values"
        case (str() as name,):
            yield from _faults_of_key(name, node)
        case ("write_files", int() as number) if not isinstance(node, yaml.MappingStartEvent):
            yield f"entry {number + 1} of the cloud-config's write_files is no mapping"
        case ("write_files", int() as number, key) if key == ELSEWHERE:
            yield f"entry {number + 1} of the cloud-config's write_files takes keys from elsewhere"
        case ("write_files", int() as number, "path") if not _theirs(node):
            yield (
                f"entry {number + 1} of the cloud-config's write_files writes a file of the"
                " daemon's own"
            )
        case ("bootcmd", int() as number) if not _is_command(node):
            # cloud-init makes one script of all, ours too, or none when one is something else.
            yield f"entry {number + 1} of the cloud-config's bootcmd is neither text nor a list"


def _faults_of_key(name: str, node: yaml.NodeEvent) -> Iterator[str]:
    if name == ELSEWHERE:
        yield "the cloud-config takes its own keys from elsewhere (<<)"
    if name in KEPT:
        yield f"the cloud-config sets {name}, and {KEPT[name]} is the daemon's to say"
    if name in LISTS and not isinstance(node, yaml.SequenceStartEvent):
        yield f"{name} of the cloud-config is no list"


def _theirs(path: yaml.NodeEvent) -> bool:
    """Return whether a path is plain text, and not that of a file which the daemon writes."""
    if not isinstance(path, yaml.ScalarEvent) or path.tag == _BINARY:
        return False
    # Two slashes at the beginning mean something else in POSIX, but not to Linux.
    return _OURS.fullmatch(posixpath.normpath(f"/./{path.value}")) is None


def _is_command(node: yaml.NodeEvent) -> bool:
    if isinstance(node, yaml.ScalarEvent) and node.tag is None:
        return _resolved(node) == _TEXT
    return isinstance(node, yaml.SequenceStartEvent) or getattr(node, "tag", None) == _TEXT


def _resolved(scalar: yaml.ScalarEvent) -> str:
    """Return the type that a scalar without a tag has by how it is written."""
    return str(_resolve(yaml.ScalarNode, scalar.value, scalar.implicit))


def _nodes(text: str) -> Iterator[tuple[_Place, yaml.NodeEvent]]:
    """Yield every value with where it stands."""
    levels: list[_Level] = []
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if number > MOST_EVENTS or len(levels) > DEEPEST:
            raise ValueError("it has too many parts, or some too deep inside of others")
        if isinstance(event, yaml.CollectionEndEvent):
            levels.pop()
        elif isinstance(event, yaml.NodeEvent):
            if all(level.takes(event) for level in levels[-1:]):
                yield tuple(level.key for level in levels), event
            if isinstance(event, yaml.CollectionStartEvent):
                levels.append(_Level(isinstance(event, yaml.MappingStartEvent)))


class _Level:
    """A mapping or a list that is being read, and the key or number of its present value."""

    def __init__(self, is_mapping: bool) -> None:
        self.key: str | int = ELSEWHERE if is_mapping else -1
        self._wants_key = is_mapping

    def takes(self, event: yaml.NodeEvent) -> bool:
        """Step on to this event; return whether it is a value and not a mapping's key."""
        if isinstance(self.key, int):
            self.key += 1
        elif self._wants_key:
            self.key = _name_of(event)
        self._wants_key = not self._wants_key
        return isinstance(self.key, int) or self._wants_key


def _name_of(key: yaml.NodeEvent) -> str:
    if isinstance(key, yaml.AliasEvent):
        return ELSEWHERE
    if not isinstance(key, yaml.ScalarEvent):
        return ""  # a list or a mapping, which nobody looks a setting up by
    return ELSEWHERE if key.tag == _MERGE else str(key.value)
