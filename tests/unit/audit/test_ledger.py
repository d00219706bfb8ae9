"""The ledger against bronze and silver: outcomes that are unknown, untrue or without an intention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from audited_lake import EVENTS, RUN, AuditedLake, all_acknowledged

from rtap_assets.generator.ledger import Outcomes, outcome_table, write_durably


def settle_as(lake: AuditedLake, change: Callable[[Outcomes], None]) -> None:
    """Write the chunk's outcomes again, changed."""
    outcomes = all_acknowledged(lake.chunk)
    change(outcomes)
    (path,) = lake.settings.ledger_dir.glob("*/outcome-*.parquet")
    write_durably(outcome_table(lake.chunk, outcomes, run_id=RUN), path)


def test_unknown_outcomes_are_settled_by_the_bytes_in_bronze(lake: AuditedLake) -> None:
    def forget(outcomes: Outcomes) -> None:
        outcomes.outcome[:100] = "unknown"
        outcomes.kafka_partition[:100] = outcomes.kafka_offset[:100] = -1

    settle_as(lake, forget)
    report = lake.report()
    assert report.holds
    assert report.apart("outcome unknown") == 100
    assert report.apart("other producers") == 0


def test_a_run_that_was_killed_before_its_outcome_is_settled_likewise(lake: AuditedLake) -> None:
    (path,) = lake.settings.ledger_dir.glob("*/outcome-*.parquet")
    path.unlink()
    report = lake.report()
    assert report.holds
    assert (report.apart("outcome unknown"), report.apart("other producers")) == (EVENTS, 0)


@pytest.mark.parametrize("outcome", ["failed", "rolled back"])
def test_a_record_that_the_broker_did_not_keep_and_that_is_in_bronze_is_found(lake: AuditedLake, outcome: str) -> None:
    row = int(np.flatnonzero([reason is None for reason in lake.chunk.reason])[0])

    def fail(outcomes: Outcomes) -> None:
        outcomes.outcome[row] = outcome
        outcomes.kafka_partition[row] = outcomes.kafka_offset[row] = -1

    settle_as(lake, fail)
    assert "unintended" in lake.report().damage


def test_an_outcome_without_its_intention_is_found(lake: AuditedLake) -> None:
    (path,) = lake.settings.ledger_dir.glob("*/intended-*.parquet")
    lake.sql(f"CREATE TABLE fewer AS FROM read_parquet('{path}') WHERE sequence <> 5")
    lake.sql(f"COPY fewer TO '{path}' (FORMAT parquet)")
    assert "without_intention" in lake.report().damage
