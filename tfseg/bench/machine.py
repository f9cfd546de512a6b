"""Machine: the host that files are measured on, as far as a latency depends on it."""

import dataclasses
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_VECTORS = re.compile(r"s?sse|avx|fma|f16c|amx|gfni|neon|asimd|sve|sme\d?$|i8mm|bf16|fphp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A host.

    Attributes:
        cpu: its name.
        device_id: eight hex digits of the hash of the host's name.
        cpus: how many this process may use.
        soc: the same in words, with the instruction set.
        flags: the vector instructions that the CPU has, sorted; empty where the system does not list them.
        system: name and version of the operating system.
    """

    cpu: str
    device_id: str
    cpus: int
    soc: str
    flags: tuple[str, ...]
    system: str


@functools.cache
def this() -> Machine:
    """Return the host that this process runs on."""
    listed = Path("/proc/cpuinfo")
    cpu, flags = parse(listed.read_text(encoding="utf-8", errors="replace") if listed.exists() else "")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=cpu or _apple() or platform.processor() or platform.machine(),
        device_id=hashlib.sha256(platform.node().encode()).hexdigest()[:8],
        cpus=cpus,
        soc=f"{cpus} CPU{'s' if cpus > 1 else ''}, {platform.machine()}",
        flags=flags,
        system=f"{platform.system()} {platform.release()}",
    )


def parse(cpuinfo: str) -> tuple[str, tuple[str, ...]]:
    """Return the CPU's name, or "", and its vector instructions, from the text of Linux's /proc/cpuinfo.

    >>> parse("model name\\t: Example 9\\nflags\\t\\t: fpu smep sse2 avx2\\n")
    ('Example 9', ('avx2', 'sse2'))
    >>> parse("CPU implementer\\t: 0x41\\nFeatures\\t: fp asimd asimddp\\nCPU part\\t: 0xd0b\\n")
    ('Arm 0x41 part 0xd0b', ('asimd', 'asimddp'))
    """
    fields: Mapping[str, str] = dict(re.findall(r"^([^:\n]*?)\s*: (.*)$", cpuinfo, re.MULTILINE))
    words = f"{fields.get('flags', '')} {fields.get('Features', '')}".split()
    name = fields.get("model name", "")
    if not name and "CPU part" in fields:
        name = f"Arm {fields.get('CPU implementer', '?')} part {fields['CPU part']}"
    return name.strip(), tuple(sorted({word for word in words if _VECTORS.match(word)}))


def _apple() -> str:
    """Return the name that macOS gives its CPU, or "" elsewhere."""
    sysctl = shutil.which("sysctl") if platform.system() == "Darwin" else None
    if sysctl is None:
        return ""
    said = subprocess.run([sysctl, "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
    return said.stdout.strip()
