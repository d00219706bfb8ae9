from __future__ import annotations

from rtap_assets.lake.merge import between, merge_statement


def test_an_upsert_updates_what_matches_and_inserts_the_rest_by_name() -> None:
    on = ["t.id = s.id", between("t.at", "2026-01-01 00:00:00", "2026-01-02 00:00:00")]
    assert merge_statement("lake.gold.x", "updates", on=on, updates=["net"], inserts=["id", "net"]) == (
        "MERGE INTO lake.gold.x t USING updates s\n"
        "ON t.id = s.id AND t.at BETWEEN TIMESTAMP '2026-01-01 00:00:00' AND TIMESTAMP '2026-01-02 00:00:00'\n"
        "WHEN MATCHED THEN UPDATE SET t.net = s.net\n"
        "WHEN NOT MATCHED THEN INSERT (id, net) VALUES (s.id, s.net)"
    )


def test_without_columns_to_insert_nothing_is_added() -> None:
    assert "INSERT" not in merge_statement("t", "v", on=["t.id = s.id"], updates=["net"])
