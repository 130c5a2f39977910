"""Training state on disk: safetensors for tensors, JSON for the rest, in one file that appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from acclimate.errors import AcclimateError, RunError


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Say in one line that ``what`` cannot be written, and why.

    Raises
    ------
    AcclimateError
        The device is full or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        reason = "no space left on the device" if error.errno == errno.ENOSPC else error.strerror or error
        raise AcclimateError(f"cannot write {what}: {reason}") from None


def write_atomic(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file, at once or piece by piece, that is either whole or not there, also after a power cut.

    Raises
    ------
    AcclimateError
        The device is full or the folder cannot be written to; what stood at ``path`` before still does.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


SEAL = "sha256"
"""Of a JSON object written here, the key of its own checksum: damage that leaves it JSON is seen."""


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, atomically; an object with its checksum."""
    if isinstance(value, dict):
        value = value | {SEAL: _seal(value)}
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def _seal(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def read_json(path: Traversable) -> Any:
    """Read what :func:`write_json` wrote; what has no checksum is taken as it is.

    Raises
    ------
    RunError
        The file is missing, damaged or changed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}") from None
    if isinstance(value, dict) and (seal := value.pop(SEAL, None)) is not None and seal != _seal(value):
        raise RunError(f"{path} is damaged or was edited: without its line {SEAL} it is taken as it is")
    return value


def save_tree(path: Path, tree: Any) -> None:
    """Save nested dicts, lists and tuples of tensors, numbers, strings, booleans and None, atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_strip(tree, "", tensors))
    write_atomic(path, save(tensors, metadata={"tree": f"{skeleton}\n{_checksum(skeleton, tensors)}"}))


def load_tree(path: Path) -> Any:
    """Load what :func:`save_tree` saved, tensors on the CPU.

    Raises
    ------
    RunError
        The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            skeleton, _, checksum = file.metadata()["tree"].partition("\n")  # one key: several come in any order
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if checksum not in ("", _checksum(skeleton, tensors)):
            raise ValueError("what it holds is not what was written")
        return _restore(json.loads(skeleton), tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}") from None


def _checksum(skeleton: str, tensors: Mapping[str, Tensor]) -> str:
    found = zlib.crc32(skeleton.encode())
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _strip(node: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        tensors[name] = node.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(node, Mapping):
        items = [(key, _strip(value, f"{name}/{key}", tensors)) for key, value in node.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$items": items}
    if isinstance(node, tuple | list):
        children = [_strip(value, f"{name}/{index}", tensors) for index, value in enumerate(node)]
        return {"$tuple": children} if isinstance(node, tuple) else children
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"{name}: {type(node).__name__} cannot be saved")


def _restore(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_restore(child, tensors) for child in node]
    if not isinstance(node, dict):
        return node
    if "$tensor" in node:
        return tensors[node["$tensor"]]
    if "$tuple" in node:
        return tuple(_restore(child, tensors) for child in node["$tuple"])
    if "$items" in node:
        return {key: _restore(child, tensors) for key, child in node["$items"]}
    return {key: _restore(child, tensors) for key, child in node.items()}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of every random generator that training draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
