"""The Spark session: its settings, its Java, and one session per process.

The settings are the measured ones; each that a newcomer would question says why.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.java.jars import jars_of
from rtap_assets.java.spark_driver import driver_command
from rtap_assets.lake.catalog import spark_catalog_conf, sqlite_path
from rtap_assets.lake.drivers import require_drivers
from rtap_assets.runtime.huge_pages import disable_huge_pages
from rtap_assets.streaming.gateway import open_gateway

LOG_CONFIGURATION = Path(__file__).with_name("log4j2.properties")

# Without these a record of a few bytes that claims a string of 1.5 GB ends in an OutOfMemoryError at each replay.
AVRO_LIMITS = (
    "-Dorg.apache.avro.limits.string.maxLength=1048576",
    "-Dorg.apache.avro.limits.bytes.maxLength=1048576",
    "-Dorg.apache.avro.limits.collectionItems.maxLength=100000",
)
# The first compiler tier alone: a run of a minute spends more CPU on the second tier than it gets back.
QUICK_COMPILER = "-XX:TieredStopAtLevel=1"
# The second tier compiles what was called eight times as often as it asks for by default: code that plans queries, run a few
# thousand times, is not worth it. Of the first 500,000 records with the start 39 cpu-s instead of 47, tasks as fast.
SECOND_TIER_FACTOR = 8
SECOND_TIER = tuple(
    f"-XX:Tier4{name}={SECOND_TIER_FACTOR * default}"
    for name, default in (
        ("InvocationThreshold", 5_000),
        ("MinInvocationThreshold", 600),
        ("CompileThreshold", 15_000),
        ("BackEdgeThreshold", 40_000),
    )
)
# With one tier the JVM reserves 48 MB for compiled code. Spark fills them within some hundred batches; then nothing is
# compiled any more, and method handles fail with a VirtualMachineError that ends the process.
CODE_CACHE = "-XX:ReservedCodeCacheSize=384m"
# What a batch makes dies with it. As the JVM adapts its generations, 10 MB of it became old at each collection: at 2,000
# records/s the heap was full after minutes, with a full collection each half minute. So the young one has a size of its own.
# A large batch's Parquet buffers live as long as it: copied twice, not seven times, they save half of the collections' work.
YOUNG_SHARE = 3 / 8
STEADY_YOUNG = (
    "-XX:-UseAdaptiveSizePolicy",
    "-XX:SurvivorRatio=6",
    "-XX:InitialTenuringThreshold=2",
    "-XX:MaxTenuringThreshold=2",
)
# A start loads 50 MB of classes beside the archive; by default the heap is collected in full at 21 MB, and again on the way.
CLASSES = "-XX:MetaspaceSize=128m"
# Bronze's decoding is one stage with a method of 10,000 bytecodes. By default the JVM only interprets a method of over 8,000
# (3x the CPU), and Spark takes such a stage apart, into projections that copy each row (8.2 against 6.9 cpu-s/M).
HUGE_METHODS, HUGE_METHOD_LIMIT = "-XX:-DontCompileHugeMethods", "65535"
CHECKPOINT_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"

# What must be known before the JVM runs. It is on the command line, which every user of the machine can read; the rest, and
# with it every secret, is handed over through Py4J once the JVM answers.
LAUNCH_SETTINGS = ("spark.master", "spark.jars", "spark.driver.", "spark.submit.")
# Spark hides the values of such settings and options where it prints them; its own patterns leave out Kafka's logins.
REDACTED_SETTINGS = "(?i)secret|password|passwd|token|credential|jaas|access[.]?key|user[.]info"


def spark_conf(settings: Settings) -> dict[str, str]:
    """Every Spark setting of the platform; `settings.spark_extra_conf` has the last word."""
    options = " ".join(AVRO_LIMITS)
    driver_options = [
        options,
        "-XX:+UseParallelGC",
        f"-Xmn{young_mebibytes(settings.spark_driver_memory)}m",
        *STEADY_YOUNG,
        CLASSES,
        CODE_CACHE,
        HUGE_METHODS,
        *SECOND_TIER,
        *([QUICK_COMPILER] if settings.spark_quick_start else []),
        f"-Drtap.log.dir={settings.log_dir}",
        f"-Dlog4j2.configurationFile={LOG_CONFIGURATION.as_uri()}",
    ]
    conf = {
        "spark.app.name": "rtap",
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": " ".join(driver_options),
        "spark.executor.extraJavaOptions": options,
        # A local file system that forks no process per file operation.
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        "spark.ui.enabled": "false",
        # Without a UI, too, Spark keeps what one would show, with the text of each plan; by default of a thousand.
        "spark.ui.retainedJobs": "20",
        "spark.ui.retainedStages": "20",
        "spark.ui.retainedTasks": "1000",
        "spark.sql.ui.retainedExecutions": "20",
        "spark.ui.showConsoleProgress": "false",
        # By default PySpark asks the JVM ten times for each column that is built, to note which line of Python did it.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.redaction.regex": REDACTED_SETTINGS,
        "spark.sql.redaction.options.regex": f"{REDACTED_SETTINGS}|url",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.codegen.hugeMethodLimit": HUGE_METHOD_LIMIT,
        # Four streams use 70 generated classes. Of 100, Spark keeps 25 of each quarter by hash, and may drop one in use.
        "spark.sql.codegen.cache.maxEntries": "1000",
        # Codes are ASCII: Java's own upper and lower case do, and ICU's tables take two seconds of CPU to load.
        "spark.sql.icu.caseMappings.enabled": "false",
        "spark.sql.shuffle.partitions": str(settings.spark_shuffle_partitions),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.streaming.checkpointFileManagerClass": CHECKPOINT_FILES,
        # No query has state. The release before takes this setting from a checkpoint (`state_handover.py`).
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        # A batch without data would only add an empty snapshot to each table.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        # An idle trigger is the proof that a stream runs although nothing comes in.
        "spark.sql.streaming.noDataProgressEventInterval": "1000",
        # How long a hard stop waits for the batch to end; the engine asks again, and never starts a second query meanwhile.
        "spark.sql.streaming.stopTimeout": "15s",
        "spark.sql.streaming.metricsEnabled": "false",
        **spark_catalog_conf(settings),
    }
    if settings.spark_master.startswith("local"):
        conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    else:  # a local driver has them on its class path, and need not copy them for its executors
        conf["spark.jars"] = ",".join(str(jar) for jar in jars_of(settings, "spark"))
    return conf | settings.spark_extra_conf


def young_mebibytes(heap: str) -> int:
    """Return the size of the young generation for a heap as Java takes it, such as 2g or 1280m, in MiB."""
    return int(int(heap[:-1]) * {"m": 1, "g": 1024}[heap[-1]] * YOUNG_SHARE)


def prepare_environment(settings: Settings) -> None:
    """Keep stray settings of Spark away from this process, and make the folders that Spark expects to exist."""
    for stray in ("SPARK_HOME", "SPARK_CONF_DIR", "PYSPARK_SUBMIT_ARGS"):
        os.environ.pop(stray, None)
    if settings.spark_master.startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        # Spark's workers run in this environment; the machine's own `python3` may lack PySpark.
        os.environ["PYSPARK_PYTHON"] = sys.executable
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    sqlite_path(settings).parent.mkdir(parents=True, exist_ok=True)


def launch_conf(settings: Settings) -> dict[str, str]:
    """Return the part of the settings that is on the JVM's command line: no secret is among them."""
    return {key: value for key, value in spark_conf(settings).items() if key.startswith(LAUNCH_SETTINGS)}


def start_session(settings: Settings) -> SparkSession:
    """Return the process's session, started when there is none (5 s cold, 3 s with a class-data archive).

    Raises:
        ConfigurationError: a driver for catalog or warehouse, Java or a jar is missing.
        StreamError: the JVM ended before it answered.
    """
    require_drivers(settings)
    prepare_environment(settings)
    if SparkContext._gateway is None:
        # Started here: `getOrCreate` would put all settings on the JVM's command line.
        SparkContext._ensure_initialized(gateway=open_gateway(driver_command(settings, launch_conf(settings))))
        disable_huge_pages()
    builder = SparkSession.builder
    for key, value in spark_conf(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
