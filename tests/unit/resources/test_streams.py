"""The stream host as a resource of Dagster, where nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtap_assets.config import load_settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.host.lock import running_host
from rtap_assets.local.ports import free_port
from rtap_assets.resources.streams import StreamHost


def test_a_drain_with_nothing_up_fails_at_once_and_starts_no_host(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path, kafka_port=free_port())
    with pytest.raises(DependencyUnavailable, match="Neither the stream host nor the Kafka broker") as raised:
        StreamHost(settings=settings).drain("bronze", echo=print)
    assert "`rtap up`" in raised.value.remedy
    assert running_host(settings) is None
