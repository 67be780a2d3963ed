"""The revision of every model and text of a grid, looked up once per distinct one.

A run id names content, not paths, so an expansion has to know what a folder holds or which
commit a Hub name points to. `workers.revisions` knows how; here it is asked once, because
hashing a large file or asking the Hub takes longer than building the evaluations.
"""

from collections.abc import Mapping
from typing import Any

from workers.contract.errors import SinkSweepError
from workers.contract.spec import DEFAULTS, EvalSpec
from workers.revisions import resolve

_MODEL = ("model", "model_revision", "trust_remote_code")
_DATASET = ("dataset", "dataset_revision")
# Stand-ins for the half that is not looked up; neither reads a file.
_NO_DATASET = {"dataset": "random"}
_NO_MODEL = {"model": "random:pythia-70m"}

_Key = tuple[Any, ...]


class LookupFailedError(Exception):
    """A model or text cannot be found; `field` is the one the user has to change."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class Revisions:
    """Looks up models and texts, and remembers the answers, failures included."""

    def __init__(self) -> None:
        self._known: dict[_Key, dict[str, Any] | LookupFailedError] = {}

    def fill(self, combination: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resolved model and dataset fields; raises `LookupFailedError`."""
        return {
            **self._resolved(_MODEL, combination, _NO_DATASET),
            **self._resolved(_DATASET, combination, _NO_MODEL),
        }

    def _resolved(
        self, names: _Key, combination: Mapping[str, Any], rest: Mapping[str, Any]
    ) -> dict[str, Any]:
        key = tuple(combination.get(name, DEFAULTS.get(name)) for name in names)
        if (names, key) not in self._known:
            fields = dict(zip(names, key, strict=True))
            self._known[names, key] = _look_up(names, {**fields, **rest})
        answer = self._known[names, key]
        if isinstance(answer, LookupFailedError):
            raise answer
        return answer


def _look_up(names: _Key, fields: Mapping[str, Any]) -> dict[str, Any] | LookupFailedError:
    try:
        # Neither plays a part in a revision: `dense` accepts every budget, random text any length.
        spec = resolve(EvalSpec(**fields, method="dense", max_tokens=2))
    except SinkSweepError as error:
        return LookupFailedError(names[0], str(error))
    return {name: getattr(spec, name) for name in names}
