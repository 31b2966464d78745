"""Images of kernels for common CPUs in a wheel: who installs it compiles nothing.

A wheel stays one for any machine: where no image fits, the kernels are compiled as before.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

PLACE = "dllama_engine/kernels/images"
LARGEST_BYTES = 10 << 20  # of all images of a wheel, packed


class WheelError(RuntimeError):
    """A file that is no wheel of this package, or images that are too large for one."""


def add_images(wheel: Path, images: Mapping[str, bytes]) -> int:
    """Put images into a wheel, in place of those that it has; written whole or not at all.

    Args:
        wheel: built from the sources that the images were compiled from.
        images: by target.

    Returns:
        Bytes by which images make the wheel larger.

    Raises:
        WheelError: it is no wheel of the engine, or the images are too large.
        OSError: of the file system.
    """
    new = {f"{PLACE}/{target}.image": data for target, data in images.items()}
    partial = wheel.with_name(f".{wheel.name}.{os.getpid()}.tmp")
    try:
        n_bytes = _write(wheel, partial, new)
        os.replace(partial, wheel)
    except zipfile.BadZipFile as error:
        raise WheelError(f"{wheel}: {error}; give a wheel of pytest-dllama") from None
    finally:
        partial.unlink(missing_ok=True)
    return n_bytes


def _write(wheel: Path, partial: Path, new: Mapping[str, bytes]) -> int:
    with zipfile.ZipFile(wheel) as old:
        records = [name for name in old.namelist() if name.endswith(".dist-info/RECORD")]
        if len(records) != 1 or "dllama_engine/kernels/entries.py" not in old.namelist():
            raise WheelError(f"{wheel} holds no engine; give a wheel of pytest-dllama")
        (record,) = records
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as file:
            for info in old.infolist():
                if info.filename != record and not info.filename.startswith(f"{PLACE}/"):
                    file.writestr(info, old.read(info), zipfile.ZIP_DEFLATED)
            for name, data in sorted(new.items()):
                file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, _DEFLATED)
            n_bytes = sum(file.getinfo(name).compress_size for name in new)
            if n_bytes > LARGEST_BYTES:
                raise WheelError(
                    f"the images take {n_bytes} bytes of the wheel, at most {LARGEST_BYTES} are "
                    "added; name fewer targets with --target"
                )
            lines = [line for line in old.read(record).decode().splitlines() if line]
            kept = [line for line in lines if not line.startswith(f"{PLACE}/")]
            added = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in new.items()]
            text = "\n".join([*sorted(added), *kept, ""])
            file.writestr(old.getinfo(record), text, zipfile.ZIP_DEFLATED)
    return n_bytes


_DEFLATED = zipfile.ZIP_DEFLATED


def _digest(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
