"""Which native function implements a helper, a kfunc, or an operation on a map of one type."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from routebpf.runtime.native import Native

# The modules whose functions named bpf_… are helpers and kfuncs: `bpf_name(cpu, argument 1, …)`.
_FUNCTION_MODULES: tuple[str, ...] = (
    "clock",
    "dynptr",
    "dynptr_slice",
    "iterators",
    "locks",
    "loop",
    "map_dispatch",
    "perf_output",
    "processor",
    "random",
    "ringbuf_records",
    "ringbuf_user",
    "skb_bytes",
    "skb_csum",
    "skb_encap",
    "skb_hash",
    "skb_redirect",
    "skb_room",
    "skb_route",
    "skb_tunnel",
    "strings",
    "task",
    "text_format",
    "trace",
)
# By map type, the module of its operations (see `map_operation`).
_MAP_MODULES: dict[int, str] = {
    1: "map_hash",
    2: "map_array",
    5: "map_percpu_hash",
    6: "map_percpu_array",
    9: "map_lru",
    10: "map_percpu_lru",
    11: "map_lpm",
    12: "map_of_maps",
    13: "map_of_maps_hash",
    22: "map_queue",
    23: "map_stack",
    30: "map_bloom",
}
_OPERATIONS = {
    "bpf_map_lookup_elem": "lookup",
    "bpf_map_update_elem": "update",
    "bpf_map_delete_elem": "delete",
    "bpf_map_push_elem": "push",
    "bpf_map_pop_elem": "pop",
    "bpf_map_peek_elem": "peek",
    "bpf_map_lookup_percpu_elem": "lookup_percpu",
    "bpf_for_each_map_elem": "for_each",
}
# The names of the operations of maps, in their modules.
MAP_OPERATIONS = frozenset(_OPERATIONS.values())


@cache
def _functions() -> dict[str, Native]:
    found: dict[str, Native] = {}
    for name in _FUNCTION_MODULES:
        module = import_module(f"routebpf.runtime.{name}")
        found.update(
            (key, value) for key, value in vars(module).items() if key.startswith("bpf_") and isinstance(value, Native)
        )
    return found


def implementation(name: str) -> Native | None:
    """The function for a helper or kfunc: `f(cpu, argument…)` with as many arguments as it takes. None if none."""
    return _functions().get(name)


def is_implemented(name: str) -> bool:
    return name in _ENGINE_FUNCTIONS or implementation(name) is not None


# What the engines do themselves.
_ENGINE_FUNCTIONS = frozenset({"bpf_tail_call"})


@cache
def map_operation(helper: str, map_type: int) -> Native | None:
    """The function for a helper on a map whose type is known: `f(cpu, map, key_size, value_size, argument 2…)`.

    Engines that know the map call it with its sizes as constants. None: call `implementation(helper)`.
    """
    operation, module = _OPERATIONS.get(helper), _MAP_MODULES.get(map_type)
    if operation is None or module is None:
        return None
    found = vars(import_module(f"routebpf.runtime.{module}")).get(operation)
    return found if isinstance(found, Native) else None
