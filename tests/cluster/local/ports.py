"""Ports in a row, as `stoa up` gives them to nodes."""

import random
import socket


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that were free a moment ago, below those of outgoing connections."""
    while True:
        first = random.randrange(10_000, 20_000)
        if all(_is_free(first + number) for number in range(count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
