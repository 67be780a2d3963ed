"""A model in float32 for what half precision would hide, also where memory holds no copy of it.

Half precision is what a model is evaluated in; whether it carries a state, or whether two ways of
running it are one, is decided by differences that its rounding is larger than.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def in_float32(model: Any, *, copied: bool) -> Iterator[Any]:
    """Yield the model in float32: itself, a copy, or itself, part by part while it runs."""
    if next(model.parameters()).dtype == torch.float32:
        yield model
    elif copied:
        yield copy.deepcopy(model).float()
    else:
        with ExitStack() as hooks:
            room = _Room()
            for part, parameters in _parts(model):
                if all(parameter.ndim < 2 for parameter in parameters):
                    # Little; and a model may ask a norm from outside for its number format.
                    hooks.enter_context(_float32(parameters))
                else:
                    hooks.enter_context(_float32_while_running(part, parameters, room))
            yield model


def _parts(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """Yield what is turned into float32 together, and during whose forward.

    Every layer of a list as a whole, and what has weights: as a whole, if no layers are in it.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from ((layer, list(layer.parameters())) for layer in child)
            continue
        whole = not any(isinstance(part, nn.ModuleList) for part in child.modules())
        own = list(child.parameters(recurse=False))
        if own:
            yield child, list(child.parameters()) if whole else own
        if not (own and whole):
            yield from _parts(child)


class _Room:
    """Float32 memory that parts use in turn; new memory takes longer to get than to fill."""

    def __init__(self) -> None:
        self._free: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}

    def widened(self, tensor: Tensor) -> Tensor:
        """Return a copy in float32, until it is given back."""
        free = self._free.setdefault((tensor.shape, tensor.device), [])
        with torch.inference_mode(mode=False), torch.no_grad():
            wide = free.pop() if free else torch.empty_like(tensor, dtype=torch.float32)
            return wide.copy_(tensor)

    def give_back(self, wide: Tensor) -> None:
        """Let the next part have it."""
        self._free[wide.shape, wide.device].append(wide)


@contextmanager
def _float32(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    held = [parameter.data for parameter in parameters]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, data in zip(parameters, held, strict=True):
            parameter.data = data


@contextmanager
def _float32_while_running(
    part: nn.Module, parameters: Sequence[nn.Parameter], room: _Room
) -> Iterator[None]:
    """Turn weights into float32 before each forward of their part, and back after it."""
    if type(part) is nn.Embedding:  # what it gives is a row of its weights
        hook = part.register_forward_hook(lambda _, __, rows: rows.float())
        try:
            yield
        finally:
            hook.remove()
        return
    held: list[Tensor] = []

    def widen(*_: Any) -> None:
        for parameter in parameters:
            held.append(parameter.data)
            parameter.data = room.widened(parameter.data)

    def restore(*_: Any) -> None:
        for parameter, data in zip(parameters, held, strict=True):
            room.give_back(parameter.data)
            parameter.data = data
        held.clear()

    hooks = [
        part.register_forward_pre_hook(widen),
        part.register_forward_hook(restore, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
