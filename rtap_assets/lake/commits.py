"""Commits without rows, for what a snapshot's summary alone has to say."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.maintenance import writable_table


def append_nothing(session: SparkSession, settings: Settings, spec: TableSpec, properties: Mapping[str, str]) -> None:
    """Add an append snapshot without files whose summary holds the properties."""
    append = writable_table(session, settings, spec).newAppend()
    for key, value in properties.items():
        append.set(key, value)
    append.commit()
