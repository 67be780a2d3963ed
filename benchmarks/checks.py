"""Checks of the engine on a device: what the tests assert on a GPU, as numbers and limits.

    python -m benchmarks.checks

They need torch and transformers alone, because a GPU machine may have no pytest. The parallel pass
must be the rolling cache in every dtype, a recorded step the step itself, and a fused kernel what
plain attention gives.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from unittest.mock import patch

import click
import torch
from torch import Tensor

from benchmarks.opponents import placed_model, random_ids, ring
from workers.attention.fused import TOLERANCE as KERNEL_TOLERANCE
from workers.attention.fused import kernel_for
from workers.attention.visibility import Visibility
from workers.latency.replay import TOLERANCE, RecordedStepper, recorded
from workers.latency.steppers import Recordable, Stepper, WindowStepper
from workers.models.loading import LoadedModel
from workers.quality.nll import stream_nll
from workers.quality.selfcheck import PARITY_TOLERANCE, parity

DTYPES = ("float32", "bfloat16", "float16")
PARITY_LIMITS = {"float32": PARITY_TOLERANCE, "bfloat16": 0.5, "float16": 0.05}
"""Largest difference of one token's loss between the passes, in nats: logits of 16 to 32 are
rounded to 0.125 in bfloat16 and to 0.016 in float16."""
KERNEL_LIMITS = {"float32": 1e-4, "bfloat16": 5e-3, "float16": 5e-3}
"""Difference of the mean loss with and without a fused kernel, in nats."""
STEPS = 24


@dataclass(frozen=True)
class Check:
    """One number beside its limit."""

    name: str
    value: float | None
    """None: this device has nothing to check, which `note` explains."""
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the number is within its limit."""
        return self.value is None or self.value <= self.limit


def check_parity(model: str, dtype: str, at: Visibility, n_tokens: int) -> Check:
    """Compare the parallel pass with the decode on the ring, both in this dtype."""
    loaded = placed_model(model, dtype)
    value = parity(loaded.model, loaded, random_ids(loaded, n_tokens), at)
    return Check(f"parity {model} {dtype}", value, PARITY_LIMITS[dtype])


def check_record(model: str, dtype: str, at: Visibility, n_tokens: int) -> Iterator[Check]:
    """Compare recorded steps of both methods with the steps themselves, over evictions."""
    loaded = placed_model(model, dtype)
    ids = random_ids(loaded, n_tokens)
    assert at.budget is not None
    span = range(len(ids) - 1 - STEPS, len(ids) - 1)
    steppers: dict[str, Recordable] = {
        "streaming": ring(loaded, ids, at, span),
        "recompute": WindowStepper(loaded, ids, span, at.budget),
    }
    for method, stepper in steppers.items():
        name = f"recorded step {method} {model} {dtype}"
        plain = _logits(stepper.forward, stepper)
        record = recorded(stepper, loaded.device, STEPS)
        if record is None:
            yield Check(name, float("inf"), TOLERANCE, "could not be recorded")
            continue

        scale = max(1.0, float(plain.abs().max()))
        difference = float((_logits(partial(_stepped, record), record) - plain).abs().max())
        yield Check(name, difference / scale, TOLERANCE)


def check_kernel(model: str, dtype: str, at: Visibility, n_tokens: int) -> Check:
    """Compare the mean loss with the fused kernel and with plain attention."""
    loaded = placed_model(model, dtype)
    ids = random_ids(loaded, n_tokens)
    groups = loaded.heads // loaded.kv_heads
    kernel = kernel_for(loaded.device, loaded.dtype, loaded.head_dim, groups)
    name = f"fused kernel {model} {dtype}"
    if kernel is None:
        expected = loaded.device.type == "cuda" and dtype != "float32"
        value = float("inf") if expected else None
        return Check(name, value, KERNEL_LIMITS[dtype], "no kernel passed its trial")
    fused = _mean_loss(loaded, ids, at)
    with patch("workers.attention.chunked.kernel_for", return_value=None):
        plain = _mean_loss(loaded, ids, at)
    trial = KERNEL_TOLERANCE[loaded.dtype]
    note = f"{getattr(kernel, '__name__', kernel)}, within {trial:g} on its trial"
    return Check(name, abs(fused - plain), KERNEL_LIMITS[dtype], note)


def all_checks(models: tuple[str, ...], at: Visibility, n_tokens: int) -> Iterator[Check]:
    """Run every check on every model in every dtype, the most important first."""
    for check in (check_parity, check_record, check_kernel):
        for model in models:
            for dtype in DTYPES:
                yield from _attempt(check, model, dtype, at, n_tokens)


def _attempt(
    check: Callable[[str, str, Visibility, int], Check | Iterator[Check]],
    model: str,
    dtype: str,
    at: Visibility,
    n_tokens: int,
) -> Iterator[Check]:
    """Run one check; what raises is a failed check, and the others still run."""
    try:
        found = check(model, dtype, at, n_tokens)
        yield from [found] if isinstance(found, Check) else found
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        name = f"{check.__name__.removeprefix('check_')} {model} {dtype}"
        yield Check(name, float("inf"), 0.0, f"{type(error).__name__}: {error}"[:300])


def _stepped(record: RecordedStepper) -> Tensor:
    record.step()
    assert record.logits is not None
    return record.logits


def _logits(step: Callable[[], Tensor], stepper: Stepper) -> Tensor:
    stepper.reset()
    with torch.inference_mode():
        return torch.stack([step().float().clone() for _ in range(STEPS)])


def _mean_loss(loaded: LoadedModel, ids: Tensor, at: Visibility) -> float:
    pieces = stream_nll(loaded.model, loaded.rotary, ids, at)
    return float(torch.cat([piece.nll.double() for piece in pieces]).mean())


@click.command(help=__doc__)
@click.option("--model", "models", multiple=True, default=("demo", "random:tiny-llama"))
@click.option("--window-size", default=60, show_default=True)
@click.option("--tokens", default=257, show_default=True)
def main(models: tuple[str, ...], window_size: int, tokens: int) -> None:
    """Print the checks as JSON; exit code 1 if one failed."""
    torch.backends.cuda.matmul.allow_tf32 = False
    found = list(all_checks(models, Visibility(4, window_size), tokens))
    figures = [{**asdict(check), "passed": check.passed} for check in found]
    click.echo(json.dumps({"benchmark": "checks", "checks": figures}, indent=2))
    if not all(check.passed for check in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
