"""The jars of Spark's connectors, the broker and the registry: resolved once by Ivy into a cache folder, then only verified.

The descriptor is `ivy.xml`, the SHA-256 sums are `jars.sha256`, both beside this file. Nothing is resolved at run time.
"""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.java.jvm import java_command

HERE = Path(__file__).parent
SUMS = HERE / "jars.sha256"
RETRIEVE_PATTERN = "[conf]/[artifact]-[revision](-[classifier]).[ext]"
MOST_FAULTS_NAMED = 10
STAMP = "verified"  # written last; holds the sums of the files unpacked from the (verified) registry archive
UNPACKED = Path("registry") / "unpacked"


def jars_folder(settings: Settings) -> Path:
    """Return the cache folder of this version's jars, named after the descriptor and the sums."""
    digest = hashlib.sha256((HERE / "ivy.xml").read_bytes() + SUMS.read_bytes()).hexdigest()[:12]
    return settings.cache_dir / f"jars-{digest}"


def jars_are_fetched(settings: Settings) -> bool:
    """Return whether this version's jars are in the cache, verified."""
    return (jars_folder(settings) / STAMP).exists()


def jars_of(settings: Settings, use: str) -> list[Path]:
    """Return the jars of one use: ``spark``, ``broker`` or ``registry``.

    Raises:
        ConfigurationError: they have not been fetched yet.
    """
    folder = jars_folder(settings)
    if not jars_are_fetched(settings):
        raise ConfigurationError(
            f"The jars are not in {folder}.", remedy="Run `make setup` (or `rtap jars fetch`) once, with network."
        )
    if use == "registry":
        return sorted((folder / UNPACKED).rglob("*.jar"))
    return sorted((folder / use).glob("*.jar"))


def pyspark_jars() -> list[Path]:
    """Return the jars that PySpark carries.

    Raises:
        ConfigurationError: PySpark is not installed.
    """
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ConfigurationError("pyspark is not installed.", remedy="Run `make setup`.")
    return sorted((Path(spec.origin).parent / "jars").glob("*.jar"))


def expected_sums() -> dict[str, str]:
    """Return, by relative path, the SHA-256 of every fetched file."""
    return _from_lines(SUMS.read_text(encoding="utf-8"))


def _sums_in(folder: Path) -> dict[str, str]:
    """Return, by relative path, the SHA-256 of every jar and archive below `folder` as retrieved."""
    files = [
        path for use in ("spark", "broker", "registry") for path in sorted((folder / use).glob("*.*")) if path.is_file()
    ]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fetch_jars(settings: Settings) -> Path:
    """Resolve all jars with Ivy, verify them against the checked-in sums and put them in place; a no-op when they are there.

    Raises:
        ConfigurationError: Ivy could not resolve, or a sum differs (nothing is put in place then).
    """
    target = jars_folder(settings)
    if jars_are_fetched(settings):
        return target
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache_dir, prefix="fetching-") as temporary:
        folder = Path(temporary) / "jars"
        retrieve(settings, folder, descriptor=HERE / "ivy.xml")
        verify(folder)
        for archive in (folder / "registry").glob("*.tar.gz"):
            with tarfile.open(archive) as tar:
                tar.extractall(folder / UNPACKED, filter="data")
            archive.unlink()
        (folder / STAMP).write_text(_as_lines(_sums_of_unpacked(folder)), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    return target


def verify(folder: Path) -> None:
    """Compare the files below `folder` with the checked-in sums, both ways.

    Raises:
        ConfigurationError: naming the files that are missing, unexpected or different.
    """
    _compare(
        expected_sums(),
        _sums_in(folder),
        remedy="Do not use them. Try again; if it persists, the registry serves other files than were reviewed.",
    )


def verify_installed(settings: Settings) -> int:
    """Hash every installed file again and return how many there are.

    The registry's archive is gone once it is unpacked; its files are held to the sums taken right after it was verified.

    Raises:
        ConfigurationError: the jars were never fetched, or naming each file that is missing, unexpected or different.
    """
    folder = jars_folder(settings)
    if not jars_are_fetched(settings):
        raise ConfigurationError(f"The jars are not in {folder}.", remedy="Run `rtap jars fetch` once, with network.")
    expected = {name: digest for name, digest in expected_sums().items() if not name.startswith("registry/")}
    expected |= _from_lines((folder / STAMP).read_text(encoding="utf-8"))
    found = _sums_in(folder) | _sums_of_unpacked(folder)
    _compare(expected, found, remedy=f"Remove {folder} and run `rtap jars fetch`.")
    return len(found)


def _compare(expected: dict[str, str], found: dict[str, str], *, remedy: str) -> None:
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        faults = [f"{name} ({_fault(name, expected, found)})" for name in wrong[:MOST_FAULTS_NAMED]]
        more = f" and {len(wrong) - len(faults)} more" if len(wrong) > len(faults) else ""
        raise ConfigurationError(f"The jars do not match {SUMS.name}: {', '.join(faults)}{more}.", remedy=remedy)


def _fault(name: str, expected: dict[str, str], found: dict[str, str]) -> str:
    if name not in found:
        return "missing"
    return "different" if name in expected else "unexpected"


def _sums_of_unpacked(folder: Path) -> dict[str, str]:
    files = [path for path in sorted((folder / UNPACKED).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _as_lines(sums: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def _from_lines(text: str) -> dict[str, str]:
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in text.splitlines() if line)}


def retrieve(settings: Settings, folder: Path, *, descriptor: Path) -> None:
    """Have Ivy put the jars of a descriptor below `folder`, one folder per configuration.

    Raises:
        ConfigurationError: Ivy could not resolve them.
    """
    (ivy,) = (jar for jar in pyspark_jars() if jar.name.startswith("ivy-"))
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *java_command(settings), *_trust_store(Path(scratch)), "-jar", str(ivy),
            "-settings", str(HERE / "ivysettings.xml"), "-ivy", str(descriptor), "-cache", f"{scratch}/cache",
            "-retrieve", f"{folder}/{RETRIEVE_PATTERN}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = [
        line.strip() for line in done.stdout.splitlines() if "UNRESOLVED" in line or "FAILED" in line or "error" in line
    ]
    if done.returncode or failed:
        reason = "\n  ".join(failed[:8]) or done.stderr[-2000:]
        raise ConfigurationError(
            f"Ivy could not fetch the jars:\n  {reason}\n", remedy="Check the network and proxy, then run the command again."
        )


def _trust_store(folder: Path) -> list[str]:
    """Return JVM options that make Java trust this machine's certificate bundle, where Python knows of one.

    The packaged Java runtime brings its own list, which lacks the certificates of a company's proxy.
    """
    # Imported when jars are fetched: every command imports this module, and these take a tenth of a second.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization.pkcs12 import (  # noqa: PLC0415
        PKCS12Certificate,
        serialize_java_truststore,
    )

    bundle = ssl.get_default_verify_paths().cafile
    if not bundle:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bundles hold a few certificates with odd serial numbers; they are harmless here
        certificates = x509.load_pem_x509_certificates(Path(bundle).read_bytes())
    store = folder / "trust.p12"
    entries = [PKCS12Certificate(certificate, str(number).encode()) for number, certificate in enumerate(certificates)]
    password = b"public-certificates"
    store.write_bytes(serialize_java_truststore(entries, BestAvailableEncryption(password)))
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={password.decode()}"]
