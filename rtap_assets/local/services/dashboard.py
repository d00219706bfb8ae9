"""The dashboard among the embedded services: `rtap dashboard` in the background, until `rtap down`."""

from __future__ import annotations

import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from rtap_assets.config import Settings, settings_environment
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.ports import LOOPBACK, require_free_ports
from rtap_assets.local.processes import Service

NAME = "dashboard"
PORT = "RTAP_DASHBOARD_PORT"
PROBE_SECONDS = 1.0
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def dashboard_service(settings: Settings) -> Service:
    """Return the dashboard as a service that can be started."""
    return Service(
        name=NAME,
        title="Dashboard",
        command=[sys.executable, "-m", "rtap_assets.cli", "dashboard"],
        is_ready=lambda: _answers(settings),
        ports={PORT: settings.dashboard_port},
        environment=settings_environment(settings),
    )


def address_of(settings: Settings) -> str:
    """Return the address at which a browser on this machine finds the page."""
    bind = settings.dashboard_bind
    host = LOOPBACK if bind in ANY_ADDRESS else f"[{bind}]" if ":" in bind else bind
    return f"http://{host}:{settings.dashboard_port}"


def refuse_taken_port(settings: Settings) -> None:
    """Raise before anything is loaded when the port is taken.

    Raises:
        LocalStackError: naming who holds it.
    """
    record = record_of(settings, NAME)
    running = record is not None and record.process() is not None
    require_free_ports({f"{PORT}, by the dashboard that `rtap up` started" if running else PORT: settings.dashboard_port})


def _answers(settings: Settings) -> bool:
    # Without a proxy: a company's proxy in the environment does not know this machine's 127.0.0.1.
    opener = build_opener(ProxyHandler({}))
    # By a name that it is always called by, whatever address it listens on.
    request = Request(f"{address_of(settings)}/healthz", headers={"Host": "localhost"})  # noqa: S310 - http alone
    try:
        with opener.open(request, timeout=PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
