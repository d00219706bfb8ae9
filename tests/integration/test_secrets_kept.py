"""Canaries in every secret: a host, Dagster and commands are started with them, and they are looked for in everything."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import psutil
import pytest
from commands import run_rtap, start_rtap
from dagster_runs import ask_ui, launch, messages, run_status
from living_folder import contents_of, modes_of
from polling import wait_until
from stack_fixtures import embedded_settings, silent

from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings, load_settings
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.token import read_token
from rtap_assets.local.dagster_ui import ui_services
from rtap_assets.local.ports import free_ports
from rtap_assets.local.processes import start, wait_ready
from rtap_assets.local.services.dashboard import address_of, dashboard_service
from rtap_assets.local.stack import down
from rtap_assets.local.state import claim_state_dir

CANARIES = {
    "kafka_password": "canary-kafka-1f0e", "registry_credentials": "canary-registry-2a9c",
    "catalog_password": "canary-catalog-3d77", "spark_extra_conf": "canary-spark-4b52",
    "alert_webhooks": "canary-webhook-5c18", "alert_smtp_password": "canary-smtp-6e93",
}  # fmt: skip
EVERYTHING_SECONDS = 150
COMMANDS = (
    ["status"], ["doctor"], ["streams", "status"], ["contracts", "register"], ["streams", "logs"], ["alerts", "test"],
    ["alerts", "status"], ["alerts", "list"],
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings full of canaries: broker and registry want a login, and nobody answers there."""
    broker, registry, host, mail, page = free_ports(5)
    embedded = embedded_settings(tmp_path_factory.mktemp("secrets") / ".rtap")
    own = load_settings(
        **embedded.model_dump(include={"state_dir", "ui_port"}),
        kafka_bootstrap=f"127.0.0.1:{broker}",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_username="user",
        kafka_password=CANARIES["kafka_password"],
        registry_url=f"http://127.0.0.1:{registry}",
        registry_credentials=f"user:{CANARIES['registry_credentials']}",
        catalog_password=CANARIES["catalog_password"],
        spark_extra_conf={
            "spark.sql.catalog.lake.jdbc.password": CANARIES["spark_extra_conf"],
            "spark.hadoop.fs.s3a.secret.key": CANARIES["spark_extra_conf"],
        },
        alert_webhooks=f"http://127.0.0.1:{mail}/services/{CANARIES['alert_webhooks']}",
        alert_mail_to=["oncall@example.org"],
        alert_smtp_host="127.0.0.1",
        alert_smtp_port=mail,
        alert_smtp_username="rtap",
        alert_smtp_password=CANARIES["alert_smtp_password"],
        alert_disk_free_share=0.999,  # there is always something to send
        alert_hold_seconds=0,
        alert_group_seconds=0,
        dashboard_port=page,
        streams_port=host,
        spark_driver_memory="1g",
        spark_quick_start=True,
        request_timeout_seconds=1,
        dependency_patience_seconds=1,
        start_timeout_seconds=5,
    )
    claim_state_dir(own)
    try:
        yield own
    finally:
        down(own, echo=silent)


def command_lines(settings: Settings) -> dict[int, str]:
    """The command line of every process of this state folder."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("RTAP_STATE_DIR") == str(settings.state_dir):
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def start_ui(settings: Settings) -> None:
    records, services = {}, [*ui_services(settings), dashboard_service(settings)]
    for service in services:
        if service.starts_after is not None:
            wait_ready(service.starts_after, records[service.starts_after.name], seconds=EVERYTHING_SECONDS)
        records[service.name] = start(settings, service)
    for service in services:
        wait_ready(service, records[service.name], seconds=EVERYTHING_SECONDS)


def test_no_secret_is_on_a_command_line_in_a_file_on_a_page_or_in_what_commands_say(settings: Settings) -> None:
    said: list[str] = []
    lines: dict[int, str] = {}
    with (
        start_rtap(settings, "streams", "start") as command,
        StreamsClient(settings) as client,
    ):

        def has_ended() -> bool:
            lines.update(command_lines(settings))  # the launcher of the JVM lives for a moment only
            return command.poll() is not None and any(one.waiting_for or one.last_error for one in client.statuses())

        wait_until(has_ended, seconds=EVERYTHING_SECONDS, what=lambda: str(client.statuses()))
        said.append(command.communicate()[0])
    start_ui(settings)
    job = launch(settings, "start_streams")
    wait_until(lambda: run_status(settings, job) == "FAILURE", seconds=EVERYTHING_SECONDS, what="the broker is away")
    lines |= command_lines(settings)

    store = AlertStore(settings)
    wait_until(
        lambda: sum(bool(one.error) for one in store.standings()) == 2, seconds=EVERYTHING_SECONDS,
        what="the sensor has tried both channels in vain",
    )  # fmt: skip
    for arguments in COMMANDS:
        said.append(run_rtap(settings, *arguments)[1])
    said += [
        httpx2.get(f"{address_of(settings)}{path}", trust_env=False).text for path in ("/", "/api/streams", "/openapi.json")
    ]
    said += messages(settings, job)
    said.append(str(ask_ui(settings, "{ instance { info } runsOrError { ... on Runs { results { runConfigYaml } } } }")))
    with StreamsClient(settings) as client:
        said += [client._http.get(path).text for path in ("/metrics", "/openapi.json", "/v1/streams", "/v1/host")]

    assert sum("could not be" in text for text in said) >= 1, "the channels were tried by `rtap alerts test`"
    assert sum("org.apache.spark" in line for line in lines.values()) >= 1, "the JVM was seen"
    written = contents_of(settings.state_dir)
    for canary in CANARIES.values():
        assert [line for line in lines.values() if canary in line] == []
        assert [text for text in said if canary in text] == []
        assert [path for path, content in written.items() if canary.encode() in content] == []
    token = read_token(settings).encode()
    assert [path for path, content in written.items() if token in content] == [settings.streams_dir / "token"]


def test_the_state_folder_is_for_its_user_alone(settings: Settings) -> None:
    assert settings.state_dir.stat().st_mode & 0o077 == 0  # what is in it cannot be reached by others
    written = modes_of(settings.log_dir) | modes_of(settings.streams_dir)
    assert len(written) > 5
    assert [path for path, mode in written.items() if mode & 0o077] == []
