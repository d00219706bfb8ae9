"""The command line of Spark's driver."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from rtap_assets.config import load_settings
from rtap_assets.java.jars import jars_of, pyspark_jars
from rtap_assets.java.spark_driver import MODULE_OPTIONS, driver_command, spark_class_path

LAUNCHED = {"spark.master": "local[2]", "spark.driver.memory": "1g", "spark.driver.extraJavaOptions": "-Da=1 '-Db=2 3'"}
VECTOR_MODULE = "--add-modules=jdk.incubator.vector"


def command(tmp_path: Path, **launched: str) -> list[str]:
    settings = load_settings(_env_file=None, state_dir=tmp_path, spark_class_archive=False)
    return driver_command(settings, LAUNCHED | launched)


def test_the_options_for_modules_are_those_of_sparks_own_launcher_but_for_the_vector_module() -> None:
    (launcher,) = (jar for jar in pyspark_jars() if jar.name.startswith("spark-launcher"))
    with zipfile.ZipFile(launcher) as jar:
        constants = jar.read("org/apache/spark/launcher/JavaModuleOptions.class").decode("latin-1")
    sparks = set(re.findall(r"(?:--|-XX:|-D)[A-Za-z+][\w.:/+=-]*", constants)) - {VECTOR_MODULE}
    assert VECTOR_MODULE in constants
    assert sparks == set(MODULE_OPTIONS)


def test_the_local_file_system_precedes_hadoops_and_no_entry_is_a_folder_or_missing(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path)
    path = spark_class_path(settings)
    assert path[0].name.startswith("hadoop-bare-naked-local-fs")
    assert all(jar.is_file() for jar in path)
    assert len(set(path)) == len(path)
    assert set(path) == {*pyspark_jars(), *jars_of(settings, "spark")}


def test_settings_reach_spark_and_options_the_jvm_as_they_were_quoted(tmp_path: Path) -> None:
    line = command(tmp_path)
    main = line.index("org.apache.spark.deploy.SparkSubmit")
    assert {"-Xmx1g", "-Da=1", "-Db=2 3"} <= set(line[:main])
    assert line[main + 1 :] == [
        *(part for name, value in LAUNCHED.items() for part in ("--conf", f"{name}={value}")),
        "pyspark-shell",
    ]


def test_a_users_class_path_comes_first(tmp_path: Path) -> None:
    line = command(tmp_path, **{"spark.driver.extraClassPath": "/own.jar"})
    assert line[line.index("-cp") + 1].startswith("/own.jar:")


@pytest.mark.parametrize("own", ["", "/own.jar"])
def test_no_archive_is_looked_for_without_the_setting_or_on_another_class_path(tmp_path: Path, own: str) -> None:
    line = command(tmp_path, **({"spark.driver.extraClassPath": own} if own else {}))
    assert not any("SharedArchiveFile" in part for part in line)
