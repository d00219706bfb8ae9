"""Dagster's webserver behind the guard: what `dagster-webserver` does, with `UiGuard` around its application.

Run as `python -m rtap_assets.local.webserver WORKSPACE`; address and names come from the settings.
"""

from __future__ import annotations

import sys

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
from dagster_webserver.version import __version__

from rtap_assets.config import Settings, get_settings
from rtap_assets.host.connections import ImpatientProtocol
from rtap_assets.local.ui_guard import UiGuard

LIVE_DATA_POLL_MILLISECONDS = 2_000
STOP_SECONDS = 3


def serve(settings: Settings, workspace: str) -> None:
    """Serve the UI until SIGTERM or SIGINT."""
    setup_interrupt_handlers()
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        target = WorkspaceFileTarget(paths=[workspace])
        with WorkspaceProcessContext(instance, version=__version__, workspace_load_target=target) as context:
            app = create_app_from_workspace_process_context(context, "", LIVE_DATA_POLL_MILLISECONDS)
            uvicorn.run(
                UiGuard(app, allowed_hosts=settings.ui_allowed_hosts),
                host=settings.ui_bind,
                port=settings.ui_port,
                http=ImpatientProtocol,
                log_level="warning",
                timeout_graceful_shutdown=STOP_SECONDS,
            )


if __name__ == "__main__":
    serve(get_settings(), sys.argv[1])
