"""How the SSH authority is followed by another, and how an old one's key is removed."""

from __future__ import annotations

from tests.faults.story import Story
from tests.fleet.process import wait_until

ALL = "/v1/ssh-authorities"


class Rotate(Story):
    """Another authority is made and signs."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth == 1 and act in ("authorities.rotate", "authority_keeper.make")

    def act(self) -> None:
        self.post(f"{ALL}/rotate")

    def names(self, *states: str) -> list[str]:
        found = self.cluster.api.get(ALL)["items"]
        return [str(one["name"]) for one in found if one["state"] in states]

    def is_done(self) -> bool:
        return not self.names("MAKING", "MISSING") and len(self.names("SIGNING")) == 1

    def clean_up(self) -> None:
        for name in self.names("KEPT"):
            self.cluster.api.post(f"{ALL}/{name}/retire", {})
        wait_until(lambda: not self.names("KEPT", "RETIRING"), what="the older keys' end")


class Retire(Rotate):
    """The key that another one has followed is removed, and stays away."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth == 1 and act in ("authorities.retire", "authority_keeper.remove")

    def prepare(self) -> None:
        self.cluster.api.post(f"{ALL}/rotate")
        wait_until(super().is_done, what="another authority")
        (self.old,) = self.names("KEPT")

    def act(self) -> None:
        self.post(f"{ALL}/{self.old}/retire", {})

    def is_done(self) -> bool:
        return super().is_done() and not self.names("KEPT", "RETIRING")
