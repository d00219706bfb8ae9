"""Make `tests/data/golden/state.tar.xz` again: a state folder of an older release, left in the middle of its work.

    git worktree add /tmp/before-house 694555c && make -C /tmp/before-house setup
    .venv/bin/python tools/golden_state.py /tmp/before-house

Everything is done by the commands of that checkout. Its stream host is killed while silver has a batch planned and not
committed; afterwards records that silver has counted are sent once more. The desired state of each stream is "running".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

TARGET = Path(__file__).parents[1] / "tests" / "data" / "golden" / "state.tar.xz"
# The tables' metadata name this folder; the test moves them.
STATE = Path("/tmp/rtap-golden/state")  # noqa: S108
KAFKA_PORT = 29092
TOPICS = ("sales.events.v1", "sales.events.dlq.v1", "dq.results.v1")
VARIABLES = {
    "RTAP_STATE_DIR": str(STATE),
    "RTAP_KAFKA_PORT": str(KAFKA_PORT),
    "RTAP_KAFKA_CONTROLLER_PORT": "29093",
    "RTAP_REGISTRY_PORT": "28081",
    "RTAP_STREAMS_PORT": "28090",
    "RTAP_KEEP_PARTS": "false",
    "RTAP_SPARK_DRIVER_MEMORY": "1g",
    "RTAP_SPARK_QUICK_START": "true",
    "RTAP_BRONZE_MAX_OFFSETS_PER_BATCH": "100",
    "RTAP_SOURCE_MAX_ROWS_PER_BATCH": "100",
} | {f"RTAP_TRIGGER_{name}_SECONDS": "1" for name in ("BRONZE", "DLQ", "SILVER", "GOLD")}
LEFT_OUT = {"logs", "jvm", "run", "vertx-cache", "stack.lock"}
SENT_AGAIN = 20  # of each Kafka partition
KILL_SECONDS, CALL_SECONDS = 60, 30


def main(checkout: Path) -> None:
    def rtap(*arguments: str) -> None:
        command = [str(checkout / ".venv" / "bin" / "rtap"), *arguments]
        subprocess.run(command, cwd=checkout, env=os.environ | VARIABLES, check=True)

    shutil.rmtree(STATE, ignore_errors=True)
    rtap("up")
    try:
        keep_records_forever()
        run = ("generate", "--invalid", "0.02", "--delayed", "0.03", "--duplicates", "0.02", "--foreign-schemas", "0.1")
        rtap(*run, "--events", "400", "--seed", "1", "--span", "30m", "--run-id", "corrected")
        rtap("drain")
        rtap("correct")
        rtap("streams", "start")
        rtap(*run, "--events", "300", "--seed", "2", "--span", "10m", "--run-id", "interrupted")
        kill_the_host_in_a_batch_of("silver")
        send_again()
    finally:
        rtap("down")
    pack()


def keep_records_forever() -> None:
    """Without this the broker would remove the records once they are a week old, wherever the state is opened."""
    entry = ConfigEntry("retention.ms", "-1", incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in TOPICS]
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{KAFKA_PORT}"})
    for future in admin.incremental_alter_configs(resources).values():
        future.result(CALL_SECONDS)


def kill_the_host_in_a_batch_of(name: str) -> None:
    """Kill host and JVM while the stream works on a batch."""
    checkpoint, deadline = STATE / "checkpoints" / name, time.monotonic() + KILL_SECONDS
    (host,) = [one for one in psutil.process_iter() if is_host(one)]
    before = newest(checkpoint / "commits")
    while not newest(checkpoint / "offsets") > newest(checkpoint / "commits") > before:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} has not worked on a second batch within {KILL_SECONDS} s")
        time.sleep(0.002)
    family = [host, *host.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=KILL_SECONDS)
    for stream in ("bronze", "dlq", "silver", "gold"):
        folder = STATE / "checkpoints" / stream
        print(f"{stream}: planned {newest(folder / 'offsets')}, committed {newest(folder / 'commits')}")
    if newest(checkpoint / "offsets") == newest(checkpoint / "commits"):
        raise SystemExit(f"{name} committed its batch before it died: run this once more")


def is_host(process: psutil.Process) -> bool:
    try:
        return "serve" in process.cmdline() and process.environ().get("RTAP_STATE_DIR") == str(STATE)
    except psutil.Error:
        return False


def newest(folder: Path) -> int:
    return max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=-1)


def send_again() -> None:
    """Send the newest records of each Kafka partition once more: silver knows them from its state alone."""
    client = {"bootstrap.servers": f"127.0.0.1:{KAFKA_PORT}"}
    consumer = Consumer(client | {"group.id": "golden", "enable.auto.commit": False})
    producer = Producer(client)
    for partition in range(3):
        _, end = consumer.get_watermark_offsets(TopicPartition(TOPICS[0], partition), timeout=CALL_SECONDS)
        consumer.assign([TopicPartition(TOPICS[0], partition, end - SENT_AGAIN)])
        for message in consumer.consume(SENT_AGAIN, timeout=CALL_SECONDS):
            producer.produce(TOPICS[0], message.value(), message.key(), partition=partition, headers=message.headers())
    consumer.close()
    if producer.flush(CALL_SECONDS):
        raise SystemExit("The broker did not take the copies.")


def pack() -> None:
    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return None if LEFT_OUT & set(Path(entry.name).parts) else entry

    with tarfile.open(TARGET, "w:xz", preset=9) as archive:
        archive.add(STATE, arcname="state", filter=kept)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
