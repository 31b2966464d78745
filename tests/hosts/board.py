"""A board's /sys and device tree as files below a folder, and the firmware's program beside."""

from __future__ import annotations

from pathlib import Path

VARIABLE = "PYTEST_DLLAMA_SYSTEM_ROOT"


class Board:
    """What a Raspberry Pi's kernel tells, in files that tests may change meanwhile."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
        for cpu in range(4):
            self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", "2400000\n")
            self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", "2400000\n")
            self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "ondemand\n")
            for index, (level, kind, size) in enumerate(
                [("1", "Data", "64K"), ("1", "Instruction", "64K"), ("2", "Unified", "512K")]
            ):
                self._cache(cpu, index, level, kind, size, f"{cpu}")
            self._cache(cpu, 3, "3", "Unified", "2048K", "0-3")
        self.write("sys/class/net/eth0/operstate", "up\n")
        self.write("sys/class/net/eth0/speed", "1000\n")
        self.write("sys/class/net/eth0/duplex", "full\n")
        self.write("sys/class/net/wlan0/operstate", "up\n")
        self.write("sys/class/net/wlan0/wireless/x", "")
        self.write("sys/class/net/down0/operstate", "down\n")
        self.write("sys/class/net/lo/operstate", "unknown\n")
        self.temperature(48.35)

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def _cache(self, cpu: int, index: int, level: str, kind: str, size: str, shared: str) -> None:
        folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
        for name, text in (
            *(("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)),
        ):
            self.write(f"{folder}/{name}", f"{text}\n")

    def temperature(self, celsius: float) -> None:
        """Of the processor; another zone is colder."""
        self.write("sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000:.0f}\n")
        self.write("sys/class/thermal/thermal_zone1/temp", "30000\n")

    def clock(self, mhz: int, cpu: int = 2) -> None:
        self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", f"{mhz * 1000}\n")

    def throttled(self, text: str) -> None:
        """By the kernel's file."""
        self.write("sys/devices/platform/soc/soc:firmware/get_throttled", text)

    def vcgencmd(self, script: str) -> None:
        """By the firmware's program, a shell script here."""
        self.write("bin/vcgencmd", f"#!/bin/sh\n{script}\n").chmod(0o755)
