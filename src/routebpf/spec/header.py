"""The C headers that come from the tables: `python -m routebpf.spec.header` writes them into routebpf/include.

| file | holds |
|---|---|
| routebpf.h | what a program includes: all the others, and the kfuncs |
| bpf/bpf_helper_defs.h | the helpers; to call one that no LWT program has is a compile error that says so |
| routebpf/uapi.h | struct __sk_buff and the enums of <linux/bpf.h> |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

from routebpf.spec.context import CONTEXT_BYTES, CONTEXT_FIELDS, ContextField
from routebpf.spec.helper_row import Helper
from routebpf.spec.helpers import HELPERS
from routebpf.spec.kfunc_row import Kfunc
from routebpf.spec.kfunc_rows import ROWS as KFUNC_ROWS
from routebpf.spec.map_types import MAP_TYPES
from routebpf.spec.program_types import RETURN_CODES

INCLUDE = Path(__file__).resolve().parent.parent / "include"
_LICENCE = "/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */\n"
_GENERATED = "/* Written by `python -m routebpf.spec.header` from the tables in routebpf/spec. */\n"
_INCLUDED = (
    "stdbool.h",
    "stddef.h",
    "stdint.h",
    "linux/types.h",
    "linux/bpf.h",
    "bpf/bpf_helpers.h",
    "bpf/bpf_endian.h",
    "linux/errno.h",
    "linux/if_arp.h",
    "linux/if_ether.h",
    "linux/if_packet.h",
    "linux/in.h",
    "linux/in6.h",
    "linux/ip.h",
    "linux/ipv6.h",
    "linux/icmp.h",
    "linux/icmpv6.h",
    "linux/tcp.h",
    "linux/udp.h",
)
# The kernel's names of integer types in prototypes, and the ones that headers for user space have.
_C_TYPES = {"u8": "__u8", "u16": "__u16", "u32": "__u32", "u64": "__u64", "s32": "__s32", "s64": "__s64"}
_C_WORD = re.compile(r"\b(" + "|".join(_C_TYPES) + r")\b")
# Names that enum bpf_map_type has for a number besides the table's.
_MAP_TYPE_ALIASES = (
    ("CGROUP_STORAGE_DEPRECATED", "CGROUP_STORAGE"),
    ("PERCPU_CGROUP_STORAGE_DEPRECATED", "PERCPU_CGROUP_STORAGE"),
)


def routebpf_header() -> str:
    """<routebpf.h>."""
    includes = "".join(f"#include <{name}>\n" for name in _INCLUDED)
    kfuncs = "\n".join(_kfunc(row) for row in KFUNC_ROWS)
    return (
        f"{_LICENCE}{_GENERATED}"
        "#ifndef ROUTEBPF_H\n#define ROUTEBPF_H\n\n"
        f"{includes}\n"
        f"{_forward_declarations(row.prototype for row in KFUNC_ROWS)}"
        "typedef int (*bpf_task_work_callback_t)(struct bpf_map *map, void *key, void *value);\n\n"
        f"{kfuncs}\n"
        "#endif\n"
    )


def helper_header() -> str:
    """<bpf/bpf_helper_defs.h>."""
    there = (row for row in HELPERS if row.program_types)
    missing = (row for row in HELPERS if not row.program_types)
    return (
        f"{_LICENCE}{_GENERATED}"
        "#ifndef __BPF_HELPER_DEFS_H\n#define __BPF_HELPER_DEFS_H\n\n"
        f"{_forward_declarations(row.prototype for row in HELPERS)}"
        + "\n".join(_helper(row) for row in there)
        + "\n/* What no LWT program has. */\n"
        "#define ROUTEBPF_NO_HELPER(name) \\\n"
        '\tlong name() __attribute__((unavailable("LWT programs do not have this helper")));\n'
        + "".join(f"ROUTEBPF_NO_HELPER({row.name})\n" for row in missing)
        + "#undef ROUTEBPF_NO_HELPER\n\n#endif\n"
    )


def uapi_header() -> str:
    """<routebpf/uapi.h>."""
    last = len(HELPERS) + 1
    map_types = [(row.name, str(row.number)) for row in MAP_TYPES]
    map_types += [(alias, f"BPF_MAP_TYPE_{name}") for alias, name in _MAP_TYPE_ALIASES]
    helpers = [("unspec", "0"), *((row.name.removeprefix("bpf_"), str(row.id)) for row in HELPERS)]
    return (
        f"{_LICENCE}{_GENERATED}"
        "#ifndef ROUTEBPF_UAPI_H\n#define ROUTEBPF_UAPI_H\n\n#include <linux/types.h>\n\n"
        + _enum("bpf_map_type", "BPF_MAP_TYPE_", [("UNSPEC", "0"), *map_types])
        + _enum("bpf_func_id", "BPF_FUNC_", [*helpers, ("__BPF_FUNC_MAX_ID", str(last))])
        + _enum("bpf_ret_code", "", [(row.name, str(row.number)) for row in RETURN_CODES])
        + _context()
        + "#endif\n"
    )


def _enum(name: str, prefix: str, values: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"\t{'' if one.startswith('__') else prefix}{one} = {value},\n" for one, value in values)
    return f"enum {name} {{\n{lines}}};\n\n"


def _context() -> str:
    lines = []
    at = 0
    for name, group in groupby(CONTEXT_FIELDS, key=lambda field: field.name.partition("[")[0]):
        fields = list(group)
        if fields[0].offset > at:
            lines.append(f"\t__u32 :{(fields[0].offset - at) * 8};\n")
        at = fields[-1].offset + fields[-1].size
        lines.append(_member(name, fields))
    assert at == CONTEXT_BYTES
    return f"struct __sk_buff {{\n{''.join(lines)}}};\n\n"


def _member(name: str, fields: list[ContextField]) -> str:
    comment = f"\t/* {fields[0].doc} */\n"
    if fields[0].c_type.endswith("*"):
        member = f"\tunion {{\n\t\t{fields[0].c_type}{name};\n\t\t__u64 :64;\n\t}} __attribute__((aligned(8)));\n"
    else:
        count = f"[{len(fields)}]" if "[" in fields[0].name else ""
        member = f"\t{fields[0].c_type} {name}{count};\n"
    return comment + member


def _helper(row: Helper) -> str:
    head, _, tail = row.prototype.partition(f"{row.name}(")
    types = "" if len(row.program_types) == 3 else f" {_type_names(row)} only."
    needs = f" {row.capability}." if row.capability else ""
    gpl = " GPL." if row.gpl_only else ""
    return f"/* {row.doc}{types}{gpl}{needs} */\nstatic {head}(*const {row.name})({tail} = (void *) {row.id};\n"


def _type_names(row: Helper) -> str:
    return ", ".join(sorted(row.program_types))


def _kfunc(row: Kfunc) -> str:
    prototype = _C_WORD.sub(lambda match: _C_TYPES[match[0]], row.prototype)
    sleeps = " Only from a callback that may sleep." if row.might_sleep else ""
    return f"/* {row.doc}{sleeps} Linux {row.since[0]}.{row.since[1]}. */\nextern {prototype} __ksym;\n"


def _forward_declarations(prototypes: Iterable[str]) -> str:
    """So that a struct first named in a parameter list is not one of its own."""
    names = sorted({name for prototype in prototypes for name in re.findall(r"struct (\w+)", prototype)})
    return "".join(f"struct {name};\n" for name in names) + "\n"


HEADERS: Mapping[str, Callable[[], str]] = {
    "routebpf.h": routebpf_header,
    "bpf/bpf_helper_defs.h": helper_header,
    "routebpf/uapi.h": uapi_header,
}


def main() -> None:
    """Write the headers."""
    for name, make in HEADERS.items():
        path = INCLUDE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())


if __name__ == "__main__":
    main()
