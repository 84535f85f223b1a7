"""Programs on real routes: which one runs, what is kept and what is refused, by packets, maps and iproute2."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from operator_ground import COUNT, NewRoute, OperatorGround, operator_ground
from routebpf.errors import Error, InputError, MapError, RejectedError
from routebpf.kernel.attached_routes import list_attached
from routebpf.kernel.ledger import identify, locked_ledger
from routebpf.kernel.map_open import map_at, map_by_id
from routebpf.kernel.namespaces import open_socket
from routebpf.kernel.programs import program_at
from routebpf.kernel.route_identity import read_key
from without_capabilities import without

pytestmark = pytest.mark.kernel

PREFIX = "192.168.9.0/24"
TARGET = ("192.168.9.9", 9)
# The same function, maps and layout: only what is returned differs.
PASS, DROP = COUNT % ("lwt_xmit", "BPF_OK"), COUNT % ("lwt_xmit", "BPF_DROP")


@pytest.fixture
def ground(tmp_path) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path / "run") as made:
        made.ip("route add", PREFIX, "via 10.0.0.2")
        yield made


def send(ground: OperatorGround, packets: int = 1) -> list[int]:
    """The errno of each send to TARGET, 0 if it went."""
    found = []
    with open_socket(ground.namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(packets):
            try:
                sock.sendto(b"x", TARGET)
                found.append(0)
            except OSError as error:
                found.append(error.errno or -1)
    return found


def counted(ground: OperatorGround, program: str = "") -> int:
    """What the map `packets` of a program, or of the only one, holds."""
    (path,) = [one for one in ground.pins.rglob("packets") if program.rpartition(":")[2] in str(one)]
    with map_at(str(path)) as found:
        return int.from_bytes(found.lookup(bytes(4)) or b"", "little")


def state(ground: OperatorGround) -> list[tuple[str, str]]:
    """Of each listed route its state, and what it calls its program."""
    return [(one.state, " ".join(one.programs.values())) for one in list_attached(ground.namespace).routes]


# Attach, replace, detach


def test_packets_meet_the_program_until_it_is_detached(ground, read):
    source = read(PASS)
    (done,) = ground.attach(source, PREFIX)
    assert send(ground, 3) == [0, 0, 0]
    assert counted(ground) == 3
    with program_at(str(next(ground.pins.glob("*/program")))) as program:
        assert done.program == f"count:{program.tag[:8]}:{program.id}"
    assert state(ground) == [("attached", done.program)]
    ground.detach(PREFIX)
    assert send(ground) == [0]
    assert state(ground) == []
    assert ground.pinned() == []
    assert not (ground.run / ground.pins.name / "ledger.json").exists()


def test_another_program_of_the_same_function_name_takes_over(ground, read):
    """iproute2's users keep the old program here: the kernel compares names, and both are called alike."""
    (first,) = ground.attach(read(PASS), PREFIX)
    assert send(ground) == [0]
    (second,) = ground.attach(read(DROP), PREFIX)
    assert second.what == "replace"
    assert second.had == {"xmit": first.program}
    assert send(ground) == [errno.EPERM]


def test_attaching_the_same_object_again_changes_nothing(ground, read):
    (first,) = ground.attach(read(PASS), PREFIX)
    ledger = (ground.run / ground.pins.name / "ledger.json").read_bytes()
    before, pins = ground.routes(), ground.pinned()
    (second,) = ground.attach(read(PASS), PREFIX)
    assert (second.what, second.program) == ("unchanged", first.program)
    assert (ground.routes(), ground.pinned()) == (before, pins)
    assert (ground.run / ground.pins.name / "ledger.json").read_bytes() == ledger


def test_counters_survive_an_upgrade(ground, read):
    ground.attach(read(PASS), PREFIX)
    send(ground, 2)
    (second,) = ground.attach(read(DROP), PREFIX)
    assert second.kept_maps == ("packets",)
    send(ground, 3)
    assert counted(ground, second.program) == 5


