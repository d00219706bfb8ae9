"""`rtap doctor`: each check tells what it found, and a failing one what to do."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.local import doctor
from rtap_assets.local.pid_files import ProcessRecord, write_record


@pytest.fixture
def listener() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def settings_with(tmp_path: Path, **overrides: object) -> Settings:
    return load_settings(_env_file=None, state_dir=tmp_path / "state", cache_dir=tmp_path / "cache", **overrides)


def test_an_old_python_fails_and_a_new_one_passes() -> None:
    assert [doctor.check_python(version).ok for version in [(3, 10, 9), (3, 11, 0), (3, 14, 1)]] == [False, True, True]


def test_the_packaged_java_passes(tmp_path: Path) -> None:
    found = doctor.check_java(settings_with(tmp_path))
    assert found.ok
    assert "Java 21 from the packages" in found.finding


def test_an_unsuitable_java_fails_with_what_to_do(tmp_path: Path) -> None:
    found = doctor.check_java(settings_with(tmp_path, java_home=tmp_path / "nowhere"))
    assert not found.ok
    assert "Unset RTAP_JAVA_HOME" in found.fix


def test_missing_jars_fail_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    found = doctor.check_jars(settings_with(tmp_path))
    assert (found.ok, found.fix) == (False, "rtap jars fetch")


def test_a_port_held_by_another_process_fails_with_its_pid_and_its_setting(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    (found,) = [one for one in doctor.check_ports(settings_with(tmp_path, ui_port=port)) if one.name == f"Port {port}"]
    assert not found.ok
    assert f"process {os.getpid()}" in found.finding
    assert "RTAP_UI_PORT" in found.fix


def test_a_port_held_by_a_recorded_process_is_ours(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    settings = settings_with(tmp_path, ui_port=port)
    started = psutil.Process().create_time()
    record = ProcessRecord(
        service="ui", title="UI", pid=os.getpid(), create_time=started, address=f"127.0.0.1:{port}", command=[], log_files=[]
    )
    write_record(settings, record)
    assert f"held by our own process {os.getpid()}" in [one.finding for one in doctor.check_ports(settings)]


def test_ports_of_external_services_are_not_asked_about(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, kafka_bootstrap="kafka:9092", registry_url="http://registry:8080")
    assert list(doctor.embedded_ports(settings)) == ["RTAP_STREAMS_PORT", "RTAP_UI_PORT", "RTAP_DASHBOARD_PORT"]


def test_too_little_memory_fails() -> None:
    assert [doctor.check_memory(gib * doctor.GIB).ok for gib in (3, 4)] == [False, True]


def test_a_state_folder_below_a_file_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not doctor.check_state_dir(tmp_path / "file" / "state").ok


def test_a_path_with_a_space_is_a_warning(tmp_path: Path) -> None:
    found = doctor.check_path(tmp_path / "my state")
    assert (found.ok, found.required) == (False, False)


def test_a_network_file_system_is_a_warning(tmp_path: Path) -> None:
    mounted = {Path("/"): "ext4", tmp_path.resolve(): "nfs4"}
    found = doctor.check_file_system(tmp_path / "state", mounted)
    assert (found.ok, found.required, found.finding) == (False, False, "nfs4")
    assert doctor.check_file_system(Path("/"), mounted).ok


def test_schemas_that_are_missing_fail_and_those_of_the_package_pass(tmp_path: Path) -> None:
    assert doctor.check_schemas(settings_with(tmp_path).schemas_dir).ok
    found = doctor.check_schemas(tmp_path)
    assert not found.ok
    assert "RTAP_SCHEMAS_DIR" in found.fix
