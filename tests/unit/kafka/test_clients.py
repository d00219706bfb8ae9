"""A dependency that is not there, or accepts and never answers: our error, within the deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.topics import end_offsets, ensure_topics
from rtap_assets.registry.client import Registry

DEADLINE_SECONDS = 0.4
CALLS: dict[str, Callable[[Settings], object]] = {
    "ensure_topics": ensure_topics,
    "end_offsets": lambda settings: end_offsets(settings, settings.topic_events),
    "registry": lambda settings: Registry(settings).versions("any-value"),
}


@pytest.fixture(params=["closed", "silent"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("name", CALLS)
def test_a_dependency_that_does_not_answer_is_an_error_within_the_deadline(name: str, address: str) -> None:
    settings = load_settings(
        kafka_bootstrap=address, registry_url=f"http://{address}", request_timeout_seconds=DEADLINE_SECONDS
    )
    started = time.monotonic()
    with pytest.raises(DependencyUnavailable, match=address):
        CALLS[name](settings)
    assert time.monotonic() - started < DEADLINE_SECONDS + 3
