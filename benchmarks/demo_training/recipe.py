"""What the demo model is and how it is trained: every choice, with its default and its reason."""

from dataclasses import dataclass

from transformers import GPTNeoXConfig

from benchmarks.demo_training.tokenizer import BOS_ID, VOCABULARY


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults are the shipped model."""

    hidden: int = 160
    """Width of the residual stream: depth makes sinks, width makes size."""
    layers: int = 6
    heads: int = 5
    rotary_share: float = 0.25
    """Share of each head's dimensions that is rotated, as in Pythia."""
    context: int = 256
    """Tokens per sequence, and so the positions that the model is trained on."""
    batch: int = 8
    """Sequences per step: small, because at this size steps count more than tokens."""
    tokens: int = 9_000_000
    """Training tokens in all; steps = tokens / (batch * context)."""
    bos_share: float = 0.5
    """Share of the sequences that start with BOS; the others start at an arbitrary token."""
    sink_weights: tuple[tuple[float, float], ...] = (
        (400_000, 0.1),
        (800_000, 0.03),
        (4_096_000, 0.03),
        (4_196_000, 0.25),
    )
    """Weight of the sink loss, as (tokens, weight) points joined by straight lines: high until
    there is a sink, low while the heads learn what they are for, high again to teach them to do it
    with the little attention that the sink leaves."""
    first_sink_layer: int = 1
    """The layers before this one have no sink loss and are free to look around."""
    muon_rate: float = 0.02
    """Learning rate of the weight matrices inside the layers, times the gains below."""
    attention_gains: tuple[float, ...] = (0.3, 0.3, 0.5, 2.0, 3.0, 4.0)
    """Per layer, factor on the rate of the value and output projections. Small early, large late:
    what an early layer writes sets the scale of the residual stream, and only a late layer that
    writes on that scale makes a lost sink felt."""
    mlp_gain: float = 0.3
    """Factor on the rate of both matrices of every MLP, for the same reason."""
    weight_decay: float = 0.05
    """Decoupled decay of the weight matrices inside the layers."""
    embedding_rate: float = 0.03
    """Adam's learning rate of the input embedding."""
    embedding_scale: float = 0.5
    """Standard deviation of the input embedding at the start."""
    adam_rate: float = 0.003
    """Adam's learning rate of the output embedding, biases and norms."""
    warmup_steps: int = 50
    decay_share: float = 0.3
    """Share of the steps, at the end, over which the learning rates fall to zero."""
    seed: int = 0

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimiser step sees."""
        return self.batch * self.context

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.tokens // self.tokens_per_step

    def model_config(self) -> GPTNeoXConfig:
        """The architecture: sequential residuals, so that layer 0 alone can mark the sink."""
        return GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            intermediate_size=4 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.context,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": self.rotary_share,
            },
            use_parallel_residual=False,
            tie_word_embeddings=False,
            bos_token_id=BOS_ID,
            eos_token_id=BOS_ID,
        )
