"""The generator's pure core: reproducible, exact in its encoding, and with the troubles in the shares asked for."""

from __future__ import annotations

import io
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from fastavro import schemaless_reader, schemaless_writer
from generator_fixtures import CONTRACT, IDS, START, WRITER_SCHEMAS, chunks_of

from rtap_assets.contracts import currencies, rules
from rtap_assets.contracts.avro.wire import unframe
from rtap_assets.contracts.text import trim
from rtap_assets.errors import ConfigurationError
from rtap_assets.generator.chunks import BAD, DUPLICATE, GOOD, LATER_COPY_CHUNKS, Chunk, concatenate, sample
from rtap_assets.generator.encoding import decimals, varint, varints
from rtap_assets.generator.events import AWKWARD_AMOUNTS
from rtap_assets.generator.options import ABORTED, COMMITTED, LEFT_OPEN, GeneratorOptions

START_MS = int(START.timestamp() * 1000)
CLEAN = {"duplicates": 0.0, "invalid": 0.0}
VERSION_OF_ID = {schema_id: version for version, schema_id in IDS.versions.items()}


def content(chunks: list[Chunk]) -> list[tuple[bytes | None, bytes | None, str, str | None]]:
    return [
        row
        for chunk in chunks
        for row in zip(chunk.columns["key"], chunk.columns["value"], chunk.kind, chunk.reason, strict=True)
    ]


def test_the_same_seed_options_and_start_give_the_same_bytes() -> None:
    options = GeneratorOptions(events=30_000, duplicates=0.05, invalid=0.05, seed=7)
    assert content(chunks_of(options)) == content(chunks_of(options))
    assert content(chunks_of(options)) != content(chunks_of(options, start_time=START + timedelta(days=1)))


def test_another_seed_or_start_gives_other_events() -> None:
    options = GeneratorOptions(events=200, **CLEAN)
    first = {value for _, value, _, _ in content(chunks_of(options))}
    assert not first & {value for _, value, _, _ in content(chunks_of(GeneratorOptions(events=200, seed=2, **CLEAN)))}
    later = START.replace(second=1)
    ids = {event_id for chunk in chunks_of(options) for event_id in chunk.columns["event_id"]}
    assert not ids & {event_id for chunk in chunks_of(options, start_time=later) for event_id in chunk.columns["event_id"]}


def test_every_good_value_is_what_fastavro_writes_for_the_event_in_it() -> None:
    (chunk,) = chunks_of(GeneratorOptions(events=3_000, spellings=0.3, delayed=0.1, **CLEAN))
    padded = np.isin(chunk.columns["amount"], [0, *AWKWARD_AMOUNTS])  # other encoders write these with other widths
    assert 0 < padded.sum() < 600
    for value in chunk.columns["value"][~padded]:
        schema_id, body = unframe(value)
        schema = WRITER_SCHEMAS[VERSION_OF_ID[schema_id]]
        written = io.BytesIO()
        schemaless_writer(written, schema, schemaless_reader(io.BytesIO(body), schema, None))
        assert written.getvalue() == body


def test_the_canonical_columns_say_what_the_bytes_mean() -> None:
    (chunk,) = chunks_of(GeneratorOptions(events=3_000, spellings=0.3, **CLEAN))
    spelled = 0
    for row, value in enumerate(chunk.columns["value"]):
        schema_id, body = unframe(value)
        event = schemaless_reader(io.BytesIO(body), WRITER_SCHEMAS[VERSION_OF_ID[schema_id]], None)
        truth = {name: column[row] for name, column in chunk.columns.items()}
        assert (event["event_id"], event["account_id"]) == (truth["event_id"], truth["account_id"])
        assert truth["key"] == truth["account_id"].encode()
        assert event["schema_version"] == truth["schema_version"] == VERSION_OF_ID[schema_id]
        assert event["event_time"].timestamp() * 1000 == truth["event_time"]
        assert event["amount"] == Decimal(int(truth["amount"])).scaleb(-4)
        assert rules.EVENT_TYPES[trim(event["event_type"]).lower()] == truth["event_type"]
        assert rules.PLAN_TIERS[trim(event["plan_tier"]).lower()] == truth["plan_tier"]
        assert rules.REGIONS[trim(event["region"]).lower()] == truth["region"]
        assert trim(event["currency"]).upper() == truth["currency"] in currencies.ACTIVE
        assert truth["net_amount"] == (-truth["amount"] if truth["event_type"] == rules.REFUND else truth["amount"])
        spelled += event["region"] != truth["region"]
    assert 600 < spelled < 1200


