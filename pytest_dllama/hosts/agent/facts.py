"""What a host is and how it fares, read from /proc, /sys and the Pi's firmware."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_dllama.hosts.agent.room import available_bytes

ROOT = Path(os.environ.get("PYTEST_DLLAMA_SYSTEM_ROOT", "/"))  # of /sys and the device tree
CPUS = ROOT / "sys/devices/system/cpu"
FIRMWARE = ROOT / "sys/devices/platform/soc/soc:firmware/get_throttled"
VCGENCMD_TIMEOUT_S = 2.0


def facts(request: dict[str, Any]) -> dict[str, Any]:
    """Everything that a preflight looks at; None for what this machine does not tell."""
    memory = _memory_bytes()
    folder = _existing(Path(request["folder"]))
    return {
        "hostname": platform.node(),
        "boot_id": boot_id(),
        "board": (_read(ROOT / "proc/device-tree/model") or "").strip("\0 ") or None,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "cpu_part": _of_every_core("CPU part"),
        "cpu_features": (_of_every_core("Features") or "").split(),
        "cache_bytes": last_level_cache_bytes(),
        "memory_bytes": memory.get("MemTotal"),
        "available_bytes": available_bytes(),
        "swap_bytes": memory.get("SwapTotal"),
        "swap_used_bytes": memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        "disk_free_bytes": shutil.disk_usage(folder).free,
        "governor": _read(CPUS / "cpu0/cpufreq/scaling_governor"),
        "max_mhz": _mhz(CPUS / "cpu0/cpufreq/cpuinfo_max_freq"),
        "load_1min": os.getloadavg()[0],
        "links": _links(),
        **sample({}),
    }


def boot_id() -> str | None:
    """What names this machine until its next boot, whatever its names are."""
    return _read("/proc/sys/kernel/random/boot_id")


def sample(request: dict[str, Any]) -> dict[str, Any]:
    """What changes while a run goes on, and what reading it cost."""
    start_s = time.perf_counter()
    mhz = [_mhz(path) for path in sorted(CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    known = [value for value in mhz if value is not None]
    return {
        "mhz": min(known) if known else None,
        "temperature_c": _temperature_c(),
        "throttled": _throttled(),
        "sample_ms": (time.perf_counter() - start_s) * 1e3,
    }


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _mhz(path: Path) -> float | None:
    text = _read(path)
    return int(text) / 1e3 if text and text.isdecimal() else None


def _memory_bytes() -> dict[str, int]:
    lines = (_read("/proc/meminfo") or "").splitlines()
    pairs = (line.split(":", 1) for line in lines if line.endswith("kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def _cpu_model() -> str | None:
    """As the kernel names it; ARM kernels often do not, their boards have names instead."""
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1).strip() if found else None


def _of_every_core(key: str) -> str | None:
    """A line of an ARM kernel about each core, where all cores have the same; None where not."""
    text = _read(ROOT / "proc/cpuinfo") or ""
    found = set(re.findall(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE))
    return found.pop().strip() if len(found) == 1 else None


def last_level_cache_bytes() -> int | None:
    """The last-level cache, all its instances together; None where the kernel does not tell."""
    sizes: dict[tuple[int, str], int] = {}
    for index in CPUS.glob("cpu[0-9]*/cache/index[0-9]*"):
        level, size = _read(index / "level"), _read(index / "size")
        shared = _read(index / "shared_cpu_list") or index.parent.parent.name
        if _read(index / "type") != "Instruction" and level and size and size[:-1].isdecimal():
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1], 0)
            sizes[int(level), shared] = int(size[:-1]) * unit
    last = max((level for level, _ in sizes), default=0)
    return sum(size for (level, _), size in sizes.items() if level == last) or None


def _temperature_c() -> float | None:
    """The hottest zone."""
    found = [_read(path) for path in (ROOT / "sys/class/thermal").glob("thermal_zone*/temp")]
    values = [int(text) / 1e3 for text in found if text and text.lstrip("-").isdecimal()]
    return max(values, default=None)


def _throttled() -> int | None:
    """The bits of `vcgencmd get_throttled`, from the kernel where it has them."""
    if text := _read(FIRMWARE):
        with suppress(ValueError):
            return int(text, 16)
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=VCGENCMD_TIMEOUT_S
        )
        return int(done.stdout.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _links() -> list[dict[str, Any]]:
    """Network interfaces that are up, but for loopback."""
    found = []
    for path in sorted((ROOT / "sys/class/net").glob("*")):
        if path.name == "lo" or _read(path / "operstate") == "down":
            continue
        speed = _read(path / "speed")
        known = speed is not None and speed.isdecimal()
        found.append(
            {
                "name": path.name,
                "speed_mbps": int(speed) if known and speed else None,
                "duplex": _read(path / "duplex"),
                "wireless": (path / "wireless").exists(),
            }
        )
    return found
