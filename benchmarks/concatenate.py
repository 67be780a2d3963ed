"""The cache of existing scripts, inside the same model code as ours: concatenate and re-rotate.

Keys are kept unrotated. Every step appends one key with `torch.cat`, rotates the whole cache anew
by its positions in the cache, and drops the oldest token behind the sinks with `torch.cat` again,
as in mit-han-lab/streaming-llm.
"""

import torch
from torch import Tensor

from workers.attention import LayerCall, run, using, weigh
from workers.loading import LoadedModel
from workers.rotary import Rotary, rotate
from workers.visibility import Visibility


class ConcatenatePass:
    """Attention over a concatenated cache, [1, kv_heads, tokens, head_dim] per layer."""

    def __init__(self, rotary: Rotary, visibility: Visibility) -> None:
        self.rotary, self.visibility = rotary, visibility
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, call: LayerCall) -> Tensor:
        """Attend one query, then evict."""
        keys, values = call.key, call.value
        if call.layer in self.layers:
            old_keys, old_values = self.layers[call.layer]
            keys = torch.cat([old_keys, keys], dim=2)
            values = torch.cat([old_values, values], dim=2)
        angles = self.rotary.angles(torch.arange(keys.shape[2]))[self.rotary.of_layer[call.layer]]
        last = angles.rows(torch.tensor([keys.shape[2] - 1]))
        mixed = weigh(rotate(call.query, last), rotate(keys, angles), values, call)
        self.layers[call.layer] = (self._evicted(keys), self._evicted(values))
        return mixed

    def _evicted(self, states: Tensor) -> Tensor:
        budget, n_sink = self.visibility.budget, self.visibility.n_sink
        if budget is None or states.shape[2] <= budget:
            return states
        return torch.cat([states[:, :, :n_sink], states[:, :, n_sink + 1 :]], dim=2)


class ConcatenateStepper:
    """Runs the tokens of a stream one by one through a `ConcatenatePass`."""

    def __init__(self, loaded: LoadedModel, ids: Tensor, visibility: Visibility) -> None:
        assert loaded.rotary is not None
        self._model, self._ids = loaded.model, ids
        self._pass = ConcatenatePass(loaded.rotary, visibility)
        self.position = 0
        self.logits: Tensor | None = None
        """Of the last token, [vocab]."""

    def step(self) -> None:
        """Run the next token."""
        with torch.inference_mode(), using(self._pass):
            token = self._ids[None, self.position : self.position + 1]
            self.logits = run(self._model, token)[0, 0]
        self.position += 1