def test_reset_maps_starts_anew(ground, read):
    ground.attach(read(PASS), PREFIX)
    send(ground, 2)
    (second,) = ground.attach(read(PASS), PREFIX, reset_maps=True)
    assert second.what == "replace"
    assert second.kept_maps == ()
    assert counted(ground, second.program) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_entries, 1", "max_entries, 2"),
        ("__type(value, __u64)", "__type(value, struct pair)"),
        ("BPF_MAP_TYPE_ARRAY", "BPF_MAP_TYPE_HASH"),
    ],
)
def test_a_map_whose_definition_changes_starts_anew(ground, read, old, new):
    ground.attach(read(PASS), PREFIX)
    send(ground, 2)
    text = "struct pair { __u32 low, high; };\n" + PASS.replace(old, new).replace("__u64 *found", "void *found")
    text = text.replace("__sync_fetch_and_add(found, 1)", "__sync_fetch_and_add((__u64 *)found, 1)")
    (second,) = ground.attach(read(text), PREFIX)
    assert second.kept_maps == ()


def test_global_variables_survive_and_constants_are_the_new_ones(ground, read):
    text = """
    int sent; const volatile int step = %d;
    SEC("lwt_xmit") int count(struct __sk_buff *skb) { sent += step; return BPF_OK; }
    """
    ground.attach(read(text % 1), PREFIX)
    send(ground, 2)
    (second,) = ground.attach(read(text % 10), PREFIX)
    assert second.kept_maps == (".bss",)
    send(ground, 1)
    with map_at(str(next(ground.pins.rglob("-bss")))) as found:
        assert int.from_bytes((found.lookup(bytes(4)) or b"")[:4], "little") == 12


def test_maps_of_maps_keep_what_they_hold(ground, read):
    """As with libbpf, which puts nothing into a map that it uses again."""
    text = """
    struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
        one SEC(".maps"), two SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 3); __type(key, __u32);
        __array(values, struct inner); } slots SEC(".maps") = { .values = { [0] = &one, [1] = &two } };
    SEC("lwt_xmit") int count(struct __sk_buff *skb)
    {
        __u32 at = 0;
        return bpf_map_lookup_elem(&slots, &at) && bpf_map_lookup_elem(&two, &at) ? BPF_OK : %s;
    }
    """
    ground.attach(read(text % "BPF_OK"), PREFIX)

    def held() -> list[int]:
        (path,) = ground.pins.glob("*/maps/slots")
        with map_at(str(path)) as slots:
            return [int.from_bytes(value, "little") for _, value in slots.items()]

    one, two = held()
    (path,) = ground.pins.glob("*/maps/slots")
    with map_at(str(path)) as slots, map_by_id(two) as other:
        slots.set_slot(0, other)
        slots.delete((1).to_bytes(4, "little"))
    assert held() == [two]
    for dry_run in (True, False):
        ground.attach(read(text % "BPF_DROP"), PREFIX, dry_run=dry_run)
        assert held() == [two]
    ground.attach(read(text % "BPF_OK"), PREFIX, reset_maps=True)
    assert len(held()) == 2
    assert one not in held()


def test_a_program_of_several_routes_is_one_and_goes_with_the_last(ground, read):
    others = [f"192.168.{number}.0/24" for number in range(10, 14)]
    for one in others:
        ground.ip("route add", one, "dev veth1")
    first = ground.attach(read(PASS), PREFIX, others[0])
    second = ground.attach(read(PASS), *others)
    assert [one.what for one in second] == ["unchanged", "attach", "attach", "attach"]
    assert len({one.program for one in [*first, *second]}) == 1
    ground.detach(PREFIX, *others[:3])
    assert ground.pinned()
    ground.detach(others[3])
    assert ground.pinned() == []


