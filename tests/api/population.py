"""Things that exist, of every kind a path can name: each made afresh and in the states that matter.

What the loops would prove is recorded as they would have. A thing is known by the parameters that
stand for it in paths, and by what else a fitting body must name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import httpx2

from scheduler.control.authority_keeper import AuthorityKeeper
from scheduler.control.change_set_writer import ChangeSetWriter
from scheduler.control.evidence import RecordedEvidence
from scheduler.guests.authorities import Authorities
from scheduler.guests.inflows import Inflow
from scheduler.model import (
    AuthorityState,
    Check,
    CommandStatus,
    Console,
    ConsoleGap,
    DomainState,
    HostResources,
    PlayStatus,
    PublicationStatus,
    ReplicaState,
    Sandbox,
    SandboxState,
    SnapshotKind,
    SourceVM,
)
from scheduler.store import Transaction
from tests.api.test_commands import ended
from tests.api.test_publications import WISH
from tests.api.test_source_vms import foreign
from tests.control.imagery import digest_of
from tests.service.machines import Machine, built, lost, machine
from tests.service.planes import AUTHORITY, IMAGE, Plane
from tests.service.snapshots_taken import before_and_after
from tests.store import samples

T = TypeVar("T")
Known = dict[str, Any]
Do = Callable[[Coroutine[Any, Any, T]], T]

HOME = "home"
AWAY = "away"
"""A host with room for whatever moves."""
ADDRESS = "192.0.2.7"
MACHINES = ("1" * 8 + "-1111" * 3 + "-" + "1" * 12, "2" * 8 + "-2222" * 3 + "-" + "2" * 12)
PING = {"name": "Answer", "module": "ansible.builtin.ping"}
PLAY = "- hosts: all\n  tasks:\n    - name: Answer\n      ansible.builtin.ping:\n"
PUBLIC_KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
STATES: Mapping[str, tuple[SandboxState, ...]] = {
    "running": (SandboxState.STARTING, SandboxState.RUNNING),
    "stopped": (SandboxState.STARTING, SandboxState.RUNNING, SandboxState.STOPPED),
    "failed": (SandboxState.STARTING, SandboxState.ERROR),
}
FITTING_STATE = {
    "/move": "moving",
    "/start": "stopped",
    "/retry": "failed",
    "/uncordon": "cordoned",
    "/abort": "draining",
    "/undo": "draining",
    "hosts/{name}/drain": "draining",
    "/accept-identity": "replaced",
    "/content": "receiving",
    "/input": "fed",
    "/window": "terminal",
    "/retire": "kept",
}
"""In which state a thing must be for what the end of a path asks of it; in any for the others."""


class Population:
    """Makes them, by the API or by the store; used by the test's thread."""

    def __init__(
        self, plane: Plane, http: httpx2.Client, do: Do[Any], authorities: Authorities
    ) -> None:
        self._plane = plane
        self._http = http
        self._do = do
        self._authorities = authorities
        self._numbers = count(1)
        self._kept: dict[str, list[Known]] = {}
        self._guests: set[asyncio.Task[None]] = set()
        self._sites: list[HostResources] = [
            do(plane.add_host(name, cpus=10_000, memory_mb=10**8, storage_mb=10**9))
            for name in (HOME, AWAY)
        ]
        self._home: Machine = do(machine(plane, HOME))
        self._keeper = AuthorityKeeper(
            plane.store,
            plane.clock,
            authorities,
            told=plane.journal.poke,
            given_up=lambda _: None,
        )
        do(self._keeper.keep())
        self._makers: Mapping[str, Callable[[], list[Known]]] = {
            "sandboxes": self._sandboxes,
            "commands": self._commands,
            "hosts": self._hosts,
            "images": self._images,
            "playbooks": self._playbooks,
            "playbook-runs": self._playbook_runs,
            "diffs": self._diffs,
            "change-sets": self._change_sets,
            "publications": self._publications,
            "ssh-certificates": self._ssh_certificates,
            "ssh-authorities": self._ssh_authorities,
            "source-vms": self._source_vms,
            "inspections": self._inspections,
            "decisions": self._decisions,
            "orphans": self._orphans,
        }

    def of(self, method: str, path: str) -> list[Known]:
        """Return things for a path, the fittest first; others each time for what may end them."""
        for site in self._sites:
            self._do(self._plane.poll(site))
        noun = "change-sets" if path.endswith("change-set") else "".join(path.split("/")[2:3])
        make = self._makers.get(noun)
        if make is None or (method == "POST" and path == f"/v1/{noun}"):
            return [{}]
        if method != "GET":
            made = make()
        elif (made := self._kept.get(noun, [])) == []:
            made = self._kept[noun] = make()
        wanted = next((state for end, state in FITTING_STATE.items() if path.endswith(end)), None)
        return sorted(made, key=lambda known: known.get("state") != wanted)

    def look(self) -> None:
        """See the host as it is now: what was seen long ago tells nobody anything."""
        self._do(self._see())

    async def _see(self) -> None:
        self._home.see()

    def _name(self, what: str) -> str:
        return f"{what}-{next(self._numbers)}"

    def _ask(self, path: str, body: object = None) -> Known:
        answer = self._http.post(path, json=body)
        assert answer.is_success, f"{path} {body}: {answer.text}"
        made: Known = answer.json()
        return made

    def _box(self, state: str = "running", *, snapshots: bool = True) -> Sandbox:
        """Make a sandbox whose guest trusts the authority, with two snapshots or none."""
        plane, do = self._plane, self._do
        made = do(plane.create(sandbox_name=self._name("box"), host=HOME, vcpus=1))
        do(built(self._home, made))
        if snapshots:
            do(before_and_after(plane, made))
        if state == "stopped":
            self._ask(f"/v1/sandboxes/{made.id}/stop")
        made = do(plane.become(made, *STATES[state], address=ADDRESS))
        trusting = replace(made, ssh_ca=self._authorities.signer.fingerprint)
        box: Sandbox = do(plane.store.submit(partial(_built, trusting)))
        return box

    def _sandboxes(self) -> list[Known]:
        boxes = [(state, self._box(state)) for state in STATES]
        moving = self._box(snapshots=False)
        self._ask(f"/v1/sandboxes/{moving.id}/move", {"to_host": AWAY})
        known: list[Known] = [
            {"reference": box.id, "name": snapshot, "state": state}
            for state, box in boxes
            for snapshot in ("before", "after")
        ]
        return [*known, {"reference": moving.id, "name": "none", "state": "moving"}]

    def _commands(self) -> list[Known]:
        box = self._box()
        asked = {
            "ended": {"argv": ["uname"]},
            "fed": {"argv": ["cat"], "stdin_follows": True},
            "terminal": {"argv": ["sh"], "terminal": {"columns": 80, "rows": 24}},
        }
        known: list[Known] = [
            {"command": self._ask(f"/v1/sandboxes/{box.id}/commands", body)["id"], "state": state}
            for state, body in asked.items()
        ]
        over, fed = known[0]["command"], known[1]["command"]
        self._do(ended(self._plane, over, stdout="Linux\n", status=CommandStatus.EXITED))
        self._do(self._be_fed(fed))
        return known

    async def _be_fed(self, command_id: str) -> None:
        """Take what is sent to a command, as its guest would."""
        inflow = self._plane.errands.inflow(command_id)
        assert inflow is not None
        self._guests.add(asyncio.create_task(_take_all(inflow)))

    def _hosts(self) -> list[Known]:
        plane, do = self._plane, self._do
        names = {state: self._name(state) for state in ("active", "cordoned", "draining")}
        for name in names.values():
            do(plane.add_host(name))
        do(plane.create(sandbox_name=self._name("box"), host=names["draining"]))
        self._ask(f"/v1/hosts/{names['cordoned']}/cordon", {"reason": "new disk"})
        self._ask(f"/v1/hosts/{names['draining']}/drain", {"reason": "repair"})
        replaced = do(plane.add_host(self._name("replaced")))
        do(plane.poll(replaced, host_uuid=MACHINES[0], refused_host_uuid=MACHINES[1]))
        names["replaced"] = replaced.name
        return [{"name": name, "state": state} for state, name in names.items()]

    def _images(self) -> list[Known]:
        name = self._name("golden")
        body = name.encode()
        wanted = {"name": name, "digest": digest_of(body), "size_bytes": len(body)}
        receiving = self._ask("/v1/images", wanted)["id"]
        ready = samples.image(
            self._name("IMG"), name=self._name("ready"), digest=digest_of(body[::-1])
        )
        copy = samples.replica(ready.id, self._home.host.id, state=ReplicaState.READY)

        def unit(tx: Transaction) -> None:
            tx.images.add(ready)
            tx.replicas.add(copy)

        self._do(self._plane.store.submit(unit))
        self._plane.shelf.catalogue.put(ready)
        states = {"ready": ready.id, "receiving": receiving}
        return [{"image": id, "name": HOME, "state": state} for state, id in states.items()]

    def _playbooks(self) -> list[Known]:
        self._do(self._plane.store.submit(_end_runs))
        tasks = [PING, {**PING, "name": "Answer again"}]
        made = self._ask("/v1/playbooks", {"name": self._name("web"), "tasks": tasks})
        ids = [task["id"] for task in made["tasks"]]
        known = {"playbook": made["name"], "tasks": ids, "box": self._box().id}
        return [{**known, "task": id} for id in ids]

    def _playbook_runs(self) -> list[Known]:
        known = self._playbooks()[0]
        made = self._ask(f"/v1/playbooks/{known['playbook']}/runs", {"sandboxes": [known["box"]]})
        return [{"run": made["id"]}]

    def _diffs(self) -> list[Known]:
        pair = {"from": "before", "to": "after"}
        made = self._ask(f"/v1/sandboxes/{self._box().id}/diffs", pair)
        return [{"id": made["id"], "diff_id": made["id"]}]

    def _change_sets(self) -> list[Known]:
        diff = self._diffs()[0]["id"]
        made = self._ask(f"/v1/diffs/{diff}/change-sets")
        self._do(self._writer().make(made["id"]))
        return [{"id": made["id"], "change_set": made["id"]}]

    def _writer(self) -> ChangeSetWriter:
        plane = self._plane
        return ChangeSetWriter(
            plane.store,
            plane.clock,
            files=plane.change_files,
            deltas=RecordedEvidence(plane.store, plane.manifests),
            contents=plane.manifests.contents,
            judge=_judged,
            told=plane.journal.poke,
        )

    def _publications(self) -> list[Known]:
        change_set = self._change_sets()[0]["id"]
        wish = {**WISH, "branch": self._name("change"), "unverified": True}
        made = self._ask(f"/v1/change-sets/{change_set}/publications", wish)["id"]
        failed = PublicationStatus.FAILED
        self._do(
            self._plane.store.submit(
                lambda tx: tx.publications.set_status(made, failed, error_msg="no net")
            )
        )
        return [{"publication": made}]

    def _ssh_certificates(self) -> list[Known]:
        path = f"/v1/sandboxes/{self._box().id}/ssh-certificates"
        return [{"id": self._ask(path, {"public_key": PUBLIC_KEY})["id"]}]

    def _ssh_authorities(self) -> list[Known]:
        """Have one follow another: the older one stays for the guests that trust it."""
        self._do(self._keeper.keep())
        # Only so many are kept, and requests have rotated as well.
        for one in self._http.get("/v1/ssh-authorities").json()["items"]:
            if one["state"] == AuthorityState.KEPT:
                self._ask(f"/v1/ssh-authorities/{one['name']}/retire", {"force": True})
        self._do(self._keeper.keep())
        older = self._authorities.signer.name
        self._ask("/v1/ssh-authorities/rotate")
        self._do(self._keeper.keep())
        names = {"kept": older, "signing": self._authorities.signer.name}
        return [{"authority": name, "state": state} for state, name in names.items()]

    def _source_vms(self) -> list[Known]:
        names = {state: self._name(state) for state in ("prepared", "foreign")}
        for name in names.values():
            domain = foreign(name, next(self._numbers), state=DomainState.RUNNING)
            self._home.domains[domain.uuid] = domain
        self.look()
        name = names["prepared"]
        self._ask(f"/v1/source-vms/{HOME}/{name}/prepare", {})

        def unit(tx: Transaction) -> SourceVM:
            source = tx.source_vms.by_name(name, HOME)
            ready = replace(source, prepared=True, ca_fingerprint=AUTHORITY)
            return tx.source_vms.replace(ready)

        self._do(self._plane.store.submit(unit))
        return [{"name": HOME, "domain": name, "state": state} for state, name in names.items()]

    def _inspections(self) -> list[Known]:
        path = f"/v1/source-vms/{HOME}/{self._source_vms()[0]['domain']}/inspections"
        return [{"inspection": self._ask(path, {"argv": ["uptime"]})["id"]}]

    def _decisions(self) -> list[Known]:
        return [{"reference": self._box().decision_id}]

    def _orphans(self) -> list[Known]:
        gone = [lost(self._home, self._name("lost")) for _ in range(2)]
        self.look()
        return [{"name": HOME, "uuid": sandbox.domain_uuid} for sandbox in gone]


