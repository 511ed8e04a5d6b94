"""Placement: a fleet and a demand in, a choice with every reason out; pure, no clock, no store."""

from scheduler.placement.choice import Choice, choose
from scheduler.placement.demand import Demand
from scheduler.placement.documents import decision_of, demand_document, explanation_document
from scheduler.placement.evidence import Refusal, Scored
from scheduler.placement.explanation import Explanation, explain
from scheduler.placement.fleet import Fleet
from scheduler.placement.headroom import Headroom, fitting, headroom
from scheduler.placement.limits import limit_of, with_limits
from scheduler.placement.outlook import Outcome
from scheduler.placement.policy import Policy

__all__ = [
    "Choice",
    "Demand",
    "Explanation",
    "Fleet",
    "Headroom",
    "Outcome",
    "Policy",
    "Refusal",
    "Scored",
    "choose",
    "decision_of",
    "demand_document",
    "explain",
    "explanation_document",
    "fitting",
    "headroom",
    "limit_of",
    "with_limits",
]
