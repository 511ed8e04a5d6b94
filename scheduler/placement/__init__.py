"""Placement: a fleet and a demand in, a choice with every reason out; pure, no clock, no store."""

from scheduler.placement.limits import limit_of, with_limits

__all__ = ["limit_of", "with_limits"]
