"""What the stream host tells Prometheus: every metric with its unit in the name and one line of help.

Text format 0.0.4. A reading that is not known is left out, never written as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reading = float | int | bool | datetime | None


@dataclass(frozen=True)
class StreamMetric:
    """One gauge of each stream."""

    name: str
    help: str
    read: Callable[[StreamStatus], Reading]


STREAM_METRICS = (
    StreamMetric(
        "rtap_stream_desired_running",
        "1 when a person wants the stream to run, else 0.",
        lambda s: s.desired is Desired.RUNNING,
    ),
    StreamMetric(
        "rtap_stream_state_since_timestamp_seconds",
        "When the observed state began, seconds since the epoch.",
        lambda s: s.since,
    ),
    StreamMetric(
        "rtap_stream_observed_timestamp_seconds",
        "When the stream was last looked at, seconds since the epoch.",
        lambda s: s.observed_at,
    ),
    StreamMetric(
        "rtap_stream_valid_until_timestamp_seconds",
        "Until when these readings may be believed, seconds since the epoch.",
        lambda s: s.valid_until,
    ),
    StreamMetric(
        "rtap_stream_last_commit_timestamp_seconds",
        "When the last micro-batch was committed, seconds since the epoch.",
        lambda s: s.last_commit_at,
    ),
    StreamMetric("rtap_stream_last_batch_id", "Id of the newest committed micro-batch.", lambda s: s.last_batch_id),
    StreamMetric(
        "rtap_stream_batch_duration_seconds", "Duration of the last micro-batch, seconds.", lambda s: s.batch_seconds
    ),
    StreamMetric("rtap_stream_input_rows_per_second", "Rows that arrive per second.", lambda s: s.input_rows_per_second),
    StreamMetric(
        "rtap_stream_processed_rows_per_second",
        "Rows that a micro-batch works off per second.",
        lambda s: s.processed_rows_per_second,
    ),
    StreamMetric(
        "rtap_stream_lag_records",
        "Offsets up to the last stable one (bronze) or rows of the source that are not committed yet.",
        lambda s: s.lag_records,
    ),
    StreamMetric("rtap_stream_lag_seconds", "Age of the oldest of them, seconds.", lambda s: s.lag_seconds),
    StreamMetric(
        "rtap_stream_watermark_timestamp_seconds",
        "The event-time watermark, seconds since the epoch.",
        lambda s: s.watermark,
    ),
    StreamMetric("rtap_stream_state_rows", "Rows in the state store.", lambda s: s.state_rows),
    StreamMetric("rtap_stream_state_bytes", "Memory of the state store, bytes.", lambda s: s.state_bytes),
    StreamMetric(
        "rtap_stream_failures", "Failures in a row since the last commit or a person's start.", lambda s: s.failures
    ),
    StreamMetric(
        "rtap_stream_next_start_timestamp_seconds",
        "When a failed stream starts again, seconds since the epoch.",
        lambda s: s.next_start,
    ),
)
STATE_METRIC = "rtap_stream_state"
STATE_HELP = "1 for the state that is observed, 0 for the others."
COUNT_METRIC = "rtap_stream_counted_rows_total"
COUNT_HELP = (
    "Rows that the batches counted since the stream host started: records and invalid ones in bronze, reasons in dlq, "
    "late rows and copies that silver dropped."
)
HOST_METRICS = {
    "rtap_host_info": "Always 1; version, pid and JVM pid of the stream host are its labels.",
    "rtap_host_start_timestamp_seconds": "When the stream host started, seconds since the epoch.",
    "rtap_host_jvm_up": "1 while the JVM of the stream host answers, else 0.",
}


def metrics_text(
    statuses: Iterable[StreamStatus],
    *,
    host: Mapping[str, str],
    since: datetime,
    jvm_answers: bool,
    counted: Mapping[tuple[str, str], int],
) -> str:
    """Return everything as one scrape. `host` becomes the labels of `rtap_host_info`; `counted` is by stream and count."""
    streams = list(statuses)
    families = [
        _family("rtap_host_info", HOST_METRICS["rtap_host_info"], [(dict(host), 1)]),
        _family("rtap_host_start_timestamp_seconds", HOST_METRICS["rtap_host_start_timestamp_seconds"], [({}, since)]),
        _family("rtap_host_jvm_up", HOST_METRICS["rtap_host_jvm_up"], [({}, jvm_answers)]),
        _family(
            STATE_METRIC,
            STATE_HELP,
            [
                ({"stream": stream.name, "state": state.value}, stream.observed is state)
                for stream in streams
                for state in Observed
            ],
        ),
    ]
    families += [
        _family(metric.name, metric.help, [({"stream": stream.name}, metric.read(stream)) for stream in streams])
        for metric in STREAM_METRICS
    ]
    counts = [({"stream": stream, "count": name}, rows) for (stream, name), rows in counted.items()]
    return "".join([*families, _family(COUNT_METRIC, COUNT_HELP, counts, kind="counter")])


def metric_names() -> set[str]:
    """The names of all metrics."""
    return {*HOST_METRICS, STATE_METRIC, COUNT_METRIC, *(metric.name for metric in STREAM_METRICS)}


def _family(
    name: str, description: str, samples: Iterable[tuple[Mapping[str, str], Reading]], *, kind: str = "gauge"
) -> str:
    lines = [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
    for labels, reading in samples:
        if reading is None:
            continue
        value = reading.timestamp() if isinstance(reading, datetime) else float(reading)
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{told}}} {value:.17g}" if told else f"{name} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
