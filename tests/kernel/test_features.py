"""What `doctor` asks the running kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from routebpf.errors import MissingError
from routebpf.kernel import features, route_probe, routes, syscall
from routebpf.kernel.features import FEATURES, Feature, probe_features
from routebpf.kernel.running import cpu_list, kernel_version, lockdown, online_cpus, possible_cpus
from without_capabilities import without

pytestmark = pytest.mark.kernel


def test_each_feature_has_a_finding_with_words_for_what_was_found():
    found = probe_features()
    assert [one.feature for one in found] == list(FEATURES)
    assert all(one.detail for one in found)
    details = {one.feature.name: one.detail for one in found}
    assert os.uname().release.startswith(details["Linux"])
    jit = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip()
    assert (details["LWT_XMIT programs"] == "compiled by the JIT") == (jit != "0")


def test_a_probe_that_fails_is_a_finding_with_its_reason():
    def probe() -> str:
        raise MissingError("there is no such thing")

    (finding,) = probe_features([Feature("thing", "nothing", probe, "nothing")])
    assert (finding.is_there, finding.detail) == (False, "there is no such thing")


def test_what_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "MOUNT_POINT", str(tmp_path))
    (tmp_path / "jit").write_text("0\n")
    monkeypatch.setattr(features, "_JIT", str(tmp_path / "jit"))
    found = {one.feature.name: one for one in probe_features()}
    for name, detail in (
        ("BPF file system", f"it is not mounted at {tmp_path}"),
        ("JIT", "off: programs are interpreted"),
    ):
        assert not found[name].is_there
        assert found[name].detail.startswith(detail)


@pytest.mark.parametrize(
    ("row", "name", "value", "said"),
    [
        ("Linux", "kernel_version", (4, 9, 3), "this is Linux 4.9.3; routes have programs since 4.10"),
        ("lockdown", "lockdown", "confidentiality", "locked down to confidentiality: no helper that reads"),
        ("locked memory", "kernel_version", (5, 10, 0), "4,096 bytes at most"),
    ],
)
def test_another_kernel_s_lack_is_told(monkeypatch, row, name, value, said):
    monkeypatch.setattr(features, name, lambda: value)
    monkeypatch.setattr(features.resource, "getrlimit", lambda _: (4096, 4096))
    (found,) = probe_features([one for one in FEATURES if one.name == row])
    assert not found.is_there
    assert found.detail.startswith(said)
    assert found.mend


def test_a_kernel_without_the_system_call_is_told(monkeypatch):
    """The kernel answers a number that it does not know as it answers bpf(2) where that was left out."""
    monkeypatch.setitem(syscall._NUMBERS, os.uname().machine, (1 << 20, 1 << 20))
    (found,) = probe_features([one for one in FEATURES if one.name == "bpf(2)"])
    assert (found.is_there, found.mend) == (False, "a kernel with CONFIG_BPF_SYSCALL=y")
    assert found.detail == "this kernel has no bpf(2); it needs CONFIG_BPF_SYSCALL=y"


def test_a_kernel_without_programs_on_routes_is_told(monkeypatch):
    """Asked for an encap that it was built without (MPLS, ILA), the kernel answers as without CONFIG_LWTUNNEL_BPF."""
    said = set()
    for number in (1, 3):
        monkeypatch.setattr(routes, "LWTUNNEL_ENCAP_BPF", number)
        (found,) = probe_features([route_probe.ENCAP])
        assert not found.is_there
        assert found.mend == "a kernel with CONFIG_LWTUNNEL=y and CONFIG_LWTUNNEL_BPF=y"
        said.add(found.detail)
    assert any("lwt encapsulation type not supported" in one and "built without it" in one for one in said), said


def test_the_jit_is_found_where_its_setting_cannot_be_read(monkeypatch, tmp_path):
    """As in a network namespace that is not the first."""
    jit = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip()
    monkeypatch.setattr(features, "_JIT", str(tmp_path / "none"))
    (found,) = probe_features([one for one in FEATURES if one.name == "JIT"])
    assert found.is_there == (jit != "0")


def test_without_capabilities_nothing_is_claimed_of_a_jit_whose_setting_cannot_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "_JIT", str(tmp_path / "none"))
    (row,) = (one for one in FEATURES if one.name == "JIT")
    said = without(("CAP_BPF", "CAP_SYS_ADMIN"), lambda: str(probe_features([row])[0]))
    assert "not told here" in said
    assert "sysctl" not in said.partition("detail=")[2]


def test_the_running_kernels_facts_are_those_of_proc_and_sys():
    version = Path("/proc/sys/kernel/osrelease").read_text()
    assert version.startswith(".".join(map(str, kernel_version()[:2])))
    assert len(online_cpus()) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert possible_cpus() >= os.sysconf("SC_NPROCESSORS_CONF")
    assert lockdown() in ("none", "integrity", "confidentiality")


@pytest.mark.parametrize(("text", "cpus"), [("0-3", [0, 1, 2, 3]), ("0", [0]), ("1,3-4,9", [1, 3, 4, 9]), ("", [])])
def test_lists_of_cpus_are_read_as_the_kernel_writes_them(text, cpus):
    assert cpu_list(text) == cpus
