"""Write the cases with fastavro and with Apache's avro for Python: `python write.py fastavro|avro` prints the lines."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[2]
SCHEMAS = {
    "1": RECORDED.parents[2] / "rtap_assets" / "schemas" / "sales.events.v1-value" / "1.avsc",
    "2": RECORDED.parents[2] / "rtap_assets" / "schemas" / "sales.events.v1-value" / "2.avsc",
    "fixed": RECORDED / "fixed.avsc",
}


def fastavro_body(schema: str, event: dict[str, Any]) -> bytes:
    """Return the event as fastavro writes it."""
    import fastavro  # noqa: PLC0415 - only one of the two libraries is installed

    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(schema), named_schemas={}), event)
    return buffer.getvalue()


def avro_body(schema: str, event: dict[str, Any]) -> bytes:
    """Return the event as Apache's avro writes it."""
    import avro.io  # noqa: PLC0415
    import avro.schema  # noqa: PLC0415

    buffer = io.BytesIO()
    avro.io.DatumWriter(avro.schema.parse(schema)).write(event, avro.io.BinaryEncoder(buffer))
    return buffer.getvalue()


def main(library: str) -> None:
    """Print a line for each schema and case."""
    cases = json.loads((RECORDED / "cases.json").read_text(encoding="utf-8"))
    write = {"fastavro": fastavro_body, "avro": avro_body}[library]
    for name, path in SCHEMAS.items():
        for case, values in cases.items():
            times = {field: datetime.fromisoformat(values[field]) for field in ("event_time", "ingest_time")}
            event = values | times | {"amount": Decimal(values["amount"]), "schema_version": 1 if name == "1" else 2}
            if name == "1":
                event = {field: value for field, value in event.items() if field not in ("promo_code", "sales_channel")}
            body = write(path.read_text(encoding="utf-8"), event)
            print(json.dumps({"schema": name, "case": case, "body": body.hex(), "by": f"{library} {version(library)}"}))


if __name__ == "__main__":
    main(sys.argv[1])
