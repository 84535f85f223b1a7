"""Whatever a file, a flag or the machine is like: one clear message, exit 2 or 3, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from command_line import COMMAND, DROP_SMTP, MAIL, ROOT, WEB, complaint, map_of, program_file, routebpf

needs_clang = pytest.mark.skipif(not shutil.which("clang"), reason="no clang here")
is_root = os.geteuid() == 0
SH_SIZE, R_SYMBOL = 32, 12  # offsets in ELF's Elf64_Shdr and Elf64_Rel


def refused(folder: Path, *arguments: object, code: int = 2, **options: object) -> str:
    """The complaint of `routebpf run … --write OUT`; OUT keeps its content, and nothing else appears beside it."""
    out = folder / "kept.pcapng"
    out.write_bytes(b"what was there before")
    before = sorted(folder.iterdir())
    said = complaint("run", *arguments, "--write", out, code=code, **options)
    assert out.read_bytes() == b"what was there before"
    assert sorted(folder.iterdir()) == before
    return said


# Programs


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.o", b"hello", "neither an ELF object nor C source (*.c)"),
        ("empty.o", b"", "it is empty"),
        ("short.o", b"\x7fELF\x02\x01\x01", "cut short"),
        ("folder", None, "it is a directory; name the file in it"),
        ("missing.o", ..., "No such file or directory"),
        ("empty.bpf.c", b"", "it is empty"),
        ("none.bpf.c", b"int f(void) { return 1; }", 'put SEC("lwt_xmit") before the function'),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)
def test_what_is_no_program_is_named(tmp_path: Path, name: str, content: object, said: str) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    message = refused(tmp_path, path, "--pcap", WEB)
    assert str(path) in message
    assert said in message


@needs_clang
def test_an_object_comes_from_a_pipe_too(tmp_path: Path) -> None:
    made = _object(tmp_path, "return 0;")
    with subprocess.Popen(["cat", made], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        done = routebpf("verify", "/dev/stdin", stdin=cat.stdout)
    assert done.stdout.startswith("probe (LWT_XMIT): accepted\n")


def test_an_object_of_another_machine_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, shutil.which("true"), "--pcap", WEB)
    assert "not for BPF; compile with clang -target bpf" in message


@needs_clang
def test_a_big_endian_object_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "big.o"
    source = '__attribute__((section("lwt_xmit"))) int f(void *skb) { return 0; }'
    subprocess.run(
        ["clang", "-target", "bpfeb", "-g", "-x", "c", "-c", "-", "-o", made], input=source, text=True, check=True
    )
    message = refused(tmp_path, made, "--pcap", WEB)
    assert "big-endian" in message
    assert "-target bpf" in message


def test_a_section_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    message = refused(tmp_path, f"{DROP_SMTP}:lwt_xmit/nothing", "--pcap", WEB)
    assert "no section or function named lwt_xmit/nothing; it has drop_smtp (section lwt_xmit, LWT_XMIT)" in message


def test_several_programs_ask_for_a_choice(tmp_path: Path) -> None:
    second = 'SEC("lwt_xmit/two") int second(struct __sk_buff *skb) { return BPF_DROP; }'
    program = program_file(tmp_path, "return BPF_OK;", "lwt_xmit/one", before=second)
    message = refused(tmp_path, program, "--pcap", WEB)
    assert "it holds 2 programs; choose one" in message
    assert "probe (section lwt_xmit/one, LWT_XMIT)" in message
    assert "second (section lwt_xmit/two, LWT_XMIT)" in message


def test_a_program_of_no_type_says_how_to_give_one(tmp_path: Path) -> None:
    message = refused(tmp_path, program_file(tmp_path, "return BPF_OK;", "classifier"), "--pcap", WEB)
    assert "classifier" in message
    assert "--type" in message


@needs_clang
def test_btf_that_is_cut_short_is_told(tmp_path: Path) -> None:
    made, header, _ = _object_and_section(tmp_path, ".BTF")
    assert routebpf("run", made, "--pcap", WEB)
    _overwrite(made, header + SH_SIZE, (100).to_bytes(8, "little"))
    message = refused(tmp_path, made, "--pcap", WEB)
    assert "section .BTF" in message


@needs_clang
def test_a_relocation_to_nowhere_is_told(tmp_path: Path) -> None:
    made, _, content = _object_and_section(tmp_path, ".rellwt_xmit")
    _overwrite(made, content + R_SYMBOL, (9999).to_bytes(4, "little"))
    message = refused(tmp_path, made, "--pcap", WEB)
    assert "relocation" in message
    assert "lwt_xmit" in message
    assert "9999" in message


def test_an_unknown_map_type_is_told(tmp_path: Path) -> None:
    before = "enum { BPF_MAP_TYPE_NEW = 200 };" + map_of("odd", "NEW", "__u32", "__u32")
    program = program_file(tmp_path, "__u32 k = 0; return bpf_map_lookup_elem(&odd, &k) ? 1 : 0;", before=before)
    message = refused(tmp_path, program, "--pcap", WEB)
    assert "map odd: map type 200 is not known" in message


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (9999, 2, "unknown#9999"),  # of no kernel
        (109, 3, "bpf_send_signal#109"),  # of this one, but not in this process
    ],
)
def test_a_helper_that_a_program_cannot_have_is_named(tmp_path: Path, number: int, code: int, said: str) -> None:
    body = "return wanted(1) ? 1 : 0;"
    program = program_file(tmp_path, body, before=f"static long (*wanted)(long) = (void *){number};")
    message = refused(tmp_path, program, "--pcap", WEB, code=code)
    assert said in message
    assert f"{program}:5: " in message
    assert f"  5 | {body}" in message
    unverified = ("--engine", "interpreter", "--no-verify")
    assert said.partition("#")[0] in refused(tmp_path, program, "--pcap", WEB, *unverified, code=1)


def test_a_program_that_the_verifier_refuses_is_refused_with_its_explanation(tmp_path: Path) -> None:
    body = "return wanted(1) ? 1 : 0;"
    program = program_file(tmp_path, body, before="static long (*wanted)(long) = (void *)44;")
    for engine in ("jit", "interpreter"):
        message = refused(tmp_path, program, "--pcap", WEB, "--engine", engine, code=1)
        assert "error[helper-of-other-type]: LWT_XMIT programs do not have bpf_xdp_adjust_head()" in message
        assert f" --> {program}:5:" in message
        assert message.splitlines()[-1].endswith("program of this type cannot use helper bpf_xdp_adjust_head#44")
    assert "--engine interpreter" in refused(tmp_path, program, "--pcap", WEB, "--no-verify", code=2)


def test_a_compiler_s_complaints_are_shown_as_it_makes_them_with_its_exit(tmp_path: Path) -> None:
    program = program_file(tmp_path, "return no_such_thing;")
    message = refused(tmp_path, program, "--pcap", WEB)
    assert f"cannot compile {program}: " in message
    assert "stopped with exit 1:\n" in message
    assert f"\n{program}:5:8: error: use of undeclared identifier 'no_such_thing'\n" in message
    assert "return no_such_thing;\n" in message.split("error: ")[1]


def test_without_a_compiler_the_message_says_what_would_mend_it(tmp_path: Path) -> None:
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang" / "__init__.py").touch()
    environment = {**os.environ, "PATH": "", "PYTHONPATH": str(tmp_path)}
    message = refused(tmp_path, DROP_SMTP, "--pcap", WEB, code=3, env=environment)
    assert "no clang is here; install the distribution's clang, or: pip install routebpf[clang]" in message


def test_a_fault_of_the_interpreter_is_told_with_its_line_and_nothing_is_written(tmp_path: Path) -> None:
    body = "return *(unsigned char *)(long)(skb->data_end);"
    message = refused(
        tmp_path, program_file(tmp_path, body), "--pcap", WEB, "--engine", "interpreter", "--no-verify", code=1
    )
    assert "running probe" in message
    assert f"  5 | {body}" in message
    assert "registers: " in message


# Captures


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"GET / HTTP/1.1\r\n", "neither a pcap nor a pcapng capture"),
        (WEB.read_bytes()[:10], "damaged at byte 0: the file header is cut short: 10 of 24 bytes are there"),
        (WEB.read_bytes()[:20] + b"\x93\0\0\0" + WEB.read_bytes()[24:], "147"),  # LINKTYPE_USER0
        (b"\x1f\x8b\x08\0garbage", "damaged"),
        (None, "Is a directory"),
        (..., "No such file or directory"),
    ],
    ids=["empty", "text", "header cut short", "link type", "gzip", "directory", "missing"],
)
def test_what_is_no_capture_is_told_before_anything_is_printed_or_written(
    tmp_path: Path, content: object, said: str
) -> None:
    path = tmp_path / "in.pcap"
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    message = refused(tmp_path, DROP_SMTP, "--pcap", path)
    assert str(path) in message
    assert said in message


@pytest.mark.skipif(not shutil.which("setpriv") or not is_root, reason="needs root and setpriv")
@pytest.mark.parametrize("kind", ["program", "capture", "output", "folder"])
def test_what_may_not_be_read_or_written_is_told(tmp_path: Path, kind: str) -> None:
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    folder = tmp_path / "in"
    folder.mkdir()
    program, capture, out = (folder / name for name in ("program.bpf.c", "in.pcap", "out.pcap"))
    program.write_bytes(DROP_SMTP.read_bytes())
    capture.write_bytes(WEB.read_bytes())
    if kind != "folder":
        out.write_bytes(b"kept")
    {"program": program, "capture": capture, "output": out, "folder": folder}[kind].chmod(
        0o500 if kind == "folder" else 0
    )
    arguments = ["run", str(program), "--pcap", str(capture), "--write", str(out)]
    done = subprocess.run([*command, str(COMMAND), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(folder.iterdir()) == {program, capture} | ({out} if kind != "folder" else set())
    assert kind == "folder" or out.read_bytes() == b"kept"


# Outputs


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    for name, said in (
        ("missing/out.pcap", "No such file or directory"),
        ("folder.pcap", "Is a directory"),
        ("out.txt", "name it .pcap or .pcapng"),
    ):
        (tmp_path / "folder.pcap").mkdir(exist_ok=True)
        message = complaint("run", DROP_SMTP, "--pcap", WEB, "--write", tmp_path / name)
        assert str(tmp_path / name) in message
        assert said in message
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pcap"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    full = tmp_path / "full.pcap"
    full.symlink_to("/dev/full")
    message = complaint("run", DROP_SMTP, "--pcap", WEB, "--write", full)
    assert f"cannot write the capture {full} any further: No space left on device; free some space" in message
    for arguments in (["run", DROP_SMTP, "--pcap", WEB], ["spec"], ["--help"]):
        with open("/dev/full", "wb") as output:
            done = routebpf(*arguments, code=3, capture_output=False, stdout=output, stderr=subprocess.PIPE)
        assert done.stderr == "routebpf: cannot write the output: No space left on device\n"
    for arguments in (["disasm", tmp_path / "missing.o"], ["spec", "nothing"]):
        with open("/dev/full", "wb") as output:
            routebpf(*arguments, code=2, capture_output=False, stderr=output)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8:strict", "ascii"])
def test_what_the_terminal_s_encoding_does_not_have_is_shown_all_the_same(tmp_path: Path, encoding: str) -> None:
    program = program_file(tmp_path, "return 0; /* \u2192 \u6f22 */")
    odd = os.fsencode(program) + b"\xff.bpf.c"
    os.rename(program, odd)
    for command in (["disasm"], ["verify", "--explain"], ["run", "--pcap", WEB]):
        done = routebpf(
            *command,
            os.fsdecode(odd),
            text=False,
            env={**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"},
        )
        assert done.stderr == b""
    done = routebpf("disasm", os.fsdecode(odd) + ".o", code=2, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert "No such file or directory" in done.stderr


def test_pcap_is_refused_where_devices_have_several_link_types(tmp_path: Path) -> None:
    topology = tmp_path / "two.topology"
    topology.write_text("link add eth0 type dummy\nlink set eth0 up\ntuntap add mode tun name tun0\nlink set tun0 up\n")
    message = complaint("run", "--topology", topology, "--pcap", WEB, "--write", tmp_path / "out.pcap")
    assert "a pcap capture has one link type" in message
    assert "name it .pcapng" in message


# Flags


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "10.0.0.0/40"], "--to 10.0.0.0/40"),
        (["--to", "10.0.0.1/8"], "has host bits set"),
        (["--to", "mail"], "a prefix is written 10.0.0.0/8 or fd00::/16"),
        (["--to", "10.0.0.0/8", "--to", "10.0.0.0/8"], "10.0.0.0/8"),
        (["--in", "eth7"], "there is no device eth7; there are lo, veth0"),
        (["--in", ""], "there is no device ; there are lo, veth0"),
        (["--clock", "noon"], "'noon' is neither capture, machine nor a number of nanoseconds"),
        (["--clock", "-5"], "nor a number of nanoseconds"),
        (["--clock", "99999999999999999999"], "nor a number of nanoseconds"),
        (["--cpus", "0"], "'--cpus'"),
        (["--engine", "fast"], "'fast' is not one of 'jit', 'interpreter'"),
        (["--topology", "examples/push_link_header.topology"], "give either PROG or --topology"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_flag_is_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in refused(tmp_path, DROP_SMTP, "--pcap", MAIL, *arguments)


def test_flags_that_are_missing_or_do_not_go_together_are_told(tmp_path: Path) -> None:
    assert "Missing option '--pcap'" in complaint("run", DROP_SMTP)
    assert "give either PROG or --topology" in complaint("run", "--pcap", WEB)
    assert "--to and --type go with PROG" in complaint(
        "run", "--topology", "examples/push_link_header.topology", "--to", "10.0.0.0/8", "--pcap", WEB
    )
    assert "ends with a colon; a section's or function's name follows" in complaint("verify", f"{DROP_SMTP}:")
    assert "--memory goes with --hex" in complaint("exec", DROP_SMTP, "--memory", "00")
    for flags in (["--packet", "45"], ["--context", "mark=1"], ["--type", "lwt_in"], ["--no-verify"]):
        assert "go with PROG; --hex gets --memory" in complaint("exec", "--hex", "9500000000000000", *flags)
    assert "no command 'rum'; did you mean run?" in complaint("rum")
    assert "there are run, exec, " in complaint("paint")


# Topologies


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("route add 10.0.0.0/8 dev lan0 encap bpf xmit obj missing.o section lwt_xmit", "missing.o"),
        ("route add 10.0.0.0/8 dev nowhere", "nowhere"),
        ("route add 10.0.0.0/8 dve lan0", "dve"),
        ("rout fly 10.0.0.0/8", "fly"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_a_bad_line_of_a_topology_is_told_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    topology = tmp_path / "net.topology"
    topology.write_text(f"# a comment\nlink add lan0 type dummy\n\nlink set lan0 up\n{line}\n")
    message = refused(tmp_path, "--topology", topology, "--pcap", WEB)
    assert f"{topology}:5: " in message
    assert said in message


def test_a_topology_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file or directory" in refused(tmp_path, "--topology", tmp_path / "net.topology", "--pcap", WEB)


def test_a_topology_comes_from_the_standard_input_too() -> None:
    lines = "link add lan0 type dummy\nlink set lan0 up\nroute add default dev lan0\nroute fly\n"
    assert "-:4: " in complaint("run", "--topology", "-", "--pcap", WEB, input=lines)


def test_a_topology_that_is_no_text_is_not_read_whole(tmp_path: Path) -> None:
    topology = tmp_path / "net.topology"
    topology.touch()
    os.truncate(topology, 1 << 43)
    assert f"{topology}:1: a NUL byte; a topology is text" in refused(tmp_path, "--topology", topology, "--pcap", WEB)


def _object(folder: Path, body: str, before: str = "") -> Path:
    """What clang makes of a program."""
    program, made = program_file(folder, body, before=before), folder / "probe.o"
    options = ["-O2", "-g", "-target", "bpfel", "-isystem", ROOT / "src/routebpf/include", "-c", program, "-o", made]
    subprocess.run(["clang", *map(str, options)], check=True)
    program.unlink()
    return made


def _overwrite(path: Path, offset: int, value: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)


def _object_and_section(folder: Path, name: str) -> tuple[Path, int, int]:
    """An object with a relocation, and where its section of that name has its header and its content."""
    made = _object(folder, "return counter++ ? BPF_OK : BPF_DROP;", before="__u64 counter;")
    with made.open("rb") as file:
        elf = ELFFile(file)
        number = elf.get_section_index(name)
        header = elf["e_shoff"] + number * elf["e_shentsize"]
        return made, header, elf.get_section(number)["sh_offset"]
