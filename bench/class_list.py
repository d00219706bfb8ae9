"""`python -m bench.class_list`: record the classes that Spark's JVM loads, for its archive (`java/class_archive.py`).

Needed after an update of Spark, Iceberg or Kafka's client, or after much has changed in what the streams call: a class that
is missing from the list is read from its jar, and one that is gone is passed over.
"""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

import click

from bench.live import own_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.following import carry_out
from rtap_assets.java.class_archive import CLASS_LIST
from rtap_assets.local.stack import down, up
from rtap_assets.streaming.model.operation import Action

EVENTS = 20_000


@click.command()
def record() -> None:
    """Run all streams on a few events and the work on tables once, and replace the list by what was loaded."""
    with tempfile.TemporaryDirectory(prefix="rtap-classes-") as folder:
        recorded = Path(folder) / "classes.txt"
        settings = own_settings(Path(folder) / "stack", java_option=f"-XX:DumpLoadedClassList={recorded}")
        settings = settings.model_copy(update={"spark_class_archive": False})
        try:
            up(settings, streams=True, echo=lambda _: None)
            generate(settings, GeneratorOptions(events=EVENTS), echo=lambda _: None)
            with StreamsClient(settings) as client:
                for _ in carry_out(client, Action.START, STREAM_NAMES, echo=lambda *_: None):
                    pass
                for action in (Action.CORRECT, Action.MAINTAIN):
                    client.wait(client.submit_for_tables(action))
        finally:
            down(settings, echo=lambda _: None)
        names = class_names(recorded.read_text(encoding="utf-8"))
    CLASS_LIST.write_bytes(lzma.compress("\n".join([*names, ""]).encode(), preset=9 | lzma.PRESET_EXTREME))
    click.echo(f"{len(names):,} classes in {CLASS_LIST}")


def class_names(recorded: str) -> list[str]:
    """Return the lines of a recorded list without ids and places, which hold for one run alone, each once."""
    lines = (line.split(" id: ")[0].split(" source: ")[0] for line in recorded.splitlines() if not line.startswith("#"))
    return list(dict.fromkeys(lines))


if __name__ == "__main__":
    record()
