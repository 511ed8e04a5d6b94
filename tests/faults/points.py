"""The closed table of kill points: each of these is reached in a story, before and after it.

Tests compare it with the code and with what the stories reach, so that a new commit or host call
needs a story that cuts it short, or a reason here why it has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults import stories
from tests.faults.story import Story

COMMITS: Mapping[str, type[Story]] = {
    "audits.heal": stories.Heal,
    "audits.mend": stories.Heal,
    "clock_guard.keep": stories.StepClock,
    "daemon.open_cluster": stories.FirstStart,
    "drainer.write": stories.Drain,
    "drains.drain": stories.Drain,
    "drains.record_end": stories.UndoDrain,
    "forgetting.forget": stories.Forget,
    "hosts.add": stories.AddHost,
    "hosts.edit": stories.EditHost,
    "hosts.ensure_from_file": stories.FirstStart,
    "hosts.remove": stories.RemoveHost,
    "hosts.set_state": stories.Cordon,
    "leftovers.remove": stories.Reappear,
    "looks.missed": stories.LoseHost,
    "looks.seen": stories.FirstStart,
    "orphans.adopt": stories.Adopt,
    "orphans.reap": stories.Reap,
    "orphans.record": stories.Reappear,
    "orphans.tell": stories.FirstStart,
    "plane.forget_answers": stories.FirstStart,
    "reaper.record_end": stories.Expire,
    "rebuilds.concluded": stories.Rebuild,
    "rebuilds.tried": stories.Rebuild,
    "records.address_found": stories.Create,
    "records.base_seen": stories.Create,
    "records.become": stories.Create,
    "records.begin": stories.Create,
    "records.built": stories.Create,
    "records.bury": stories.Destroy,
    "records.called": stories.Create,
    "records.clear": stories.Resume,
    "records.note": stories.Pause,
    "records.refused": stories.BuildInVain,
    "relocator.record": stories.BuildElsewhere,
    "sandboxes.grant": stories.Stop,
    "sandboxes.record": stories.Create,
    "sandboxes.refused": stories.FindNoRoom,
    "sandboxes.retry": stories.Retry,
}
"""Transactions, by the module and the function that writes them."""

HOST_CALLS: Mapping[str, type[Story]] = {
    "host.create_overlay": stories.Create,
    "host.create_seed": stories.Create,
    "host.define": stories.Create,
    "host.delete_volume": stories.Destroy,
    "host.ensure_pool": stories.Create,
    "host.power_off": stories.StopByForce,
    "host.shutdown": stories.Stop,
    "host.start": stories.Create,
    "host.undefine": stories.Destroy,
    "host.volumes_absent": stories.Destroy,
}
"""What changes something on a host, by the driver's verb."""

FIRST_STEPS: Mapping[str, type[Story]] = {
    "file.cluster.id": stories.FirstStart,
    "file.cluster.key": stories.FirstStart,
    "migration": stories.FirstStart,
    "migration.statement": stories.FirstStart,
}
"""Files of the state directory and the schema; files and statements are cut short before only."""

EXEMPT: Mapping[str, str] = {
    "bugs.record": "only a bug leads there",
    "host.refresh_pool": "no loop calls it by itself: volumes_absent and the poll refresh as well",
    "rebuilds.preview": "it is taken back, never committed",
}
