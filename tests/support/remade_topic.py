"""A topic that is deleted and created again under its name."""

from __future__ import annotations

from polling import wait_until

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import Admin
from rtap_assets.kafka.topics import ensure_topics, has_topic

SECONDS = 60


def make_again(settings: Settings, topic: str) -> None:
    """Delete the topic; create it as soon as the broker no longer knows the old one."""
    admin = Admin(settings)
    admin.results(admin.client.delete_topics, [topic], what="delete the topic")
    wait_until(lambda: not has_topic(settings, topic), seconds=SECONDS, what="the topic is gone")
    assert ensure_topics(settings)[topic] == "created"
