"""What silver's checkpoint holds for the release before, whose query kept the ids that it had seen in Spark's state store.

Silver's query has no state: Spark would refuse the old one, and the release before would not start without one. So the
checkpoint has an empty state of the version that the next batch begins with. After a rollback a copy of an event that came
before it is taken, like one whose id was forgotten, until the next correction removes it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from zipfile import ZipFile

from rtap_assets.runtime.files import replacing
from rtap_assets.streaming.checkpoints.files import newest_committed, newest_planned

PARTITIONS = "spark.sql.shuffle.partitions"
# As RocksDB's state store describes a state without files.
NO_FILES = "v1\n" + json.dumps({"sstFiles": [], "numKeys": 0})


def replace_state(checkpoint: Path) -> None:
    """Put an empty state in the place of what a query has kept; for the time before the query starts."""
    shutil.rmtree(checkpoint / "state", ignore_errors=True)
    committed = newest_committed(checkpoint)
    if committed is not None:
        leave_empty_state(checkpoint, after_batch=committed)


def leave_empty_state(checkpoint: Path, *, after_batch: int) -> None:
    """Leave an empty state as of the end of this batch, beside that of the batch before, which a repetition begins with."""
    version = after_batch + 1  # how Spark counts: the first batch makes the first version
    for partition in range(_partitions(checkpoint)):
        folder = checkpoint / "state" / "0" / str(partition)
        with replacing(folder / f"{version}.zip") as file, ZipFile(file, "w") as state:
            state.writestr("metadata", NO_FILES)
        (folder / f"{version - 2}.zip").unlink(missing_ok=True)


def _partitions(checkpoint: Path) -> int:
    """Return how many partitions the state of the query has; a checkpoint never changes that number."""
    newest = checkpoint / "offsets" / str(newest_planned(checkpoint))
    return int(json.loads(newest.read_text(encoding="utf-8").splitlines()[1])["conf"][PARTITIONS])