FITTING: Mapping[str, Callable[[Known], object]] = {
    "POST /v1/sandboxes": lambda _: {"base_image": IMAGE, "agent_id": "ana"},
    "POST /v1/sandboxes/{reference}/snapshots": lambda _: {"name": "next"},
    "POST /v1/sandboxes/{reference}/commands": lambda _: {"argv": ["uname", "-a"]},
    "POST /v1/sandboxes/{reference}/diffs": lambda _: {"from": "before", "to": "after"},
    "POST /v1/sandboxes/{reference}/ssh-certificates": lambda _: {"public_key": PUBLIC_KEY},
    "POST /v1/sandboxes/{reference}/move": lambda _: {"to_host": AWAY},
    "POST /v1/sandboxes/{reference}/forget": lambda _: {"reason": "it burned", "force": True},
    "POST /v1/hosts/{name}/accept-identity": lambda _: {"host_uuid": MACHINES[1]},
    "POST /v1/images": lambda _: {"name": "taken", "digest": digest_of(b"x"), "size_bytes": 1},
    "POST /v1/images/{image}/prefetch": lambda _: {"hosts": [HOME]},
    "POST /v1/playbooks/{playbook}/runs": lambda known: {"sandboxes": [known["box"]]},
    "PUT /v1/playbooks/{playbook}/tasks/order": lambda known: {"task_ids": known["tasks"][::-1]},
    "POST /v1/playbooks/import": lambda _: {"name": "taken", "yaml": PLAY},
    "POST /v1/playbooks/import-change-set": lambda known: {
        "name": "imported",
        "change_set_id": known["change_set"],
        "partial": True,
    },
    "POST /v1/change-sets/{change_set}/publications": lambda _: {**WISH, "unverified": True},
    "POST /v1/ssh-authorities/{authority}/retire": lambda _: {"force": True},
    "POST /v1/source-vms/{name}/{domain}/inspections": lambda _: {"argv": ["uptime"]},
    "POST /v1/placements/explain": lambda _: {"base_image": IMAGE},
}
"""Bodies that say what a thing of ours can be asked, where a drawn one would name what is not."""


