"""Streams, tables, topics, marts and checks fit together; what is missing is named with the place where it belongs."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.contracts.avro.schemas import load_subject
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.streams import STREAM_SPECS, StreamSpec, stream_filling
from rtap_assets.contracts.tables import DQ_RESULTS, GOLD, REVENUE_MEASURES, TABLES, TableSpec
from rtap_assets.contracts.topics import REVENUE_TOPIC, TOPICS, Topic
from rtap_assets.quality.catalog import CHECKS, PASS_CHECKS, CheckSpec
from rtap_assets.serving.marts import MARTS, PARTS, MartSpec
from rtap_assets.streaming.queries.definitions import WRITERS
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS
from rtap_assets.transforms.gold import PANE_INPUT

SCHEMAS = PROJECT_ROOT / "rtap_assets" / "schemas"
VIEWS = {spec.view for spec in (*TABLES, DQ_RESULTS)}
RECOMPUTED_IN = ("rtap_assets/quality/sql/gold_equals_silver.sql", "rtap_assets/audit/sql/gold.sql")


def read(path: str) -> str:
    return (PROJECT_ROOT / path).read_text(encoding="utf-8")


def test_names_are_unique_identifiers() -> None:
    for names in (
        [spec.view for spec in (*TABLES, DQ_RESULTS)],
        [spec.identifier for spec in TABLES],
        [spec.name for spec in STREAM_SPECS],
        [topic.asset for topic in TOPICS],
        [topic.name_in(load_settings()) for topic in TOPICS],
        [mart.name for mart in MARTS],
    ):
        assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in [*VIEWS, *WRITERS])
    assert len(CHECKS) == len({*CHECKS})


@pytest.mark.parametrize("stream", STREAM_SPECS, ids=lambda stream: stream.name)
def test_a_stream_has_its_writer_and_comes_after_those_that_fill_what_it_reads(stream: StreamSpec) -> None:
    assert stream.name in WRITERS, "streaming/queries/definitions.py: WRITERS"
    place = STREAM_SPECS.index(stream)
    if isinstance(stream.reads, TableSpec):
        assert stream_filling(stream.reads) in STREAM_SPECS[:place], "contracts/streams.py: the order"
    else:
        assert stream.reads in TOPICS, "contracts/topics.py: TOPICS"
    assert stream.publishes is None or stream.publishes in TOPICS, "contracts/topics.py: TOPICS"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.identifier)
def test_a_table_is_filled_by_one_stream_and_merged_where_it_says_so(table: TableSpec) -> None:
    assert [stream.name for stream in STREAM_SPECS if stream.writes == table] == [stream_filling(table).name]
    windows = [name for name, windows_in in REVENUE_WINDOWS.items() if windows_in(Settings()).table == table]
    assert windows == ([stream_filling(table).name] if table.is_merged else []), "streaming/queries/revenue_windows.py"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.asset)
def test_a_topic_has_one_name_and_the_schemas_that_it_claims(topic: Topic) -> None:
    assert bool(topic.setting) != bool(topic.name)
    assert not topic.schemas or load_subject(SCHEMAS, topic.schemas)


def sources_of(mart: MartSpec) -> set[str]:
    return {source if isinstance(source, str) else source.view for source in mart.reads}


@pytest.mark.parametrize("mart", [*PARTS, *MARTS], ids=lambda mart: mart.name)
def test_a_mart_reads_what_it_declares_and_comes_after_it(mart: MartSpec) -> None:
    order = (*PARTS, *MARTS)
    earlier = {one.name for one in order[: order.index(mart)]}
    declared = sources_of(mart)
    assert declared <= VIEWS | earlier
    assert re.search(rf"\nCREATE (TABLE|VIEW) {mart.name} AS\b", mart.sql)
    read = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", mart.sql))
    parts = {part.name: sources_of(part) for part in PARTS}
    assert read & parts.keys() <= earlier
    # What it reads of a part is declared as what the part is made from.
    named = set[str]().union(*(parts.get(name, {name}) for name in read)) & (VIEWS | {one.name for one in MARTS})
    # The record of corrections is not a view of the lake; what it restates is gold.
    assert named == declared or (mart.name, declared) == ("corrections", {"gold"})


@pytest.mark.parametrize("check", PASS_CHECKS, ids=lambda check: "/".join(check.key))
def test_a_check_of_the_pass_has_its_statement(check: CheckSpec) -> None:
    path = resources.files("rtap_assets.quality").joinpath("sql", f"{check.statement}.sql")
    assert path.is_file(), f"quality/sql/{check.statement}.sql"


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: "/".join(check.key))
def test_a_check_has_its_table_and_its_threshold(check: CheckSpec) -> None:
    assert check.spec in TABLES
    assert check.threshold_setting in Settings.model_fields, "settings/quality.py"


@pytest.mark.parametrize("measure", [column.name for column in REVENUE_MEASURES])
@pytest.mark.parametrize("path", RECOMPUTED_IN)
def test_each_measure_of_gold_is_recomputed_by_the_check_and_by_the_audit(measure: str, path: str) -> None:
    assert re.search(rf"\b{measure}\b", read(path)), f"{path} does not compare {measure}"


def test_the_newest_schema_of_the_aggregate_topic_has_all_columns_of_gold() -> None:
    fields = [one["name"] for one in json.loads(load_subject(SCHEMAS, REVENUE_TOPIC.schemas)[-1].text)["fields"]]
    assert fields == list(GOLD.column_names), f"schemas/{REVENUE_TOPIC.schemas}: add a version"


def test_the_record_of_corrections_keeps_every_column_that_gold_sums() -> None:
    assert set(PANE_INPUT) <= set(CORRECTIONS.column_names), "contracts/corrections.py: CORRECTIONS"
