"""The real broker and registry under test: one of each per session, with topics and folders of its own for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.kafka.clients import Admin
from rtap_assets.kafka.topics import ensure_topics, topic_specs
from rtap_assets.local.ports import free_port, free_ports
from rtap_assets.local.stack import down, up
from rtap_assets.registry.registration import register_contracts


def silent(_: str) -> None:
    """Print nothing; an `echo` for tests."""


def embedded_settings(state_dir: Path) -> Settings:
    """Return settings of an embedded stack in `state_dir`, on ports that are free now."""
    kafka, controller, registry, ui, dashboard = free_ports(5)
    return load_settings(
        state_dir=state_dir,
        kafka_port=kafka,
        kafka_controller_port=controller,
        registry_port=registry,
        ui_port=ui,
        dashboard_port=dashboard,
        kafka_bootstrap="",
        registry_url="",
        keep_parts=False,  # tests kill and look; the keeper has tests of its own
    )


def small_and_quick(settings: Settings, **changes: Any) -> Settings:
    """Return settings for a stream host of some minutes, on a port that is free now, with triggers of a second."""
    quick = {"streams_port": free_port(), "spark_driver_memory": "1g", "spark_quick_start": True}
    return settings.model_copy(update=quick | {f"trigger_{name}_seconds": 1 for name in STREAM_NAMES} | changes)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Start the session's broker and registry; yield their settings, for tests that need no topics of their own."""
    settings = embedded_settings(tmp_path_factory.mktemp("stack") / ".rtap")
    up(settings, echo=silent)
    try:
        yield settings
    finally:
        down(settings, echo=silent)
        shutil.rmtree(settings.state_dir / "kafka")  # pytest keeps three sessions' folders; the logs are enough


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Yield the settings of one test: see `own_settings`."""
    with own_settings(stack, tmp_path / ".rtap") as own:
        yield own


@contextmanager
def own_settings(stack: Settings, state_dir: Path) -> Iterator[Settings]:
    """Yield settings with the session's broker and registry as external ones, and everything else new.

    The topics are created, the schemas registered under the subject of the new events topic, and the state folder (lake,
    checkpoints, ledger, …) is still empty.
    """
    suffix = uuid4().hex[:8]
    roles = ("topic_events", "topic_dlq", "topic_revenue", "topic_dq")
    own = stack.model_copy(
        update={role: f"{getattr(stack, role)}.{suffix}" for role in roles}
        | {
            "state_dir": state_dir,
            "kafka_bootstrap": stack.bootstrap_servers,
            "registry_url": stack.schema_registry_url,
        }
    )
    ensure_topics(own)
    register_contracts(own)
    yield own
    admin = Admin(own)
    admin.results(admin.client.delete_topics, [spec.name for spec in topic_specs(own)], what="delete the topics")
