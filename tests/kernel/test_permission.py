"""Without a capability, what fails is told with its name and what it is for."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from routebpf.kernel import permission
from routebpf.kernel.features import probe_features
from routebpf.kernel.kernel_btf import symbol_address
from routebpf.kernel.map_create import create_map, needs
from routebpf.kernel.map_open import map_by_id
from routebpf.kernel.object import load_in_kernel
from routebpf.kernel.perf_reader import PerfReader
from routebpf.kernel.permission import has_capability
from routebpf.kernel.programs import program_by_id
from routebpf.objects.model import MapDefinition
from without_capabilities import NUMBERS, without

pytestmark = pytest.mark.kernel

HASH = MapDefinition("flows", 1, 4, 8, 16)
DEVICES = MapDefinition("devices", 14, 4, 4, 16)
# One of each type that takes the same sizes.
DEFINITIONS = [MapDefinition("m", number, 4, 4, 4) for number in (1, 2, 3, 5, 6, 8, 9, 14, 15, 16, 17, 18, 25)]
PERF = MapDefinition("samples", 4, 4, 4, 0)
PROGRAM = 'SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 0; }'


def test_a_thread_knows_its_capabilities():
    for name in NUMBERS:
        assert has_capability(name)
    # CAP_SYS_ADMIN stands for the two that were split from it.
    assert without(("CAP_BPF", "CAP_PERFMON"), lambda: str(has_capability("CAP_BPF"))) == "True"
    assert without(("CAP_SYS_ADMIN",), lambda: str(has_capability("CAP_BPF"))) == "True"
    assert without(("CAP_BPF", "CAP_SYS_ADMIN"), lambda: str(has_capability("CAP_PERFMON"))) == "True"
    assert without(("CAP_NET_ADMIN",), lambda: str(has_capability("CAP_NET_ADMIN"))) == "False"


def test_a_map_needs_cap_bpf():
    text = without(("CAP_BPF", "CAP_SYS_ADMIN"), lambda: str(create_map(HASH)))
    assert text.startswith("MissingError: map flows: create HASH with max_entries 16")
    assert "EPERM: this process lacks CAP_BPF (to create maps)" in text
    policy = Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text().strip()
    assert (f"unprivileged_bpf_disabled is {policy}" in text) == (policy != "0")
    assert "run it as root, or with CAP_BPF" in text


def test_a_map_of_devices_needs_cap_net_admin():
    text = without(("CAP_NET_ADMIN", "CAP_SYS_ADMIN"), lambda: str(create_map(DEVICES)))
    assert "lacks CAP_NET_ADMIN (to create maps of devices and sockets)" in text
    assert "unprivileged_bpf_disabled" not in text  # that is about CAP_BPF


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_which_maps_need_cap_net_admin_is_as_the_kernel_has_it(definition):
    def create() -> str:
        with create_map(definition):
            return "made"

    assert without((), create) == "made"
    said = without(("CAP_NET_ADMIN", "CAP_SYS_ADMIN"), create)
    assert (said == "made") == ("CAP_NET_ADMIN" not in needs(definition)), said


def test_a_program_of_a_route_needs_cap_bpf_and_cap_net_admin(read):
    source = read(PROGRAM)

    def load() -> str:
        with load_in_kernel(source) as loaded:
            return str(loaded)

    assert without((), load) == "<object program.bpf.c in the kernel: run>"
    text = without(("CAP_NET_ADMIN", "CAP_SYS_ADMIN"), load)
    assert text.startswith("MissingError: load program run (LWT_XMIT) of program.bpf.c: EPERM")
    assert "lacks CAP_NET_ADMIN (to load programs of routes);" in text
    assert "CAP_BPF (" not in text
    text = without(("CAP_BPF", "CAP_SYS_ADMIN"), load)
    assert "lacks CAP_BPF (to load BTF)" in text
    assert without(("CAP_SYS_ADMIN", "CAP_PERFMON"), load) == "<object program.bpf.c in the kernel: run>"


def test_a_helper_that_needs_cap_perfmon_says_so(read):
    source = read(
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            __u64 word;
            return bpf_probe_read_kernel(&word, 8, skb);
        }
        """
    )
    text = without(("CAP_PERFMON", "CAP_SYS_ADMIN"), lambda: str(load_in_kernel(source)))
    assert text.startswith("RejectedError: load run (LWT_XMIT) into the kernel: ")
    assert "bpf_probe_read_kernel#113" in text
    assert "it needs CAP_PERFMON, which this process lacks" in text


