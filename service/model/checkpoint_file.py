"""What a checkpoint file holds, whatever its name ends in: tensors and plain containers, and nothing of it is run.

Training frameworks pickle more than tensors: paths, numpy's numbers, their own classes. torch reads such a file when
its names are declared safe. They are, as stand-ins that do nothing.
"""

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from service.model.errors import WeightsError

_SAVE_TENSORS = "Save the tensors alone, as in torch.save(model.state_dict(), path)"
_HALF_A_DOWNLOAD = "it breaks off, as half a download does; compare its size with the original's and fetch it again"
# What files begin with that people take for checkpoints, and what to do.
_OTHERS = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself; fetch that with: git lfs pull"),
    (b"<!doctype html", "it is a web page, as a download without a login leaves it; fetch the file itself"),
    (b"<html", "it is a web page, as a download without a login leaves it; fetch the file itself"),
    (b"<?xml", "it is XML, as a storage service answers an error; fetch the file itself"),
    (b"\x89hdf", "it is HDF5, as Keras writes it; this service loads PyTorch's checkpoints and safetensors"),
    (b"\x1f\x8b", "it is compressed; unpack it first, as in: gunzip"),
)
# Names of these serve to run something. A file with one is refused, though a stand-in would do no harm: it is broken,
# or somebody means ill.
_RUNS_CODE = {"builtins", "ctypes", "importlib", "nt", "os", "posix", "runpy", "shutil", "socket", "subprocess", "sys"}
_PLAIN_BUILTINS = {"bytearray", "complex", "frozenset", "object", "range", "set", "slice"}


class StandIn(dict[Any, Any]):
    """In the place of an object of a class that isn't torch's: it keeps what it is given, and does nothing.

    A dictionary, since some of those classes are.
    """

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key itself

    def __new__(cls, *_: object, **__: object) -> Self:
        """Whatever the class would be made of."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Whatever the class would do with its state."""


def read_checkpoint(path: Path) -> object:
    """What was saved.

    Raises
    ------
    WeightsError
        For what is no checkpoint, or breaks off, or can't be read without running code from it.
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
    stand_ins: list[Any] = [(_make_stand_in(name), name) for name in _foreign_names(path)]
    try:
        # An open file: by its name torch would take it for safetensors.
        with (
            path.open("rb") as file,
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals(stand_ins),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises whatever a file that is no pickle leads it to
        raise _explain(path, error) from None


def _foreign_names(path: Path) -> list[str]:
    """What the pickle in the file names that isn't torch's."""
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


def _make_stand_in(name: str) -> type[StandIn]:
    module, _, attribute = name.rpartition(".")
    return type(attribute, (StandIn,), {"__module__": module})


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
