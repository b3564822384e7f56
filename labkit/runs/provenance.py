"""Where a number was measured and what computed it: hardware, versions, commit."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from labkit import __version__
from labkit.ground.device import CPU


def hardware(device: torch.device = CPU) -> str:
    """What trains: the GPU, or the processor and the threads it may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the checkout that labkit runs from, with "+changes" where files differ; "none" outside one."""
    try:
        run = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True, "timeout": 10}
        found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()  # type: ignore[call-overload]
        dirty = subprocess.run(["git", "status", "--porcelain", "--", "."], **run).stdout.strip()  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return "none"
    return found + ("+changes" if dirty else "")


def describe(device: torch.device = CPU) -> dict[str, Any]:
    """Hardware, versions and commit, as plain values."""
    return {
        "hardware": hardware(device),
        "cores": os.cpu_count(),
        "labkit": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "commit": commit(),
    }
