import io
import shutil
import struct
import subprocess
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_SH_TYPE_BASE
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from routebpf.errors import InputError
from routebpf.objects.elf import read_elf

SOURCE = """
int counter; static volatile int hidden = 3; const volatile int limit = 9;
static __noinline int twice(int x) { return 2 * x + hidden; }
struct { __uint(type, 1); __uint(max_entries, 4); __type(key, int); __type(value, int); } table SEC(".maps");
SEC("lwt_xmit") int run(void *ctx) {
    int key = 1;
    bpf_map_lookup_elem(&table, &key);
    counter++;
    return twice(limit);
}
"""


def test_sections_symbols_and_relocations_are_those_that_pyelftools_reads(compiler):
    path = compiler.compile(SOURCE)
    elf = read_elf(path.read_bytes(), "o")
    with path.open("rb") as file:
        theirs = ELFFile(file)
        fields = ("sh_flags", "sh_size", "sh_link", "sh_info")
        assert [(s.name, s.type, s.flags, s.size, s.link, s.info) for s in elf.sections] == [
            (s.name, ENUM_SH_TYPE_BASE.get(s["sh_type"], s["sh_type"]), *(s[one] for one in fields))
            for s in theirs.iter_sections()
        ]
        for section, other in zip(elf.sections, theirs.iter_sections(), strict=True):
            if other["sh_type"] not in ("SHT_NOBITS", "SHT_NULL"):
                assert section.data == other.data()
        for other in theirs.iter_sections():
            if isinstance(other, SymbolTableSection):
                assert [(s.value, s.size) for s in elf.symbols] == [
                    (s["st_value"], s["st_size"]) for s in other.iter_symbols()
                ]
                named = {s.name for s in other.iter_symbols() if s.name}
                assert named <= {s.name for s in elf.symbols}
            if isinstance(other, RelocationSection) and other.name in (".rellwt_xmit", ".rel.text"):
                ours = elf.relocations[other["sh_info"]]
                assert [(r.offset, r.type) for r in ours] == [
                    (r["r_offset"], r["r_info_type"]) for r in other.iter_relocations()
                ]


@pytest.mark.skipif(not shutil.which("llvm-readelf"), reason="no llvm-readelf here")
def test_symbol_names_and_bindings_are_those_that_llvm_readelf_prints(any_compiler):
    path = any_compiler.compile(SOURCE)
    text = subprocess.run(["llvm-readelf", "-s", path], capture_output=True, text=True, check=True).stdout
    theirs = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 8 and words[3] in ("FUNC", "OBJECT"):
            theirs[words[7]] = (words[3], words[4], int(words[1], 16))
    ours = {
        s.name: ({1: "OBJECT", 2: "FUNC"}[s.type], {0: "LOCAL", 1: "GLOBAL"}[s.binding], s.value)
        for s in read_elf(path.read_bytes(), "o").symbols
        if s.type in (1, 2)
    }
    assert ours == theirs


def test_a_file_that_is_no_elf_is_named_so():
    with pytest.raises(InputError, match=r"x\.txt: not an ELF file: it starts with 68 65 6c 6c"):
        read_elf(b"hello world" * 20, "x.txt")
    with pytest.raises(InputError, match="not an ELF file: it is empty"):
        read_elf(b"", "x.o")


def test_an_object_for_another_machine_is_refused_by_name():
    shell = Path("/bin/sh").read_bytes()
    with pytest.raises(InputError, match=r"an ELF file for \w+, not for BPF"):
        read_elf(shell, "sh")


@pytest.mark.parametrize(
    ("at", "number", "said"),
    [
        (16, 2, r"ELF type ET_EXEC, not a relocatable object"),
        (16, 77, r"ELF type 77, not a relocatable object"),
        (18, 62, r"an ELF file for X86_64, not for BPF"),
        (18, 9999, r"an ELF file for machine 9999, not for BPF"),
    ],
)
def test_what_else_an_elf_file_is_is_told(compiler, at, number, said):
    data = bytearray(compiler.compile(SOURCE).read_bytes())
    struct.pack_into("<H", data, at, number)
    with pytest.raises(InputError, match=said):
        read_elf(bytes(data), "o")


def test_a_big_endian_object_is_refused(any_compiler):
    command = [*any_compiler.command]
    command[command.index("-target") + 1] = any_compiler.big_endian_target
    path = any_compiler.directory / "big.o"
    source = any_compiler.directory / "big.c"
    source.write_text("int f(void) { return 1; }")
    subprocess.run([*command, "-c", source, "-o", path], check=True, capture_output=True)
    with pytest.raises(InputError, match="a big-endian BPF object; compile with -target bpfel"):
        read_elf(path.read_bytes(), "big.o")


def test_a_32_bit_file_is_refused(any_compiler):
    data = bytearray(any_compiler.compile(SOURCE).read_bytes())
    data[4] = 1
    with pytest.raises(InputError, match="a 32-bit ELF file"):
        read_elf(bytes(data), "o")


def test_every_cut_of_a_file_is_an_input_error(any_compiler):
    data = any_compiler.compile(SOURCE).read_bytes()
    for end in range(0, len(data), 61):
        with pytest.raises(InputError):
            read_elf(data[:end], "cut.o")


def test_a_section_that_ends_after_the_file_is_named(any_compiler):
    data = bytearray(any_compiler.compile(SOURCE).read_bytes())
    elf = read_elf(bytes(data), "o")
    table_at = struct.unpack_from("<Q", data, 0x28)[0]
    maps = elf.section(".maps")
    struct.pack_into("<Q", data, table_at + 64 * maps.number + 0x20, 1 << 40)
    with pytest.raises(InputError, match=r"section \.maps: cut short: it ends at byte \d+, the file has"):
        read_elf(bytes(data), "o")


def elf_of(*sections: tuple[int, bytes], link: int = 0, again: int = 0) -> bytes:
    """An ELF file for BPF with sections of these types and bytes, the last one so many times `again`."""
    sections = ((0, b""), *sections)
    count = len(sections) + again
    at = 64 + 64 * count
    headers, inside = b"", b""
    for kind, data in sections:
        header = struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, at + len(inside), len(data), link, 0, 0, 0)
        headers, inside = headers + header, inside + data
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 1, 247, 1, 0, 0, 64, 0, 64, 0, 0, 64, count, 1)
    return header + headers + headers[-64:] * again + inside


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No more memory than so many bytes is taken meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_sections_that_share_bytes_do_not_multiply_them():
    names, shared = (3, b"\0"), (1, bytes(1_000_000))
    data = elf_of(names, shared, again=10_000)
    assert ELFFile(io.BytesIO(data)).num_sections() == 10_003
    with at_most(10_000_000), pytest.raises(InputError, match="damaged: sections up to 3 have 2000001 bytes"):
        read_elf(data, "o")


def test_names_that_share_their_end_do_not_multiply_it():
    names = b"\0" + b"a" * 1_000_000 + b"\0"
    symbols = b"".join(struct.pack("<IBBHQQ", at, 0, 0, 0, 0, 0) for at in range(10_000))
    data = elf_of((3, names), (2, symbols), link=1)
    with at_most(10_000_000), pytest.raises(InputError, match="the string at offset 1 has no end, or more than 4,096"):
        read_elf(data, "o")
    symbol = struct.pack("<IBBHQQ", 1, 0, 0, 0, 0, 0)
    longest = elf_of((3, b"\0" + b"a" * 4095 + b"\0"), (2, symbol), link=1)
    assert read_elf(longest, "o").symbols[0].name == "a" * 4095
