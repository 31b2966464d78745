"""`pytest-dllama engine-info BINARY`: which dllama a program is, as far as it tells."""

from __future__ import annotations

import argparse
import shutil

from pytest_dllama.backends.dllama.asking import engine_here
from pytest_dllama.backends.dllama.rules import refused_version
from pytest_dllama.backends.dllama.versions import FLAGS, Engine
from pytest_dllama.backends.program_file import why_no_program


def add_engine_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "engine-info",
        help="tell which dllama a program is, and what it can do",
        description="Ask a dllama program by calls that open no file and no socket: the versions "
        "that it may be, the flags that it knows, the faults that these versions have.",
        epilog="example: pytest-dllama engine-info ../distributed-llama/dllama",
    )
    parser.add_argument("binary", metavar="BINARY", help="the program")
    parser.set_defaults(command=_engine_info)


def _engine_info(arguments: argparse.Namespace) -> int:
    found = shutil.which(arguments.binary)
    if found is None:
        raise FileNotFoundError(2, why_no_program(arguments.binary), arguments.binary)
    try:
        engine = engine_here(found)
    except OSError as error:
        why = f"{error.strerror or error}: {why_no_program(found)}"
        raise OSError(error.errno, why, found) from error
    for line in lines_of(engine, found):
        print(line)
    return 0


def lines_of(engine: Engine, binary: str) -> list[str]:
    """What is known of a program, in lines."""
    if engine.family == "other":
        return [f"suites:  refused: {refused_version(engine, binary)}"]
    if engine.family == "unknown":
        return [
            f"{binary}: does not answer as any known dllama does; it would be driven as one that "
            "knows no optional flag"
        ]
    known = [flag for flag in FLAGS if flag in engine.flags]
    missing = [f"{flag} ({since})" for flag, (_, since) in FLAGS.items() if engine.lacks(flag)]
    lines = [
        f"{binary}: dllama {engine.version}",
        f"knows:   {' '.join(known) or '-'}",
        f"lacks:   {', '.join(missing) or '-'}",
        *(f"remark:  {fault.text} ({fault.source})" for fault in engine.faults),
    ]
    refused = refused_version(engine, binary)
    return [*lines, f"suites:  {'refused: ' + refused if refused else '--engine dllama runs it'}"]
