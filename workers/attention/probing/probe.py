"""What each layer of a model does with positions, found by running it and not by believing it.

Our attention replaces a model's own, so it has to rotate, hide and carry exactly what the model
would. The model is run with an attention that passes values on unmixed: hidden states then depend
on the token alone, and whatever differs between position 0 and position p in what arrives at the
attention *is* that layer's placement. It is compared with every placement that we can compute
(`rotary.candidates`), near and far. A model's own sliding windows are read from the rule of the
mask that it asks for. All of it covers every layer, in float32, layer by layer if need be: in half
precision a length-dependent frequency looks like rounding just beyond its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from workers.attention.interface import (
    NAME,
    LayerCall,
    LayerShape,
    forward,
    noting_masks,
    switch,
    using,
)
from workers.attention.probing.arrivals import Arrivals, arrived
from workers.attention.probing.paths import recurrence, refuse_positions_in_values
from workers.attention.probing.refusals import not_ours, refused_if_it_fails
from workers.attention.rotary import (
    Placement,
    Rotary,
    candidates,
    frequencies_of,
    stated_lengths,
    unexplained,
)
from workers.attention.visibility import own_window
from workers.contract.errors import UnsupportedModelError
from workers.precision import in_float32

NEAR = (17, 60)
"""Positions by which a layer's placement is chosen, and 1, below the lengths that are stated."""
FAR = (97, 131, 257, 600, 1025, 2049, 4097, 8193, 33_000, 100_000)
"""Further positions at which it has to hold; else the model is limited to those below."""
BEYOND = 0.4
"""Share of what rounding is allowed from which on a position lies beyond a limit; float32 leaves
a twentieth. Where few pairs turn, and slowly, no more than that changes just beyond it."""
DRIFT = 0.12
"""Half way to a limit, what a threshold leaves is still rounding; a drift has been there before."""


@dataclass(frozen=True)
class Probed:
    """What was found: where and how every layer looks, and its shape."""

    rotary: Rotary
    layers: tuple[LayerShape, ...]


def probe(model: PreTrainedModel) -> Probed:
    """Switch a model to our attention and find out what its layers do with positions.

    Raises `UnsupportedModelError`, with the reason, for whatever we could not repeat exactly.
    """
    switch(model, NAME)
    with refused_if_it_fails(model), torch.inference_mode(), in_float32(model, copied=False):
        return _probed(model)


def _probed(model: PreTrainedModel) -> Probed:
    at_zero, at_one = arrived(model, 0, 1)
    if not at_zero:
        raise UnsupportedModelError(not_ours(model))
    refuse_positions_in_values(model, at_zero, at_one)
    recurrent, one_pass = recurrence(model)
    windows = _own_windows(model)
    frequencies = frequencies_of(model)
    stated = stated_lengths(model.config.get_text_config(decoder=True))
    below = [position for position in NEAR if position <= min(stated, default=NEAR[-1])]
    near = dict(zip(below, arrived(model, *below), strict=True)) if below else {}
    near[1] = at_one
    known = {
        dim: list(candidates(frequencies, dim)) for dim in {c.query.shape[-1] for c in at_zero}
    }
    chosen = [
        _placement(known[call.query.shape[-1]], call, {p: near[p][index] for p in near})
        for index, call in enumerate(at_zero)
    ]
    own = {window + 1 for window in windows if window is not None}
    further = sorted({*NEAR, *FAR, *stated, *own} - set(range(max(near))))
    distinct = list({id(placement): placement for placement in chosen}.values())
    rotary = Rotary(
        placements=distinct,
        of_layer=[distinct.index(placement) for placement in chosen],
        windows=windows,
        limit=_limit(model, chosen, at_zero, further),
        recurrent=recurrent,
        one_pass=one_pass,
    )
    arrived(model, 0)  # frequencies that change with the length go back to those of short texts
    return Probed(rotary, _shapes(at_zero))


