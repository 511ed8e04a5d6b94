"""How images are taken in, brought to hosts, built from and let go."""

from __future__ import annotations

import hashlib

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.story import Story, refused
from tests.fleet.process import wait_until

CONTENT = b"\xeb\x3c\x90 the disk of a proof".ljust(2**20, b"\0")
DIGEST = hashlib.sha256(CONTENT).hexdigest()
IMAGE = "/v1/images/proof"


class TakeIn(Story):
    """An image is announced and sent; whoever lost the answer goes on where it broke off."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth == 1 and act.startswith(("images.", "ingestor.", "file."))

    def act(self) -> None:
        self.take()

    def take(self) -> None:
        digest = f"sha256:{DIGEST}"
        body = {"name": "proof", "digest": digest, "size_bytes": len(CONTENT)}
        self.post("/v1/images", body)
        there = self.cluster.api.get(IMAGE)
        if there["state"] == "RECEIVING":
            rest = CONTENT[there["received_bytes"] :]
            offset = there["received_bytes"]
            self.cluster.api.upload(f"{IMAGE}/content", [rest], len(rest), offset=offset)

    def is_done(self) -> bool:
        return bool(self.cluster.api.get(IMAGE)["state"] == "READY")

    def held(self) -> set[str]:
        replicas = self.cluster.api.get(IMAGE)["replicas"]
        return {str(one["host_name"]) for one in replicas if one["state"] == "ready"}

    def is_gone(self) -> bool:
        try:
            self.cluster.api.get(IMAGE)
        except Failure as failure:
            if failure.exit_code is not Exit.NOT_FOUND:
                raise
            return True
        return False

    def clean_up(self) -> None:
        if not self.is_gone():
            self.delete(IMAGE)
            wait_until(self.is_gone, what="the end of an image")


class WithImage(TakeIn):
    """What is done with an image that is there."""

    def prepare(self) -> None:
        self.take()
        wait_until(super().is_done, what="an image")
        self.rewind()


class Prefetch(WithImage):
    """Every host is given the image."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth <= 2 and act.startswith(("images.", "replicas.", "host."))

    def act(self) -> None:
        self.post(f"{IMAGE}/prefetch", {})

    def is_done(self) -> bool:
        return len(self.held()) == len(self.cluster.hosts) - 1

    def post(self, path: str, body: object = None) -> dict[str, object]:
        """Ask under keys of another tale than the one that took the image in."""
        if path.endswith("/prefetch"):
            self._asked = 7
        return super().post(path, body)


class Clone(WithImage):
    """A sandbox waits for its image, which nobody has brought to its host yet."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth == 1 and act in ("replicas.want", "replicas.begin", "replicas.prove")

    def act(self) -> None:
        self._asked = 7
        self.create("one", base_image="proof")

    def is_done(self) -> bool:
        return self.state("one") == "RUNNING"


class Evict(Prefetch):
    """One host is to hold it no longer."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        acts = ("images.evict", "replicas.strike", "host.delete_volume", "host.volumes_absent")
        return nth == 1 and act in acts

    def prepare(self) -> None:
        super().prepare()
        super().act()
        wait_until(super().is_done, what="replicas")
        self.place = self.cluster.hosts[0].name

    def act(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(f"{IMAGE}/replicas/{self.place}")

    def is_done(self) -> bool:
        replicas = self.cluster.api.get(IMAGE)["replicas"]
        return self.place not in [one["host_name"] for one in replicas]


class Remove(Evict):
    """And nobody is to hold it, the control node neither."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        acts = ("images.condemn", "ingestor.strike", "replicas.strike", "host.delete_volume")
        return nth <= 2 and act in acts

    def act(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(IMAGE)

    def is_done(self) -> bool:
        return self.is_gone()
