"""What the demo model is and how it is trained: every choice, with its default and its reason."""

from dataclasses import asdict, dataclass, fields

from transformers import GPTNeoXConfig

from benchmarks.demo_training.tokenizer import BOS_ID, VOCABULARY


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults are the shipped model."""

    hidden: int = 192
    """Width of the residual stream: depth makes sinks, width makes size."""
    layers: int = 6
    heads: int = 6
    rotary_share: float = 0.25
    """Share of each head's dimensions that is rotated, as in Pythia."""
    context: int = 256
    """Tokens per sequence, and so the positions that the model is trained on."""
    batch: int = 16
    """Sequences per step."""
    tokens: int = 12_000_000
    """Training tokens in all; steps = tokens / (batch * context)."""
    bos_share: float = 0.5
    """Share of the sequences that start with BOS; the others start at an arbitrary token."""
    sink_weight: float = 0.05
    """Weight of the sink loss in the first `sink_hold` of the steps."""
    sink_floor: float = 0.01
    """Weight of the sink loss in the last steps."""
    sink_hold: float = 0.1
    """Share of the steps after which the sink loss falls to its floor, within another tenth."""
    muon_rate: float = 0.02
    """Learning rate of the weight matrices inside the layers."""
    adam_rate: float = 0.003
    """Learning rate of embeddings, biases and norms."""
    weight_decay: float = 0.1
    """Decoupled decay of the weight matrices inside the layers."""
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

    def changes(self) -> dict[str, object]:
        """The fields that differ from the shipped model's."""
        return {
            field.name: value
            for field in fields(self)
            if (value := asdict(self)[field.name]) != field.default
        }
