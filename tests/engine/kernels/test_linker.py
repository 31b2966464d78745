"""What becomes of a compiler's code: optimized, then linked so that it may lie anywhere."""

from __future__ import annotations

import ctypes
import struct

import pytest
from llvmlite import binding

from dllama_engine.errors import EngineError
from dllama_engine.kernels.compiler.emitter import optimize
from dllama_engine.kernels.compiler.linker import link
from dllama_engine.kernels.image import mapped
from dllama_engine.kernels.image.file import Header

CALLS_ABS = """
declare i64 @labs(i64)
@numbers = private constant [2 x i64] [i64 40, i64 2]
@where = private constant ptr @numbers
define i64 @entry(i64 %x) {
  %at = load volatile ptr, ptr @where
  %first = load volatile i64, ptr %at
  %positive = call i64 @labs(i64 %x)
  %sum = add i64 %first, %positive
  ret i64 %sum
}
"""


def assembled(triple: str, text: str) -> bytes:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = binding.parse_assembly(f'target triple = "{triple}"\n{text}')
    machine = binding.Target.from_triple(triple).create_target_machine(
        reloc="pic", codemodel="small"
    )
    return bytes(machine.emit_object(module))


def test_linked_code_calls_the_c_library_and_finds_its_constants() -> None:
    linked = link([assembled(binding.get_process_triple(), CALLS_ABS)], ["entry"])
    header = Header(
        *("",) * 6, (), "", linked.entries, linked.imports, linked.imports_at, tuple(linked.rebased)
    )
    image = mapped._Image(header, memoryview(bytes(linked.code)))
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(image.base + linked.entries["entry"])
    assert call(-2) == 42


def test_arm_stubs_jump_by_the_table_of_imports() -> None:
    """The three instructions of a stub, read back as the manual of the architecture has them."""
    linked = link([assembled("aarch64-unknown-linux-gnu", CALLS_ABS)], ["entry"])
    slot = linked.imports["labs"]
    stubs = [
        at
        for at in range(0, linked.imports_at, 4)
        if struct.unpack_from("<I", linked.code, at + 8)[0] == 0xD61F0200
    ]
    (stub,) = stubs
    adrp, load = struct.unpack_from("<2I", linked.code, stub)
    pages = (adrp >> 5 & 0x7FFFF) << 2 | adrp >> 29 & 3
    assert (stub & ~0xFFF) + (pages << 12) + 8 * (load >> 10 & 0xFFF) == slot
    calls = [
        (at, word & 0x3FFFFFF)
        for at in range(0, stub, 4)
        if (word := struct.unpack_from("<I", linked.code, at)[0]) >> 26 == 0x25
    ]
    assert [at + 4 * words for at, words in calls] == [stub]


def test_code_that_would_write_to_its_own_data_is_refused() -> None:
    text = "@x = global i64 1\ndefine void @entry() {\n store i64 2, ptr @x\n ret void\n}"
    with pytest.raises(EngineError, match="kernels must not write to data of theirs"):
        link([assembled(binding.get_process_triple(), text)], ["entry"])


COUNTS_REFERENCES = """
define internal void @NRT_incref(ptr %owner) noinline {
  %unowned = icmp eq ptr %owner, null
  br i1 %unowned, label %end, label %counted
counted:
  %before = atomicrmw add ptr %owner, i64 1 monotonic
  br label %end
end:
  ret void
}
define internal i64 @first_of(ptr %owner, ptr %items, i64 %stride) noinline {
  call void @NRT_incref(ptr %owner)
  %first = load i64, ptr %items
  ret i64 %first
}
define i64 @entry(ptr %items) {
  %first = call i64 @first_of(ptr null, ptr %items, i64 8)
  ret i64 %first
}
"""


def test_nobody_counts_references_to_arrays_that_nobody_owns() -> None:
    """What is visible from one entry only keeps no argument that is always the same."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple = binding.get_process_triple()
    module = binding.parse_assembly(f'target triple = "{triple}"\n{COUNTS_REFERENCES}')
    optimize(module, binding.Target.from_triple(triple).create_target_machine())
    module.verify()
    assert "NRT_incref" not in str(module)
    assert "null" not in str(module)