def test_programs_of_every_hook_stand_side_by_side_and_go_one_by_one(ground, read):
    for hook in ("in", "out", "xmit"):
        ground.attach(read(COUNT % (f"lwt_{hook}", "BPF_OK")), PREFIX)
    words = ground.encap(PREFIX)
    assert all(f" {hook} count:" in words for hook in ("in", "out", "xmit"))
    ground.detach(PREFIX, hook="out")
    words = ground.encap(PREFIX)
    assert " out " not in words
    assert " in count:" in words
    assert " xmit count:" in words
    ground.detach(PREFIX)
    assert "encap" not in ground.encap(PREFIX)
    assert ground.pinned() == []


def test_a_new_headroom_is_put_though_the_program_is_the_same(ground, read):
    """The kernel does not tell the headroom; it lowers the MTU, which it tells of a looked-up route."""
    ground.attach(read(PASS), PREFIX)
    (second,) = ground.attach(read(PASS), PREFIX, headroom=100)
    assert second.what == "replace"
    with open_socket(ground.namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: do not fragment
        sock.connect(TARGET)
        assert sock.getsockopt(socket.IPPROTO_IP, 14) == 1400  # IP_MTU
    assert ground.attach(read(PASS), PREFIX, headroom=100)[0].what == "unchanged"
    assert ground.attach(read(PASS), PREFIX)[0].what == "unchanged"


def test_create_makes_the_route_and_detach_takes_it_away(ground, read):
    before = ground.routes()
    made = ground.attach(read(PASS), "172.30.0.0/16", create=NewRoute(bytes((10, 0, 1, 2))), metric=5)
    assert made[0].what == "create"
    assert "via 10.0.1.2 dev veth1 proto static metric 5" in ground.encap("172.30.0.0/16")
    ground.attach(read(DROP), "172.30.0.0/16")
    assert ground.detach("172.30.0.0/16")[0].what == "delete"
    assert ground.routes() == before


def test_create_makes_no_route_that_is_there_by_another_metric(ground, read):
    """To the kernel metric 0 of IPv6 is 1024."""
    ground.ip("-6 route add fd99::/32 via fd00::2")
    before = ground.routes()
    ground.attach(read(PASS), "fd99::/32")
    program = ground.encap("fd99::/32")
    with pytest.raises(InputError, match=r"fd99::/32: the route to make is there: fd99::/32 via fd00::2"):
        ground.attach(read(PASS), "fd99::/32", create=NewRoute(), metric=0)
    assert ground.encap("fd99::/32") == program
    ground.detach()
    assert ground.routes() == before


def test_create_without_a_way_goes_where_packets_go_now(ground, read):
    ground.attach(read(PASS), "192.168.9.128/25", create=NewRoute())
    assert "via 10.0.0.2 dev veth0" in ground.encap("192.168.9.128/25")
    ground.ip("-6 route add fd99::/32 via fd01::2")
    ground.attach(read(PASS), "fd99:0:1::/48", create=NewRoute())
    assert "via fd01::2 dev veth1" in ground.encap("fd99:0:1::/48")
    ground.detach("192.168.9.128/25", "fd99:0:1::/48")
    assert "fd99:0:1::" not in ground.ip("-6 route")


def test_a_dry_run_changes_nothing(ground, read):
    before = ground.routes()
    (done,) = ground.attach(read(PASS), PREFIX, dry_run=True)
    assert done.what == "attach"
    assert (ground.routes(), ground.pinned()) == (before, [])
    ground.attach(read(PASS), PREFIX)
    before, pins = ground.routes(), ground.pinned()
    assert ground.detach(PREFIX, dry_run=True)[0].what == "detach"
    assert (ground.routes(), ground.pinned()) == (before, pins)


# What others did


def attach_by_iproute2(ground: OperatorGround, read, tmp_path) -> None:
    """A program of iproute2's own loader."""
    source = tmp_path / "theirs.c"
    source.write_text('__attribute__((section("theirs"), used)) int f(void *skb) { return 0; }\n'
                      'char LICENSE[] __attribute__((section("license"), used)) = "GPL";\n')  # fmt: skip
    target = source.with_suffix(".o")
    subprocess.run(["clang", "-O2", "-target", "bpf", "-c", source, "-o", target], check=True)
    ground.ip("route replace", PREFIX, f"encap bpf xmit obj {target} section theirs via 10.0.0.2")


def test_a_program_of_iproute2_is_listed_and_only_taken_off_by_force(ground, read, tmp_path):
    attach_by_iproute2(ground, read, tmp_path)
    before = ground.routes()
    assert state(ground) == [("by others", "theirs.o:[theirs]")]
    for act in (lambda: ground.attach(read(PASS), PREFIX), lambda: ground.detach(PREFIX)):
        with pytest.raises(InputError, match=r"theirs\.o:\[theirs\].*--force"):
            act()
    assert ground.routes() == before
    assert ground.detach(PREFIX, force=True)[0].had == {"xmit": "theirs.o:[theirs]"}
    assert "encap" not in ground.encap(PREFIX)


def test_force_replaces_a_program_of_iproute2(ground, read, tmp_path):
    attach_by_iproute2(ground, read, tmp_path)
    (done,) = ground.attach(read(PASS), PREFIX, force=True)
    assert (done.what, done.had) == ("replace", {"xmit": "theirs.o:[theirs]"})
    assert ground.detach(PREFIX)[0].is_as_before is False
    assert "encap" not in ground.encap(PREFIX)


def test_a_route_that_somebody_else_replaced_is_left_as_it_is(ground, read):
    ground.attach(read(PASS), PREFIX)
    ground.ip("route replace", PREFIX, "via 10.0.1.2 mtu 1300")
    assert state(ground) == [("changed by others", "")]
    before = ground.routes()
    assert ground.detach(PREFIX)[0].what == "changed"
    assert ground.routes() == before
    assert state(ground) == []


def test_attaching_again_where_somebody_else_replaced_the_route_keeps_the_counters(ground, read):
    ground.attach(read(PASS), PREFIX)
    send(ground, 2)
    ground.ip("route replace", PREFIX, "via 10.0.1.2")
    before = ground.routes()
    (done,) = ground.attach(read(PASS), PREFIX)
    send(ground, 1)
    assert counted(ground, done.program) == 3
    ground.detach(PREFIX)
    assert ground.routes() == before


def test_a_route_whose_device_vanished_is_forgotten(ground, read):
    ground.attach(read(PASS), PREFIX)
    ground.ip("link del veth0")
    assert [one[0] for one in state(ground)] == ["route is gone"]
    assert ground.detach(PREFIX)[0].what == "gone"
    assert ground.pinned() == []


# Bad input: a clear message, nothing changed


def refused(ground: OperatorGround, error: type[Error], match: str, act) -> None:
    before = ground.routes(), ground.pinned(), state(ground)
    with pytest.raises(error, match=match):
        act()
    assert (ground.routes(), ground.pinned(), state(ground)) == before


@pytest.mark.parametrize(
    ("line", "prefix", "words", "match"),
    [
        ("", "192.168.10.0/24", {}, r"192\.168\.10\.0/24: no route in table main; --create makes one"),
        ("", "192.168.9.0/25", {}, r"packets to it take 192\.168\.9\.0/24 via 10\.0\.0\.2 dev veth0"),
        ("", PREFIX, {"metric": 9}, r"no route in table main with metric 9; there is 192\.168\.9\.0/24 via"),
        ("", PREFIX, {"device": "veth1"}, r"by device veth1; there is 192\.168\.9\.0/24 via"),
        ("", PREFIX, {"device": "eth77"}, "there is no device eth77; there are far0, far1, lo, veth0, veth1"),
        ("route add 10.9.0.0/16 encap ip id 3 dst 10.0.0.7 dev veth0", "10.9.0.0/16", {}, "it has encap ip"),
        ("-6 route add fd90::/32 encap seg6 mode encap segs fd01::9 dev veth0", "fd90::/32", {}, "it has encap seg6"),
        ("route add blackhole 10.9.0.0/16", "10.9.0.0/16", {}, "blackhole 10.9.0.0/16: it leads nowhere"),
        ("-6 route add blackhole fd90::/32", "fd90::/32", {}, "blackhole fd90::/32 dev lo: it leads nowhere"),
        ("-6 route add unreachable fd90::/32 metric 7", "fd90::/32", {}, "unreachable fd90::/32 metric 7.* nowhere"),
        ("", "fd00::1/128", {"table": 255}, "the kernel made it, with metric 0, which in a request stands for 1024"),
        ("route add 192.168.9.0/24 dev veth1 metric 7", PREFIX, {}, "2 routes of table main have it: .*--metric"),
        ("route append 192.168.9.0/24 dev veth1", PREFIX, {"device": "veth1"}, "reaches only the first route"),
    ],
)
def test_a_route_that_cannot_get_a_program_is_refused(ground, read, line, prefix, words, match):
    if line:
        ground.run_inside("ip", *line.split(), check=False)
        if line.split()[-1] not in ground.ip("route") + ground.ip("-6 route") and "seg6" in line:
            pytest.skip("this kernel has no such encap")
    refused(ground, InputError, match, lambda: ground.attach(read(PASS), prefix, **words))


def test_a_route_whose_replacement_would_hide_another_is_refused(ground, read):
    """`ip -6 route replace` of a route of several next hops puts one without gateway between them, where no dump of the
    kernel's shows it any more."""
    ground.ip("-6 route add fd90::/32 nexthop via fd00::2 nexthop via fd01::2")
    ground.ip("-6 route append fd90::/32 dev veth1")
    match = "the kernel would no longer list fd90::/32 dev veth1, which has no gateway"
    refused(ground, InputError, match, lambda: ground.attach(read(PASS), "fd90::/32", device="veth0"))
    ground.ip("-6 route flush exact fd90::/32")
    ground.ip("-6 route add fd90::/32 dev veth1")
    ground.ip("-6 route append fd90::/32 nexthop via fd00::2 nexthop via fd01::2")
    ground.ip("-6 route append fd90::/32 dev veth1 metric 1025")
    before = ground.bare_routes()
    ground.attach(read(PASS), "fd90::/32", device="veth0")
    assert ground.bare_routes() == before


def test_a_route_by_a_nexthop_object_is_refused(ground, read):
    ground.ip("nexthop add id 5 via 10.0.0.2 dev veth0")
    ground.ip("route add 10.9.0.0/16 nhid 5")
    refused(ground, InputError, "nexthop object 5", lambda: ground.attach(read(PASS), "10.9.0.0/16"))


def test_a_program_that_the_kernel_refuses_changes_nothing(ground, read):
    source = read('SEC("lwt_xmit") int bad(struct __sk_buff *skb) { return *(volatile int *)(long)skb->len; }')
    refused(ground, RejectedError, "bad", lambda: ground.attach(source, PREFIX))


def test_a_map_without_room_changes_nothing(ground, read):
    source = read(PASS.replace("max_entries, 1)", "max_entries, 0x7fffffff)").replace("__u64)", "char[4096])"))
    refused(ground, MapError, "packets.*(E2BIG|ENOMEM)", lambda: ground.attach(source, PREFIX))


def test_of_several_prefixes_one_bad_one_stops_all(ground, read):
    ground.ip("route add 192.168.10.0/24 via 10.0.0.2")
    bad = ["192.168.10.0/24", "192.168.11.0/24", "192.168.12.0/24"]
    refused(ground, InputError, "2 of 4 prefixes cannot be done", lambda: ground.attach(read(PASS), PREFIX, *bad))
    refused(ground, InputError, "nothing is attached", lambda: ground.detach(PREFIX))


def test_a_device_that_vanishes_meanwhile_takes_nothing_else_with_it(ground, read):
    ground.ip("route add 192.168.10.0/24 dev veth1")
    before = [one for one in ground.routes() if "veth1" not in str(one) and "far1" not in str(one)]

    def vanish(step: str) -> None:
        if step == "planned":
            ground.ip("link del veth1")

    with pytest.raises(Error, match=r"attach to 192\.168\.10\.0/24: .*nothing is changed"):
        ground.attach(read(PASS), PREFIX, "192.168.10.0/24", on_step=vanish)
    assert ground.routes() == before
    assert (state(ground), ground.pinned()) == ([], [])


def test_a_route_that_changes_while_the_program_is_loaded_keeps_the_change(ground, read):
    def change(step: str) -> None:
        if step == "loaded":
            ground.ip("route replace", PREFIX, "via 10.0.1.2")
            time.sleep(0.1)

    with pytest.raises(Error, match="somebody else changed the route while the program was loaded"):
        ground.attach(read(PASS), PREFIX, on_step=change)
    assert "via 10.0.1.2" in ground.encap(PREFIX)
    assert (state(ground), ground.pinned()) == ([], [])


def test_a_route_that_is_changed_between_replace_and_reading_back_is_told(ground, read):
    def change(step: str) -> None:
        if step == "replaced":
            ground.ip("route replace", PREFIX, "via 10.0.1.2")

    with pytest.raises(Error, match="does not carry the program: somebody else changed it"):
        ground.attach(read(PASS), PREFIX, on_step=change)
    assert state(ground) == []


@pytest.mark.parametrize(("missing", "match"), [("CAP_NET_ADMIN", "CAP_NET_ADMIN"), ("CAP_BPF", "CAP_BPF")])
def test_a_missing_capability_is_named(ground, read, missing, match):
    source = read(PASS)
    names = (missing, "CAP_SYS_ADMIN") if missing == "CAP_BPF" else (missing,)

    def work() -> str:
        ground.attach(source, PREFIX)
        return "attached"

    before = ground.routes()
    # Entering the namespace takes CAP_SYS_ADMIN, so this process goes there first.
    answer = without(names, work) if missing == "CAP_NET_ADMIN" else in_namespace_without(ground, names, source)
    assert "MissingError" in answer.partition(":")[0]
    assert match in answer
    assert ground.routes() == before


def in_namespace_without(ground: OperatorGround, names: tuple[str, ...], source) -> str:
    from routebpf.kernel.attach import AttachOptions, attach
    from routebpf.kernel.attach_targets import parse_prefix
    from routebpf.kernel.namespaces import run_inside

    def work() -> str:
        attach(source, source.program(), [parse_prefix(PREFIX)], AttachOptions())
        return "attached"

    return run_inside(ground.namespace, lambda: without(names, work))


# Pins that are gone: a BPF file system that was mounted in the mount namespace of one command


def test_without_pins_counters_survive_and_every_program_is_taken_off(ground, read):
    before = ground.routes()
    ground.attach(read(PASS), PREFIX)
    send(ground, 2)
    shutil.rmtree(ground.pins)
    (same,) = ground.attach(read(PASS), PREFIX)
    assert same.what == "unchanged"
    ground.attach(read(COUNT % ("lwt_in", "BPF_OK")), PREFIX)
    shutil.rmtree(ground.pins)
    (second,) = ground.attach(read(DROP), PREFIX)
    assert second.kept_maps == ("packets",)
    assert send(ground) == [errno.EPERM]
    assert counted(ground, second.program) == 3
    shutil.rmtree(ground.pins)
    ground.detach(PREFIX, hook="xmit")
    assert list(list_attached(ground.namespace).routes[0].programs) == ["in"]
    ground.detach(PREFIX)
    assert ground.routes() == before


# Many routes


def test_ten_thousand_routes_in_one_go(ground, read):
    prefixes = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(10_000)]
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in prefixes))
    before = ground.routes()
    done = ground.attach(read(PASS), *prefixes)
    (name,) = {one.program for one in done}
    assert ground.ip("route").count(f"encap bpf xmit {name} ") == 10_000
    assert ground.bare_routes() == before
    assert len(ground.pinned()) == 2
    ground.detach(*prefixes)
    assert ground.routes() == before


