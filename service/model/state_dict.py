"""Find the tensors of a checkpoint that belong to the network, even if training has changed their names."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from service.model.checkpoint_file import describe_stand_in, is_tensors
from service.model.errors import WeightsError

State = Mapping[str, Tensor]

_LOG = logging.getLogger(__name__)
# Where frameworks put the weights; timm takes the moving average, too, if there is one.
_PLACES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "params_ema"),
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights"),
)
# What wrappers put before the names, one or several; a Lightning module calls its network as it likes.
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "network.")
# What torch.compile and FSDP put before the names of parts, anywhere.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_COUNTER = "num_batches_tracked"
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class _Match:
    """The tensors below one prefix, beside the network's own."""

    prefix: str
    state: State
    missing: frozenset[str]
    unexpected: frozenset[str]
    misshapen: frozenset[str]

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)


def load_state(network: nn.Module, content: object, path: Path, model: str) -> None:
    """Give the network the checkpoint's weights.

    Parameters
    ----------
    content:
        The content that `read_checkpoint` has read from the path.
    model:
        The network's name, for messages.

    Raises
    ------
    WeightsError
        If no tensors fit, or some of them contain values that are not finite numbers.
    """
    expected = network.state_dict()
    places = list(_places(content, path))
    matches = [(place, match) for place, tensors in places for match in _matches(tensors, expected)]
    place, best = min(matches, key=lambda found: found[1].faults)
    if best.faults:
        raise WeightsError(f"the checkpoint {path} doesn't fit the model {model!r}: {_explain(best, expected)}")
    if len(places) > 1:
        _LOG.warning("%s holds %s: %s is taken", path, ", ".join(name for name, _ in places), place)
    aside = sorted(name for name in dict(places)[place] if not name.startswith(best.prefix))
    if aside:
        _LOG.warning("%s: left aside %s", path, _shorten(aside))
    broken = sorted(name for name in expected.keys() & best.state.keys() if not torch.isfinite(best.state[name]).all())
    if broken:
        raise WeightsError(
            f"the checkpoint {path} has NaN or infinity in {_shorten(broken)}: "
            "its training has diverged; take an earlier one"
        )
    network.load_state_dict({**expected, **best.state})


def _places(content: object, path: Path) -> Iterator[tuple[str, State]]:
    """Wherever the checkpoint has tensors by name; the preferred first."""
    found = False
    if isinstance(content, Mapping):
        for place in _PLACES:
            if is_tensors(content.get(place)):
                found = True
                yield place, _tensors(content[place])
        if not found and is_tensors(content):
            found = True
            yield "itself", _tensors(content)
    if not found:
        values = [content, *(content.get(place) for place in _PLACES)] if isinstance(content, Mapping) else [content]
        whole = next(filter(None, map(describe_stand_in, values)), None)
        if whole is not None:
            raise WeightsError(
                f"the checkpoint {path} can't be read: it is a whole pickled model ({whole}), whose code would have to "
                "be run. Save the tensors alone, as in torch.save(model.state_dict(), path)"
            )
        raise WeightsError(f"the checkpoint {path} holds no state_dict: expected names with tensors")


def _tensors(state: Mapping[str, object]) -> State:
    tensors = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and isinstance(name, str):
            for wrapper in _WRAPPERS:
                name = name.replace(wrapper, "")
            tensors[name] = value
    return tensors


def _matches(state: State, expected: State) -> Iterator[_Match]:
    for prefix in sorted({"", *(prefix for name in state for prefix in _prefixes(name))}, key=len):
        below = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        missing = {name for name in expected.keys() - below.keys() if not name.endswith(_COUNTER)}
        shared = expected.keys() & below.keys()
        misshapen = {name for name in shared if below[name].shape != expected[name].shape}
        yield _Match(prefix, below, frozenset(missing), frozenset(below.keys() - expected.keys()), frozenset(misshapen))


def _prefixes(name: str) -> Iterator[str]:
    """Each stack of prefixes that the name begins with."""
    stack = ""
    while prefix := next((prefix for prefix in _PREFIXES if name.startswith(stack + prefix)), None):
        stack += prefix
        yield stack


def _explain(match: _Match, expected: State) -> str:
    shapes = {
        name: f"{name} {tuple(match.state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in match.misshapen
    }
    problems = [
        *_list_names("missing", match.missing),
        *_list_names("unexpected", match.unexpected),
        *_list_names("of another shape", frozenset(shapes.values())),
    ]
    if any(match.state[name].shape[:1] == (1,) and expected[name].shape[:1] == (2,) for name in match.misshapen):
        problems.append(
            "it has one output where two labels need two; torch.cat([-w / 2, w / 2]) of the last layer's weight and "
            "bias makes two of it with the same probabilities"
        )
    return "; ".join(problems)


def _list_names(what: str, names: frozenset[str]) -> list[str]:
    return [f"{len(names)} {what}: {_shorten(sorted(names))}"] if names else []


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
