"""A port that was free a moment ago may be taken by the time that a server asks for it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.fleet import process
from tests.fleet.postgres import PostgresCluster
from tests.fleet.process import PORTS_TRIED, ProcessError, Server, on_free_port

LISTEN = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))); input()"
ANY_PORT = 0


def test_another_port_is_tried_while_it_is_taken(tmp_path: Path) -> None:
    tried: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as other:

        def start(port: int) -> str:
            tried.append(port)
            asked = other.getsockname()[1] if len(tried) < 3 else ANY_PORT
            log = tmp_path / f"log-{len(tried)}"
            server = Server.start([sys.executable, "-c", LISTEN, str(asked)], log=log)
            server.wait_until_ready(lambda: False)
            return "started"

        with pytest.raises(ProcessError, match="EOFError"):
            on_free_port(start)
    assert len(tried) == 3, "what ends for another reason is told at once"


def test_a_machine_without_ports_is_told_of() -> None:
    tried: list[int] = []

    def start(port: int) -> None:
        tried.append(port)
        raise ProcessError(f"bind: {process.PORT_TAKEN}")

    with pytest.raises(ProcessError, match="bind"):
        on_free_port(start)
    assert len(tried) == PORTS_TRIED


def test_a_cluster_gets_another_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken])
        free_port = process.free_port
        monkeypatch.setattr(process, "free_port", lambda: next(ports, 0) or free_port())
        with PostgresCluster.make() as cluster:
            assert cluster.port != taken
            assert cluster.database()
