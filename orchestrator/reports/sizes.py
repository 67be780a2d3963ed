"""How long the texts of a sweep are: from the store, else read here, else from their limits."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.reports.cost_history import History
from workers.contract.cost import Text
from workers.contract.errors import SinkSweepError
from workers.contract.spec import EvalSpec, is_hub_dataset, is_hub_model


class Sizes:
    """Lengths of texts, and what stands in the way of knowing them."""

    def __init__(self, history: History, *, read_texts: bool) -> None:
        self._history, self._read_texts = history, read_texts
        self._lengths: Any = None
        """`workers.texts.lengths.Lengths`; None until a text has to be read."""
        self._unknown: set[tuple[Any, ...]] = set()
        self.problems: dict[str, None] = {}
        """Each once, in the order in which they were met."""

    def text(self, spec: EvalSpec) -> Text | None:
        """Return the length of a text; None if neither store, text nor limits tell."""
        found = self._history.text(spec)
        is_known = (found is not None and found.is_exact) or spec.dataset == "random"
        if is_known or not self._read_texts or _key(spec) in self._unknown:
            return found
        from workers.revisions import unavailable  # transformers: only where a text is read

        try:
            if reason := unavailable(spec):
                self._note(spec, reason)
                return found
            from workers.texts.lengths import Lengths

            self._lengths = self._lengths or Lengths()
            read: Text = self._lengths.text(spec)
        except SinkSweepError as error:
            self._note(spec, str(error))
            return found
        return read

    def beyond_training(self, specs: Sequence[EvalSpec]) -> Iterator[str]:
        """Yield a line for every model whose trained positions a budget exceeds."""
        largest: dict[str, EvalSpec] = {}
        for spec in specs:
            known = largest.setdefault(spec.model, spec)
            if (spec.budget or 0) > (known.budget or 0):
                largest[spec.model] = spec
        for spec in largest.values():
            if self._lengths is None or _key(spec) in self._unknown:
                continue
            limit = self._lengths.positions(spec)
            if limit is not None and spec.budget is not None and spec.budget + 1 > limit:
                yield (
                    f"{spec.model}: a window of {spec.budget + 1} tokens is beyond the {limit} "
                    "positions that the model was trained on; such results are marked"
                )

    def _note(self, spec: EvalSpec, problem: str) -> None:
        self._unknown.add(_key(spec))
        self.problems[problem] = None


def unavailable_here(specs: Iterable[EvalSpec]) -> Mapping[str, int]:
    """Return why models and texts of the Hub cannot be had here, and for how many evaluations."""
    asked = [spec for spec in specs if is_hub_model(spec.model) or is_hub_dataset(spec.dataset)]
    if not asked:  # then transformers is not worth loading
        return {}
    from workers.revisions import unavailable

    return Counter(reason for spec in asked if (reason := unavailable(spec)))


def _key(spec: EvalSpec) -> tuple[Any, ...]:
    return (spec.model, spec.model_revision, spec.dataset, spec.dataset_revision, spec.split)