def _placement(
    known: Sequence[Placement], at_zero: LayerCall, near: dict[int, LayerCall]
) -> Placement:
    """Return the placement that explains best what arrives in one layer near position 0."""

    def error(placement: Placement) -> float:
        return max(_excess(placement, at_zero, call, p) for p, call in near.items())

    best = min(known, key=error)
    if not error(best) <= 1:
        raise _not_turned(at_zero.layer)
    return best


def _not_turned(layer: int) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"queries and keys of layer {layer} at another position are not those at "
        "position 0, turned in a way that we know (they are scaled by their position, or "
        "changed after the rotation), so a cached token cannot move (see docs/models.md)"
    )


def _excess(placement: Placement, at_zero: LayerCall, there: LayerCall, position: int) -> float:
    """Return how far a placement is from what arrived at a position; 1 is what is allowed."""
    return max(
        unexplained(placement, at_zero.query, there.query, position),
        unexplained(placement, at_zero.key, there.key, position),
    )


def _limit(
    model: PreTrainedModel,
    chosen: Sequence[Placement],
    at_zero: Sequence[LayerCall],
    positions: Sequence[int],
) -> int | None:
    """Return how many positions the placements hold for; None if nothing else was seen.

    positions: where to look, ascending; the first is one by which the placements were chosen.
    Raises `UnsupportedModelError` if they are left little by little: then they hold for none.
    """

    def at(position: int) -> list[float]:
        return excesses(position, *arrived(model, position))

    def excesses(position: int, there: Sequence[LayerCall]) -> list[float]:
        layers = zip(chosen, at_zero, there, strict=True)
        return [_excess(place, here, call, position) for place, here, call in layers]

    # All at once: placed as in long texts, and as in a short one.
    together = zip(positions, arrived(model, *positions), strict=True)
    if all(max(excesses(position, there)) <= 1 for position, there in together):
        return None
    arrived(model, 0)  # forgets the frequencies of the longest
    good = positions[0]
    for position in positions:
        if max(at(position)) <= BEYOND:
            good = position
            continue
        bad = position
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if max(at(middle)) <= BEYOND else (good, middle)
        arrived(model, 0)
        half_way = at(good // 2)
        if max(half_way) > DRIFT:
            raise _not_turned(at_zero[half_way.index(max(half_way))].layer)
        return good + 1
    return None


def _own_windows(model: PreTrainedModel) -> list[int | None]:
    """Read every layer's own sliding window from the rule of the mask that it gets."""
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[1, 2, 3]], device=device) % model.get_input_embeddings().num_embeddings
    arrivals = Arrivals()
    with using(arrivals), noting_masks() as rules:
        forward(model, ids, torch.arange(3, device=device)[None])
    windows = [own_window(rule) for rule in rules]
    return [None if call.mask is None else _of_mask(call.mask, windows) for call in arrivals.calls]


def _of_mask(mask: Tensor, windows: Sequence[int | None]) -> int | None:
    """Return the window of the rule that a mask stands for (`noting_masks`)."""
    number = int(mask.flatten()[-1]) - 1
    if 0 <= number < len(windows) and bool((mask == number + 1).all()):
        return windows[number]
    hidden = mask[0, 0] < -1e3  # one that a model has made by itself
    if mask.is_floating_point() and bool((hidden == hidden.new_ones(3, 3).triu(1)).all()):
        return None
    raise UnsupportedModelError("the model makes its attention mask in a way we cannot read")


def _shapes(calls: Sequence[LayerCall]) -> tuple[LayerShape, ...]:
    seen: set[int] = set()
    shapes = []
    for call in calls:
        shapes.append(
            LayerShape(
                heads=call.query.shape[1],
                kv_heads=call.key.shape[1],
                head_dim=call.query.shape[-1],
                value_dim=call.value.shape[-1],
                shared=call.key.data_ptr() in seen,
                plain=call.plain,
            )
        )
        seen.add(call.key.data_ptr())
    return tuple(shapes)
