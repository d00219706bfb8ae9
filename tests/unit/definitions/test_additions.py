"""A table, stream, source, mart, check and column of gold, each added where `CONTRIBUTING.md` says, and what follows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from additions import ADDITIONS, SOURCE_TABLE, SUBJECT, copy_with, run_in

from rtap_assets.config import PROJECT_ROOT

GUIDE = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package with all additions makes of itself."""
    folder = tmp_path_factory.mktemp("additions")
    root = copy_with(folder, [edit for edits in (*ADDITIONS.values(), SOURCE_TABLE) for edit in edits])
    return run_in(root, "additions_probe", folder / "state", RTAP_TRIGGER_REFUNDS_SECONDS="7")


def test_a_table_has_its_asset_its_view_its_ddl_and_its_maintenance(found: dict[str, Any]) -> None:
    assert found["deps"]["gold/revenue_1h"] == ["silver/sales_events"]
    assert found["groups"]["gold/revenue_1h"] == "gold"
    assert found["views"]["gold_1h"] == found["views"]["gold"]
    assert found["created"]["gold.revenue_1h"].startswith("CREATE TABLE IF NOT EXISTS t (\n  window_start timestamp")
    assert "gold.revenue_1h" in found["measured"]
    assert "gold.revenue_1h" in found["merged"]
    assert found["subtracted_from"] == ["gold", "gold_1h"]
    assert "gold_1h" in found["consumers"]["silver.sales_events"]


def test_a_stream_is_offered_watched_and_triggered_everywhere(found: dict[str, Any]) -> None:
    names = ["bronze", "dlq", "silver", "gold", "gold_1h", "refunds", "tickets"]
    assert found["streams"] == found["launchpad"] == found["at_rest"] == list(found["triggers"]) == names
    assert found["rebuildable"] == names[1:-1]
    assert found["triggers"] == {
        "bronze": 1, "dlq": 5, "silver": 0.25, "gold": 10, "gold_1h": 5, "refunds": 7, "tickets": 1
    }  # fmt: skip
    assert found["depends"]["refunds"] == ["broker", "catalog"]
    assert found["deps"]["kafka/refunds"] == ["silver/sales_events"]
    assert "kafka/refunds" in found["states"]
    assert "kafka/refunds stream_state" in found["checks"]
    assert "refunds" in found["consumers"]["silver.sales_events"]
    assert "sales.refunds.v1" in found["topics"]


def test_a_source_is_followed_by_its_stream_and_drawn_before_its_table(found: dict[str, Any]) -> None:
    assert "support.tickets.v1" in found["topics"]
    assert found["deps"]["bronze/tickets"] == ["kafka/tickets"]
    assert found["depends"]["tickets"] == ["broker", "catalog"]
    assert found["follow_topics"] == {"bronze": "sales.events.v1", "tickets": "support.tickets.v1"}
    assert "tickets" in found["views"]


def test_a_mart_is_built_and_shown(found: dict[str, Any]) -> None:
    assert found["marts"]["sales"] == 1
    assert found["deps"]["marts/sales"] == ["marts/tumbling_revenue"]


def test_a_check_is_evaluated_and_shown(found: dict[str, Any]) -> None:
    assert found["results"]["gold.revenue_5m negative_net"] is True
    assert "gold/revenue_5m negative_net" in found["checks"]


def test_a_column_of_gold_reaches_table_record_of_corrections_and_mart(found: dict[str, Any]) -> None:
    assert "upgrades bigint" in found["created"]["gold.revenue_5m"]
    assert "upgrades" in found["summed"]
    assert {"from_upgrades", "to_upgrades"} <= set(found["ledger"])
    assert "upgrades" in found["views"]["gold"]
    assert "upgrades" in found["rolling"]


@pytest.mark.parametrize("what", ADDITIONS)
def test_the_guide_lists_the_files_of_each_addition(what: str) -> None:
    (row,) = re.findall(rf"^\| {what} \|(.*)\|(.*)\|$", GUIDE, flags=re.MULTILINE)
    listed = set(re.findall(r"`([a-z_/<>.]+)`", row[0]))
    touched = {re.sub(r"/\w+\.sql$", "/<name>.sql", edit.path.removeprefix("rtap_assets/")) for edit in ADDITIONS[what]}
    assert listed == {path.replace(f"{SUBJECT.removeprefix('rtap_assets/')}/2.avsc", "schemas/") for path in touched}
    assert len(touched) <= 3
