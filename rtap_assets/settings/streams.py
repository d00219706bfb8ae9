"""Settings of the streams and their host: intervals, bounds, deadlines. Part of `config.Settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, create_model, field_validator
from pydantic_settings import BaseSettings

from rtap_assets.contracts.streams import STREAM_SPECS

if TYPE_CHECKING:

    class TriggerSettings(BaseSettings):
        """The fields `trigger_<name>_seconds`, one per stream of `contracts/streams.py`."""

else:
    TriggerSettings = create_model(
        "TriggerSettings",
        __base__=BaseSettings,
        **{
            f"trigger_{stream.name}_seconds": (
                float,
                Field(
                    stream.trigger_seconds_default,
                    ge=0,
                    description=f"Trigger interval of the stream {stream.name} in continuous mode, seconds.",
                ),
            )
            for stream in STREAM_SPECS
        },
    )


class StreamSettings(BaseSettings):
    """How streams run, and how the host watches them. Times are in the unit the name ends with."""

    watermark_delay_seconds: int = Field(600, ge=1, description="Silver's watermark delay; gold's is twice that.")
    window_seconds: int = Field(300, ge=60, description="Length of gold's windows.")
    slide_seconds: int = Field(60, ge=1, description="Slide of gold's windows.")
    bronze_max_offsets_per_batch: int = Field(1_000_000, ge=1, description="Most Kafka records in one bronze batch.")
    source_max_files_per_batch: int = Field(
        64, ge=1, description="Most files of a table in one batch; at least half the files of one upstream snapshot."
    )
    source_max_rows_per_batch: int = Field(
        1_000_000, ge=1, description="Rows of a table in one batch (soft: the next whole file is included)."
    )
    drain_timeout_seconds: float = Field(900, gt=0, description="Deadline for draining one stream.")

    stop_timeout_seconds: float = Field(30, gt=0, description="How long a stop waits for the batch in flight.")
    start_timeout_seconds: float = Field(120, gt=0, description="How long a start waits for the first proof that it runs.")
    running_proof_seconds: float = Field(
        30, gt=0, description="How long a commit or idle input proves that a stream runs (a trigger interval is added)."
    )
    waiting_alert_seconds: float = Field(600, gt=0, description="A stream that has waited this long raises an alert.")
    status_validity_seconds: float = Field(75, gt=0, description="How long a stream's status may be believed.")
    backoff_first_seconds: float = Field(1, gt=0, description="First pause before a failed stream starts again; it doubles.")
    backoff_longest_seconds: float = Field(30, gt=0, description="Longest pause before a failed stream starts again.")
    breaker_failures: int = Field(5, ge=2, description="The same failure this many times in a row opens the breaker.")
    breaker_healthy_seconds: float = Field(300, ge=0, description="A stream that ran this long has its failures forgotten.")
    lag_probe_seconds: float = Field(10, gt=0, description="How often the ends of the streams' sources are looked at.")
    open_transaction_alert_seconds: float = Field(
        60, gt=0, description="A transaction on the events topic that is open for longer shows bronze as waiting."
    )
    progress_log_max_bytes: int = Field(
        16_000_000, ge=10_000, description="Size at which a stream's progress log is rotated; one older file is kept."
    )

    # Stream host
    streams_url: str = Field("", description="URL of an external stream host. Empty: the embedded one, started when needed.")
    streams_bind: str = Field("127.0.0.1", description="Address that the stream host listens on.")
    streams_allowed_hosts: list[str] = Field(
        [], description="Host names besides the loopback ones by which the stream host may be called, as a JSON list."
    )
    streams_request_timeout_seconds: float = Field(3, gt=0, description="Deadline of one call to the stream host.")
    host_idle_seconds: float = Field(
        900, gt=0, description="An embedded stream host with nothing to run and nothing asked of it leaves after this time."
    )
    host_watch_seconds: float = Field(1, gt=0, description="How often the stream host looks whether its JVM lives.")
    checkpoint_takeover_seconds: float = Field(
        60, ge=0, description="How long a new owner of the checkpoints waits for the JVM of a dead one to end."
    )

    @field_validator("slide_seconds")
    @classmethod
    def _slide_divides_window(cls, value: int, info) -> int:  # type: ignore[no-untyped-def]
        if info.data.get("window_seconds", value) % value:
            raise ValueError("RTAP_SLIDE_SECONDS must divide RTAP_WINDOW_SECONDS, or the windows do not tile the day")
        return value
