"""The maps and BTF types that the programs of these tests may use, for our verifier and for the kernel alike."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Kind
from routebpf.objects.model import MapDefinition


@dataclass(slots=True)
class BtfText:
    """A BTF blob in the making. Every method returns the id of the type added."""

    types: bytearray = field(default_factory=bytearray)
    strings: bytearray = field(default_factory=lambda: bytearray(1))
    count: int = 0

    def add(self, kind: Kind, name: str, last: int, *numbers: int, items: int = 0, flag: int = 0) -> int:
        at = self._name(name)
        self.types += struct.pack("<III", at, flag << 31 | kind << 24 | items, last)
        self.types += struct.pack(f"<{len(numbers)}I", *numbers)
        self.count += 1
        return self.count

    def _name(self, name: str) -> int:
        if not name:
            return 0
        at = len(self.strings)
        self.strings += name.encode() + b"\0"
        return at

    def integer(self, name: str, size: int, signed: bool = False) -> int:
        return self.add(Kind.INT, name, size, signed << 24 | size * 8)

    def pointer(self, to: int) -> int:
        return self.add(Kind.PTR, "", to)

    def tagged(self, tag: str, to: int) -> int:
        return self.add(Kind.TYPE_TAG, tag, to)

    def array(self, of: int, index: int, length: int) -> int:
        return self.add(Kind.ARRAY, "", 0, of, index, length)

    def structure(self, name: str, size: int, *members: tuple[str, int, int]) -> int:
        """`members`: (name, type, offset in bytes)."""
        rows = [number for member, held, at in members for number in (self._name(member), held, at * 8)]
        return self.add(Kind.STRUCT, name, size, *rows, items=len(members))

    def function(self, name: str, result: int, parameters: tuple[int, ...], *, is_global: bool, tags: tuple) -> int:
        """`tags`: (parameter, tag)."""
        rows = [number for at, held in enumerate(parameters) for number in (self._name(f"a{at}"), held)]
        proto = self.add(Kind.FUNC_PROTO, "", result, *rows, items=len(parameters))
        made = self.add(Kind.FUNC, name, proto, items=int(is_global))
        for at, tag in tags:
            self.add(Kind.DECL_TAG, tag, made, at)
        return made

    def blob(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + bytes(self.types) + bytes(self.strings)


@dataclass(slots=True)
class Ground:
    """Types, maps with them, and the functions of one program."""

    text: BtfText
    types: dict[str, int]
    maps: dict[str, MapDefinition]

    def btf(self) -> Btf:
        return Btf(self.text.blob())


_PARAMETERS = ("int", "u64", "ctx", "u64 *", "struct pair *")


def ground() -> Ground:
    """The types and maps there are."""
    text = BtfText()
    types: dict[str, int] = {}
    types["int"] = text.integer("int", 4, True)
    types["u32"] = text.integer("unsigned int", 4)
    types["u64"] = text.integer("unsigned long long", 8)
    types["void"] = 0
    types["struct pair"] = text.structure("pair", 16, ("a", types["u64"], 0), ("b", types["u64"], 8))
    sk_buff = text.structure("__sk_buff", 4, ("len", types["u32"], 0))
    types["ctx"] = text.pointer(sk_buff)
    types["u64 *"] = text.pointer(types["u64"])
    types["u32 *"] = text.pointer(types["u32"])
    types["struct pair *"] = text.pointer(types["struct pair"])
    types["void *"] = text.pointer(0)
    types["struct bpf_dynptr *"] = text.pointer(text.structure("bpf_dynptr", 16, ("__opaque", types["u64"], 0)))
    lock = text.structure("bpf_spin_lock", 4, ("val", types["u32"], 0))
    two = text.array(types["u64"], types["u32"], 2)
    timer = text.structure("bpf_timer", 16, ("__opaque", two, 0))
    workqueue = text.structure("bpf_wq", 16, ("__opaque", two, 0))
    resilient = text.structure("bpf_res_spin_lock", 4, ("val", types["u32"], 0))
    locked = text.structure("locked", 16, ("lock", lock, 0), ("count", types["u64"], 8))
    timed = text.structure("timed", 24, ("timer", timer, 0), ("count", types["u64"], 16))
    worked = text.structure("worked", 24, ("work", workqueue, 0), ("count", types["u64"], 16))
    resilient_value = text.structure(
        "resilient", 24, ("lock", resilient, 0), ("count", types["u64"], 8), ("more", types["u64"], 16)
    )
    task = text.structure("task_struct", 4, ("x", types["u32"], 0))
    types["struct task_struct *"] = text.pointer(task)
    untrusted = text.pointer(text.tagged("kptr_untrusted", task))
    referenced = text.pointer(text.tagged("kptr", task))
    owning = text.structure("owning", 24, ("a", types["u64"], 0), ("weak", untrusted, 8), ("strong", referenced, 16))

    def typed(name: str, value: int, size: int) -> MapDefinition:
        return MapDefinition(name, 2, 4, size, 4, btf_key_type_id=types["u32"], btf_value_type_id=value)

    inner = MapDefinition("inner", 2, 4, 8, 4)
    rows = (
        MapDefinition("array", 2, 4, 16, 4),
        MapDefinition("wide", 2, 4, 256, 4),
        MapDefinition("single", 2, 4, 64, 1),
        MapDefinition("hash", 1, 8, 16, 16),
        MapDefinition("percpu", 6, 4, 16, 4),
        MapDefinition("lru", 9, 4, 8, 16),
        MapDefinition("trie", 11, 8, 8, 16, flags=1),
        MapDefinition("programs", 3, 4, 4, 8),
        MapDefinition("events", 4, 4, 4, 8),
        MapDefinition("ring", 27, 0, 0, 4096),
        MapDefinition("user_ring", 31, 0, 0, 4096),
        MapDefinition("queue", 22, 0, 8, 16),
        MapDefinition("bloom", 30, 0, 8, 16),
        MapDefinition("outer", 12, 4, 4, 4, inner=inner),
        MapDefinition("devices", 14, 4, 4, 4),
        MapDefinition("cgroups", 8, 4, 4, 4),
        MapDefinition("constant", 2, 4, 16, 1, flags=1 << 7),
        MapDefinition("frozen", 2, 4, 16, 1, flags=1 << 7, data=b"%d and %s\0abcde\0", read_only=True),
        MapDefinition("written", 2, 4, 16, 4, flags=1 << 8),
        MapDefinition("timed_outer", 12, 4, 4, 4, inner=typed("timed_inner", timed, 24)),
        typed("locked", locked, 16),
        typed("timed", timed, 24),
        typed("worked", worked, 24),
        typed("resilient", resilient_value, 24),
        typed("owning", owning, 24),
        MapDefinition("arena", 33, 0, 0, 4, flags=1 << 10, map_extra=1 << 44),
    )
    return Ground(text, types, {row.name: row for row in rows})
