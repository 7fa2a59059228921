"""Checkpoints: one safetensors file with JSON in its header. No pickle is ever read.

A file is either the whole new one or the old one: written beside its place, synced, then moved over it. A
checksum over all tensors tells a damaged file from a good one.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """Tensors in named groups (``network``, ``average``, ``optimizer``) and plain JSON values beside them."""

    groups: Mapping[str, Mapping[str, Tensor]]
    values: Mapping[str, Any] = field(default_factory=dict)

    def clone(self) -> "Checkpoint":
        """Return a copy that later training steps do not touch."""
        groups = {
            g: {name: t.detach().clone() for name, t in tensors.items()} for g, tensors in self.groups.items()
        }
        return Checkpoint(groups, dict(self.values))


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path``, replacing what is there in one move."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in checkpoint.groups.items()
        for name, tensor in members.items()
    }
    header = {
        "version": VERSION,
        "checksum": _checksum(tensors),
        "groups": list(checkpoint.groups),
        "values": dict(checkpoint.values),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(write_tensors(tensors, {"checkpoint": json.dumps(header)}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Checkpoint:
    """Read ``path``; a missing, damaged or newer file is a ``ValueError``."""
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["checkpoint"])
        if header["version"] > VERSION:
            raise ValueError(
                f"checkpoint {path}: version {header['version']}, this program reads to {VERSION}; update it"
            )
        tensors = read_tensors(content)
    except FileNotFoundError:
        raise ValueError(f"checkpoint {path} does not exist; train the design again from the start") from None
    except (SafetensorError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"checkpoint {path} is damaged ({error!r}); train the design again from the start"
        ) from None
    if _checksum(tensors) != header["checksum"]:
        raise ValueError(
            f"checkpoint {path} is damaged (wrong checksum); train the design again from the start"
        )
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in header["groups"]}
    for path_in_file, tensor in tensors.items():
        group, name = path_in_file.split("/", 1)
        groups[group][name] = tensor
    return Checkpoint(groups, header["values"])


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total
