"""How strong the attention sink of a model is, for `sweep doctor --model`.

Evicting the first tokens hurts a model only if its heads lean on them: where no head does,
`window` and `streaming` are the same, and a sweep over sinks shows nothing.
"""

from dataclasses import dataclass

import torch

from orchestrator.words import counted
from workers.contract.spec import RANDOM_MODEL_PREFIX, EvalSpec
from workers.models.loading import load_model
from workers.models.sinks import SINK_THRESHOLD, SINK_TOKENS, sink_strength
from workers.revisions import resolve
from workers.texts.tokens import first_token_kind, tokenised_documents

DOCUMENTS = 16
"""Texts that are measured, their first `SINK_TOKENS` tokens each."""


@dataclass(frozen=True, kw_only=True)
class SinkReport:
    """The attention that heads pay to position 0."""

    model: str
    model_revision: str | None
    dataset: str
    n_documents: int
    tokens_each: int
    first_token: str
    """What stands at position 0: `bos` or `text`."""
    threshold: float
    share_of_sink_heads: float
    """Heads whose mean attention to position 0 is above the threshold."""
    mean_attention: float
    by_layer: tuple[float, ...]
    """Mean over the heads of each layer, the first layer first."""


def measure(model: str, dataset: str, *, device: str = "cpu") -> SinkReport:
    """Load a model and measure its sink. Raises what loading a model or a text raises."""
    if model.startswith(RANDOM_MODEL_PREFIX):
        dataset = "random"
    spec = resolve(
        EvalSpec(
            model=model,
            dataset=dataset,
            method="dense",
            max_documents=DOCUMENTS,
            max_tokens=SINK_TOKENS,
        )
    )
    loaded = load_model(spec, torch.device(device))
    documents = tokenised_documents(spec, loaded)
    found = sink_strength(loaded, [document.ids for document in documents])
    return SinkReport(
        model=model,
        model_revision=spec.model_revision,
        dataset=dataset,
        n_documents=len(documents),
        tokens_each=SINK_TOKENS,
        first_token=str(first_token_kind(documents)),
        threshold=SINK_THRESHOLD,
        share_of_sink_heads=found.share_above,
        mean_attention=found.mean,
        by_layer=tuple(found.attention.mean(dim=1).tolist()),
    )


def describe_sinks(report: SinkReport) -> str:
    """Return a report as lines of text."""
    lines = [
        f"{report.model} on {counted(report.n_documents, 'text')} of {report.dataset}, the first "
        f"{report.tokens_each} tokens each (position 0 is {report.first_token}):",
        f"  {report.share_of_sink_heads:.1%} of the heads pay more than {report.threshold:.0%} of "
        "their attention to position 0",
        f"  mean over all heads: {report.mean_attention:.1%}",
    ]
    lines += [f"  layer {i}: {value:.1%}" for i, value in enumerate(report.by_layer)]
    return "\n".join(lines)
