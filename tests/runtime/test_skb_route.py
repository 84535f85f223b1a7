"""A packet's route and socket: realms, the class of its control group, control groups in a map."""

from __future__ import annotations

import pytest
from skb_oracle import CONTEXT, Machine, call, check, on_buffer

from routebpf.runtime.map_layout import MAP_BYTES, MAP_MAX_ENTRIES
from routebpf.runtime.memory import Memory
from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import SKB_HAS_SOCKET, SKB_REALM
from routebpf.runtime.skb_route import bpf_skb_under_cgroup

PACKET = b"\x45" + bytes(99)


@pytest.mark.kernel
def test_a_route_without_realm_and_a_task_without_class_have_none() -> None:
    calls = [call("get_route_realm", CONTEXT), call("get_cgroup_classid", CONTEXT)]
    assert check(calls, PACKET).results == [0, 0]


@pytest.mark.parametrize("realm", [7, 0x30007, 0xFFFFFFFF])
def test_the_realms_of_the_route_are_what_the_helper_tells(realm: int) -> None:
    buffer = PacketBuffer(PACKET)
    buffer.write32(SKB_REALM, realm)
    assert on_buffer([call("get_route_realm", CONTEXT)], buffer).results == [realm]


# measured on 6.18: "cgroups"; without a socket -ENOENT (kernel: bpf_skb_under_cgroup())
@pytest.mark.parametrize(("has_socket", "index", "result"), [(1, 2, -11), (1, 9, -7), (1, 1 << 32, -11), (0, 9, -2)])
def test_a_map_of_control_groups_has_only_empty_slots(has_socket: int, index: int, result: int) -> None:
    buffer, groups = PacketBuffer(PACKET), Memory(MAP_BYTES)
    buffer.write32(SKB_HAS_SOCKET, has_socket)
    groups.write(MAP_MAX_ENTRIES, (3).to_bytes(4, "little"))
    assert bpf_skb_under_cgroup(Machine().cpu, buffer.address, groups.address, index) == result
