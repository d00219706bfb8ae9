"""What the peers run in: jars by Ivy, classes by Eclipse's compiler, an environment with polars. Made once, in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from rtap_assets.config import Settings
from rtap_assets.java.jars import retrieve
from rtap_assets.java.jvm import java_command

HERE = Path(__file__).parent
POLARS, CLIENT = "polars==2.1.0", "confluent-kafka==2.16.0"
SOURCES = {"streams": ("Sale", "StreamsPeer"), "flink": ("Sale", "DecodeSale", "FlinkPeer")}


@dataclass(frozen=True)
class Prepared:
    """Where everything is."""

    folder: Path
    java: str

    @property
    def python(self) -> str:
        """Return the Python that has polars."""
        return str(self.folder / "venv" / "bin" / "python")

    def class_path(self, peer: str) -> str:
        """Return the class path of a Java peer: its own classes, then its jars."""
        return ":".join([str(self.folder / "classes" / peer), f"{self.folder}/jars/{peer}/*"])


def prepare(settings: Settings, *, echo: Callable[[str], None]) -> Prepared:
    """Fetch and compile what is not there yet for these sources (about 270 MB, once)."""
    digest = hashlib.sha256((HERE / "ivy.xml").read_bytes() + POLARS.encode() + CLIENT.encode()).hexdigest()[:12]
    folder = settings.cache_dir / f"bench-peers-{digest}"
    prepared = Prepared(folder, java_command(settings)[0])
    if not (folder / "jars").exists():
        echo("fetching the peers' jars (about 240 MB, once)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            retrieve(settings, Path(scratch) / "jars", descriptor=HERE / "ivy.xml")
            (Path(scratch) / "jars").rename(folder / "jars")
    if not Path(prepared.python).exists():
        echo(f"making an environment with {POLARS}")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", prepared.python]
        subprocess.run([*uv, POLARS, CLIENT], check=True)
    for peer, names in SOURCES.items():
        _compile(prepared, peer, [HERE / "java" / f"{name}.java" for name in names])
    return prepared


def _compile(prepared: Prepared, peer: str, sources: list[Path]) -> None:
    classes = prepared.folder / "classes" / peer
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir(parents=True)
    jars = ":".join(str(jar) for jar in (prepared.folder / "jars" / peer).glob("*.jar"))
    (compiler,) = (prepared.folder / "jars" / "compiler").glob("ecj-*.jar")
    command = [prepared.java, "-jar", str(compiler), "-17", "-nowarn", "-cp", jars, "-d", str(classes), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{peer} does not compile:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
