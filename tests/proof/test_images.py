"""Golden images for real: two libvirt hosts over ssh, taken in, brought there, cloned, removed.

One test, because each step starts from what the ones before it left; it ends by proving that no
pool holds anything of ours.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli.main import cli
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES, Host
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_main_job import configuration

GUEST = {"agent_id": "proof", "vcpus": 1, "memory_mb": 128, "storage_mb": 256}


@dataclass(frozen=True)
class Story:
    """The steps of the proof."""

    fleet: Fleet
    daemon: Daemon
    image: Path

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.image.read_bytes()).hexdigest()}"

    @property
    def volume(self) -> str:
        return self.digest.replace("sha256:", "image-")

    def sandboxctl(self, *arguments: str) -> Result:
        environment = {"SANDBOXD_SOCKET": str(self.daemon.socket), "USER": "ana"}
        return CliRunner().invoke(cli, arguments, env=environment, catch_exceptions=False)

    def told(self, *arguments: str) -> Document:
        ran = self.sandboxctl(*arguments, "-o", "json")
        assert ran.exit_code == 0, ran.stderr + ran.stdout
        document: Document = json.loads(ran.stdout)
        return document

    def hosts_come_up(self) -> None:
        for host in self.fleet:
            wait_until(
                lambda name=host.name: self.daemon.host(name)["health"] == "UP",  # type: ignore[misc]
                what=f"{host.name} UP",
                limit_s=180,
                every_s=0.2,
            )

    def holds(self, host: Host) -> bool:
        """Whether the host's pool holds the image, byte by byte."""
        file = host.file(IMAGES) / self.volume
        return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() in self.digest

    def held_by(self, name: str) -> set[str]:
        image = self.daemon.api.get(f"/v1/images/{name}")
        return {one["host_name"] for one in image["replicas"] if one["state"] == "ready"}

    def create(self, name: str, image: str, **fields: object) -> Document:
        body = {**GUEST, "sandbox_name": name, "base_image": image, **fields}
        created: Document = self.daemon.api.post("/v1/sandboxes", body)
        return created

    def forget(self, image: str) -> None:
        wait_until(
            lambda: self.sandboxctl("image", "show", image).exit_code == 3,
            what=f"end of {image}",
            limit_s=180,
            every_s=0.2,
        )

    def nothing_is_left(self) -> None:
        for host in self.fleet:
            assert [path.name for path in host.file(IMAGES).iterdir()] == ["small.qcow2"]

    def it_is_taken_in(self) -> None:
        taken = self.told("image", "upload", str(self.image), "--name", "golden")
        assert (taken["state"], taken["digest"]) == ("READY", self.digest)
        assert (taken["format"], taken["virtual_bytes"]) == ("qcow2", 128 << 20)
        assert not any(map(self.holds, self.fleet))

    def it_is_brought_to_one_host(self) -> None:
        self.told("image", "prefetch", "golden", "--host", "h2")
        assert self.held_by("golden") == {"h2"}
        assert self.holds(self.fleet["h2"])
        assert not self.holds(self.fleet["h1"])

    def it_is_cloned_there_first_and_copied_where_it_must_be(self) -> dict[str, str]:
        near = self.create("near", "golden")
        assert (near["host_name"], near["image_digest"]) == ("h2", self.digest)
        decision = self.daemon.api.get("/v1/sandboxes/near/decision")
        assert [one["host_name"] for one in decision["chosen"]] == ["h2", "h1"]
        assert decision["chosen"][0]["transfer_seconds"] is None
        assert decision["chosen"][1]["transfer_seconds"] > 0
        far = self.create("far", self.digest, host="h1")
        for name in ("near", "far"):
            self.daemon.wait_for(name, state="RUNNING")
        first = self.fleet["h1"]
        assert self.holds(first)
        overlay = f"{far['id'].lower()}.qcow2"
        assert self.volume in first.virsh("vol-dumpxml", "--pool", "default", overlay)
        return {"near": near["id"], "far": far["id"]}

    def nothing_in_use_is_removed(self) -> None:
        refused = self.sandboxctl("image", "delete", "golden", "-y")
        assert refused.exit_code == 5
        assert "near" in refused.stderr
        assert "far" in refused.stderr
        assert self.sandboxctl("image", "evict", "golden", "h1").exit_code == 5
        small = self.sandboxctl("create", "golden", "--storage", "64M")
        assert small.exit_code == 2
        assert "at least 128 MiB" in small.stderr
        audit = self.daemon.api.get("/v1/audit", wait="20s")
        assert (audit["findings"], audit["orphans"]) == ([], [])

    def a_lease_ends_as_an_image(self) -> None:
        """What a guest leaves behind is an image that boots, and depends on nothing."""
        worker = self.create("worker", "golden", host="h1", ttl_seconds=1, on_expire="image")
        gone = self.daemon.wait_for(worker["id"], state="DESTROYED")
        assert gone["reason_code"] == "imaged"
        (kept,) = [one for one in self.daemon.api.items("/v1/images") if one["name"] != "golden"]
        assert kept["name"].startswith("worker-2")
        assert (kept["state"], kept["virtual_bytes"]) == ("READY", 256 << 20)
        pool = self.fleet["h1"].file(IMAGES)
        assert not list(pool.glob(f"{worker['id'].lower()}*"))
        heir = self.create("heir", kept["name"], host="h2")
        self.daemon.wait_for("heir", state="RUNNING")
        self.daemon.api.delete("/v1/sandboxes/heir")
        self.daemon.wait_for(heir["id"], state="DESTROYED")
        self.told("image", "delete", kept["name"], "-y")
        self.forget(kept["name"])

    def it_is_removed_everywhere(self, clones: dict[str, str]) -> None:
        for name, sandbox_id in clones.items():
            self.daemon.api.delete(f"/v1/sandboxes/{name}")
            self.daemon.wait_for(sandbox_id, state="DESTROYED")
        self.told("image", "delete", "golden", "-y")
        self.forget("golden")
        kept = self.daemon.state_dir / "images"
        assert not [path for path in kept.rglob("*") if path.is_file()]

    def a_volume_of_a_pool_is_taken_in(self) -> None:
        again = self.told("image", "take", "h1", "small.qcow2", "--as", "from-pool")
        assert (again["state"], again["digest"]) == ("READY", self.digest)
        self.told("image", "delete", "from-pool", "-y")
        self.forget("from-pool")


def settings(fleet: Fleet) -> str:
    return configuration(fleet).replace("[lifecycle]", "[lifecycle]\nshutdown_seconds = 5")


@pytest.mark.fleet
@pytest.mark.timeout(900)
def test_images_on_real_hosts(tmp_path: Path, guest_image: Path) -> None:
    with Fleet.make(2) as fleet, running(tmp_path, settings(fleet)) as daemon:
        story = Story(fleet, daemon, guest_image)
        story.hosts_come_up()
        story.it_is_taken_in()
        story.it_is_brought_to_one_host()
        clones = story.it_is_cloned_there_first_and_copied_where_it_must_be()
        story.nothing_in_use_is_removed()
        story.a_lease_ends_as_an_image()
        story.it_is_removed_everywhere(clones)
        story.a_volume_of_a_pool_is_taken_in()
        story.nothing_is_left()
