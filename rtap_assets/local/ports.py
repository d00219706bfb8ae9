"""Whether a port of 127.0.0.1 is free, and who holds it when it is not."""

from __future__ import annotations

import socket

import psutil

from rtap_assets.errors import LocalStackError

LOOPBACK = "127.0.0.1"
PROBE_SECONDS = 1.0


def require_free_ports(ports: dict[str, int]) -> None:
    """Check that each port (setting name -> port) can be listened on.

    Raises:
        LocalStackError: naming each port that is taken, its setting and, where it may be known, the process that holds it.
    """
    if len(set(ports.values())) < len(ports):
        listed = ", ".join(f"{setting}={port}" for setting, port in ports.items())
        raise LocalStackError(f"Two services cannot share a port: {listed}.", remedy="Give each setting its own port.")
    taken = {setting: port for setting, port in ports.items() if not is_free(port)}
    if taken:
        found = "; ".join(f"port {port} ({setting}) is taken{_by_whom(port)}" for setting, port in taken.items())
        raise LocalStackError(
            f"The stack cannot start: {found}.",
            remedy=f"End that process, or set another port, for example {next(iter(taken))}={free_port()} (also in .env).",
            ports=taken,
        )


def is_free(port: int) -> bool:
    """Whether nobody listens on the port and it may be bound."""
    # Both questions: a listener on 0.0.0.0 lets a second socket bind 127.0.0.1 on macOS, and a bound port need not listen.
    with socket.socket() as probe:
        probe.settimeout(PROBE_SECONDS)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket() as probe:
        # As Java does: connections of a previous run in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


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
