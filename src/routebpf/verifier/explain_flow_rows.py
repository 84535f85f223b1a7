"""Classes of refusal: values never set, functions, callbacks, locks, loops, size and structure."""

from __future__ import annotations

from routebpf.verifier.explain_row import RefusalClass

# fmt: off
FLOW_ROWS: tuple[RefusalClass, ...] = (
    RefusalClass("no-return-value", r"\bR0 !read_ok",
                 "the function ends without a result on this path",
                 "What it returns decides about the packet, and nothing was put into r0.",
                 "return something on every path: `return BPF_OK;`"),
    RefusalClass("lost-by-call", r"\bR[1-5] !read_ok",
                 "{reg} is read, and holds nothing on this path",
                 "r1 to r5 are lost by every call; before, nothing but the arguments is set.",
                 "give the variable a value on every path; in assembly, keep what is needed in r6 to r9"),
    RefusalClass("unset", r"\bR\d+ !read_ok",
                 "{reg} is read, and holds nothing on this path",
                 "What it holds would be left over from the kernel.",
                 "give the variable a value on every path"),
    RefusalClass("frame-pointer-written", r"frame pointer is read only",
                 "r10, the frame pointer, is written",
                 "It is where the stack is.",
                 "copy it to another register"),

    # Functions.
    RefusalClass("timer-result", r"At async callback return the register R0 has .* should have been in \[0, 0\]",
                 "the callback of a timer returns something else than 0",
                 "The kernel allows for other answers later on.",
                 "`return 0;` on every path"),
    RefusalClass("function-result", r"At (?:subprogram exit|program exit|async callback return) the register R0|R0 "
                 "not a scalar value",
                 "the function returns something else than a number that it may return",
                 "Functions that are not static, and callbacks, return numbers.",
                 "return a number; make a function that returns a pointer `static`"),
    RefusalClass("function-argument-kind", r"Arg#(?P<position>\d+) type (?P<kind>\S+) in (?P<function>\w+)\(\) is not "
                 r"supported yet|Global function (?P<global>\w+)\(\)|reference type\('|Invalid type of function"
                 r"|set of tags|combination of tags|with any other tags|has pointer tag|should be `struct",
                 "a function that is not static is declared in a way that cannot be verified by itself",
                 "It takes the context, numbers and pointers to types of known size, at most 5, and returns a number "
                 "or "
                 "nothing.",
                 "make it `static`: then it is verified with each call"),
    RefusalClass("function-argument", r"Caller passes invalid args into func#\d+ \('(?P<function>\w+)'\)",
                 "{function}() is not given what it is declared to take",
                 "It is not static, so it was verified for what its declaration says.",
                 "pass that, or make the function `static`: then it is verified with each call"),
    RefusalClass("tail-call-function", r"tail_call is (?:not allowed in subprogs without BTF|only allowed in "
                 "functions)",
                 "a function with a tail call does not return int",
                 "What the called program returns becomes the function's result.",
                 "declare it `static int`, and compile with -g"),
    RefusalClass("callback-result", r"should have been in \[(?P<low>-?\d+), (?P<high>-?\d+)\]",
                 "the function returns a number that is not from {low} to {high}",
                 "Its caller decides by it whether to go on.",
                 "return a constant from {low} to {high}"),
    RefusalClass("callback-kind", r"callback function not static|missing btf func_info|expected pointer to "
                 "func|callback "
                 r"function not allowed",
                 "this function cannot be a callback here",
                 "A callback is a static function of the program, with debug information, for what the helper calls it "
                 "with.",
                 "make it `static`, and compile with -g"),
    RefusalClass("callback-never-called", r"No program to jit at insn",
                 "the address of a function is taken that nothing ever calls",
                 "The kernel removes the function, and then fails to find it.",
                 "leave out the call that is given it where it does nothing: `if (rounds) bpf_loop(rounds, …);`"),
    RefusalClass("stack-too-large", r"combined stack size of (?P<frames>\d+) calls is (?P<size>\d+)\. Too large",
                 "the functions that call each other here use {size} bytes of stack",
                 "A chain of calls has 512 bytes together; each function's are rounded up.",
                 "keep large variables in a map (a PERCPU_ARRAY of one entry), or in fewer functions"),
    RefusalClass("frames-too-many", r"the call stack of (?P<frames>\d+) frames is too deep",
                 "too many functions are inside each other",
                 "At most 8 are allowed, and no recursion.",
                 "inline some (`static __always_inline`), or go on with a loop or a tail call"),
    RefusalClass("tail-call-stack", r"tail_calls are not allowed when call stack of previous frames is (?P<size>\d+)",
                 "a function with a tail call is called with {size} bytes of stack in use",
                 "The program called has 256 bytes less then; more would be too much.",
                 "keep large variables of the callers in a map, or do the tail call in the program itself"),

    # Locks and sections.
    RefusalClass("lock-call", r"calls are not allowed while holding a lock|cannot be used inside bpf_spin_lock-ed "
                 "region",
                 "a lock is held here, where it must not be",
                 "Between lock and unlock there is nothing but plain code: no calls of functions that are not "
                 "static, few "
                 "helpers, no return.",
                 "unlock before: `bpf_spin_unlock(&value->lock);`"),
    RefusalClass("lock-balance", r"unlock without taking a lock|unlock of different lock|unlock cannot be out of order",
                 "what is unlocked here is not what was locked last",
                 "Locks are released by whom they were taken, in the opposite order.",
                 "unlock the same lock, of the same value, once"),
    RefusalClass("lock-twice", r"Locking two bpf_spin_locks are not allowed|Acquiring the same lock again",
                 "a lock is taken while one is held",
                 "Two programs that take two locks could wait for each other for ever.",
                 "unlock the first before taking the second"),
    RefusalClass("section-open", r"cannot be used inside bpf_(?P<section>\w+)-ed region",
                 "the section that bpf_{section}() opened is not closed on this path",
                 "The kernel would stay in it.",
                 "close it before, on every path"),
    RefusalClass("section-balance", r"unmatched (?:attempt to enable preemption|rcu read unlock)|nested rcu read lock",
                 "the section is opened twice, or closed without being open",
                 "Sections are opened and closed in pairs.",
                 "pair the calls on every path"),
    RefusalClass("section-needed", r"requires RCU critical section protection|expected an RCU CS",
                 "{callee} must be called inside an RCU section",
                 "What it looks at may vanish otherwise.",
                 "put it between bpf_rcu_read_lock() and bpf_rcu_read_unlock()"),

    # Loops and size.
    RefusalClass("endless-loop", r"infinite loop detected at insn \d+",
                 "the loop comes back to where it was with nothing changed",
                 "A program must end, and the kernel follows loops round by round until they do.",
                 "count in the loop against a constant limit, or use bpf_loop() or bpf_for()"),
    RefusalClass("too-complex", r"BPF program is too large\. Processed (?P<count>\d+) insn",
                 "the kernel would have to follow more than 1,000,000 instructions",
                 "It follows every round of a loop and every path anew, unless what is known is the same.",
                 "use bpf_loop() or bpf_for() for long loops, make functions not static (each is verified once), "
                 "decide less inside of loops"),
    RefusalClass("too-many-paths", r"The sequence of (?P<count>\d+) jumps is too complex",
                 "more than 8,192 paths would be left to follow at once",
                 "Every condition whose outcome is not known leaves one to be followed later.",
                 "use bpf_loop() for loops, or functions that are not static; in bpf_for() and bpf_repeat(), let no "
                 "variable count what is decided by later: count in a map or a global variable"),
    RefusalClass("too-many-maps", r"maps per program has reached the limit",
                 "the program uses more than 64 maps",
                 "That is the kernel's limit.",
                 "put similar maps into one, or into a map of maps"),

    # Structure.
    RefusalClass("unreachable", r"unreachable insn (?P<number>\d+)",
                 "no path leads to this instruction",
                 "Compilers leave none behind; the kernel takes none.",
                 "remove it"),
    RefusalClass("jump-out", r"jump out of range from insn|jump into the middle of ldimm64|last insn is not an exit or "
                 r"jmp|call to invalid destination|invalid insn idx",
                 "control would leave the function, or arrive inside an instruction",
                 "A function begins at its start and ends with exit; jumps stay inside of it.",
                 "end every path with a return"),
    RefusalClass("packet-load-instruction", r"BPF_LD_\[ABS\|IND\] instructions not allowed",
                 "the old instructions for packet loads are not for this program type",
                 "They are for socket filters.",
                 "read through skb->data, or call bpf_skb_load_bytes()"),
    RefusalClass("constant-operand", r"div by zero|invalid shift (?P<count>-?\d+)",
                 "a division by 0, or a shift by as many bits as the number has or more",
                 "A compiler makes no such instruction of a program that has a meaning.",
                 "look at the constant: the operation does nothing that makes sense"),
    RefusalClass("arena-cast", r"addr_space_cast insn",
                 "an address is cast between address spaces, and there is no arena",
                 "Only a program with a map of type ARENA has two of them.",
                 "declare a map of type ARENA, and use it in the program"),
    RefusalClass("reserved-fields", r"is not pointing to valid bpf_map|invalid btf_id|uses reserved fields|unknown "
                 "opcode|invalid BPF_LD_IMM|unrecognized bpf_ld_imm64|"
                 r"invalid bpf_ld_imm64|R\d+ is invalid|invalid atomic|BPF_ATOMIC uses invalid|invalid may_goto",
                 "this is no instruction of BPF",
                 "The kernel does not know these bytes.",
                 "compile for the bpf target (-target bpf), and an instruction set that the kernel has (-mcpu=v3)"),
)
# fmt: on