def _built(sandbox: Sandbox, tx: Transaction) -> Sandbox:
    """Record what building and booting left, and snapshots of a kind without layers of volumes."""
    begun_at, gap = sandbox.created_at, ConsoleGap(offset=2, at=sandbox.created_at, why="away")
    heard = Console(sandbox_id=sandbox.id, boot_at=begun_at, printed=b"up", updated_at=begun_at)
    tx.consoles.put(replace(heard, begun_at=begun_at, gaps=(gap,)))
    for one in tx.snapshots.of_sandbox(sandbox.id):
        tx.snapshots.replace(replace(one, kind=SnapshotKind.INTERNAL, ref=one.id.lower()))
    return tx.sandboxes.replace(sandbox, expected_generation=sandbox.generation)


def _end_runs(tx: Transaction) -> None:
    """Let no run wait any more: only so many may."""
    for run in tx.playbook_runs.unfinished():
        played = [replace(play, status=PlayStatus.SUCCEEDED) for play in run.plays]
        tx.playbook_runs.replace(replace(run, plays=tuple(played), ended_at=run.updated_at))


async def _judged(_directory: Path, _name: str) -> tuple[Check, ...]:
    return (Check(tool="puppet", result="passed"),)


async def _take_all(inflow: Inflow) -> None:
    await inflow.begun()
    async for _ in inflow.pieces():
        pass
    inflow.end()
