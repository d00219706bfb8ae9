"""Follows the added source on a real broker, to its loss and beyond; prints what each step found, as one JSON object.

Run by `additions.run_in` in a copy that has the source, with `RTAP_KAFKA_BOOTSTRAP` set.
"""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition
from remade_topic import make_again

import rtap_assets
from rtap_assets.cli import cli
from rtap_assets.config import load_settings
from rtap_assets.errors import StreamError
from rtap_assets.kafka.clients import Admin, client_config
from rtap_assets.kafka.topics import ensure_topics
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.runtime.clock import utc_now
from rtap_assets.serving.connection import open_lake
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.probes.source_probe import measure_lag
from rtap_assets.streaming.queries.definitions import STREAMS
from rtap_assets.streaming.session import start_session

TOPIC, SECONDS = "support.tickets.v1", 60


def main() -> None:
    settings = load_settings(spark_driver_memory="1g", spark_quick_start=True)
    ensure_topics(settings)
    settings.lake_dir.mkdir(parents=True, exist_ok=True)
    session = start_session(settings)
    ensure_tables(session, settings.catalog_name)
    admin = Admin(settings)

    def send(first: int, count: int) -> None:
        producer = Producer(client_config(settings) | {"acks": "all"})
        for number in range(first, first + count):
            producer.produce(TOPIC, f"ticket {number}", f"{number}", partition=0)
        assert producer.flush(SECONDS) == 0

    def step() -> dict[str, Any]:
        """Drain the stream; say what it read, what is left, and what the table holds."""
        try:
            read, refused = drain_stream(session, settings, "tickets").input_rows, ""
        except StreamError as error:
            read, refused = 0, f"{error.message} {error.remedy}"
        left = measure_lag(settings, STREAMS["tickets"], clock=utc_now).records if not refused else None
        with open_lake(settings) as lake:
            rows = lake.execute(
                "SELECT topic_epoch, count(*), count(DISTINCT decode(raw_value)) FROM tickets GROUP BY 1 ORDER BY 1"
            ).fetchall()
        return {"read": read, "refused": refused, "left": left, "rows": rows}

    def command(*arguments: str) -> list[Any]:
        done = CliRunner().invoke(cli, ["topics", *arguments, "--stream", "tickets"])
        return [done.exit_code, f"{done.output}{done.exception or ''}"]

    found: dict[str, Any] = {"package": rtap_assets.__file__}
    send(0, 50)
    found["first"], found["again"] = step(), step()
    send(50, 30)
    admin.results(admin.client.delete_records, [TopicPartition(TOPIC, 0, 60)], what="delete records")
    found["lost"], found["status"] = step(), command("status")
    found["accepted"], found["after_loss"] = command("continue", "--accept-loss", "--yes"), step()
    make_again(settings, TOPIC)
    send(100, 5)
    found["made_again"] = step()
    found["taken"], found["after_new_topic"] = command("continue", "--new-topic", "--yes"), step()
    admin.results(admin.client.delete_topics, [TOPIC], what="delete the topic")
    session.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
