"""The decode timing as one call, for tests that want its columns and not its progress."""

from typing import Any

from torch import Tensor

from workers.contract.spec import EvalSpec
from workers.latency.measure import decode_latency
from workers.models.loading import LoadedModel


def latency_columns(loaded: LoadedModel, ids: Tensor, spec: EvalSpec) -> dict[str, Any]:
    """Return the latency columns of one document."""
    timing = decode_latency(loaded, ids, spec)
    while True:
        try:
            next(timing)
        except StopIteration as ended:
            return dict(ended.value)