def test_routes_of_many_kinds_in_one_go_are_told_in_the_order_asked_for(ground, read):
    """Routes that are alike are handled together; here hardly any two neighbours are."""
    ways = ("via 10.0.0.2", "via 10.0.1.2 mtu 1300", "dev veth1", "via 10.0.0.2 metric 7")
    prefixes = [f"11.0.{number}.0/{24 + number % 3}" for number in range(100)]
    ground.batch("\n".join(f"route add {one} {ways[number % 4]}" for number, one in enumerate(prefixes)))
    ground.ip("-6 route add fd90::/32 via fd00::2")
    ground.ip("-6 route add fd91::/32 nexthop via fd00::2 nexthop via fd01::2")
    before = ground.routes()
    wanted = ["fd91::/32", *prefixes[::-1], "fd90::/32"]
    ground.attach(read(DROP), *prefixes[::7])
    done = ground.attach_by_key(read(PASS), *wanted, *wanted)
    assert [read_key(one).prefix for one in done] == wanted
    assert {read_key(key).prefix for key, one in done.items() if one.what == "replace"} == set(prefixes[::7])
    assert ground.bare_routes() == before
    assert {one[0] for one in state(ground)} == {"attached"}
    undone = ground.detach_by_key(*wanted)
    assert [read_key(one).prefix for one in undone] == wanted
    assert ground.routes() == before


