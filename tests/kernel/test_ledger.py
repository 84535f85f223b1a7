"""The ledger: whatever kills a command at whatever step, routes are whole and the next command puts things right."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator

import pytest

from operator_ground import COUNT, NewRoute, OperatorGround, operator_ground
from routebpf.errors import InputError, MissingError
from routebpf.kernel import ledger as ledger_module
from routebpf.kernel.attached_routes import list_attached
from routebpf.kernel.ledger import identify, locked_ledger, read_ledger
from routebpf.kernel.namespaces import hold_namespace, remove_namespace

pytestmark = pytest.mark.kernel

PREFIX, OTHER = "192.168.9.0/24", "192.168.10.0/24"
NEW = "172.30.0.0/16"
STEPS = ("locked", "loaded", "pinned", "planned", "replaced", "verified", "done", "cleaned")
DETACH_STEPS = ("locked", "planned", "replaced", "done", "cleaned")
OLD_PROGRAM, NEW_PROGRAM = COUNT % ("lwt_xmit", "BPF_OK"), COUNT % ("lwt_xmit", "BPF_DROP")


@pytest.fixture
def ground(tmp_path) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path / "run") as made:
        made.ip("route add", PREFIX, "via 10.0.0.2 mtu 1300")
        made.ip("route add", OTHER, "via 10.0.1.2")
        yield made


def killed_at(step: str, work: Callable[[Callable[[str], None]], object]) -> None:
    """Run `work` in a process that is killed when that step is done."""
    child = os.fork()
    if child == 0:
        try:
            work(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == step else None)
        finally:
            os._exit(77)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it never came to {step}"


def states(ground: OperatorGround) -> set[str]:
    return {one.state for one in list_attached(ground.namespace).routes}


def program_on(ground: OperatorGround, prefix: str) -> str:
    """What the route calls its program, "" for none; it must be there."""
    words = ground.encap(prefix)
    assert words
    return words.partition("encap bpf xmit ")[2].partition(" ")[0]


# Killed


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_attaching_the_route_has_the_program_or_not_and_list_says_which(ground, read, step):
    before = ground.routes()
    source = read(NEW_PROGRAM)
    killed_at(step, lambda hook: ground.attach(source, PREFIX, OTHER, on_step=hook))
    assert ground.bare_routes() == before
    has_program = [bool(program_on(ground, one)) for one in (PREFIX, OTHER)]
    is_done = STEPS.index(step) >= STEPS.index("replaced")
    assert has_program == [is_done, is_done]
    done, undone, attached = {"interrupted: done"}, {"interrupted: not done"}, {"attached"}
    expected = {"planned": undone, "replaced": done, "verified": done, "done": attached, "cleaned": attached}
    assert states(ground) == expected.get(step, set())


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_in_attach_another_attach_puts_it_right(ground, read, step):
    before = ground.routes()
    source = read(NEW_PROGRAM)
    killed_at(step, lambda hook: ground.attach(source, PREFIX, OTHER, on_step=hook))
    ground.attach(source, PREFIX, OTHER)
    assert states(ground) == {"attached"}
    assert program_on(ground, PREFIX) == program_on(ground, OTHER) != ""
    assert len(ground.pinned()) == 2
    ground.detach(PREFIX, OTHER)
    assert (ground.routes(), ground.pinned(), states(ground)) == (before, [], set())


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_in_attach_detach_puts_it_right(ground, read, step):
    before = ground.routes()
    source = read(NEW_PROGRAM)
    killed_at(step, lambda hook: ground.attach(source, PREFIX, OTHER, on_step=hook))
    ground.detach()
    assert (ground.routes(), states(ground)) == (before, set())
    ground.attach(source, PREFIX)
    ground.detach(PREFIX)
    assert ground.pinned() == []


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_replacing_the_old_program_or_the_new_one_is_there(ground, read, step):
    before = ground.routes()
    (old,) = ground.attach(read(OLD_PROGRAM), PREFIX)
    source = read(NEW_PROGRAM)
    killed_at(step, lambda hook: ground.attach(source, PREFIX, on_step=hook))
    is_done = STEPS.index(step) >= STEPS.index("replaced")
    assert (program_on(ground, PREFIX) != old.program) == is_done
    assert program_on(ground, PREFIX)
    (done,) = ground.attach(source, PREFIX)
    assert done.what == ("unchanged" if is_done else "replace")
    assert states(ground) == {"attached"}
    assert program_on(ground, PREFIX) == done.program != old.program
    ground.detach(PREFIX)
    assert (ground.routes(), ground.pinned()) == (before, [])


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_replacing_detach_gives_back_the_route_of_the_beginning(ground, read, step):
    before = ground.routes()
    ground.attach(read(OLD_PROGRAM), PREFIX)
    source = read(NEW_PROGRAM)
    killed_at(step, lambda hook: ground.attach(source, PREFIX, on_step=hook))
    ground.detach(PREFIX)
    assert (ground.routes(), ground.pinned(), states(ground)) == (before, [], set())


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_making_a_route_detach_leaves_none(ground, read, step):
    before = ground.routes()
    source = read(NEW_PROGRAM)
    way = NewRoute(bytes((10, 0, 1, 2)))
    killed_at(step, lambda hook: ground.attach(source, NEW, create=way, on_step=hook))
    is_made = STEPS.index(step) >= STEPS.index("replaced")
    assert (NEW in ground.ip("route")) == is_made
    ground.detach()
    assert (ground.routes(), states(ground)) == (before, set())


@pytest.mark.parametrize("step", DETACH_STEPS)
def test_killed_while_detaching_another_detach_puts_it_right(ground, read, step):
    before = ground.routes()
    ground.attach(read(OLD_PROGRAM), PREFIX, OTHER)
    ground.attach(read(OLD_PROGRAM), NEW, create=NewRoute(bytes((10, 0, 1, 2))))
    killed_at(step, lambda hook: ground.detach(on_step=hook))
    is_done = DETACH_STEPS.index(step) >= DETACH_STEPS.index("replaced")
    assert bool(program_on(ground, PREFIX)) == (not is_done)
    assert (NEW in ground.ip("route")) == (not is_done)
    expected = {"locked": {"attached"}, "planned": {"interrupted: not done"}, "replaced": {"interrupted: done"}}
    assert states(ground) == expected.get(step, set())
    ground.detach()
    assert (ground.routes(), ground.pinned(), states(ground)) == (before, [], set())


@pytest.mark.parametrize("step", DETACH_STEPS)
def test_killed_while_detaching_an_attach_puts_it_right(ground, read, step):
    before = ground.routes()
    source = read(OLD_PROGRAM)
    ground.attach(source, PREFIX)
    killed_at(step, lambda hook: ground.detach(on_step=hook))
    ground.attach(source, PREFIX)
    assert states(ground) == {"attached"}
    assert program_on(ground, PREFIX)
    ground.detach(PREFIX)
    assert (ground.routes(), ground.pinned()) == (before, [])


def test_killed_while_the_ledger_is_written_the_old_one_is_there(ground, read, monkeypatch):
    (old,) = ground.attach(read(OLD_PROGRAM), PREFIX)
    monkeypatch.setattr(ledger_module.os, "rename", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    child = os.fork()
    if child == 0:
        try:
            with locked_ledger(identify(ground.namespace)) as held:
                held.book.entries.clear()
                held.write()
        finally:
            os._exit(77)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    monkeypatch.undo()
    os.environ["ROUTEBPF_RUN"] = str(ground.run)
    assert states(ground) == {"attached"}
    assert program_on(ground, PREFIX) == old.program


def test_what_a_killed_attach_left_goes_though_the_next_one_has_nothing_to_do(ground, read):
    old, new = read(OLD_PROGRAM), read(NEW_PROGRAM)
    ground.attach(old, PREFIX)
    folder = ground.run / ground.pins.name
    pins, files = ground.pinned(), sorted(os.listdir(folder))

    def write_and_die(step: str) -> None:
        if step == "pinned":  # the ledger is written next
            ledger_module.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

    killed_at("no step", lambda _: ground.attach(new, PREFIX, on_step=write_and_die))
    assert len(ground.pinned()) == 2 * len(pins)
    assert "ledger.new" in os.listdir(folder)
    assert ground.attach(old, PREFIX)[0].what == "unchanged"
    assert (ground.pinned(), sorted(os.listdir(folder))) == (pins, files)


def test_what_a_namespace_left_goes_when_something_is_attached_elsewhere(ground, read, tmp_path):
    source = read(OLD_PROGRAM)
    ground.attach(source, PREFIX)
    with operator_ground(ground.run) as other:
        other.attach(source, "10.0.0.0/24")
        assert ground.pinned()
        remove_namespace(ground.namespace)
        other.attach(source, "10.0.1.0/24")
        assert not ground.pins.exists()
        assert not (ground.run / ground.pins.name).exists()
        assert other.pinned()


# On disk


def test_a_namespace_that_has_the_inode_of_one_that_is_gone_keeps_its_ledger(ground, read, tmp_path):
    """What was noted is the name of the earlier one, where the command ran inside the later one."""
    ground.attach(read(OLD_PROGRAM), PREFIX)
    (ground.run / ground.pins.name / "namespace").write_text("rbpf-gone")
    pins = ground.pinned()
    with operator_ground(tmp_path / "elsewhere") as other:
        os.environ["ROUTEBPF_RUN"] = str(ground.run)
        other.ip("route add", PREFIX, "via 10.0.0.2")
        other.attach(read(OLD_PROGRAM), PREFIX)
    os.environ["ROUTEBPF_RUN"] = str(ground.run)
    assert (states(ground), ground.pinned()) == ({"attached"}, pins)


@pytest.mark.parametrize("is_made_anew", [False, True])
@pytest.mark.parametrize("step", ["locked", "planned", "done"])
def test_a_command_stays_in_the_namespace_that_loses_its_name_meanwhile(ground, read, step, is_made_anew):
    ground.attach(read(OLD_PROGRAM), PREFIX)

    def rename(name: str) -> None:
        if name == step:
            remove_namespace(ground.namespace)
            if is_made_anew:
                subprocess.run(["ip", "netns", "add", ground.name], check=True)

    with hold_namespace(ground.namespace) as held:
        assert held is not None
        (done,) = ground.attach(read(NEW_PROGRAM), PREFIX, on_step=rename)
        show = ["nsenter", f"--net=/proc/self/fd/{held.fd}", "ip", "route", "show", PREFIX]
        said = subprocess.run(show, capture_output=True, text=True, check=True, pass_fds=[held.fd or 0]).stdout
        assert f" xmit {done.program} " in said
        assert [one.state for one in list_attached(held).routes] == ["attached"]
    if is_made_anew:
        assert list_attached(ground.namespace).routes == []


def test_only_root_may_look_into_ledger_and_pins(ground, read):
    ground.attach(read(OLD_PROGRAM), PREFIX)
    for folder in (ground.run, ground.run / ground.pins.name, ground.pins, *ground.pins.iterdir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in (ground.run / ground.pins.name).iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_ledger_says_in_plain_words_what_is_attached(ground, read):
    (done,) = ground.attach(read(OLD_PROGRAM), PREFIX, headroom=14)
    said = json.loads((ground.run / ground.pins.name / "ledger.json").read_text())
    (route,) = said["routes"]
    assert (route["destinations"], route["length"], route["table"]) == ("c0a80900", 24, 254)
    name = done.program.removesuffix("+14")
    assert route["carries"] == [{"xmit": name}, 14]
    (program,) = said["programs"]
    assert (program["name"], program["function"], program["program_type"]) == (name, "count", "LWT_XMIT")


def test_a_ledger_that_is_read_back_says_the_same(ground, read):
    ground.ip("-6 route add fd99::/32 via fd00::2 metric 7 table 300")
    ground.ip("-6 route add fd99::/32 from fd12::/16 via fd00::2 dev veth0")
    ground.attach(read(OLD_PROGRAM), PREFIX, OTHER)
    ground.attach(read(COUNT % ("lwt_in", "BPF_OK")), PREFIX, headroom=32)
    ground.attach(read(OLD_PROGRAM), "fd99::/32", table=300)
    ground.attach(read(OLD_PROGRAM), NEW, create=NewRoute(bytes((10, 0, 1, 2))))
    ground.attach(read(OLD_PROGRAM), "fd99::/32")
    identity = identify(ground.namespace)
    with locked_ledger(identity) as held:
        entries = dict(held.book.entries)
        held.book.entries = {key: one._replace(planned=one.carries) for key, one in entries.items()}
        held.write()
    again = read_ledger(identity).book.entries
    assert len(again) == 5
    assert {key: (one.was and one.was.route, one.carries, one.planned) for key, one in again.items()} == {
        key: (one.was and one.was.route, one.carries, one.carries) for key, one in entries.items()
    }


def test_a_damaged_ledger_is_told_and_nothing_is_changed(ground, read):
    ground.attach(read(OLD_PROGRAM), PREFIX)
    before = ground.routes()
    path = ground.run / ground.pins.name / "ledger.json"
    whole = path.read_bytes()
    wrong = whole.replace(b'"family":2', b'"family":"x"')
    for damage in (b"", b"{", b"[]", b'{"format": 4}', whole[:-20], wrong, b"[" * 100_000, b"\xff" * 5_000):
        path.write_bytes(damage)
        for act in (lambda: ground.detach(PREFIX), lambda: list_attached(ground.namespace)):
            with pytest.raises(InputError, match=r"ledger\.json: it is damaged") as error:
                act()
            assert len(str(error.value)) < 500
    assert ground.routes() == before
    path.write_bytes(whole)
    ground.detach(PREFIX)


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("c0a80900", "c0a809"),
        ("c0a80900", "c0a80900ff"),
        ("c0a80900", "c0a80b00"),
        ('"length":24', '"length":33'),
        ('"length":24', '"length":99999999999'),
        ('"family":2', '"family":3'),
        ('"family":2', '"family":10'),
        ('"was":[2,24', '"was":[2,[]'),
        ('"was":[2,24', '"was":[2,-1'),
        ('"carries":[{', '"carries":[5,{'),
        ('"cookie":', '"cookie":1'),
        ('"id":', '"id":1e9,"of":'),
        ('/count-', '/../count-'),
    ],
)  # fmt: skip
def test_a_word_that_is_changed_in_the_ledger_is_damage(ground, read, word, instead):
    ground.attach(read(OLD_PROGRAM), PREFIX)
    before, pins = ground.routes(), ground.pinned()
    path = ground.run / ground.pins.name / "ledger.json"
    whole = path.read_text()
    path.write_text(whole.replace(word, instead))
    for act in (ground.detach, lambda: ground.attach(read(NEW_PROGRAM), PREFIX), lambda: states(ground)):
        with pytest.raises(InputError, match=r"ledger\.json: it is damaged"):
            act()
    assert (ground.routes(), ground.pinned(), path.read_text()) == (before, pins, whole.replace(word, instead))
    assert path.read_text() != whole


def test_an_attach_that_finds_no_room_for_the_ledger_leaves_nothing(ground, read):
    many = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(4_000)]
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in many))
    ground.run.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", ground.run], check=True)
    try:
        (old,) = ground.attach(read(OLD_PROGRAM), PREFIX)
        before, pins, files = ground.routes(), ground.pinned(), sorted(ground.run.rglob("*"))
        with pytest.raises(MissingError, match=r"cannot write the ledger .*: No space left on device"):
            ground.attach(read(NEW_PROGRAM), PREFIX, *many)
        assert (ground.routes(), ground.pinned(), sorted(ground.run.rglob("*"))) == (before, pins, files)
        assert (states(ground), program_on(ground, PREFIX)) == ({"attached"}, old.program)
        ground.detach(PREFIX)
        assert ground.pinned() == []
    finally:
        subprocess.run(["umount", ground.run], check=True)


@pytest.mark.parametrize("verb", ["attach", "replace", "detach"])
def test_a_change_is_taken_back_where_there_is_no_room_to_note_that_it_is_done(ground, read, verb):
    many = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(4_000)]
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in many))
    ground.run.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", ground.run], check=True)
    try:
        if verb != "attach":
            ground.attach(read(OLD_PROGRAM), PREFIX, *many)
        before, pins = ground.routes(), ground.pinned()
        noted = states(ground)

        def fill(step: str) -> None:
            if step == "replaced":
                with open(ground.run / "full", "wb", 0) as file, contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(4096))

        source = read(NEW_PROGRAM)
        acts = {"detach": lambda: ground.detach(*many[:100], on_step=fill)}
        act = acts.get(verb, lambda: ground.attach(source, PREFIX, *many, on_step=fill))
        with pytest.raises(MissingError, match=r"cannot write the ledger .*: No space left on device"):
            act()
        assert (ground.routes(), ground.pinned()) == (before, pins)
        assert states(ground) <= noted | {"interrupted: not done"}
        (ground.run / "full").unlink()
        ground.attach(read(NEW_PROGRAM), OTHER)
        ground.detach(OTHER)
        assert (ground.routes(), ground.pinned(), states(ground)) == (before, pins, noted)
    finally:
        subprocess.run(["umount", ground.run], check=True)


@pytest.mark.parametrize("inodes", range(1, 7))
def test_an_attach_that_may_make_so_few_files_leaves_nothing(ground, read, inodes):
    before = ground.routes()
    ground.run.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"nr_inodes={inodes}", "tmpfs", ground.run], check=True)
    try:
        with pytest.raises(MissingError, match=r"cannot write the ledger .*: No space left on device"):
            ground.attach(read(OLD_PROGRAM), PREFIX)
        assert (ground.routes(), ground.pinned(), states(ground)) == (before, [], set())
    finally:
        subprocess.run(["umount", ground.run], check=True)


def test_the_ledger_of_another_version_is_left_alone(ground, read):
    ground.attach(read(OLD_PROGRAM), PREFIX)
    path = ground.run / ground.pins.name / "ledger.json"
    path.write_text(path.read_text().replace('"format":4', '"format":5'))
    with pytest.raises(InputError, match="another version of routebpf"):
        ground.detach(PREFIX)


@pytest.mark.parametrize("change", [{"cookie": 1}, {"boot": "another"}])
def test_the_ledger_of_a_namespace_that_is_gone_counts_for_nothing(ground, read, change):
    """The kernel gives a namespace's inode to the next one."""
    source = read(OLD_PROGRAM)
    ground.attach(source, PREFIX)
    identity = identify(ground.namespace)
    with locked_ledger(identity) as held:
        held.identity = identity._replace(**change)
        held.write()
    assert states(ground) == {"by others"}
    (done,) = ground.attach(source, OTHER)
    assert states(ground) == {"by others", "attached"}
    assert {one.split("/")[0] for one in ground.pinned()} == {f"count-{done.program.rpartition(':')[2]}"}
