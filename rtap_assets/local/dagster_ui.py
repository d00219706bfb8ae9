"""Dagster's webserver and daemon as background services on 127.0.0.1, over one code server with the platform's definitions.

The code server is a service of its own: a daemon that has to load the definitions itself starts a new process for them every
minute (about four seconds of CPU each time). `workspace.yaml` names the module that it serves, `dagster.yaml` is its
instance. Both are in the package, so that a wheel has them; the repository's `workspace.yaml` is a link to the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import yaml

from rtap_assets.config import Settings, settings_environment
from rtap_assets.local.ports import LOOPBACK, listens
from rtap_assets.local.processes import Service

CODE_SERVER = "dagster-code-server"
WEBSERVER = "dagster-webserver"
DAEMON = "dagster-daemon"
HERE = Path(__file__).parent
WORKSPACE, INSTANCE = "workspace.yaml", "dagster.yaml"
(_LOCATION,) = (location["python_module"] for location in yaml.safe_load((HERE / WORKSPACE).read_text("utf-8"))["load_from"])
MODULE, DEFINITIONS = _LOCATION["module_name"], _LOCATION["location_name"]
PROBE_SECONDS = 1.0
MAX_SOCKET_PATH_BYTES = 100  # macOS takes 104, Linux 108


def ui_services(settings: Settings) -> list[Service]:
    """Return code server, daemon and webserver; schedules and queued runs need the daemon."""
    environment = settings_environment(settings) | {"DAGSTER_HOME": str(settings.dagster_home)}
    path, workspace = code_socket(settings), str(settings.dagster_home / WORKSPACE)
    code_server = Service(
        name=CODE_SERVER,
        title="Dagster code",
        command=[sys.executable, "-m", "rtap_assets.local.code_server"],
        is_ready=lambda: _accepts(path),
        environment=environment,
    )
    daemon = Service(
        name=DAEMON,
        title="Dagster daemon",
        command=[sys.executable, "-m", "dagster._daemon", "run", "-w", workspace, "--log-level", "warning"],
        is_ready=lambda: True,  # it listens on no port; that it lives is checked once more when the webserver is ready
        environment=environment,
        starts_after=code_server,
    )
    webserver = Service(
        name=WEBSERVER,
        title="Dagster webserver",
        command=[sys.executable, "-m", "rtap_assets.local.webserver", workspace],
        is_ready=lambda: _answers(settings.ui_port),
        ports={"RTAP_UI_PORT": settings.ui_port},
        environment=environment,
        starts_after=code_server,
    )
    return [code_server, daemon, webserver]


def code_server_options(settings: Settings) -> list[str]:
    """Return the options of `dagster code-server start` that serve the module of the workspace file on the socket."""
    return [
        *("--socket", str(code_socket(settings)), "-m", MODULE, "--location-name", DEFINITIONS),
        *("--startup-timeout", str(int(settings.startup_timeout_seconds)), "--log-level", "warning"),
    ]


def code_socket(settings: Settings) -> Path:
    """Return where the code server listens: a Unix socket, which needs no port and which no other user may connect to."""
    path = settings.run_dir / "dagster.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(settings.state_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"rtap-{digest}.sock"


def write_dagster_home(settings: Settings) -> None:
    """Make the folder that `DAGSTER_HOME` names: the instance, and the workspace file with the code server in it.

    The code server calls this before it starts; an instance file that is there is left alone.
    """
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    instance = settings.dagster_home / INSTANCE
    if not instance.exists():
        shutil.copyfile(HERE / INSTANCE, instance)
    location = {"grpc_server": {"socket": str(code_socket(settings)), "location_name": DEFINITIONS}}
    workspace = settings.dagster_home / WORKSPACE
    workspace.write_text(json.dumps({"load_from": [location]}, indent=2), encoding="utf-8")  # JSON is YAML


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    if not listens(port):
        return False
    # Without a proxy: a company's proxy in the environment does not know this machine's 127.0.0.1.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"http://{LOOPBACK}:{port}/server_info", timeout=PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
