"""Documents of domains are read one at a time, so that many hosts met at once starve nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Lock
from uuid import uuid4

from scheduler.hosts.descriptions import describe_domain
from scheduler.hosts.marks import Forgery, Keyring
from scheduler.model import Mark

READERS = 4
TOGETHER_S = 0.2


class Gathering(Keyring):
    """Keys that wait for a second reader, and tell whether one ever came."""

    def __init__(self) -> None:
        super().__init__([b"k" * 32], "cluster")
        self._barrier = Barrier(2)
        self._lock = Lock()
        self.met = 0

    def read(self, metadata: str | None, uuid: str) -> Mark | Forgery | None:
        try:
            self._barrier.wait(TOGETHER_S)
        except BrokenBarrierError:
            self._barrier.reset()
        else:
            with self._lock:
                self.met += 1
        return super().read(metadata, uuid)


def test_i8_no_two_threads_read_documents_at_once() -> None:
    keyring, uuid = Gathering(), str(uuid4())
    mark = keyring.sign({"sandbox_id": "SBX-1", "domain_uuid": uuid})
    xml = f"<domain><vcpu>2</vcpu><memory>1048576</memory><metadata>{mark}</metadata></domain>"
    with ThreadPoolExecutor(READERS) as threads:
        read = threads.map(lambda _: describe_domain(xml, uuid, keyring), range(READERS))
    assert [one.vcpus for one in read] == [2] * READERS
    assert keyring.met == 0