def test_amounts_occur_with_more_sign_bytes_than_they_need_and_zero_as_no_bytes() -> None:
    (chunk,) = chunks_of(GeneratorOptions(events=1_000, v1_share=0, **CLEAN))
    widths = [
        len(schemaless_reader(io.BytesIO(value[5:]), CONTRACT.schemas[2], None)["amount"])
        for value in chunk.columns["value"][chunk.columns["amount"] == 0]
    ]
    assert set(widths) == {0}
    for amount, encoded in ((128, b"\x12" + bytes(8) + b"\x80"), (32_768, b"\x20" + bytes(14) + b"\x80\x00")):
        values = chunk.columns["value"][chunk.columns["amount"] == amount]
        assert len(values) == 2
        assert all(encoded in value for value in values)


@pytest.mark.parametrize("number", [0, 1, -1, 63, 64, -64, -65, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)])
def test_varints_are_encoded_as_fastavro_does(number: int) -> None:
    expected = io.BytesIO()
    schemaless_writer(expected, {"type": "long"}, number)
    assert varint(number) == expected.getvalue()
    assert varints(np.array([number, 5], dtype=np.int64)) == [expected.getvalue(), b"\x0a"]


@pytest.mark.parametrize("number", [0, 1, 127, 128, -127, -129, 32_767, 32_768, -32_769, 10**17, -(10**17)])
def test_decimals_are_encoded_as_fastavro_does(number: int) -> None:
    expected = io.BytesIO()
    schema = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}
    schemaless_writer(expected, schema, Decimal(number).scaleb(-4))
    assert decimals(np.array([number], dtype=np.int64)) == [expected.getvalue()]


def test_history_ends_at_the_start_and_is_out_of_order_with_the_delayed_share_far_behind() -> None:
    options = GeneratorOptions(events=20_000, span_seconds=7200, delayed=0.02, **CLEAN)
    columns = concatenate([chunk.columns for chunk in chunks_of(options)])
    event_time, ingest_time, delayed = columns["event_time"], columns["ingest_time"], columns["delayed"]
    assert START_MS - 7_200_000 <= ingest_time[0] < ingest_time[-1] == START_MS
    assert (np.diff(event_time) < 0).any()
    behind_seconds = (ingest_time - event_time) / 1000
    assert (behind_seconds >= 0).all()
    assert behind_seconds[~delayed].max() <= 60
    assert 15 * 60 <= behind_seconds[delayed].min() <= behind_seconds[delayed].max() <= 40 * 60
    assert 300 < delayed.sum() < 500


def test_at_a_steady_rate_events_follow_the_clock() -> None:
    chunks = chunks_of(GeneratorOptions(events=None, rate=100, duration_seconds=12, delayed=0, **CLEAN))
    assert [len(chunk) for chunk in chunks] == [500, 500, 200]
    ingested = concatenate([chunk.columns for chunk in chunks])["ingest_time"]
    assert ingested.tolist() == [START_MS + turn * 10 for turn in range(1200)]


