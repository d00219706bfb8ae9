"""What bronze remembers of writers' schemas: what it asks the registry for, how often, and when it refuses to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from event_bytes import V1, V2, with_amount

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.avro.writer_schemas import Decoding, Refusal, RegisteredSchema
from rtap_assets.errors import ConfigurationError, DependencyUnavailable, StreamError
from rtap_assets.streaming.queries.registered_schemas import MOST_BEYOND_HORIZON, MOST_IN_VAIN, WriterMemory
from rtap_assets.streaming.queries.schema_findings import forget_judgments, read_judgments

CENTS = with_amount(V1, precision=18, scale=2)


class FakeRegistry:
    """A registry in memory, that keeps what it was asked for."""

    def __init__(self, schemas: dict[str, str]) -> None:
        self.address = "http://registry"
        self.schemas = schemas
        self.subject = [1, 2]
        self.asked: list[str] = []
        self.is_away = False

    def versions(self, _subject: str) -> dict[int, str]:
        self._answer()
        return {schema_id: self.schemas[str(schema_id)] for schema_id in self.subject}

    def schema(self, key: str) -> RegisteredSchema | None:
        self._answer()
        self.asked.append(key)
        return RegisteredSchema(self.schemas[key]) if key in self.schemas else None

    def _answer(self) -> None:
        if self.is_away:
            raise DependencyUnavailable("It is away.", dependency="registry")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap", schema_id_horizon=1_000)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry({"1": V1, "2": V2, "7": CENTS, "9": V1})


def primed(settings: Settings, registry: Any) -> WriterMemory:
    memory = WriterMemory(settings, registry=registry)
    memory.prime()
    registry.asked.clear()
    return memory


def test_an_id_is_asked_for_once_and_judged_once(settings: Settings, registry: FakeRegistry) -> None:
    memory = primed(settings, registry)
    assert sorted(memory.known.verdicts) == ["1", "2"]
    before = memory.known
    memory.look_up({"1": 5, "7": 1, "9": 2})
    assert registry.asked == ["9", "7"]
    assert isinstance(memory.known.verdicts["9"], Decoding)
    assert isinstance(memory.known.verdicts["7"], Refusal)
    assert memory.known is not before
    after = memory.known
    memory.look_up({"7": 1, "9": 2})
    assert (registry.asked, memory.known) == (["9", "7"], after)


def test_what_was_found_survives_a_restart_also_where_the_registry_lost_it(
    settings: Settings, registry: FakeRegistry
) -> None:
    primed(settings, registry).look_up({"9": 1, "7": 1})
    assert read_judgments(settings)["7"].finding.startswith("$.amount: bytes with logical type decimal(18, 2)")
    del registry.schemas["9"]
    again = primed(settings, registry)
    assert sorted(again.known.verdicts) == ["1", "2", "7", "9"]
    assert isinstance(again.known.verdicts["9"], Decoding)


def test_an_id_asked_for_in_vain_is_asked_for_before_each_later_batch(settings: Settings, registry: FakeRegistry) -> None:
    memory = primed(settings, registry)
    memory.look_up({"5": 1})
    memory.ask_again()
    assert (registry.asked, memory.absent) == (["5", "5"], {"5"})
    registry.is_away = True
    memory.ask_again()
    assert memory.absent == frozenset()  # a batch with it waits
    registry.is_away = False
    registry.schemas["5"] = V1
    memory.ask_again()
    assert memory.absent == frozenset()
    assert isinstance(memory.known.verdicts["5"], Decoding)
    registry.asked.clear()
    memory.ask_again()
    assert registry.asked == []


def test_look_ups_of_a_batch_are_bounded_the_most_frequent_first(settings: Settings, registry: FakeRegistry) -> None:
    memory = primed(settings, registry)
    memory.look_up({str(2**31): 9, "0": 9, str(2**32 - 1): 9})
    assert registry.asked == []  # no registry can have given these
    far = {str(1_000_000 + number): number for number in range(100)}
    memory.look_up(far)
    assert sorted(registry.asked) == [str(1_000_000 + number) for number in range(100 - MOST_BEYOND_HORIZON, 100)]
    registry.asked.clear()
    near = {str(number): 1 for number in range(100, 900)}
    memory.look_up(near)
    assert len(registry.asked) == len(near)  # each of them once
    registry.asked.clear()
    memory.look_up(near)
    assert len(registry.asked) == MOST_IN_VAIN


def test_batches_are_scanned_first_while_new_unknown_ids_keep_coming(settings: Settings, registry: FakeRegistry) -> None:
    memory = primed(settings, registry)
    memory.look_up({"5": 1})
    memory.look_up({"5": 1, "2147483648": 1})
    assert not memory.expects_unknown  # the same again, and one that cannot exist
    memory.look_up({"6": 1})
    memory.look_up({"8": 1})
    assert memory.expects_unknown
    memory.look_up({"8": 1})
    assert not memory.expects_unknown
    assert memory.known.verdicts.keys() == {"1", "2"}


def test_a_registry_that_is_away_holds_up_new_ids_alone(settings: Settings, registry: FakeRegistry) -> None:
    memory = primed(settings, registry)
    registry.is_away = True
    memory.check()
    with pytest.raises(DependencyUnavailable):
        memory.look_up({"9": 1})
    with pytest.raises(DependencyUnavailable):
        WriterMemory(settings, registry=registry).prime()  # type: ignore[arg-type]


@pytest.mark.parametrize("while_running", [True, False])
def test_a_known_id_with_another_schema_is_refused_until_it_is_forgotten(
    settings: Settings, registry: FakeRegistry, while_running: bool
) -> None:
    memory = primed(settings, registry)
    registry.schemas |= {"1": V2, "2": V1}
    check = memory.check if while_running else WriterMemory(settings, registry=registry).prime  # type: ignore[arg-type]
    with pytest.raises(StreamError, match="has another schema under id 1 than on "):
        check()
    assert forget_judgments(settings, ["1", "2"]) == ["1", "2"]
    assert sorted(primed(settings, registry).known.verdicts) == ["1", "2"]


def test_the_same_schema_in_other_lines_is_the_same(settings: Settings, registry: FakeRegistry) -> None:
    memory = primed(settings, registry)
    registry.schemas["1"] = V1.replace("\n", " ")
    memory.check()


def test_an_empty_subject_is_no_reason_to_quarantine_everything(settings: Settings, registry: FakeRegistry) -> None:
    registry.subject = []
    with pytest.raises(ConfigurationError, match="No schema is registered under"):
        WriterMemory(settings, registry=registry).prime()  # type: ignore[arg-type]
