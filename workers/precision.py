"""A model in float32 for what half precision would hide, also where memory holds no copy of it.

Half precision is what a model is evaluated in; whether it carries a state, or whether two ways of
running it are one, is decided by differences that its rounding is larger than.
"""

import copy
from collections.abc import Iterator
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
            for part in _parts(model):
                hooks.enter_context(_float32_while_running(part))
            yield model


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what is turned into float32 as a whole: every layer of a list, and what has weights."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        elif next(child.parameters(recurse=False), None) is not None:
            yield child
        else:
            yield from _parts(child)


@contextmanager
def _float32_while_running(part: nn.Module) -> Iterator[None]:
    """Turn the weights of a part into float32 before each of its forwards, and back after it."""
    held: list[Tensor] = []

    def widen(*_: Any) -> None:
        held.extend(parameter.data for parameter in part.parameters())
        for parameter in part.parameters():
            parameter.data = parameter.data.float()

    def restore(*_: Any) -> None:
        for parameter, data in zip(part.parameters(), held, strict=True):
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
