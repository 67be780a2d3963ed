"""Which exact model and text an evaluation means: revisions filled in, paths made absolute.

A run id must change when a model or a text changes and must not when a file is moved, so the
identity of everything local is the sha256 of its content, and that of everything on the Hub its
commit. A revision that the user (or an earlier expansion) gave is checked against the content:
`resolve` applied to a resolved spec proves that nothing has changed since.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.contract.errors import CorpusError, ModelLoadError, SinkSweepError
from workers.contract.file_datasets import (
    FILE_PREFIX,
    MANY_FILES,
    expanded,
    file_format,
    split_file_dataset,
    with_path,
)
from workers.contract.spec import (
    DEFAULTS,
    PACKAGED_MODEL,
    RANDOM_MODEL_PREFIX,
    EvalSpec,
    is_hub_dataset,
    is_hub_model,
    is_local_model,
)
from workers.models import hub
from workers.models.presets import DEMO_FOLDER, preset_config
from workers.models.sources import gguf_file
from workers.texts import files
from workers.texts.corpora import read_documents
from workers.texts.hub_corpora import HUB_CORPORA

_MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    # What the first version left out; a folder with none of these keeps its revision.
    "*.tiktoken",
    "tekken.json",
    "vocab.bpe",
    "encoder.json",
    "dict.txt",
    "adapter_config.json",
)
"""What decides a result: weights, configuration, tokenizer; and the files that an index or the
configuration names, in subfolders too. What transformers also reads and we never use (generation
settings, chat templates) does not, nor do cards and logs."""
_INDEX = ".safetensors.index.json"
_MODEL = ("model", "model_revision", "trust_remote_code")
_DATASET = ("dataset", "dataset_revision")
# Stand-ins for the half that is not looked up; neither reads a file.
_NO_DATASET = {"dataset": "random"}
_NO_MODEL = {"model": "random:pythia-70m"}
_Key = tuple[Any, ...]


def resolve(spec: EvalSpec) -> EvalSpec:
    """Return the spec with both revisions filled in and existing relative paths made absolute.

    Raises `ModelLoadError` or `CorpusError`: something is missing, the Hub cannot be reached, or a
    given revision is not that of the content.
    """
    model, dataset = spec.model, spec.dataset
    if model not in ("demo", PACKAGED_MODEL) and not model.startswith(RANDOM_MODEL_PREFIX):
        # As in transformers, an existing folder hides a Hub id.
        exists = (expanded(model) / "config.json").is_file()
        model = files.absolute(model) if exists or is_local_model(model) else model
    if dataset.startswith(FILE_PREFIX):
        path, _, _ = split_file_dataset(dataset)
        dataset = with_path(dataset, files.absolute(path))
    spec = replace(spec, model=model, dataset=dataset)
    return replace(
        spec, model_revision=_model_revision(spec), dataset_revision=_dataset_revision(spec)
    )


def _model_revision(spec: EvalSpec) -> str | None:
    given = spec.model_revision
    if spec.model.startswith(RANDOM_MODEL_PREFIX):
        # Its weights follow from `spec.seed`.
        preset = preset_config(spec.model.removeprefix(RANDOM_MODEL_PREFIX))
        found = hashlib.sha256(json.dumps(preset, sort_keys=True).encode()).hexdigest()
    elif (gguf := gguf_file(spec.model)) is not None:
        found = files.sha256(str(gguf))
    elif spec.model == "demo":
        found = _folder_hash(DEMO_FOLDER, with_code=False)
    elif is_local_model(spec.model):
        found = _folder_hash(Path(spec.model), with_code=spec.trust_remote_code)
    else:
        try:
            return hub.commit(spec.model, "model", given)
        except hub.HubError as error:
            here = (
                "the folder of this name here has no config.json"
                if expanded(spec.model).is_dir()
                else "there is no folder of this name here"
            )
            raise ModelLoadError(f"{spec.model}: {error}; {here}") from error
    if given is not None and given != found:
        raise ModelLoadError(_mismatch("model_revision", given, spec.model, found))
    return found


def _dataset_revision(spec: EvalSpec) -> str | None:
    given = spec.dataset_revision
    if is_hub_dataset(spec.dataset):
        corpus = HUB_CORPORA[spec.dataset]
        try:
            return hub.commit(corpus.repo, "dataset", given or corpus.revision)
        except hub.HubError as error:
            raise CorpusError(f"{spec.dataset}: {error}") from error
    found = _text_hash(spec.dataset)
    if given is not None and given != found:
        raise CorpusError(_mismatch("dataset_revision", given, spec.dataset, found))
    return found


def _text_hash(dataset: str) -> str | None:
    """Return the sha256 of a file's bytes or of the selected held-out text; None for `random`."""
    if dataset == "random":
        return None
    if not dataset.startswith(FILE_PREFIX):
        return _held_out_hash(dataset)
    path, found, _ = split_file_dataset(dataset)
    try:
        if found != MANY_FILES:
            return files.sha256(path)
        # Over (format, sha256 of the content), in order; names play no part.
        digest = hashlib.sha256()
        for member in files.members(path):
            digest.update(f"{file_format(member)}\0{files.sha256(member)}\n".encode())
        return digest.hexdigest()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from error


