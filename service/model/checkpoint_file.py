"""Read the content of a checkpoint file, whatever its name: tensors and plain containers. No code of the file runs.

Training frameworks pickle more than tensors: paths, numpy's numbers, their own classes. torch reads such a file if
these names are declared safe. This module declares stand-ins for them, which do nothing.
"""

import json
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from service.model.errors import WeightsError

_SAVE_TENSORS = "Save the tensors alone, as in torch.save(model.state_dict(), path)"
_HALF_A_DOWNLOAD = "it breaks off, as half a download does; compare its size with the original's and fetch it again"
# The first bytes of files that people mistake for checkpoints, and advice.
_OTHERS = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself; fetch that with: git lfs pull"),
    (b"<!doctype html", "it is a web page, as a download without a login leaves it; fetch the file itself"),
    (b"<html", "it is a web page, as a download without a login leaves it; fetch the file itself"),
    (b"<?xml", "it is XML, as a storage service answers an error; fetch the file itself"),
    (b"\x89hdf", "it is HDF5, as Keras writes it; this service loads PyTorch's checkpoints and safetensors"),
    (b"\x1f\x8b", "it is compressed; unpack it first, as in: gunzip"),
)
# Names of these modules can run code. A file with one is refused although a stand-in would do no harm: the file is
# broken, or an attack.
_RUNS_CODE = {"builtins", "ctypes", "importlib", "nt", "os", "posix", "runpy", "shutil", "socket", "subprocess", "sys"}
# Builtins that are values of hyper-parameters, as in argparse's type=int or defaultdict(list).
_PLAIN_BUILTINS = {
    *("Ellipsis", "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"),
    *("range", "set", "slice", "str", "tuple", "type", "abs", "len", "max", "min", "print", "round", "sum"),
}


class StandIn:
    """Replaces an object of a class that isn't torch's; it stores nothing and does nothing."""

    def __new__(cls, *_: object, **__: object) -> Self:
        """Ignore the arguments that the class would take."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Ignore the arguments that the class would take."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state that the class would use."""


class _ListStandIn(list[Any]):
    """Replaces an object that has items, as a queue, by a list, since torch appends only to lists."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Ignore the state that the class would use."""


class _DictStandIn:
    """Replaces a class that has values by key, as a framework's configuration, by a dict, which torch can fill."""

    def __new__(cls, *_: object, **__: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """Return a dict, which torch fills."""
        return OrderedDict()


# The errors of torch about a stand-in that it can't fill, and the kind that it can fill.
_FILLS: Sequence[tuple[re.Pattern[str], type]] = (
    (re.compile(r"Can only append to lists, but got <class '([^']+)'>"), _ListStandIn),
    (re.compile(r"Can only SETITEMS? for dict\b.* but got <class '([^']+)'>"), _DictStandIn),
)


def read_checkpoint(path: Path) -> object:
    """Return the saved object.

    Raises
    ------
    WeightsError
        If the file is no checkpoint, is truncated, or can't be read without running code from it.
    """
    with path.open("rb") as file:
        start = file.read(512)
    for magic, what in _OTHERS:
        if start.lstrip().lower().startswith(magic):
            raise _unreadable(path, what)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return _read_safetensors(path)
    return _read_pickled(path)


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        breaks_off = re.search("incomplete|too large|invalid header length", str(error), re.IGNORECASE)
        raise _unreadable(path, _HALF_A_DOWNLOAD if breaks_off else f"it is no safetensors file ({error})") from None


def _read_pickled(path: Path) -> object:
    kinds: dict[str, type] = dict.fromkeys(_foreign_names(path), StandIn)
    while True:
        stand_ins: list[Any] = [(_make_stand_in(name, kind), name) for name, kind in kinds.items()]
        try:
            # Pass an open file: torch would take a path for safetensors because of its name.
            with (
                path.open("rb") as file,
                warnings.catch_warnings(action="ignore"),
                torch.serialization.safe_globals(stand_ins),
            ):
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's unpickler raises whatever a file that is no pickle leads it to
            name, kind = _filled_kind(error)
            if kinds.get(name) is not StandIn:
                raise _explain(path, error) from None
            kinds[name] = kind


def _filled_kind(error: Exception) -> tuple[str, type]:
    """Return the name that needs another kind of stand-in, and that kind; an empty name for any other error."""
    for says, kind in _FILLS:
        if found := says.search(str(error)):
            return found[1], kind
    return "", StandIn


def _foreign_names(path: Path) -> list[str]:
    """List the names in the file's pickle that don't belong to torch."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise _unreadable(path, f"it is TorchScript, a program with its weights. {_SAVE_TENSORS}")
    if "data.pkl" not in names:
        raise _unreadable(path, f"it is a zip archive that torch.save hasn't written. {_SAVE_TENSORS}")
    foreign = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    for name in foreign:
        module, _, attribute = name.rpartition(".")
        if module.partition(".")[0] in _RUNS_CODE and attribute not in _PLAIN_BUILTINS:
            raise _runs_code(path, name)
    return foreign


def _make_stand_in(name: str, kind: type) -> type:
    module, _, attribute = name.rpartition(".")
    return type(attribute, (kind,), {"__module__": module})


def _explain(path: Path, error: Exception) -> WeightsError:
    text = str(error)
    if named := re.search(r"GLOBAL (\S+)", text):
        return _runs_code(path, named[1])
    breaks_off = ("unexpected EOF", "failed finding central directory", "Ran out of input", "PytorchStreamReader")
    if isinstance(error, EOFError) or any(what in text for what in breaks_off):
        return _unreadable(path, _HALF_A_DOWNLOAD)
    # torch's own text is for those who write the code that loads, in colours, and advises to run what is in the file.
    return WeightsError(
        f"the checkpoint {path} can't be read without running code from it, or is no checkpoint. {_SAVE_TENSORS}"
    )


def _runs_code(path: Path, name: str) -> WeightsError:
    return WeightsError(
        f"the checkpoint {path} can't be read without running code from it: it names {name}. {_SAVE_TENSORS}"
    )


def _unreadable(path: Path, why: str) -> WeightsError:
    return WeightsError(f"the checkpoint {path} can't be read: {why}")


def describe_stand_in(value: object) -> str | None:
    """The name of the class that a value stands in for; None for what torch has read itself."""
    return f"{type(value).__module__}.{type(value).__name__}" if isinstance(value, StandIn) else None


def is_tensors(value: object) -> bool:
    """Whether it is a dictionary in which at least one name has a tensor."""
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())
