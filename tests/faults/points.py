"""The closed table of kill points: each of these is reached in a story, before and after it.

Tests compare it with the code and with what the stories reach, so that a new commit or host call
needs a story that cuts it short, or a reason here why it has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.stories import births, fleet, images, lives, losses, playbooks
from tests.faults.story import Story

COMMITS: Mapping[str, type[Story]] = {
    "audits.heal": losses.Heal,
    "audits.mend": losses.Heal,
    "breakers.write": births.Probe,
    "clock_guard.keep": lives.StepClock,
    "parts.open_cluster": fleet.FirstStart,
    "drainer.write": fleet.Drain,
    "drains.drain": fleet.Drain,
    "drains.record_end": fleet.UndoDrain,
    "forgetting.forget": losses.Forget,
    "hosts.accept_identity": fleet.AcceptIdentity,
    "hosts.add": fleet.AddHost,
    "hosts.edit": fleet.EditHost,
    "hosts.ensure_from_file": fleet.FirstStart,
    "hosts.remove": fleet.RemoveHost,
    "hosts.set_state": fleet.Cordon,
    "images.arrived": images.TakeIn,
    "images.condemn": images.Remove,
    "images.evict": images.Evict,
    "images.record": images.TakeIn,
    "images.want": images.Prefetch,
    "ingestor.judge": images.TakeIn,
    "ingestor.strike": images.Remove,
    "ingestor.write": images.TakeIn,
    "leftovers.remove": losses.Reappear,
    "looks.missed": fleet.LoseHost,
    "looks.seen": fleet.FirstStart,
    "orphans.adopt": losses.Adopt,
    "orphans.reap": losses.Reap,
    "orphans.record": losses.Reappear,
    "orphans.tell": fleet.FirstStart,
    "playbook_keeper.note": playbooks.Author,
    "playbooks.write": playbooks.Author,
    "reaper.record_end": lives.Expire,
    "rebuilds.concluded": losses.Rebuild,
    "rebuilds.tried": losses.Rebuild,
    "records.address_found": births.Create,
    "records.base_seen": births.Create,
    "records.become": births.Create,
    "records.begin": births.Create,
    "records.built": births.Create,
    "records.bury": lives.Destroy,
    "records.called": births.Create,
    "records.clear": lives.Resume,
    "records.note": lives.Pause,
    "records.refused": births.BuildInVain,
    "relocator.record": births.BuildElsewhere,
    "replicas.begin": images.Prefetch,
    "replicas.prove": images.Prefetch,
    "replicas.strike": images.Evict,
    "replicas.want": images.Clone,
    "retention.remove": lives.Forgotten,
    "sandboxes.grant": lives.Stop,
    "sandboxes.record": births.Create,
    "sandboxes.refused": births.FindNoRoom,
    "sandboxes.retry": lives.Retry,
}
"""Transactions, by the module and the function that writes them."""

HOST_CALLS: Mapping[str, type[Story]] = {
    "host.create_overlay": births.Create,
    "host.create_replica": images.Prefetch,
    "host.create_seed": births.Create,
    "host.define": births.Create,
    "host.delete_volume": lives.Destroy,
    "host.ensure_pool": births.Create,
    "host.power_off": lives.StopByForce,
    "host.shutdown": lives.Stop,
    "host.refresh_pool": images.Prefetch,
    "host.start": births.Create,
    "host.undefine": lives.Destroy,
    "host.volumes_absent": lives.Destroy,
}
"""What changes something on a host, by the driver's verb."""

FIRST_STEPS: Mapping[str, type[Story]] = {
    "file.cluster.id": fleet.FirstStart,
    "file.cluster.key": fleet.FirstStart,
    "file.ssh-ca.1": fleet.FirstStart,
    "file.ssh-ca.1.pub": fleet.FirstStart,
    f"file.{images.DIGEST}": images.TakeIn,
    "migration": fleet.FirstStart,
    "migration.statement": fleet.FirstStart,
}
"""Files of the state directory and the schema; files and statements are cut short before only."""

EXEMPT: Mapping[str, str] = {
    "ssh.hold": "the record of a connection, which dies with the daemon: tests/api/test_tunnel.py",
    "ssh.end": "as ssh.hold; what it left unsaid is said by ssh.settle",
    "ssh.issue": "one row, and nothing follows it; with its key it is found again",
    "ssh.revoke": "one row; the connections that it ends die with the daemon",
    "ssh.settle": "only a daemon that carried connections leaves any: tests/api/test_tunnel.py",
    "bugs.record": "only a bug leads there",
    "host.write_volume": "these hosts take no bytes: see tests/control/test_replicator.py",
    "image_keeper.plan": "a wish like those of images.evict and images.condemn",
    "host.resume": "these hosts' disks are never full: see tests/control/test_recovery.py",
    "ingestor.hold": "only a machine that cannot judge images leads there",
    "records.ssh_seen": "a fact, asked for again, of guests: see tests/control/test_readiness.py",
    "replicas.fail": "these hosts refuse no copy: see tests/control/test_replicator.py",
    "rebuilds.preview": "it is taken back, never committed",
}
