"""Why a model that does not run here cannot be streamed.

Model code of any kind runs in the probe and in the self-check, and what it raises names a line of
its own. The reason is found by asking again: does the model run by itself, does it ever ask for
our attention, does it choose keys by itself, does it take a cache of transformers?
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from workers.attention.interface import (
    NAME,
    empty_states,
    forward,
    noting_masks,
    run,
    switch,
    using,
)
from workers.attention.native import NATIVE_FAMILIES
from workers.attention.probing.arrivals import Arrivals
from workers.contract.errors import SinkSweepError, UnsupportedModelError
from workers.contract.failures import first_line


@contextmanager
def refused_if_it_fails(model: PreTrainedModel) -> Iterator[None]:
    """Turn whatever a model raises inside the block into an `UnsupportedModelError` that says why.

    Memory and device errors pass: they say something about the machine, not about the model.
    """
    try:
        yield
    except (SinkSweepError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # model code of any kind runs here
        raise UnsupportedModelError(_reason(model, error)) from error


def _reason(model: PreTrainedModel, error: Exception) -> str:
    """Return why a model does not run, where it raised this: the first reason that holds."""
    name = type(model).__name__
    said = f"{type(error).__name__}: {first_line(str(error)):.200}"
    ids = torch.ones((1, 3), dtype=torch.int64, device=model.get_input_embeddings().weight.device)
    switch(model, "eager")
    if not _runs(lambda: model(input_ids=ids, use_cache=False)):
        return (
            f"{name} cannot be run by transformers itself on token ids alone: its config.json "
            "contradicts its code (compare it with the original one), or it is a part of another "
            f"model ({said})"
        )
    switch(model, NAME)
    arrivals = Arrivals()
    with using(arrivals), noting_masks():
        alone = _runs(lambda: forward(model, ids, torch.arange(3, device=ids.device)[None]))
    native = model.config.get_text_config(decoder=True).model_type in NATIVE_FAMILIES
    if alone and not arrivals.calls and not native:
        return not_ours(model)
    choosing = {type(module).__name__ for module in model.modules()}
    choosing = {kind for kind in choosing if "Indexer" in kind}
    if choosing:
        return (
            f"{name} chooses the keys that a query sees with an indexer of its own "
            f"({', '.join(sorted(choosing))}), so no cache of recent keys is what it sees (see "
            "docs/models.md)"
        )
    with using(arrivals):
        states = empty_states(model)
        if _runs(lambda: run(model, ids)) and not _runs(lambda: run(model, ids, states=states)):
            return (
                f"{name} keeps its recurrent state in a cache of its own and takes none of "
                "transformers', so the state cannot be carried from token to token (see "
                "docs/models.md)"
            )
    return (
        f"{name} does not take the masks and positions that our passes give a model, so its keys "
        f"cannot be streamed; please report this model ({said})"
    )


def _runs(attempt: Callable[[], Any]) -> bool:
    try:
        with torch.inference_mode():
            attempt()
    except Exception:  # model code of any kind runs here, too
        return False
    return True


def not_ours(model: PreTrainedModel) -> str:
    """Return why a model that never asks for our attention is refused."""
    name = type(model).__name__
    kinds = [type(module).__name__.lower() for module in model.modules()]
    if not any("attention" in kind or "attn" in kind for kind in kinds):
        return f"{name} does not attend, so there are no keys to stream (see docs/models.md)"
    kept = empty_states(model).layers
    if kept and all(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in kept):
        return (
            f"every layer of this {name} carries a recurrent state and none attends to keys, so "
            "there are none to stream (see docs/models.md)"
        )
    return (
        f"the attention of {name} does not go through transformers' AttentionInterface, so its "
        "keys cannot be streamed (see docs/models.md)"
    )
