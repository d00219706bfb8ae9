"""The lake opened from outside, as `docs/how-to/open-the-lake.md` says."""

from __future__ import annotations

import re
from pathlib import Path

from lake_fixtures import NOON, gold_row, make_lake
from pyiceberg.catalog import load_catalog

from rtap_assets.config import PROJECT_ROOT, load_settings

PAGE = (PROJECT_ROOT / "docs" / "how-to" / "open-the-lake.md").read_text(encoding="utf-8")


def test_pyiceberg_reads_gold_by_the_lines_of_the_page(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    make_lake(settings, gold=[gold_row(NOON)])
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(lines.replace("/path/to/.rtap", str(tmp_path)), names)
    assert names["gold"].scan().to_arrow().num_rows == 1  # type: ignore[attr-defined]
    names["catalog"].close()  # type: ignore[attr-defined]


def test_a_catalog_of_another_name_lists_nothing_as_the_page_warns(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    make_lake(settings, gold=[gold_row(NOON)])
    address = f"sqlite:///{settings.lake_dir / 'catalog.db'}"
    with load_catalog("other", type="sql", uri=address, warehouse=f"file://{settings.lake_dir / 'warehouse'}") as other:
        assert other.list_namespaces() == []
    assert "under another name it lists none" in PAGE