def _folder_hash(folder: Path, *, with_code: bool) -> str:
    """Return the sha256 over (relative name, sha256 of the content) of the files that matter."""
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"{folder}: not a model folder: it has no config.json")
    digest = hashlib.sha256()
    try:
        found = {path for pattern in _MODEL_FILES for path in folder.glob(pattern)}
        found |= {*_named_files(folder)}
        if with_code:  # code runs only if the user trusts it, and only then it decides
            found |= {*folder.rglob("*.py")}
        for path in sorted(path for path in found if path.is_file()):
            inside = path.is_relative_to(folder)
            name = path.relative_to(folder).as_posix() if inside else path.name
            digest.update(f"{name}\0{files.sha256(str(path))}\n".encode())
    except OSError as error:
        raise ModelLoadError(f"{folder}: cannot be read: {error}") from error
    return digest.hexdigest()


def _named_files(folder: Path) -> Iterator[Path]:
    """Yield the weights that the configuration and the indexes name, wherever they lie.

    What cannot be read names nothing: loading refuses it, and says why.
    """
    named = _json_file(folder / "config.json").get("transformers_weights")
    chosen = [folder / named] if isinstance(named, str) else []
    yield from chosen
    for index in {*folder.glob(f"*{_INDEX}"), *(path for path in chosen if _INDEX in path.name)}:
        shards = _json_file(index).get("weight_map")
        for name in shards.values() if isinstance(shards, dict) else ():
            yield folder / str(name)


def _json_file(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@functools.cache
def _held_out_hash(dataset: str) -> str:
    digest = hashlib.sha256()
    for document in read_documents(EvalSpec(model="demo", dataset=dataset, method="dense")):
        digest.update(f"{document.name}\0{document.text}\0".encode())
    return digest.hexdigest()


def _mismatch(field: str, given: str, what: str, found: str | None) -> str:
    has = f"its content has {found}" if found else "it has no revision"
    return (
        f"{what}: {field} is {given}, but {has}; the content changed or another was meant: "
        f"leave {field} out to evaluate what is there now"
    )


def unavailable(spec: EvalSpec) -> str | None:
    """Return why the model or the text of a resolved spec cannot be had on this machine, or None.

    Only what comes from the Hub is asked for, once per repository: it is in the cache, or the Hub
    answers and lets anybody, or this user, have it.
    """
    if is_hub_model(spec.model):
        revision = spec.model_revision or "main"
        if reason := hub.unavailable_on_hub(spec.model, "model", revision, "config.json"):
            return reason
    if is_hub_dataset(spec.dataset):
        corpus = HUB_CORPORA[spec.dataset]
        revision = spec.dataset_revision or corpus.revision
        pattern = f"{corpus.folder}/{spec.split}-*.parquet"
        return hub.unavailable_on_hub(corpus.repo, "dataset", revision, pattern)
    return None


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
            fields = {**dict(zip(names, key, strict=True)), **rest}
            try:
                # Neither plays a part in a revision: `dense` accepts every budget, random text any
                # length.
                spec = resolve(EvalSpec(**fields, method="dense", max_tokens=2))
                self._known[names, key] = {name: getattr(spec, name) for name in names}
            except SinkSweepError as error:
                self._known[names, key] = LookupFailedError(names[0], str(error))
        answer = self._known[names, key]
        if isinstance(answer, LookupFailedError):
            raise answer
        return answer
