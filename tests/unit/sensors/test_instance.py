"""Ticks of one process share Dagster's instance."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from rtap_assets.sensors.instance import instance_of


def tick(instance: dg.DagsterInstance) -> dg.SensorEvaluationContext:
    """Return a context as the code server makes it: with a reference to the instance, not the instance."""
    return dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(), last_tick_completion_time=None, last_run_key=None, cursor=None, repository_name=None
    )


def test_ticks_on_one_instance_share_it_and_another_instance_is_opened(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with (
        dg.DagsterInstance.local_temp(str(tmp_path / "one")) as one,
        dg.DagsterInstance.local_temp(str(tmp_path / "other")) as other,
    ):
        first = instance_of(tick(one))
        assert first.root_directory == one.root_directory
        assert instance_of(tick(one)) is first
        assert instance_of(tick(other)).root_directory == other.root_directory


def test_an_instance_that_is_given_is_the_one() -> None:
    with dg.DagsterInstance.ephemeral() as given:
        assert instance_of(dg.build_sensor_context(instance=given)) is given