def test_a_pointer_that_only_cap_perfmon_may_handle_says_so(read):
    """Without it, the verifier guards against speculation: no pointer to a packet plus a register."""
    source = read(
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            return (unsigned long)skb->data + skb->mark > skb->data_end;
        }
        """
    )
    text = without(("CAP_PERFMON", "CAP_SYS_ADMIN"), lambda: str(load_in_kernel(source)))
    assert text.startswith("RejectedError: ")
    assert "without CAP_PERFMON, which this process lacks, the verifier is strict about pointers" in text


def test_addresses_that_the_kernel_hides_are_told():
    def as_nobody() -> str:
        os.setuid(65534)
        return hex(symbol_address("_stext"))

    text = without((), as_nobody)
    assert text.startswith("MissingError: address of kernel symbol _stext: /proc/kallsyms shows zeros; it takes")


def test_too_few_file_descriptors_are_no_fault_of_the_program(read):
    source = read(PROGRAM)

    def load() -> str:
        with load_in_kernel(source._replace(btf=None)):
            pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        return str(load_in_kernel(source._replace(btf=None)))

    assert without((), load) == (
        "MissingError: load program run (LWT_XMIT) of program.bpf.c: EMFILE: Too many open files"
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("lockdown", "integrity", "locked down to integrity"),
        ("kernel_version", (5, 10, 0), "ulimit -l unlimited"),
        ("lockdown", "none", "a seccomp filter or a security module refuses it"),
    ],
)
def test_a_refusal_in_spite_of_all_capabilities_has_its_reason(monkeypatch, name, value, said):
    monkeypatch.setattr(permission, name, lambda: value)
    assert said in str(permission.permission_error("ask", {"CAP_BPF": "to ask"}))


def test_opening_by_id_needs_cap_sys_admin(read):
    with create_map(HASH) as made, load_in_kernel(read(PROGRAM)) as loaded:
        number, program = made.id, loaded.programs["run"].id
        assert "lacks CAP_SYS_ADMIN (to open maps by their id)" in without(
            ("CAP_SYS_ADMIN",), lambda: str(map_by_id(number))
        )
        assert "lacks CAP_SYS_ADMIN (to open programs by their id)" in without(
            ("CAP_SYS_ADMIN",), lambda: str(program_by_id(program))
        )


def test_perf_buffers_need_cap_perfmon():
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) < 1:
        pytest.fail("kernel.perf_event_paranoid lets anybody; set it to 2")

    def read_samples() -> str:
        with create_map(PERF) as array, PerfReader(array) as reader:
            return str(reader.lost)

    assert without((), read_samples) == "0"
    text = without(("CAP_PERFMON", "CAP_SYS_ADMIN"), read_samples)
    assert text.startswith("MissingError: map samples: open perf buffers: EPERM: this process lacks CAP_PERFMON")


def test_what_was_found_names_the_missing_capabilities():
    def probe() -> str:
        return "\n".join(f"{one.feature.name}: {one.is_there} {one.detail} [{one.mend}]" for one in probe_features())

    everything = without((), probe).splitlines()
    assert all(": True " in line and line.endswith(" []") for line in everything), everything
    found = without(("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON"), probe)
    assert "CAP_NET_ADMIN: False this process does not have it [run as root, " in found
    assert "CAP_BPF: True held" in found
    assert "bpf(2): True makes maps" in found
    assert "LWT_XMIT programs: False needs CAP_NET_ADMIN, which this process does not have [run as root, " in found
    assert "perf buffers: False needs CAP_PERFMON, which this process does not have [run as root, " in found
