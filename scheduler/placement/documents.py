"""Placement's values as JSON-able documents: what the store keeps and the API answers.

Names of hosts, images and labels are passed on as they are: escaping is for whoever renders them.
Fields are written out, because `asdict` copies deeply and would cost as much as the decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scheduler.model import Decision, Resources
from scheduler.placement.choice import Choice
from scheduler.placement.demand import Demand
from scheduler.placement.evidence import Refusal, Scored
from scheduler.placement.explanation import Explanation

Document = Mapping[str, object]


def decision_of(choice: Choice, *, id: str, sandbox_id: str | None, at: datetime) -> Decision:
    """Return a choice as it is stored; `sandbox_id` is None when nothing came of it."""
    chosen = choice.chosen
    return Decision(
        id=id,
        sandbox_id=sandbox_id,
        outcome=choice.outcome.value,
        policy=choice.policy.value,
        host_id=chosen.host_id if chosen else None,
        host_name=chosen.host_name if chosen else None,
        demand=demand_document(choice.demand),
        chosen=_ranking(choice),
        refusals=dict(choice.refusals),
        nearest=tuple(refusal_document(refusal) for refusal in choice.nearest),
        hosts=tuple(refusal_document(refusal) for refusal in choice.hosts),
        created_at=at,
    )


def explanation_document(explanation: Explanation) -> Document:
    """Return an explanation whole: `have` of each host is in the order of `constraints`."""
    choice = explanation.choice
    return {
        "outcome": choice.outcome.value,
        "policy": choice.policy.value,
        "demand": demand_document(choice.demand),
        "chosen": list(_ranking(choice)),
        "refusals": dict(choice.refusals),
        "nearest": [refusal_document(refusal) for refusal in choice.nearest],
        "smallest_change": choice.smallest_change,
        "constraints": [
            {"filter": each.filter, "need": each.need} for each in explanation.constraints
        ],
        "hosts": [
            {
                "host_id": each.host_id,
                "host_name": each.host_name,
                "eligible": each.eligible,
                "score": each.score,
                "have": list(each.have),
                "refused": list(each.refused),
                "message": each.message,
            }
            for each in explanation.hosts
        ],
    }


def demand_document(demand: Demand) -> Document:
    """Return a demand; its memory is what is charged, overhead included."""
    return {
        "vcpus": demand.resources.vcpus,
        "memory_mb": demand.resources.memory_mb,
        "storage_mb": demand.resources.storage_mb,
        "image": demand.image,
        "image_digest": demand.image_digest,
        "image_mb": demand.image_mb,
        "transfer_seconds": demand.transfer_seconds,
        "network": demand.network,
        "pool": demand.pool,
        "arch": demand.arch,
        "host": demand.host,
        "host_selector": dict(demand.selector),
        "anti_affinity_group": demand.anti_affinity_group,
        "tried": sorted(demand.tried),
    }


def demand_of(document: Document) -> Demand:
    """Return the demand that a stored decision was about; the inverse of `demand_document`."""
    fields: Any = document
    return Demand(
        resources=Resources(
            vcpus=fields["vcpus"],
            memory_mb=fields["memory_mb"],
            storage_mb=fields["storage_mb"],
        ),
        image=fields["image"],
        # Decisions of the first release know no images of the control node's.
        image_digest=fields.get("image_digest"),
        image_mb=fields.get("image_mb", 0),
        transfer_seconds=fields.get("transfer_seconds", 0.0),
        network=fields["network"],
        pool=fields["pool"],
        arch=fields["arch"],
        host=fields["host"],
        selector=fields["host_selector"],
        anti_affinity_group=fields["anti_affinity_group"],
        tried=tuple(fields["tried"]),
    )


def refusal_document(refusal: Refusal) -> Document:
    """Return why one host was refused."""
    return {
        "host_id": refusal.host_id,
        "host_name": refusal.host_name,
        "filter": refusal.filter,
        "have": refusal.have,
        "need": refusal.need,
        "message": refusal.message,
    }


def _ranking(choice: Choice) -> tuple[Document, ...]:
    ranked: tuple[Scored, ...] = (choice.chosen, *choice.alternates) if choice.chosen else ()
    return tuple(
        {
            "host_id": each.host_id,
            "host_name": each.host_name,
            "score": each.score,
            "transfer_seconds": each.transfer_seconds,
        }
        for each in ranked
    )
