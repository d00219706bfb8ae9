"""Whether a port of 127.0.0.1 is free, and who holds it when it is not."""

from __future__ import annotations

import os
import socket
import time
from itertools import count, islice

import psutil

from rtap_assets.errors import LocalStackError

LOOPBACK = "127.0.0.1"
PROBE_SECONDS = 1.0
RELEASE_SECONDS = 3.0
POLL_SECONDS = 0.1
# Below the ports that systems give to outgoing connections (Linux: 32768 and up, macOS: 49152 and up): one of those could
# take a port after it was found free and before it is listened on.
OFFERED = range(20_000, 32_768)
# Processes begin at different places, and a process offers a port once: two that start stacks at a time get different ones.
_offers = count(os.getpid() * 101)


def require_free_ports(ports: dict[str, int]) -> None:
    """Check that each port (setting name -> port) can be listened on.

    Raises:
        LocalStackError: naming each port that is taken, its setting and, where it may be known, the process that holds it.
    """
    if len(set(ports.values())) < len(ports):
        listed = ", ".join(f"{setting}={port}" for setting, port in ports.items())
        raise LocalStackError(f"Two services cannot share a port: {listed}.", remedy="Give each setting its own port.")
    deadline = time.monotonic() + RELEASE_SECONDS
    while taken := {setting: port for setting, port in ports.items() if not is_free(port)}:
        holders = {port: _by_whom(port) for port in taken.values()}
        # A port that no process holds belongs to one that was killed a moment ago and is still being taken apart.
        if not all(holders.values()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            continue
        found = "; ".join(f"port {port} ({setting}) is taken{holders[port]}" for setting, port in taken.items())
        raise LocalStackError(
            f"The stack cannot start: {found}.",
            remedy=f"End that process, or set another port, for example {next(iter(taken))}={free_port()} (also in .env).",
            ports=taken,
        )


def is_free(port: int) -> bool:
    """Return whether the port is free and may be bound."""
    # Both questions: a listener on 0.0.0.0 lets a second socket bind 127.0.0.1 on macOS, and a bound port need not listen.
    if listens(port):
        return False
    with socket.socket() as probe:
        # As Java does: connections of a previous run in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Return whether a process accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(PROBE_SECONDS)
        return probe.connect_ex((LOOPBACK, port)) == 0


def free_port() -> int:
    """Return a port that is free at the moment."""
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Return different ports that are free at the moment, none of which this process has offered before."""
    candidates = (OFFERED[offer % len(OFFERED)] for offer in _offers)
    return list(islice(filter(is_free, candidates), number))


def _by_whom(port: int) -> str:
    """ " by …", or nothing when the system does not tell (processes of other users)."""
    for process in psutil.process_iter():
        try:
            if any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
                for connection in process.net_connections("tcp")
            ):
                return f" by {process.name()} (pid {process.pid})"
        except psutil.Error:
            continue
    return ""
