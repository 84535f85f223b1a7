"""Classes of refusal: helpers, kfuncs, what they take, what they need."""

from __future__ import annotations

from routebpf.verifier.explain_row import RefusalClass

# fmt: off
CALL_ROWS: tuple[RefusalClass, ...] = (
    # What there is.
    RefusalClass("helper-of-other-type", r"program of this type cannot use helper (?P<helper>\w+)#\d+",
                 "{type} programs do not have {helper}()",
                 "Each program type has its own helpers.",
                 "`routebpf spec helpers` lists those that {type} programs have"),
    RefusalClass("missing-target", r"invalid func unknown#195896080",
                 "what is used here is not in the kernel",
                 "The compiler was told to look for it when the program is loaded, and it was not found.",
                 "test for it before: bpf_core_field_exists(), bpf_core_type_exists(), bpf_ksym_exists()"),
    RefusalClass("helper-unknown", r"invalid func unknown#(?P<helper>-?\d+)|unknown func \S+",
                 "there is no such helper",
                 "The number that is called belongs to no helper that kernels up to 6.18 have.",
                 "include <routebpf.h> or bpf_helpers.h instead of declaring helpers by hand"),
    RefusalClass("gpl-only-kfuncs", r"cannot call kernel function from non-GPL",
                 "kfuncs are for GPL programs only, and the licence is \"{license}\"",
                 "The kernel lets only programs with a GPL-compatible licence call its functions.",
                 "`char LICENSE[] SEC(\"license\") = \"GPL\";` (or \"Dual BSD/GPL\", \"Dual MIT/GPL\") if you may "
                 "license it so"),
    RefusalClass("gpl-only", r"cannot call GPL-restricted function from non-GPL compatible program",
                 "{callee} is for GPL programs only, and the licence is \"{license}\"",
                 "The kernel lets only programs with a GPL-compatible licence call it.",
                 "`char LICENSE[] SEC(\"license\") = \"GPL\";` (or \"Dual BSD/GPL\", \"Dual MIT/GPL\") if you may "
                 "license it so"),
    RefusalClass("kfunc-not-allowed", r"calling kernel function (?P<kfunc>\w+) is not allowed",
                 "{type} programs may not call the kfunc {kfunc}()",
                 "Each kfunc says which program types may call it.",
                 "`routebpf spec kfuncs` lists those that {type} programs have"),
    RefusalClass("sleeps", r"might sleep in a non-sleepable|must be sleepable to call|is sleepable within|sleepable "
                 "helper|"
                 r"functions that may sleep are not allowed",
                 "{callee} may sleep, and programs of routes must not",
                 "They run with the packet in hand, where the kernel cannot wait.",
                 "call it from the callback of a bpf_wq, which may sleep, outside of locks and sections"),
    RefusalClass("uninitialised-variable", r"unexpected __bpf_trap\(\) due to uninitialized variable",
                 "the compiler found that this place cannot be reached without undefined behaviour",
                 "It put a trap there: a variable is used without a value, or a function ends without a return.",
                 "compile with -Wall -Wuninitialized, and give every variable a value"),
    RefusalClass("functions-unprivileged", r"loading/calling other bpf or kernel functions are allowed for",
                 "without CAP_BPF, a program must be one function",
                 "Functions and kfuncs are for those who may load them.",
                 "make the functions `static __always_inline`, or load it with CAP_BPF"),

    # Arguments.
    RefusalClass("argument-or-null", r"^R\d+ type=(?P<held>\w*or_null_?) expected=(?P<expected>.+)",
                 "{callee} is given a pointer that may be NULL for `{argument}`",
                 "It does not check it.",
                 "compare it before: `if (!{variable}) return BPF_OK;`"),
    RefusalClass("argument-type", r"^R\d+ type=(?P<held>\S+) expected=(?P<expected>.+)",
                 "{callee} cannot take {held_words} for `{argument}`",
                 "What it takes there: {expected_words}.",
                 "pass what it takes: `routebpf spec helpers --find {name}`"),
    RefusalClass("size-negative", r"min value is negative, either use unsigned or",
                 "the size that {callee} is given may be negative",
                 "It would be a huge one.",
                 "make it unsigned; or bound it on both sides: `if (size < 0 || size > sizeof(buffer)) return "
                 "BPF_OK;`"),
    RefusalClass("size-zero", r"invalid zero-sized read",
                 "the size that {callee} is given may be 0",
                 "It takes sizes from 1 on.",
                 "compare it before: `if (!size) return BPF_OK;`"),
    RefusalClass("size-unbounded", r"unbounded memory access, use 'var &= const'",
                 "the size that {callee} is given has no upper bound",
                 "It may be larger than the memory that it is for.",
                 "bound it before: `if (size > sizeof(buffer)) return BPF_OK;`, or `size &= 63`"),
    RefusalClass("not-constant", r"R\d+ (?:is not a known constant|must be a known constant)|tail_call abusing map_ptr",
                 "`{argument}` of {callee} must be a constant",
                 "The kernel must know it when the program is loaded.",
                 "write a number, or a `const volatile` variable that is set before loading"),
    RefusalClass("map-type-of-helper", r"cannot pass map_type (?P<map_type>\d+) into func (?P<helper>\w+)#\d+",
                 "{helper}() cannot work on this type of map",
                 "Each map type has its own helpers.",
                 "`routebpf spec maps` says which helpers go with which type"),
    RefusalClass("tail-call-map", r"expected prog array map for tail call",
                 "bpf_tail_call() needs a map of type PROG_ARRAY",
                 "Only such a map holds programs.",
                 "declare it with `__uint(type, BPF_MAP_TYPE_PROG_ARRAY)`"),
    RefusalClass("format-string", r"Invalid format string|is not zero-terminated|doesn't point to a const "
                 "string|does not "
                 r"point to a readonly map|is not a constant address",
                 "the format or text that {callee} is given is not a constant that it can read",
                 "The kernel reads it when the program is loaded, and checks every %.",
                 "use a literal in place, as in `bpf_printk(\"mark %d\", skb->mark)`; %d %i %u %x %llx %s %pI4 %pI6 "
                 "and "
                 "the like"),
    RefusalClass("argument-read-only", r"R\d+ cannot write into (?P<held>\w+)|may write into memory pointed by",
                 "{callee} would write to memory that may only be read",
                 "The kernel gave it for reading.",
                 "copy it to a variable of the function first, and change that"),
    RefusalClass("map-has-no-field", r"map '(?P<map>\w+)' (?:has no valid|has to have BTF in order to use) "
                 "(?P<what>.+)",
                 "the values of map {map} have no {what}",
                 "{callee} works on one inside the value of a map, which the map's BTF must tell.",
                 "put it into the struct of the value, and declare the map with `__type(value, struct …)`"),
    RefusalClass("field-offset", r"doesn't point to '?(?:struct|kptr|map value)|doesn't have constant offset",
                 "{callee} is not given the address of what it works on",
                 "It must be the member itself, at its place in the value.",
                 "pass `&value->member`"),
    RefusalClass("dynptr-uninitialised", r"Expected an initialized dynptr",
                 "the dynptr is not initialised, or is already submitted or discarded",
                 "There is nothing in it.",
                 "make it first, with bpf_dynptr_from_mem(), bpf_dynptr_from_skb() or bpf_ringbuf_reserve_dynptr()"),
    RefusalClass("dynptr-initialised", r"Dynptr has to be an uninitialized dynptr",
                 "{callee} would overwrite a dynptr that is in use",
                 "It makes a new one there.",
                 "use another variable"),
    RefusalClass("dynptr-expected", r"expected pointer to stack or const struct bpf_dynptr|cannot pass in "
                 "dynptr|Expected a "
                 r"dynptr of type|cannot pass pointer to const bpf_dynptr|dynptr has to be at a constant",
                 "{callee} is not given a dynptr that it can take",
                 "A dynptr is a variable of the function, of the kind that the call is for.",
                 "pass `&dynptr`, of a `struct bpf_dynptr dynptr;` in the function"),
    RefusalClass("dynptr-memory", r"Unsupported reg type (?P<held>\S+) for \w+ data",
                 "{callee} cannot take {held_words}",
                 "A dynptr of memory is one of a map's value.",
                 "pass the address of a map's value, such as that of a global variable"),
    RefusalClass("other-map", r"(?:timer|workqueue|\w+) pointer in R\d map_uid=\d+ doesn't match map pointer",
                 "the two arguments of {callee} are not of the same map",
                 "What is inside a map's value belongs to that map.",
                 "pass the map in which the value was found"),
    RefusalClass("iterator", r"expected (?:an |un)?initialized iter_|expected pointer to an iterator|cannot "
                 "pass in "
                 r"iter_",
                 "the iterator is not in the state that {callee} needs",
                 "An iterator is made (new), stepped (next) and ended (destroy), in this order.",
                 "use bpf_for(), bpf_repeat() or bpf_for_each(), which do that"),
    RefusalClass("irq-flag", r"irq[ _](?:flag|state)",
                 "the interrupt flag is not in the state that {callee} needs",
                 "It is saved once, and restored once, in the opposite order, by the calls of the same kind.",
                 "give every bpf_local_irq_save() its own variable and its own bpf_local_irq_restore()"),
    RefusalClass("kfunc-object", r"expected pointer to STRUCT (?P<wanted>\w+) but R\d+ has a pointer to STRUCT "
                 r"(?P<held>\w+)|pointer type STRUCT (?P<other>\w+) must point",
                 "{callee} is given a pointer to something else than it takes",
                 "It works on a kernel object of one type.",
                 "pass the object that its prototype names: `routebpf spec kfuncs --find {name}`"),
    RefusalClass("kfunc-argument", r"arg#?(?P<position>\d+)\b.*(?:expected|doesn't point|pointer type|is an "
                 "unacquired)",
                 "{callee} cannot take what it is given for `{argument}`",
                 "The kernel checks it by the kfunc's prototype.",
                 "pass what its prototype says: `routebpf spec kfuncs --find {name}`"),

    # References.
    RefusalClass("reference-leak", r"Unreleased reference id=\d+ alloc_insn=(?P<acquired>\d+)",
                 "what was acquired is not given back on this path",
                 "The kernel would keep it for ever: every record reserved and object acquired is given back on every "
                 "path.",
                 "release it before: {release}"),
    RefusalClass("reference-twice", r"reference has not been acquired before|must be referenced when passed to "
                 "release|is "
                 r"an unacquired reference|cannot release unowned|must have zero offset when passed to release",
                 "{callee} releases what the program does not hold, or holds no more",
                 "It was released before, was never acquired, or the pointer is not the one that was given.",
                 "release every object once, with the pointer as it was given"),
    RefusalClass("reference-mixed", r"more than one arg with ref_obj_id",
                 "two arguments of {callee} are acquired objects",
                 "The kernel could not tell which of them is meant.",
                 "pass only one"),
)
# fmt: on
