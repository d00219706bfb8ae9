"""Real-time sales analytics: events in Kafka, tables in Iceberg, answers from DuckDB, operated from Dagster."""

import os

# No huge pages for this process: Arrow's allocator and NumPy ask for them by default, and where memory is fragmented the kernel
# took several times as long to make them as the work on a batch's arrays took. Arrow reads this when it is loaded.
os.environ.setdefault("MIMALLOC_ALLOW_THP", "0")
