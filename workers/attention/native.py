"""Exact evaluation, token by token, of families whose attention we cannot take over.

Falcon, GPT-J and CodeGen (rotary) and MPT and BLOOM (ALiBi) do not call transformers'
AttentionInterface. They run on their own attention and cache, one token per forward, with
positions counted in the cache: after each forward the oldest token behind the sinks is dropped,
and rotary keys behind it are rotated back by one position (ALiBi follows the cache's length by
itself). As in mit-han-lab/streaming-llm: slow, but exact.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.attention.rotary import Angles, Placement, rotate
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import NumericalError, UnsupportedModelError

NATIVE_FAMILIES = ("falcon", "mpt", "bloom", "gptj", "codegen")
"""transformers model types that are evaluated this way."""
CHECK_TOKENS = 24
TOLERANCE = 1e-3
"""Relative to the largest value compared; float32."""


class NativeDecoder:
    """Decodes one stream on the model's own attention, under one visibility."""

    def __init__(self, model: Any, visibility: Visibility, device: torch.device) -> None:
        self.model, self.visibility = model, visibility
        self.cache = DynamicCache()
        self._back: Angles | None = None
        """Angles of one position back; None where keys carry no position."""
        config, placement = model.config, None
        self._takes_positions = config.model_type in ("falcon", "gptj", "codegen")
        if config.model_type in ("gptj", "codegen"):
            exponents = torch.arange(0, config.rotary_dim, 2, dtype=torch.float64)
            frequency = 10000.0 ** -(exponents / config.rotary_dim)
            placement = Placement(frequency, interleaved=True)
        elif config.model_type == "falcon" and not config.alibi:
            named = model.named_buffers()
            (frequency,) = {
                buffer for name, buffer in named if name.endswith("rotary_emb.inv_freq")
            }
            placement = Placement(frequency.double())
        if placement is not None:
            self._back = placement.angles(torch.tensor([-1], device=device))

    @torch.inference_mode()
    def step(self, token: Tensor) -> Tensor:
        """Return the logits [vocab] after one more token, int64 [1], and evict."""
        options, position = {}, self.cache.get_seq_length()
        _refuse_beyond(self.model, position + 1)
        if self._takes_positions:
            options["position_ids"] = torch.tensor([[position]]).to(token.device)
        output = self.model(token[None], past_key_values=self.cache, use_cache=True, **options)
        budget, n_sink = self.visibility.budget, self.visibility.n_sink
        if budget is not None and self.cache.get_seq_length() > budget:
            for layer in self.cache.layers:
                behind = layer.keys[:, :, n_sink + 1 :]
                if self._back is not None:
                    behind = rotate(behind, self._back)
                values = [layer.values[:, :, :n_sink], layer.values[:, :, n_sink + 1 :]]
                layer.keys = torch.cat([layer.keys[:, :, :n_sink], behind], dim=2)
                layer.values = torch.cat(values, dim=2)
        logits: Tensor = output.logits[0, -1]
        return logits

    def snapshot(self) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values of every layer; steps replace them and never write into them."""
        return [(layer.keys, layer.values) for layer in self.cache.layers]

    def restore(self, snapshot: list[tuple[Tensor, Tensor]]) -> None:
        """Go back to a snapshot."""
        for layer, (keys, values) in zip(self.cache.layers, snapshot, strict=True):
            layer.keys, layer.values = keys, values


def native_stream_logits(
    model: Any, ids: Tensor, visibility: Visibility
) -> Iterator[tuple[int, Tensor]]:
    """Yield (query, logits [vocab]) for all T - 1 queries of token ids [T]."""
    decoder = NativeDecoder(model, visibility, ids.device)
    for query in range(len(ids) - 1):
        yield query, decoder.step(ids[query : query + 1])


@torch.inference_mode()
def native_window_logits(model: Any, rows: Tensor, keep: int) -> Tensor:
    """Return the last `keep` logits of fresh forwards over windows [batch, n]."""
    _refuse_beyond(model, rows.shape[1])
    logits: Tensor = model(rows, use_cache=False, logits_to_keep=keep).logits
    return logits


def make_room(model: Any, positions: int) -> None:
    """Let MPT attend over this many keys: its ALiBi is a table of `max_seq_len` entries."""
    if model.config.model_type == "mpt":
        model.config.max_seq_len = max(model.config.max_seq_len, positions)


def _limit(config: Any) -> tuple[int | None, str]:
    """Return how many positions there are sines for, or cached keys are turned alike for."""
    if config.model_type in ("gptj", "codegen"):
        return config.n_positions, f"has a table of {config.n_positions} positions"
    limit = None
    if config.model_type == "falcon" and not config.alibi:
        limit = {
            "dynamic": config.max_position_embeddings,
            "longrope": config.rope_parameters.get("original_max_position_embeddings"),
        }.get(config.rope_parameters["rope_type"])
    return limit, f"places queries and keys otherwise from position {limit} on"


def _refuse_beyond(model: Any, n_positions: int) -> None:
    limit, reason = _limit(model.config)
    if limit is not None and n_positions > limit:
        raise UnsupportedModelError(
            f"this model {reason}, and {n_positions} are needed: choose "
            f"n_sink + window_size < {limit}, or for dense max_tokens <= {limit}"
        )


def check_native(model: Any, vocabulary: int, device: torch.device) -> None:
    """Make sure that a step is a forward, and that an evicted key moves as it should.

    Raises `NumericalError` if decoding without eviction is not the library's own forward, and
    `UnsupportedModelError` if first-layer keys, moved back by one position, are not those of a
    token that was there from the start.
    """
    n_tokens = min(CHECK_TOKENS, _limit(model.config)[0] or CHECK_TOKENS)
    make_room(model, n_tokens)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (n_tokens + 1,), generator=generator).to(device)
    whole = native_window_logits(model, ids[None, :-1], 0)[0]
    steps = torch.stack([logits for _, logits in native_stream_logits(model, ids, DENSE)])
    if not _close(steps, whole):
        raise NumericalError("self-check failed: token-by-token decoding is not the forward")
    rolled, fresh = (NativeDecoder(model, Visibility(0, n_tokens - 2), device) for _ in range(2))
    for token in ids[: n_tokens - 1, None]:
        rolled.step(token)
    for token in ids[1 : n_tokens - 1, None]:
        fresh.step(token)
    if not _close(rolled.cache.layers[0].keys, fresh.cache.layers[0].keys):
        raise UnsupportedModelError(
            f"{type(model).__name__} does not place keys by the rotation we know or by ALiBi"
        )


def _close(actual: Tensor, expected: Tensor) -> bool:
    return bool((actual - expected).abs().max() <= TOLERANCE * expected.abs().max())
