"""The oracle: streaming decoding token by token, as the paper's authors wrote it.

Slow and obvious, and nothing in it comes from `workers/`: transformers' own eager attention and
cache, one token per forward, positions counted in the cache. After each forward the token behind
the sinks is dropped and the keys after it are rotated back by one position
(mit-han-lab/streaming-llm, `enable_streaming_llm` and `StartRecentKVCache`). In float64, so that
its own rounding does not blur a comparison.
"""

import copy

import torch
from transformers import DynamicCache


def rolling_cache_nll(model, ids, n_sink, window_size):
    """NLL (nats, float64 [T - 1]) of token ids [T]; window_size None never evicts."""
    model = native(model)
    cache, losses = DynamicCache(config=model.config), []
    with torch.no_grad():
        for query in range(len(ids) - 1):
            in_cache = torch.tensor([[cache.get_seq_length()]])
            logits = model(
                ids[None, query : query + 1], past_key_values=cache, position_ids=in_cache
            ).logits
            losses.append(-logits[0, -1].log_softmax(-1)[ids[query + 1]])
            if window_size is not None and cache.get_seq_length() > n_sink + window_size:
                evict_one(model, cache, n_sink)
    return torch.stack(losses)


def recomputed_nll(model, ids, budget, queries):
    """NLL of some queries, each from a fresh forward over its own window."""
    model, losses = native(model), []
    with torch.no_grad():
        for query in queries:
            window = ids[max(0, query - budget) : query + 1]
            logits = model(window[None], use_cache=False).logits
            losses.append(-logits[0, -1].log_softmax(-1)[ids[query + 1]])
    return torch.stack(losses)


def native(model):
    """A float64 copy that runs transformers' own eager attention."""
    model = copy.deepcopy(model).double().eval()
    model.set_attn_implementation("eager")
    return model


def evict_one(model, cache, n_sink):
    """Drop the oldest token after the sinks and move the keys behind it one position back."""
    rotary = next(m for m in model.modules() if hasattr(m, "inv_freq"))
    angle = torch.cat([rotary.inv_freq, rotary.inv_freq]).double()
    for layer in cache.layers:
        behind = layer.keys[:, :, n_sink + 1 :]
        dim = len(angle)
        rotated = behind[..., :dim] * angle.cos() - rotate_half(behind[..., :dim]) * angle.sin()
        moved = torch.cat([rotated, behind[..., dim:]], dim=-1)
        layer.keys = torch.cat([layer.keys[:, :, :n_sink], moved], dim=2)
        layer.values = torch.cat(
            [layer.values[:, :, :n_sink], layer.values[:, :, n_sink + 1 :]], dim=2
        )


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
