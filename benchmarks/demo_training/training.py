"""The training loop: deterministic given the seed, resumable after any step, on a CPU or a GPU.

Every batch is drawn from a generator seeded with (seed, step), and the learning rates are a
function of the step, so that a checkpoint needs weights, optimiser states and the step alone.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPTNeoXForCausalLM

from benchmarks.demo_training.attention import SinkAttention
from benchmarks.demo_training.muon import Muon
from benchmarks.demo_training.recipe import Recipe
from benchmarks.demo_training.text import Tokens, sampling_weight
from benchmarks.demo_training.tokenizer import BOS_ID

CHECKPOINT_STEPS = 200
REPORT_STEPS = 50


class Batches:
    """Crops of single documents: no document boundary lies inside a sequence."""

    def __init__(self, recipe: Recipe, documents: Mapping[str, Tokens]) -> None:
        self._recipe = recipe
        names = [name for name in documents if len(documents[name]) > recipe.context]
        self._documents = [documents[name].astype(np.int64) for name in names]
        weights = np.array([sampling_weight(name) * len(documents[name]) for name in names])
        self._shares = weights / weights.sum()

    def batch(self, step: int) -> Tensor:
        """Token ids of one step: (batch, context + 1), int64."""
        generator = np.random.default_rng([self._recipe.seed, step])
        chosen = generator.choice(len(self._documents), size=self._recipe.batch, p=self._shares)
        crops = [self._crop(self._documents[index], generator) for index in chosen]
        return torch.from_numpy(np.stack(crops))

    def _crop(
        self, document: np.ndarray[Any, np.dtype[np.int64]], generator: np.random.Generator
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        with_bos = generator.random() < self._recipe.bos_share
        length = self._recipe.context + (not with_bos)
        start = generator.integers(0, len(document) - length + 1)
        crop = document[start : start + length]
        return np.concatenate([[BOS_ID], crop]) if with_bos else crop


@dataclass
class Progress:
    """How far a run is: what the card reports about it."""

    step: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    """Running mean of the language-model loss, nats per token."""


class Trainer:
    """A model under training, its two optimisers and its checkpoint."""

    def __init__(
        self, recipe: Recipe, documents: Mapping[str, Tokens], device: str, checkpoint: Path
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.progress = Progress()
        self._device = torch.device(device)
        self._checkpoint = checkpoint
        self._batches = Batches(recipe, documents)
        self._attention = SinkAttention(recipe.first_sink_layer)
        self.model = GPTNeoXForCausalLM(recipe.model_config()).to(self._device)
        self.model.set_attn_implementation(SinkAttention.NAME)
        self._optimizers = _optimizers(self.model, recipe)
        if checkpoint.exists():
            self._load()

    def run(self) -> None:
        """Train from the current step to the last, reporting and saving on the way."""
        for step in range(self.progress.step, self.recipe.steps):
            sink_loss = self.train_step(step)
            if (step + 1) % REPORT_STEPS == 0:
                self._report(sink_loss)
            if (step + 1) % CHECKPOINT_STEPS == 0:
                self.save()
        self.save()

    def train_step(self, step: int) -> float:
        """Take one optimiser step, note it, and return its sink loss (nats)."""
        started = time.perf_counter()
        loss, sink_loss = self._step(step)
        progress = self.progress
        progress.seconds += time.perf_counter() - started
        progress.loss = loss if progress.step == 0 else 0.98 * progress.loss + 0.02 * loss
        progress.step = step + 1
        return sink_loss

    def _step(self, step: int) -> tuple[float, float]:
        ids = self._batches.batch(step).to(self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            logits = self.model(ids[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        sink_loss = self._attention.sink_loss()
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + sink_weight(self.recipe, step) * sink_loss)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate_factor(self.recipe, step)
            optimizer.step()
        return loss.item(), sink_loss.item()

    def _report(self, sink_loss: float) -> None:
        progress = self.progress
        tokens = progress.step * self.recipe.tokens_per_step
        print(
            f"step {progress.step} of {self.recipe.steps}, {tokens / 1e6:.2f} M tokens, "
            f"loss {progress.loss:.4f}, sink loss {sink_loss:.3f}, "
            f"{tokens / progress.seconds:.0f} tokens/s",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "progress": asdict(self.progress),
        }
        temporary = self._checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self._checkpoint)

    def _load(self) -> None:
        state = torch.load(self._checkpoint, map_location=self._device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])


def rate_factor(recipe: Recipe, step: int) -> float:
    """The share of the peak learning rate at this step: warm up, hold, decay to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return warm * min(1.0, (recipe.steps - step) / (recipe.decay_share * recipe.steps))


def sink_weight(recipe: Recipe, step: int) -> float:
    """The weight of the sink loss at this step, interpolated over tokens."""
    tokens, weights = zip(*recipe.sink_weights, strict=True)
    return float(np.interp((step + 1) * recipe.tokens_per_step, tokens, weights))


def _optimizers(model: GPTNeoXForCausalLM, recipe: Recipe) -> tuple[Muon, torch.optim.AdamW]:
    embedding = model.get_input_embeddings().weight
    torch.nn.init.normal_(embedding, std=recipe.embedding_scale)
    layers = model.gpt_neox.layers
    matrices = [[p for p in layer.parameters() if p.ndim == 2] for layer in layers]
    special = {id(p) for p in [embedding, *chain(*matrices)]}
    others = [p for p in model.parameters() if id(p) not in special]
    muon = Muon(
        [
            {"params": layer, "attention_gain": gain, "mlp_gain": recipe.mlp_gain}
            for layer, gain in zip(matrices, recipe.attention_gains, strict=True)
        ],
        lr=recipe.muon_rate,
        weight_decay=recipe.weight_decay,
        heads=recipe.heads,
    )
    groups: list[dict[str, Any]] = [
        {"params": [embedding], "lr": recipe.embedding_rate},
        {"params": others},
    ]
    adam = torch.optim.AdamW(
        groups,
        lr=recipe.adam_rate,
        betas=(0.9, 0.95),
        eps=1e-10,
        weight_decay=0.0,
    )
    for group in [*muon.param_groups, *adam.param_groups]:
        group["peak"] = group["lr"]
    return muon, adam
