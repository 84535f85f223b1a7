"""Classes of refusal: pointers, packet, context, map values, stack, kernel objects, arithmetic."""

from __future__ import annotations

from routebpf.verifier.explain_row import NEVER, RefusalClass

# fmt: off
MEMORY_ROWS: tuple[RefusalClass, ...] = (
    # The packet.
    RefusalClass("packet-bounds",
                 r"invalid access to packet, off=(?P<off>-?\d+) size=(?P<size>\d+)|offset is outside of the packet",
                 "the packet may end before what is accessed here",
                 "Packets can be shorter than that. A program may touch only bytes of which a comparison with "
                 "skb->data_end has shown, on this path, that they are in the packet.",
                 "before it, on every path: `if ({pointer} + {end} > (void *)(long)skb->data_end) return BPF_OK;`"),
    RefusalClass("packet-read-only", r"cannot write into packet",
                 "{type} programs cannot write to the packet",
                 "Only LWT_XMIT programs may: those on the way in and out share the packet with others.",
                 "make it an LWT_XMIT program (`SEC(\"lwt_xmit\")`), or only read here"),
    RefusalClass("packet-not-for-helper", r"helper access to the packet is not allowed",
                 "{callee} cannot take a pointer into the packet",
                 "It may be used after the packet has moved.",
                 "copy the bytes to a variable of the function first, and pass its address"),
    RefusalClass("misaligned", r"misaligned (?P<what>\w* ?)access off (?P<bits>\S+) size (?P<size>\d+)",
                 "the access is not aligned to its {size} bytes",
                 "Atomic operations, and every access to the stack, must be aligned to their size.",
                 "align the variable, or read it by smaller parts: `__builtin_memcpy(&x, pointer, {size})`"),

    # What is no pointer.
    RefusalClass("map-value-or-null", r"invalid mem access 'map_value_or_null'",
                 "the pointer may be NULL: the map may not have that key",
                 "A lookup gives NULL for a key that is not in the map, in an array for an index beyond its end.",
                 "compare it before: `if (!value) return BPF_OK;`"),
    RefusalClass("ringbuf-or-null", r"invalid mem access 'ringbuf_mem_or_null'",
                 "the pointer may be NULL: the ring buffer may be full",
                 "bpf_ringbuf_reserve() gives NULL when no room is left.",
                 "compare it before: `if (!record) return BPF_OK;`"),
    RefusalClass("pointer-or-null", r"invalid mem access '(?P<held>\w*or_null_?)'",
                 "the pointer may be NULL",
                 "What gave this pointer may have had nothing to give.",
                 "compare it before: `if (!pointer) return BPF_OK;`"),
    RefusalClass("not-a-pointer", r"invalid mem access 'scalar'",
                 "what is followed here is a number to the kernel, not a pointer",
                 "Only what comes from the context, a map, the stack or a helper is known to be a pointer, and only "
                 "as long as plain additions are all that is done to it.",
                 "follow a pointer that comes from one of these; to read kernel memory at an address, call "
                 "bpf_probe_read_kernel()"),
    RefusalClass("null-pointer", NEVER,
                 "the pointer is NULL on this path",
                 "A condition found it to be NULL, or it was set to NULL, and the path comes here all the same.",
                 "leave where it is NULL: `if (!pointer) return BPF_OK;`, and nothing else in that condition"),
    RefusalClass("packet-moved", NEVER,
                 "this pointer into the packet is void: the packet may have moved",
                 "After a call that may move the packet, pointers into it that were loaded before are numbers to the "
                 "kernel.",
                 "load skb->data and skb->data_end again after the call, and compare again"),
    RefusalClass("packet-end-access", r"invalid mem access 'pkt_end'|R\d+ pointer arithmetic on pkt_end prohibited",
                 "skb->data_end can only be compared with",
                 "What is at the end of the packet, or before it, is reached from skb->data.",
                 "go from skb->data: `void *p = (void *)(long)skb->data; if (p + N > data_end) …`"),
    RefusalClass("map-access", r"invalid mem access 'map_ptr'|map_ptr access|only read from \w* ?is supported|"
                 r"R\d+ is bpf_map\w* invalid",
                 "a map is not memory of the program",
                 "The address of a map is for helpers; its values are found with bpf_map_lookup_elem().",
                 "look the key up: `value = bpf_map_lookup_elem(&map, &key);`"),
    RefusalClass("wrong-pointer", r"invalid mem access '(?P<held>\w+)'",
                 "{held_words} cannot be followed",
                 "It is for helpers and comparisons only.",
                 ""),
    RefusalClass("different-pointers", r"same insn cannot be used with different pointers",
                 "one instruction would access the context here on one path, and other memory on another",
                 "The kernel rewrites accesses to the context, so they must be told from others when it is loaded.",
                 "do the access on each path by itself; keep the compiler from merging them with "
                 "`asm volatile(\"\" ::: \"memory\")` between"),

    # The context.
    RefusalClass("context-field", r"invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)",
                 "{type} programs cannot {do} this part of the context",
                 "The context is accessed by the fields that the program type has, each as a whole or by aligned "
                 "parts.",
                 "`routebpf spec context` lists the fields, and who may read and write them"),
    RefusalClass("context-variable", r"variable (?P<what>\w+) access var_off=(?P<bits>.+) disallowed",
                 "the offset into the context is not a constant",
                 "The kernel rewrites accesses to the context, and must know when loading which field it is.",
                 "name the field; for skb->cb[i], unroll the loop or use a switch"),
    RefusalClass("context-moved", r"(?:dereference of modified|negative offset) ctx ptr R\d+ off=\S+ disallowed",
                 "a pointer into the context is followed or passed on",
                 "The kernel rewrites accesses to the context, and takes its address only as it was given.",
                 "name the field where it is used, as `skb->mark`; for skb->cb[i], unroll the loop or use a switch"),
    RefusalClass("pointer-moved", r"(?:dereference of modified|negative offset) (?P<held>\w+) ptr R\d+ off=(?P<off>\S+)"
                 r" disallowed",
                 "{held_words} is passed on or followed after it was changed",
                 "The kernel takes it only as it was given.",
                 "keep the pointer as it is"),

    # Values of maps.
    RefusalClass("negative-offset", r"min value is negative, either use unsigned index|invalid access to map value, "
                 r"value_size=\d+ off=-",
                 "the access may be before the start of the memory: the offset may be negative",
                 "The number has no lower bound that the kernel knows: it may be signed, or have been subtracted "
                 "from.",
                 "make the offset unsigned, or compare it: `if (offset < 0 || offset >= N) return BPF_OK;`"),
    RefusalClass("map-value-bounds", r"invalid access to map value, value_size=(?P<value_size>\d+) off=(?P<off>-?\d+)"
                 r" size=(?P<size>\d+)",
                 "the access may be beyond the value's {value_size} bytes",
                 "Behind the value there is memory that is not the program's.",
                 "bound the index by the size of the value before: `if (index >= N) return BPF_OK;`"),
    RefusalClass("map-key-bounds", r"invalid access to map key, key_size=(?P<key_size>\d+) off=(?P<off>-?\d+)"
                 r" size=(?P<size>\d+)",
                 "the access is beyond the key's {key_size} bytes",
                 "Behind the key there is memory that is not the program's.",
                 "read no more than the map's key has"),
    RefusalClass("memory-bounds", r"invalid access to memory, mem_size=(?P<mem_size>\d+) off=(?P<off>-?\d+)"
                 r" size=(?P<size>\d+)",
                 "the access may be beyond the {mem_size} bytes of memory that were given",
                 "Behind them there is memory that is not the program's.",
                 "ask for as much as is used, or bound the index before: `if (index >= N) return BPF_OK;`"),
    RefusalClass("unbounded-offset", r"unbounded memory access, make sure to bounds check",
                 "the offset has no upper bound",
                 "With this offset the access may be anywhere.",
                 "bound it before: `if (index >= N) return BPF_OK;`, with an unsigned index; or `index &= N - 1`"),
    RefusalClass("map-key-read-only", r"write to change key R\d+ not allowed",
                 "the key that for_each_map_elem gives cannot be written",
                 "The map finds its entries by it.",
                 "delete the entry and add one with the other key"),
    RefusalClass("map-read-only", r"write into map forbidden",
                 "the map is read-only for programs",
                 "It holds constants of the object (.rodata), or was made with BPF_F_RDONLY_PROG.",
                 "make the variable not const, or use a map without that flag"),
    RefusalClass("map-write-only", r"read from map forbidden",
                 "the map is write-only for programs",
                 "It was made with BPF_F_WRONLY_PROG.",
                 "use a map without that flag"),
    RefusalClass("kernel-field-in-value", r"(?P<what>\w+) (?:cannot be accessed (?:in)?directly by|access cannot have "
                 r"variable offset|access misaligned|access size must be)",
                 "the {what} in the map's value is not accessed as it may be",
                 "The kernel keeps its own state there.",
                 "leave those bytes to the helpers of {what}; copy the value's other members one by one"),

    # The stack.
    RefusalClass("stack-bounds", r"invalid (?:variable-offset )?(?P<what>write to|read from) stack R\d+ (?:var_off=\S+ "
                 r"(?:\S+ )?)?off=(?P<off>-?\d+) size=(?P<size>\d+)",
                 "the access may be outside of the function's stack",
                 "A function has 512 bytes below its frame pointer: its variables, and nothing else.",
                 "bound the index by the array's length before; keep what is larger in a map"),
    RefusalClass("stack-unbounded", r"invalid unbounded variable-offset",
                 "the index into the stack has no bound",
                 "With this index the access may be anywhere.",
                 "bound it before: `if (index >= N) return BPF_OK;`, with an unsigned index"),
    RefusalClass("stack-uninitialised", r"invalid read from stack (?:R\d+ )?(?:var_)?off (?P<off>\S+)\+(?P<index>\d+) "
                 r"size (?P<size>\d+)",
                 "a variable on the stack is read before all of it is set",
                 "What is left there by the kernel would become visible.",
                 "initialise it, padding too: `struct key key = {{}};` or `__builtin_memset(&key, 0, sizeof(key));`"),
    RefusalClass("stack-variable-unprivileged", r"variable offset stack access prohibited for !root|variable stack "
                 r"access prohibited for !root|goes out of range, prohibited for !root|var-offset stack write",
                 "without CAP_PERFMON, the stack cannot be indexed by a variable",
                 "The processor could be led to run ahead with another index.",
                 "use constant indices or a map, or load it with CAP_PERFMON"),
    RefusalClass("stack-pointer-part", r"invalid size of register (?:fill|spill)|attempt to corrupt spilled",
                 "a pointer that is kept on the stack is accessed in parts",
                 "A pointer is stored and loaded as a whole, 8 bytes, aligned.",
                 "do not copy or change variables that hold pointers byte by byte"),
    RefusalClass("stack-pointer-escapes", r"cannot spill pointers to stack into stack frame of the caller|cannot "
                 "return "
                 r"stack pointer",
                 "the address of a local variable would outlive the function",
                 "The function's stack is gone when it returns.",
                 "let the caller have the variable, and pass its address"),
    RefusalClass("dynptr-overwritten", r"potential write to dynptr|cannot overwrite referenced dynptr",
                 "a dynptr on the stack would be overwritten",
                 "The kernel keeps its state in there.",
                 "submit or discard it first, and write to another variable"),

    # Kernel objects.
    RefusalClass("kernel-object-write", r"only read is supported",
                 "a kernel object cannot be written",
                 "Programs read kernel objects; what they may change, helpers and kfuncs change.",
                 "write through the context (skb->mark and the like), or call a helper"),
    RefusalClass("kernel-object-or-null", r"Possibly NULL pointer passed to (?:helper|trusted) arg(?P<position>\d+)",
                 "{callee} is given a pointer that may be NULL",
                 "It does not check it.",
                 "compare it before: `if (!pointer) return BPF_OK;`"),
    RefusalClass("kernel-object-bounds", r"access beyond (?:the end of member|struct)",
                 "the access goes over the end of a member of a kernel struct",
                 "Kernel objects are read member by member.",
                 "read one member at a time, with its own type"),
    RefusalClass("kernel-types-missing", r"in-kernel BTF is not available|the kernel has no struct|is not known to the "
                 r"kernel",
                 "the types of the kernel are needed for this, and are not there",
                 "Kernel objects are read by the types in the kernel's BTF (/sys/kernel/btf/vmlinux).",
                 "verify it on a machine whose kernel has CONFIG_DEBUG_INFO_BTF=y, with the type that it asks for"),
    RefusalClass("untrusted-object", r"R(?P<number>\d+) must be (?:referenced or trusted|a rcu pointer)",
                 "{callee} needs an object that is known to be there, and this one may be gone",
                 "The pointer was read out of another object, or its section has ended.",
                 "take it by a kfunc that acquires it, or inside bpf_rcu_read_lock() and bpf_rcu_read_unlock()"),

    # Arithmetic on pointers.
    RefusalClass("pointer-arithmetic-or-null", r"pointer arithmetic on (?P<held>\w*or_null_?) prohibited",
                 "the pointer may be NULL, and is computed with",
                 "NULL plus something is no NULL any more, and no pointer.",
                 "compare it with NULL before: `if (!pointer) return BPF_OK;`"),
    RefusalClass("pointer-plus-pointer", r"pointer (?P<operator>\S+) pointer prohibited",
                 "two pointers are combined (`{operator}`)",
                 "The result is no pointer that the kernel could follow.",
                 "subtract pointers of the same packet for a distance; add only numbers to pointers"),
    RefusalClass("pointer-32-bit", r"32-bit pointer arithmetic prohibited",
                 "a pointer is cut to 32 bits",
                 "What is left is no address.",
                 "use `long` or `__u64` for addresses: `(void *)(long)skb->data`"),
    RefusalClass("pointer-operator", r"(?:bitwise operator|pointer arithmetic with) (?P<operator>\S+) (?:operator|on "
                 r"pointer) ?(?:prohibited)?",
                 "`{operator}` is done to a pointer",
                 "Only numbers may be added to a pointer and subtracted from it.",
                 "do it to the offset, before it is added to the pointer"),
    RefusalClass("pointer-subtracted", r"tried to subtract pointer from scalar|subtraction from stack pointer",
                 "a pointer is subtracted from a number, or something from the frame pointer",
                 "The result is no pointer that the kernel could follow.",
                 "subtract numbers from pointers, and add to them"),
    RefusalClass("pointer-offset-negative", r"with unbounded min value is not allowed",
                 "the number that is added to the pointer may be negative: it has no lower bound",
                 "It may be signed, or have been subtracted from; as an unsigned number it would be huge.",
                 "make the index unsigned, or compare it: `if (index < 0 || index >= N) return BPF_OK;`"),
    RefusalClass("pointer-offset-unbounded", r"makes (?P<held>\w+) pointer be out of bounds|math between (?P<kind>\w+) "
                 r"pointer and (?P<number>\S+) is not allowed|pointer offset \S+ is not allowed",
                 "the number that is combined with the pointer may be too large or too small",
                 "Pointers may be moved by less than 512 MB either way.",
                 "bound it before: `if (offset > LIMIT) return BPF_OK;`, with an unsigned offset; align offsets, not "
                 "pointers"),
    RefusalClass("pointer-arithmetic", r"pointer arithmetic on (?P<held>\w+) prohibited",
                 "{held_words} cannot be computed with",
                 "It is used only as it was given.",
                 "keep the pointer as it is"),
    RefusalClass("pointer-leak", r"leaks addr (?:into|as)|leaking pointer|pointer arithmetic prohibited|pointer "
                 "comparison "
                 r"prohibited|partial copy of pointer",
                 "without CAP_PERFMON, an address of the kernel must not become a number",
                 "Whoever reads maps, packets or the result could learn where the kernel's memory is.",
                 "store what the pointer points to; or load it with CAP_PERFMON"),
)
# fmt: on