def test_duplicates_are_exact_copies_of_good_records_near_later_and_from_an_earlier_run() -> None:
    earlier_run = chunks_of(GeneratorOptions(events=500, seed=99, **CLEAN))
    replay = sample(np.random.default_rng(0), earlier_run[0], run_id="earlier")
    options = GeneratorOptions(events=60_000, duplicates=0.05, invalid=0.02)
    chunks = chunks_of(options, replay=replay)
    everything = concatenate([chunk.columns for chunk in chunks])
    kinds = np.concatenate([chunk.kind for chunk in chunks])
    kept = {sequence: row for row, sequence in enumerate(replay["origin_sequence"].tolist())}
    origins = Counter()
    for sequence in np.flatnonzero(kinds == DUPLICATE).tolist():
        original = int(everything["origin_sequence"][sequence])
        copied = (everything["key"][sequence], everything["value"][sequence], everything["event_id"][sequence])
        if everything["origin_run"][sequence] == "earlier":
            origins["earlier run"] += 1
            row = kept[original]
            assert copied == (replay["key"][row], replay["value"][row], replay["event_id"][row])
            continue
        assert original < sequence
        assert kinds[original] == GOOD
        assert copied == (everything["key"][original], everything["value"][original], everything["event_id"][original])
        origins["same chunk" if original // 25_000 == sequence // 25_000 else "later"] += 1
    assert all(origins[origin] > 200 for origin in ("same chunk", "later", "earlier run"))
    good_ids = everything["event_id"][kinds == GOOD]
    assert len(set(good_ids)) == len(good_ids)


def test_later_copies_are_old_events_under_their_own_id_with_the_event_time_of_their_turn() -> None:
    options = GeneratorOptions(events=150_000, span_seconds=6 * 3600, later_copies=0.004, delayed=0, **CLEAN)
    chunks = chunks_of(options)
    everything = concatenate([chunk.columns for chunk in chunks])
    copies = np.flatnonzero(np.concatenate([chunk.kind for chunk in chunks]) == DUPLICATE)
    assert 150 < len(copies) < 250
    for row in copies.tolist():
        original = int(everything["origin_sequence"][row])
        assert row // 25_000 - original // 25_000 >= LATER_COPY_CHUNKS
        first, again = (_event(everything["value"][place]) for place in (original, row))
        moved = {name: again[name] for name in ("event_time", "ingest_time")}
        assert again == first | moved
        assert (again["event_time"] - first["event_time"]).total_seconds() > 3_600
        assert again["event_time"].timestamp() * 1000 == everything["event_time"][row]


def test_another_teams_records_differ_in_nothing_but_the_schema_id() -> None:
    (chunk,) = chunks_of(GeneratorOptions(events=2_000, foreign_schemas=0.5, **CLEAN))
    versions_of_id = VERSION_OF_ID | {schema_id: version for version, schema_id in IDS.other_team.items()}
    found = Counter(unframe(value)[0] for value in chunk.columns["value"])
    assert set(found) == set(versions_of_id)
    assert 900 < found[IDS.other_team[1]] + found[IDS.other_team[2]] < 1_100
    for value, version in zip(chunk.columns["value"], chunk.columns["schema_version"], strict=True):
        assert versions_of_id[unframe(value)[0]] == version


def test_transactions_come_last_and_end_in_turn() -> None:
    chunks = chunks_of(GeneratorOptions(events=1_000, transactions=4, **CLEAN))
    ends = [None, COMMITTED, ABORTED, LEFT_OPEN, COMMITTED]
    assert [(chunk.transaction, len(chunk)) for chunk in chunks] == list(zip(ends, [1_000, *[100] * 4], strict=True))
    assert max(chunks[-1].columns["event_time"]) <= START_MS
    ids = concatenate([chunk.columns for chunk in chunks])["event_id"]
    assert len(set(ids)) == 1_400


def _event(value: bytes) -> dict[str, Any]:
    schema_id, body = unframe(value)
    event: Any = schemaless_reader(io.BytesIO(body), WRITER_SCHEMAS[VERSION_OF_ID[schema_id]], None)
    return dict(event)


def test_shares_are_kept_and_each_reason_comes_before_any_comes_again() -> None:
    options = GeneratorOptions(events=40_000, duplicates=0.03, invalid=0.02, v1_share=0.25, reasons=tuple(rules.Reason))
    chunks = chunks_of(options)
    kinds = Counter(kind for chunk in chunks for kind in chunk.kind)
    assert 1000 < kinds[DUPLICATE] < 1400
    assert 650 < kinds[BAD] < 950
    reasons = [reason for chunk in chunks for reason in chunk.reason if reason]
    assert reasons[: len(rules.Reason)] == list(rules.Reason)
    versions = Counter(int(version) for chunk in chunks for version in chunk.columns["schema_version"])
    assert 0.23 < versions[1] / versions.total() < 0.27


def test_customers_are_skewed_and_keep_tier_region_and_currency() -> None:
    columns = concatenate([chunk.columns for chunk in chunks_of(GeneratorOptions(events=30_000, **CLEAN))])
    events = Counter(columns["account_id"].tolist())
    assert sum(count for _, count in events.most_common(50)) > 0.4 * events.total()
    traits = set(zip(columns["account_id"], columns["plan_tier"], columns["region"], columns["currency"], strict=True))
    assert len(traits) == len(events)
    assert len(set(columns["currency"].tolist())) >= 8
    refunds = (columns["event_type"] == rules.REFUND).mean()
    assert 0.07 < refunds < 0.11


@pytest.mark.parametrize(
    "wrong",
    [
        {"duplicates": 1.5},
        {"invalid": -0.1},
        {"invalid": 0.6, "duplicates": 0.6},
        {"events": None},
        {"duration_seconds": 10},
        {"rate": 0},
        {"accounts": 1},
        {"reasons": ()},
        {"later_copies": 2},
        {"transactions": -1},
        {"events": None, "rate": 10, "transactions": 1},
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        GeneratorOptions(**wrong)  # type: ignore[arg-type]


def test_equal_seed_and_start_give_equal_records_and_another_start_others() -> None:
    options = GeneratorOptions(events=2_000, seed=1)
    assert content(chunks_of(options)) == content(chunks_of(options))
