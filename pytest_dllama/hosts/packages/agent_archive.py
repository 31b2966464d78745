"""The agent as one file: a zip that `python3` runs, the same bytes for the same sources."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

_AGENT = Path(__file__).parent.parent / "agent"
_PACKAGE = "pytest_dllama/hosts/agent"
_MAIN = f"import sys\nfrom {_PACKAGE.replace('/', '.')}.main import main\nmain(sys.argv[1:])\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's earliest date


@cache
def agent_archive() -> tuple[str, bytes]:
    """File name, which names the content, and content."""
    files = {"__main__.py": _MAIN.encode()}
    for package in ("pytest_dllama", "pytest_dllama/hosts"):
        files[f"{package}/__init__.py"] = b""
    for path in sorted(_AGENT.glob("*.py")):
        files[f"{_PACKAGE}/{path.name}"] = path.read_bytes()
    data = zip_bytes(files)
    return f"agent-{hashlib.sha256(data).hexdigest()[:12]}.pyz", data


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """A zip of these files that depends on nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()
