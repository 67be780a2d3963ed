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


def rolling_cache_nll(model, ids, n_sink, window_size, dtype=torch.float64):
    """NLL (nats, [T - 1]) of token ids [T]; window_size None never evicts."""
    model = native(model, dtype)
    cache, losses = DynamicCache(), []
    angles = angles_of(model)
    with torch.no_grad():
        for query in range(len(ids) - 1):
            in_cache = torch.tensor([[cache.get_seq_length()]])
            logits = model(
                ids[None, query : query + 1], past_key_values=cache, position_ids=in_cache
            ).logits
            losses.append(-logits[0, -1].log_softmax(-1)[ids[query + 1]])
            if window_size is not None and cache.get_seq_length() > n_sink + window_size:
                evict_one(angles, cache, n_sink)
    return torch.stack(losses)


def recomputed_nll(model, ids, budget, queries, dtype=torch.float64):
    """NLL of some queries, each from a fresh forward over its own window."""
    model, losses = native(model, dtype), []
    with torch.no_grad():
        for query in queries:
            window = ids[max(0, query - budget) : query + 1]
            logits = model(window[None], use_cache=False).logits
            losses.append(-logits[0, -1].log_softmax(-1)[ids[query + 1]])
    return torch.stack(losses)


def native(model, dtype):
    """A copy in this dtype that runs transformers' own eager attention."""
    model = copy.deepcopy(model).to(dtype).eval()
    for module in model.modules():
        if hasattr(getattr(module, "config", None), "_attn_implementation"):
            module.config._attn_implementation = "eager"
    return model


def evict_one(angles, cache, n_sink):
    """Drop the oldest token after the sinks and move the keys behind it one position back."""
    for angle, layer in zip(angles, cache.layers, strict=True):
        behind = layer.keys[:, :, n_sink + 1 :]
        dim = len(angle)
        rotated = behind[..., :dim] * angle.cos() - rotate_half(behind[..., :dim]) * angle.sin()
        moved = torch.cat([rotated, behind[..., dim:]], dim=-1)
        layer.keys = torch.cat([layer.keys[:, :, :n_sink], moved], dim=2)
        layer.values = torch.cat(
            [layer.values[:, :, :n_sink], layer.values[:, :, n_sink + 1 :]], dim=2
        )


def angles_of(model):
    """By how much each layer turns a key from one position to the next, [rotated dims]."""
    frequencies = [frequency_of(model, layer) for layer in range(model.config.num_hidden_layers)]
    return [torch.cat([each, each]).to(model.dtype) for each in frequencies]


def frequency_of(model, layer):
    """The rotary frequencies of one layer; some models have a vector per kind of layer."""
    for module in model.modules():
        if hasattr(module, "inv_freq"):
            return module.inv_freq
        if hasattr(module, "full_attention_inv_freq"):
            return getattr(module, f"{model.config.layer_types[layer]}_inv_freq")
    raise AssertionError("no rotary embedding")


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
