from __future__ import annotations

import random
import socket

from examples.temporal.processes import free_ports

HIGHEST = 2**15


def test_no_port_is_given_twice(monkeypatch):
    """Stacks that start at the same time get different ports, although no server listens on them yet. A server can listen on each."""
    order = random.sample(range(20_000, HIGHEST), 2000)
    monkeypatch.setattr(random, "sample", lambda _range, _count: order)  # all callers try the same ports first
    first, second = free_ports(11), free_ports(11)
    assert len({*first, *second}) == 22
    assert max(first + second) < HIGHEST
    for port in first + second:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_of_a_server_is_not_given(monkeypatch):
    """Neither while the server listens, nor if it listens on all addresses."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        taken = [server.getsockname()[1] for server in (one, other)]
        order = [*taken, *random.sample(range(20_000, HIGHEST), 1000)]
        monkeypatch.setattr(random, "sample", lambda _range, _count: order)
        assert set(free_ports(5)).isdisjoint(taken)
