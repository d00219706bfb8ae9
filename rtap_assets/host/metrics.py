"""What the stream host shows to Prometheus: every metric with its unit in the name and one line of help.

Text format 0.0.4. A reading that is not known is left out, never written as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reading = float | int | bool | datetime | None
# metric -> field of the status and its help
STREAM_METRICS = {one.metric: (field, one.doc) for field, one in StreamStatus.shown().items() if one.metric is not None}
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
        _family(name, text, [({"stream": stream.name}, _reading(getattr(stream, field))) for stream in streams])
        for name, (field, text) in STREAM_METRICS.items()
    ]
    counts = [({"stream": stream, "count": name}, rows) for (stream, name), rows in counted.items()]
    return "".join([*families, _family(COUNT_METRIC, COUNT_HELP, counts, kind="counter")])


def metric_names() -> set[str]:
    """Return the names of all metrics."""
    return {*HOST_METRICS, STATE_METRIC, COUNT_METRIC, *STREAM_METRICS}


def _reading(value: Any) -> Reading:
    return value is Desired.RUNNING if isinstance(value, Desired) else value


def _family(
    name: str, description: str, samples: Iterable[tuple[Mapping[str, str], Reading]], *, kind: str = "gauge"
) -> str:
    lines = [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
    for labels, reading in samples:
        if reading is None:
            continue
        value = reading.timestamp() if isinstance(reading, datetime) else float(reading)
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{shown}}} {value:.17g}" if shown else f"{name} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
