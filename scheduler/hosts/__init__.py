"""Hypervisor hosts: the driver port, its libvirt adapter, and the ways to reach a host.

The one room that imports libvirt. Everything blocking runs on a host's lane, never on the loop.
"""

from scheduler.hosts.driver import HostDriver
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.failures import ObjectAbsent, ObjectBusy
from scheduler.hosts.marks import Keyring
from scheduler.hosts.plans import BaseImage, DomainPlan
from scheduler.hosts.routes import check_route
from scheduler.hosts.simulated import (
    SimulatedDomain,
    SimulatedHost,
    SimulatedImage,
    write_node_file,
)

__all__ = [
    "BaseImage",
    "DomainPlan",
    "Drivers",
    "HostDriver",
    "Keyring",
    "ObjectAbsent",
    "ObjectBusy",
    "SimulatedDomain",
    "SimulatedHost",
    "SimulatedImage",
    "check_route",
    "write_node_file",
]
