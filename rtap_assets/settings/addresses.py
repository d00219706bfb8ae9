"""What follows from the settings of broker, registry and stream host: embedded or not, and where; a part of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtap_assets.contracts.avro.wire import value_subject


class Addresses:
    """Addresses of the parts, whether embedded or elsewhere."""

    if TYPE_CHECKING:  # fields of the settings
        kafka_bootstrap: str
        kafka_port: int
        registry_url: str
        registry_port: int
        streams_url: str
        streams_port: int
        topic_events: str

    @property
    def embedded_port_names(self) -> list[str]:
        """Return the settings with the ports of the processes that this configuration starts."""
        names = ["kafka_port", "kafka_controller_port"] if self.uses_embedded_broker else []
        names += ["registry_port"] if self.uses_embedded_registry else []
        names += ["streams_port"] if self.uses_embedded_host else []
        return [*names, "ui_port", "dashboard_port"]

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka_bootstrap or f"127.0.0.1:{self.kafka_port}"

    @property
    def schema_registry_url(self) -> str:
        return self.registry_url or f"http://127.0.0.1:{self.registry_port}/apis/ccompat/v7"

    @property
    def uses_embedded_broker(self) -> bool:
        return not self.kafka_bootstrap

    @property
    def uses_embedded_registry(self) -> bool:
        return not self.registry_url

    @property
    def uses_embedded_host(self) -> bool:
        return not self.streams_url

    @property
    def streams_address(self) -> str:
        return self.streams_url.rstrip("/") or f"http://127.0.0.1:{self.streams_port}"

    @property
    def events_subject(self) -> str:
        return value_subject(self.topic_events)
