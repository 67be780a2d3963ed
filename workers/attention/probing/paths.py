"""By which ways positions and other tokens reach the layers of a model, besides its attention.

Keys can be moved to another place of the cache only if the position is in them alone, and tokens
can be run one after the other only if nothing but keys, values and carried states joins them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from workers.attention.interface import LayerCall, empty_states, run, using
from workers.attention.probing.arrivals import Arrivals, arrived
from workers.attention.rotary import LENGTHENED, ROUNDING, relative_distance
from workers.contract.errors import UnsupportedModelError

LOST = 20 * ROUNDING[torch.float32]
"""Relative difference of the logits beyond which a text in two parts is not the text."""


def refuse_positions_in_values(
    model: PreTrainedModel, at_zero: Sequence[LayerCall], at_one: Sequence[LayerCall]
) -> None:
    """Refuse a model whose values depend on the position, with the way by which they do.

    at_zero, at_one: what arrives at these positions.
    """
    differing = _differing_values(at_zero, at_one)
    if not differing:
        return
    if _differing_values(*arrived(model, 0, 0)):  # of the same tokens, in the same place
        raise UnsupportedModelError(_joined_otherwise(model))
    with _first_layer_input(model) as inputs:
        arrived(model, 0)
        arrived(model, 1)
    here, there = differing[0]
    if len(inputs) != 2 or relative_distance(*inputs) > ROUNDING[inputs[0].dtype]:
        how = "positions are added to what the layers read (absolute positions, no rotary position)"
    elif float((there.norm() / here.norm() - 1).abs()) <= LENGTHENED[here.dtype]:
        how = "the values of its attention are turned by their position, not its keys alone"
    else:
        how = "layers that are no attention treat a text's first position otherwise than the others"
    raise UnsupportedModelError(f"{how}, so a cached token cannot move (see docs/models.md)")


def _differing_values(
    one: Sequence[LayerCall], other: Sequence[LayerCall]
) -> list[tuple[Tensor, Tensor]]:
    """Return the values of the layers in which two arrivals differ by more than rounding."""
    pairs = [(here.value, there.value) for here, there in zip(one, other, strict=True)]
    return [pair for pair in pairs if relative_distance(*pair) > ROUNDING[pair[0].dtype]]


def _joined_otherwise(model: PreTrainedModel) -> str:
    return (
        f"the tokens of {type(model).__name__} reach each other by other ways than attention "
        "through transformers' AttentionInterface and a recurrent state that its cache carries "
        "(see docs/models.md)"
    )


@contextmanager
def _first_layer_input(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Note what the first layer reads in every forward."""
    noted: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]
        noted.extend([part.clone() for part in given if part.is_floating_point()][:1])

    n_layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", 0)
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=lambda one: (len(one) == n_layers, len(one)), default=[model])
    hook = layers[0].register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield noted
    finally:
        hook.remove()


def _refuse_counted_positions(model: PreTrainedModel) -> None:
    """Refuse a model that counts positions by itself, whatever it is told."""
    ids = torch.ones((1, 3), dtype=torch.int64, device=model.get_input_embeddings().weight.device)
    arrivals = Arrivals()
    with using(arrivals):
        run(model, ids)
    for call in arrivals.calls:
        for part in (call.query, call.key):
            if relative_distance(part[:, :, :1], part[:, :, -1:]) > ROUNDING[part.dtype]:
                raise UnsupportedModelError(
                    "positions follow the order of the tokens, not the position that the model "
                    "is given, so a cached token cannot move (see docs/models.md)"
                )


def recurrence(model: PreTrainedModel) -> tuple[bool, bool]:
    """Tell whether tokens reach each other by a recurrent state, and only in one pass.

    The second: the state is carried to one more token, but not to several at once. Raises
    `UnsupportedModelError` if tokens reach each other in a way that the cache does not carry.
    """
    cache = empty_states(model)
    stateful = any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)
    if not stateful:
        _refuse_counted_positions(model)
    if _lost(model, (3, 1), stateful=stateful) > LOST:
        raise UnsupportedModelError(_joined_otherwise(model))
    return stateful, stateful and _lost(model, (1, 3), stateful=True) > LOST


def _lost(model: PreTrainedModel, parts: tuple[int, int], *, stateful: bool) -> float:
    """Return how much of the last logits is lost when a text is run in two parts, at least."""
    embeddings = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(embeddings.num_embeddings, (3, sum(parts)), generator=generator)
    texts = texts.to(embeddings.weight.device)
    with using(Arrivals()):
        states = empty_states(model) if stateful else None
        whole = run(model, texts)[:, -1:]
        for part in (texts[:, : parts[0]], texts[:, parts[0] :]):
            last = run(model, part, states=states)[:, -1:]
    return min(relative_distance(*pair) for pair in zip(whole, last, strict=True))
