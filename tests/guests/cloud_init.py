"""What cloud-init makes of user data: its own parsing, merging and writing, run on this machine.

A program of its own, since cloud-init is unpacked and not installed. Reads a list of user data as
JSON from standard input, and writes for each the merged config, the files that it leads to, and
the script that it would run first when it boots.
"""

from __future__ import annotations

import grp
import json
import logging
import os
import pwd
import shutil
import sys
import tempfile
from contextlib import suppress
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from posixpath import normpath
from types import SimpleNamespace
from typing import Any

Document = dict[str, Any]


def merged(text: str, directory: Path) -> Document:
    """Return the config that cloud-init gathers from all parts."""
    handlers, frequency = import_module("cloudinit.handlers"), "always"
    paths = import_module("cloudinit.helpers").Paths(
        {"cloud_dir": str(directory), "run_dir": str(directory)}
    )
    file = directory / "merged"
    paths.get_ipath = lambda _name=None: str(file)
    handler = import_module("cloudinit.handlers.cloud_config").CloudConfigPartHandler(paths)
    message = import_module("cloudinit.user_data").UserDataProcessor(paths).process(text)
    data: Document = {
        "handlers": dict.fromkeys(handler.list_types(), handler),
        "handlerdir": str(directory),
        "data": None,
        "frequency": frequency,
        "excluded": [],
    }
    handlers.call_begin(handler, None, frequency)
    handlers.walk(message, handlers.walker_callback, data)
    handlers.call_end(handler, None, frequency)
    found: Document = import_module("cloudinit.safeyaml").load(file.read_text())
    return found


def written(config: Document, root: Path) -> dict[str, list[object]]:
    """Return the files, with mode and content, that the config leads to below a root directory."""
    for file in config.get("write_files") or []:
        if isinstance(file, dict) and "path" in file:
            path = os.fsdecode(file["path"])
            file["path"] = f"{root}{normpath(f'/./{path}')}"
    owner = f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"
    cloud = SimpleNamespace(distro=SimpleNamespace(default_owner=owner))
    log = logging.getLogger("cloud-init")
    for name in ("cc_write_files", "cc_write_files_deferred"):
        module = import_module(f"cloudinit.config.{name}")
        # What fails in a module is logged, and cloud-init goes on with the next one.
        with suppress(Exception):
            module.handle(name, config, cloud, log, [])
    return {
        f"/{path.relative_to(root)}": [path.stat().st_mode & 0o777, path.read_text("latin-1")]
        for path in root.rglob("*")
        if path.is_file()
    }


def first_script(config: Document) -> str:
    """Return the script that is made of the boot commands, nothing where cloud-init makes none."""
    script = ""
    with suppress(TypeError):
        script = import_module("cloudinit.util").shellify(config.get("bootcmd") or [])
    return script


def main() -> None:
    logging.disable()
    answers = []
    for text in json.load(sys.stdin):
        directory = Path(tempfile.mkdtemp(prefix="cloud-init-"))
        config = merged(text, directory)
        files = written(deepcopy(config), directory / "root")
        answers.append({"config": config, "files": files, "boot": first_script(config)})
        shutil.rmtree(directory)
    json.dump(answers, sys.stdout, default=repr)


if __name__ == "__main__":
    main()
