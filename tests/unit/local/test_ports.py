"""Ports that are offered to what will listen on them."""

from __future__ import annotations

from rtap_assets.local.ports import OFFERED, free_ports


def test_a_port_is_offered_once_and_is_none_that_an_outgoing_connection_may_take() -> None:
    offered = [*free_ports(5), *free_ports(5)]
    assert len(set(offered)) == 10
    assert {*offered} <= {*OFFERED}
    assert OFFERED.stop <= 32_768
