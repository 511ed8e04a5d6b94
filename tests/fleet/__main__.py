"""`python -m tests.fleet`: two hosts to play with until interrupted, and how to reach them."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from tests.fleet.fleet import Fleet
from tests.fleet.guest import Guest
from tests.fleet.tour import write_tour

SANDBOXES_A_HOST = 2
"""Of a tour: few enough to fill two hosts with guests that are emulated."""


def main() -> None:
    """Start hosts, print how to reach them, wait for Ctrl-C or SIGTERM, remove everything."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Fleet.make(arguments.hosts) as fleet:
            if arguments.tour is not None:
                write_tour(fleet, arguments.tour, max_sandboxes=SANDBOXES_A_HOST)
            guests = [Guest(host, f"guest-{host.name}", fleet.access) for host in fleet]
            for guest in guests if arguments.guests else ():
                guest.define()
                guest.start()
            print(_directions(fleet), flush=True)
            for guest in guests if arguments.guests else ():
                address = guest.wait_for_ssh()
                ssh = fleet.access.guest_argv(guest.host.address, address)
                print(f"\n{guest.name} is up:\n  {shlex.join(ssh)}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("\nremoved", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--guests", action="store_true", help="boot a guest on each as well")
    parser.add_argument(
        "--tour", type=Path, help="write config.toml and ssh_config for a daemon to this directory"
    )
    return parser.parse_args()


def _directions(fleet: Fleet) -> str:
    lines = [
        f"bridge       {fleet.network.bridge}, control node {fleet.network.control_address}",
        f"key          {fleet.access.key}",
        f"known hosts  {fleet.access.known_hosts}",
    ]
    for host in fleet:
        lines += [
            "",
            f"{host.name}  {host.address}  {host.host_uuid}",
            f"  log in     {shlex.join(fleet.access.host_argv(host.address))}",
            f"  enter      {shlex.join(host.argv('bash'))}",
            f"  files      {host.directory}",
        ]
    return "\n".join([*lines, "", "Ctrl-C removes them."])


if __name__ == "__main__":
    main()
