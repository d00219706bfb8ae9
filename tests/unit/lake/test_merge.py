from __future__ import annotations

from rtap_assets.lake.merge import between, merge_statement


def test_a_merge_updates_what_matches_and_inserts_nothing() -> None:
    on = ["t.id = s.id", between("t.at", "2026-01-01 00:00:00", "2026-01-02 00:00:00")]
    assert merge_statement("lake.gold.x", "updates", on=on, updates=["net", "at"]) == (
        "MERGE INTO lake.gold.x t USING updates s\n"
        "ON t.id = s.id AND t.at BETWEEN TIMESTAMP '2026-01-01 00:00:00' AND TIMESTAMP '2026-01-02 00:00:00'\n"
        "WHEN MATCHED THEN UPDATE SET t.net = s.net, t.at = s.at"
    )
