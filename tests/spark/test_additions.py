"""An added table of revenue windows and an added column of gold, through Spark: DDL, panes, windows, MERGE, message."""

from __future__ import annotations

from pathlib import Path

from additions import COLUMN, TABLE, copy_with, run_in

from rtap_assets.contracts.tables import GOLD


def test_an_added_table_and_an_added_column_go_from_silver_to_table_and_message(tmp_path: Path) -> None:
    root = copy_with(tmp_path, [*TABLE, *COLUMN])
    found = run_in(root, "additions_spark_probe", tmp_path / "state")
    assert found["hours"] == [[True, 2, 1, "20.0000"]]
    assert found["left"] == [[1, 0, 1]]
    assert "gold.revenue_1h" in found["maintained"]
    names = list(GOLD.column_names)
    assert found["columns"] == [*names[: names.index("refunds") + 1], "upgrades", *names[names.index("refunds") + 1 :]]
    assert found["published"] == {"orders": 2, "upgrades": 1}
    assert found["consumers"] == ["gold_1h"]
