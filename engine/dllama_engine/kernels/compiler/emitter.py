"""Compiles functions with numba for any CPU that LLVM knows and writes object files.

numba compiles for the process that it runs in. Here its code generator is replaced, once and for
good, so that this process can run none of what it compiles: it is a compiler and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite
import numba
from llvmlite import binding, ir
from numba import types
from numba.core import codegen, compiler, dispatcher, registry
from numba.core.compiler_lock import global_compiler_lock

from dllama_engine.kernels.image.targets import Target

_NRT = """
declare ptr @malloc(i64)
declare void @free(ptr)
declare i64 @write(i32, ptr, i64)
declare void @abort()

; One allocation: the header that numba's code expects, then the data.
define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %wide = zext i32 %align to i64
  %more = add i64 %wide, 40
  %total = add i64 %size, %more
  %info = call ptr @malloc(i64 %total)
  %failed = icmp eq ptr %info, null
  br i1 %failed, label %end, label %fill
fill:
  %at = ptrtoint ptr %info to i64
  %last = add i64 %at, %more
  %mask = sub i64 0, %wide
  %aligned = and i64 %last, %mask
  %data = inttoptr i64 %aligned to ptr
  store i64 1, ptr %info
  %data_at = getelementptr i8, ptr %info, i64 24
  store ptr %data, ptr %data_at
  %size_at = getelementptr i8, ptr %info, i64 32
  store i64 %size, ptr %size_at
  br label %end
end:
  ret ptr %info
}

define ptr @NRT_MemInfo_alloc_safe_aligned(i64 %size, i32 %align) {
  %info = call ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align)
  ret ptr %info
}

define void @NRT_MemInfo_call_dtor(ptr %info) {
  call void @free(ptr %info)
  ret void
}

define void @kernel_failed(ptr %text, i64 %size) noinline cold noreturn {
  %written = call i64 @write(i32 2, ptr %text, i64 %size)
  call void @abort()
  unreachable
}
"""


class _Library(codegen.CPUCodeLibrary):
    """IR only."""

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def _finalize_specific(self) -> None:
        pass


class _Codegen(codegen.JITCPUCodegen):
    """numba's, for another machine and without an engine that would load the code."""

    _library_class: Any = _Library
    target: Target

    def _init(self, llvm_module: Any) -> None:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        self._tm_features = self.target.features
        self._tm = binding.Target.from_triple(self.target.triple).create_target_machine(
            cpu=self.target.cpu,
            features=self.target.features,
            opt=3,
            reloc="pic",
            codemodel="small",
        )
        self._target_data = self._tm.target_data
        self._data_layout = str(self._target_data)
        self._loopvect, self._opt_level = False, 0

    def _create_empty_module(self, name: str) -> Any:
        module = super()._create_empty_module(name)
        module.triple = self.target.triple
        return module

    def _add_module(self, module: Any) -> None:
        pass

    def set_env(self, env_name: str, env: Any) -> None:
        pass


def _customize_flags(self: Any, flags: Any) -> Any:
    """Nothing is called from Python."""
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    return flags


def _keep_nothing(self: Any) -> None:
    """What is compiled here is of no use to numba elsewhere, nor the other way round."""


class Emitter:
    """Compiles for one target; the only one in this process's life.

    Must be made before any kernel is imported.
    """

    def __init__(self, target: Target) -> None:
        assert "_toplevel_target_context" not in vars(registry.cpu_target)
        _Codegen.target = target
        for owner, name, replacement in (
            (codegen, "JITCPUCodegen", _Codegen),
            (vars(dispatcher)["_FunctionCompiler"], "_customize_flags", _customize_flags),
            (dispatcher.Dispatcher, "enable_caching", _keep_nothing),
        ):
            setattr(owner, name, replacement)
        self._context = registry.cpu_target.target_context
        self.described = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"

    @global_compiler_lock
    def emit(
        self, name: str, function: Callable[..., Any], n_arguments: int, returns: bool
    ) -> bytes:
        """An object file that defines `name`: whole numbers in, a whole number or nothing out."""
        result = types.int64 if returns else types.void
        arguments = (types.int64,) * n_arguments
        flags: Any = compiler.Flags()
        flags.nrt = flags.no_compile = True  # the wrapper comes first
        flags.error_model = "numpy"
        _customize_flags(None, flags)
        compiled = compiler.compile_extra(
            registry.cpu_target.typing_context,
            self._context,
            function,
            arguments,
            result,
            flags,
            {},
        )
        library = compiled.library
        library.add_ir_module(self._wrapper(name, compiled.fndesc))
        library.finalize()
        return self._object(name, library)

    def _wrapper(self, name: str, described: Any) -> Any:
        """C's calling convention in front of numba's."""
        context = self._context
        module = context.create_module(f"{name}.wrapper")
        kind = context.call_conv.get_function_type(described.restype, described.argtypes)
        callee = ir.Function(module, kind, described.llvm_func_name)
        word = ir.IntType(64)
        returns = described.restype == types.int64
        result = word if returns else ir.VoidType()
        wrapper = ir.Function(
            module, ir.FunctionType(result, [word] * len(described.argtypes)), name
        )
        builder = ir.IRBuilder(wrapper.append_basic_block("entry"))
        status, out = context.call_conv.call_function(
            builder, callee, described.restype, described.argtypes, wrapper.args
        )
        with builder.if_then(status.is_error, likely=False):
            text = f"kernel {name}: out of memory, or an error in its code\n".encode()
            message = context.insert_const_bytes(module, text)
            byte = ir.IntType(8).as_pointer()
            fails = ir.Function(
                module, ir.FunctionType(ir.VoidType(), [byte, word]), "kernel_failed"
            )
            builder.call(fails, [builder.bitcast(message, byte), ir.Constant(word, len(text))])
        builder.ret(out) if returns else builder.ret_void()
        return module

    def _object(self, name: str, library: Any) -> bytes:
        module = library._final_module.clone()
        helpers = binding.parse_assembly(_NRT)
        helpers.triple, helpers.data_layout = module.triple, module.data_layout
        module.link_in(helpers)
        for value in (*module.functions, *module.global_variables):
            if not value.is_declaration and value.name != name:
                value.linkage = "internal"
                value.visibility = "default"
        optimize(module, library.codegen._tm)
        module.verify()
        return bytes(library.codegen._tm.emit_object(module))


def optimize(module: Any, machine: Any) -> None:
    """Optimize all over again, now that nothing but the entry is visible from outside.

    Before, every function could be called by anybody: arrays went in pieces over the stack, and
    each call counted references to arrays that nobody owns. Loops were vectorized the first time.
    """
    tuning = binding.create_pipeline_tuning_options(3)
    tuning.loop_vectorization = tuning.slp_vectorization = False
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
