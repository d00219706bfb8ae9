"""A source that is added as `CONTRIBUTING.md` says is followed as the events are: once, watched, and with a way on."""

from __future__ import annotations

from pathlib import Path

from additions import SOURCE, SOURCE_TABLE, copy_with, run_in

from rtap_assets.config import Settings


def test_an_added_source_is_read_once_and_its_loss_and_renewal_are_refused_and_recorded(
    stack: Settings, tmp_path: Path
) -> None:
    found = run_in(
        copy_with(tmp_path, (*SOURCE, *SOURCE_TABLE)),
        "added_source_probe",
        tmp_path / "state",
        RTAP_KAFKA_BOOTSTRAP=stack.bootstrap_servers,
        RTAP_REGISTRY_URL=stack.schema_registry_url,
    )
    assert found["first"] == {"read": 50, "refused": "", "left": 0, "rows": [[0, 50, 50]]}
    assert found["again"] == {"read": 0, "refused": "", "left": 0, "rows": [[0, 50, 50]]}

    assert found["lost"]["rows"] == [[0, 50, 50]]
    assert "are gone before tickets has read them: Kafka partition 0, offsets 50 to 59 (10)" in found["lost"]["refused"]
    assert "`rtap topics continue --stream tickets --accept-loss`" in found["lost"]["refused"]
    code, said = found["status"]
    assert (code, "are gone before tickets has read them" in said) == (1, True), said
    code, said = found["accepted"]
    assert (code, "10 offsets are recorded as lost" in said) == (0, True), said
    assert found["after_loss"] == {"read": 20, "refused": "", "left": 0, "rows": [[0, 70, 70]]}

    assert "Tickets has read the old one (Kafka partition 0 to offset 80" in found["made_again"]["refused"]
    assert found["made_again"]["rows"] == [[0, 70, 70]]
    assert found["taken"][0] == 0, found["taken"]
    assert found["after_new_topic"] == {"read": 5, "refused": "", "left": 0, "rows": [[0, 70, 70], [1, 5, 5]]}