def test_a_refusal_among_many_takes_back_what_was_done(ground, read, monkeypatch):
    """Thousands of routes go in several sends; the last route is refused when the others are done."""
    prefixes = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(3_000)]
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in prefixes[:-1]))
    ground.ip("route add", prefixes[-1], "dev veth1")
    ground.attach(read(PASS), *prefixes[:100])
    before = ground.routes()

    def cut(step: str) -> None:
        if step == "planned":
            ground.ip("route del", prefixes[-1])

    with pytest.raises(Error, match=r"attach to 11\.11\.183\.0/24: .*1 of 3000 routes were refused; nothing is"):
        ground.attach(read(DROP), *prefixes, on_step=cut)
    assert ground.routes() == [one for one in before if one["dst"] != prefixes[-1]]
    assert {one[0] for one in state(ground)} == {"attached"}
    assert len(state(ground)) == 100


# Two at once


def test_a_second_command_waits_for_the_first(ground, read):
    source, results = read(PASS), []
    is_in, may_go_on = threading.Event(), threading.Event()
    ground.ip("route add 192.168.10.0/24 via 10.0.0.2")

    def hold(step: str) -> None:
        if step == "planned":
            is_in.set()
            may_go_on.wait(10)

    def work(prefix: str, **options) -> None:
        results.extend(one.what for one in ground.attach(source, prefix, **options))

    first = threading.Thread(target=work, args=(PREFIX,), kwargs={"on_step": hold})
    second = threading.Thread(target=work, args=("192.168.10.0/24",))
    first.start()
    assert is_in.wait(10)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    may_go_on.set()
    first.join()
    second.join()
    assert results == ["attach", "attach"]
    assert [one[0] for one in state(ground)] == ["attached", "attached"]
    assert len({one[1] for one in state(ground)}) == 1


def test_a_command_that_waits_too_long_says_for_whom(ground):
    identity = identify(ground.namespace)
    with (
        locked_ledger(identity),
        pytest.raises(InputError, match=f"process {os.getpid()} is changing routes"),
        locked_ledger(identity, wait_seconds=0.1),
    ):
        pass


def test_a_route_whose_gateway_is_lost_says_what_to_do_and_keeps_its_program(ground, read):
    ground.ip("addr add 10.0.7.1/24 dev veth0")
    ground.ip("route add 10.50.0.0/16 via 10.0.7.2")
    ground.attach(read(PASS), PREFIX, "10.50.0.0/16")
    ground.ip("route del 10.0.7.0/24")
    before = ground.routes()
    with pytest.raises(InputError, match=r"detach from 10\.50.*give it a way there, or delete it; 1 of 2 .*nothing is"):
        ground.detach()
    assert ground.routes() == before
    ground.ip("route del 10.50.0.0/16")
    assert sorted(one.what for one in ground.detach()) == ["detach", "gone"]
