from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import pytest

from rtap_assets.runtime.files import replacing, write_json, write_text


def _fail_halfway(file: IO[bytes]) -> None:
    file.write(b"half")
    raise RuntimeError


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "folder" / "file"
    write_text(path, "old", durable=durable)
    write_json(path, {"new": 1}, durable=durable)
    assert json.loads(path.read_text(encoding="utf-8")) == {"new": 1}
    assert list(path.parent.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        _fail_halfway(file)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
