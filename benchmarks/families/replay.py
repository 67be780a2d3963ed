"""The oracle for every family: streaming on the model's own forward, whatever its attention is.

Nothing in it comes from `workers/`, and it knows nothing of rotary layouts, own windows or latents.
The query at t > B is the last row of the model's own eager forward, without a cache, over its
visible tokens at positions 0 … B: `recompute`. One thing makes it streaming: before a layer reads
them, the hidden states of the older tokens are put back to what they were at their own step. So
every key is made anew from the kept state, at its place in the cache, by the layer itself, and
masks, windows and scalings are the library's. All queries are rows of one batch, since a layer
needs nothing but what the layer before it gave. Recurrent mixers read the text from its beginning.
"""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

LAYER_LISTS = ("layers", "h", "blocks", "layer", "self_attn")
"""The last: layers that attend several times, each to states of its own (LongCat)."""
RECURRENT_MARKS = ("A_log", "conv1d", "conv", "conv_qk_depthwise", "slope_rate")
"""What a module that carries a state from token to token has."""


def replayed_nll(
    model: Any,
    ids: Tensor,
    n_sink: int,
    window_size: int | None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return the NLL (nats, float64 [T - 1]) of token ids [T] under a rolling cache.

    window_size: None never evicts.
    """
    model = own_forward(model, dtype)
    n_queries = len(ids) - 1
    budget = n_queries if window_size is None else n_sink + window_size
    full = min(budget, n_queries - 1)
    """The first row: the queries up to here miss nothing, so one causal row holds them all."""
    seen = torch.tensor(
        [visible(query, n_sink, budget - n_sink) for query in range(full, n_queries)]
    )
    _PutBack(model, seen, full)
    positions = torch.arange(seen.shape[1])[None].expand(len(seen), -1)
    with torch.no_grad():
        logits = model(input_ids=ids[seen], position_ids=positions, use_cache=False).logits
    of_queries = torch.cat([logits[0], logits[1:, -1]]).double()
    return torch.nn.functional.cross_entropy(of_queries, ids[1:], reduction="none")


def visible(query: int, n_sink: int, window_size: int) -> list[int]:
    """Return the positions in the cache of a query, its own included."""
    if query <= n_sink + window_size:
        return list(range(query + 1))
    return [*range(n_sink), *range(max(n_sink, query - window_size), query + 1)]


def own_forward(model: Any, dtype: torch.dtype) -> Any:
    """Return a copy in this dtype that runs transformers' own eager attention and experts."""
    model = copy.deepcopy(model).to(dtype).eval()
    for module in model.modules():
        if hasattr(getattr(module, "config", None), "_attn_implementation"):
            module.config._attn_implementation = "eager"  # noqa: SLF001 the only setter
            module.config._experts_implementation = "eager"  # noqa: SLF001 the only setter
    return model


class _PutBack:
    """Gives every layer of a batched forward the states that its tokens had at their own step.

    seen: int64 [rows, n], positions in the text; the last of row r is query full + r. The states
    of positions up to `full` are those of row 0, the others' are at the end of their own rows.
    """

    def __init__(self, model: nn.Module, seen: Tensor, full: int) -> None:
        self._seen = seen
        text = torch.arange(full + len(seen))
        self._row = (text - full).clamp(min=0)
        self._column = torch.where(text <= full, text, seen.shape[1] - 1)
        layers = _decoder_layers(model)
        for layer in layers:
            layer.register_forward_pre_hook(self._put_back, with_kwargs=True)
        for mixer in _recurrent_mixers(model, set(layers)):
            mixer.register_forward_pre_hook(self._as_text, with_kwargs=True)
            mixer.register_forward_hook(self._as_rows)

    def _put_back(self, _: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        hidden = args[0] if args else kwargs["hidden_states"]
        if hidden.ndim == 4 and hidden.shape[0] != len(self._seen):  # several streams (Gemma 3n)
            own = hidden[:, self._row, self._column][:, self._seen]
        else:
            own = hidden[self._row, self._column][self._seen]
        return _replaced(args, kwargs, own)

    def _as_text(self, _: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Let a recurrent mixer read the text in one row."""
        hidden = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values())))
        args = tuple(None if _is_mask(part) else part for part in args)
        kwargs = {name: None if "mask" in name else part for name, part in kwargs.items()}
        return _replaced(args, kwargs, hidden[self._row, self._column][None])

    def _as_rows(self, _: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return output[0][self._seen]
        n_tokens = len(self._row)
        return tuple(
            part[0][self._seen]
            if isinstance(part, Tensor) and part.shape[:2] == (1, n_tokens)
            else part
            for part in output
        )


def _replaced(args: Any, kwargs: Any, hidden: Tensor) -> tuple[Any, Any]:
    if args:
        return (hidden, *args[1:]), kwargs
    name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
    return args, {**kwargs, name: hidden}


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and (part.ndim == 4 or part.dtype == torch.bool)


def _decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the modules that read all tokens' hidden states, in order."""
    return [
        layer
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and name.rsplit(".", 1)[-1] in LAYER_LISTS
        if not any(part in name for part in ("vision", "audio"))
        for layer in module
    ]


def _recurrent_mixers(module: nn.Module, layers: Collection[nn.Module]) -> list[nn.Module]:
    """Return the outermost modules that carry a state, below the layers themselves."""
    found = []
    for child in module.children():
        if child not in layers and any(hasattr(child, mark) for mark in RECURRENT_MARKS):
            found.append(child)
        else:
            found += _recurrent_mixers(child, layers)
    return found
