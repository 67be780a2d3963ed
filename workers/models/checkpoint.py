"""The weights of a checkpoint: all of them, nothing else, or an error that names what differs.

transformers fills what a checkpoint lacks with random numbers, leaves out what the model does not
know, and only warns. Here either is refused, by names; the exceptions are those that transformers
itself declares (tied weights, `_keys_to_ignore_on_load_*`, buffers that older versions stored),
and causal masks, which older versions stored as well.
"""

import contextlib
import errno
import io
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from workers.contract.errors import ModelLoadError, ModelRefusedError, SinkSweepError
from workers.models import hub
from workers.models.causes import fault_of, tensor_types, weight_files, words_of
from workers.models.sources import Source

_INTEGERS = frozenset(("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"))
_HIDDEN = -1e4
"""At most this much is added to a score that is to be hidden."""
_SHOWN = 3
"""Names of tensors that an error lists; the rest is a count."""


@dataclass(frozen=True)
class Checkpoint:
    """A model with the weights of its checkpoint, on the CPU."""

    model: Any
    weights_format: str
    """`safetensors`, or `gguf` with the quantisation that was undone."""


def read_checkpoint(source: Source, dtype: torch.dtype) -> Checkpoint:
    """Load configuration and weights.

    Raises `ModelRefusedError` if the weights are not exactly those of the model, are quantised in
    a form that is not undone, or cannot be read; `ModelLoadError` if the Hub did not answer.
    """
    with explained(source, "model"):
        if source.is_remote and source.folder is None:
            revision = source.arguments.get("revision")
            if reason := hub.silence(source.model, "model", revision):
                raise ConnectionError(reason)
        _refuse_quantised(source)
        _refuse_adapters(source)
        options: dict[str, Any] = {"use_safetensors": True}
        if source.gguf is not None:  # plain weights, also where kernels for packed ones are at hand
            config = getattr(transformers, "GgufConfig", None)  # younger than the oldest we support
            options = {} if config is None else {"quantization_config": config(dequantize=True)}
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be turned off
            model, info = AutoModelForCausalLM.from_pretrained(
                **source.arguments,
                **options,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused here, with names and sizes
            )
        folder = source.folder or _downloaded(source)
        files = weight_files(folder) if folder is not None and source.gguf is None else []
        info["unexpected_keys"] -= _stored_masks(files, info["unexpected_keys"])
        _refuse_differences(source.model, info)
        _refuse_integers(source.model, files, model)
        if source.gguf is None:
            return Checkpoint(model, "safetensors")
        # Traces of blocks that have been unpacked: such a model cannot be saved or cast.
        for name in ("quantization_config", "_pre_quantization_dtype"):
            model.config.__dict__.pop(name, None)
        for name in ("hf_quantizer", "quantization_method", "is_quantized"):
            model.__dict__.pop(name, None)
        return Checkpoint(model, _gguf_format(source.gguf))


@contextmanager
def explained(source: Source, what: str) -> Iterator[None]:
    """Turn whatever transformers raises inside the block into an error that names the cause.

    Memory and device errors pass: they say something about the machine, not about the model.
    """
    try:
        yield
    except (SinkSweepError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # anything: KeyError, struct.error, json and safetensors errors
        fault = fault_of(source, tokenizer=what == "tokenizer")
        message = f"cannot load the {what} of {source.model!r}: {fault or words_of(source, error)}"
        broken_disk = isinstance(error, OSError) and error.errno not in (None, errno.ENOENT)
        may_pass = fault is None and (source.is_remote or broken_disk)
        raise (ModelLoadError if may_pass else ModelRefusedError)(message) from error


def _refuse_differences(model: str, info: dict[str, Any]) -> None:
    resized = [
        f"{name} ({_shape(stored)} in the file, {_shape(wanted)} in the model)"
        for name, stored, wanted in sorted(info["mismatched_keys"])
    ]
    sorts = {
        "missing": sorted(info["missing_keys"]),
        "surplus": sorted(info["unexpected_keys"]),
        "of another size": resized,
    }
    if not any(sorts.values()) and not info["error_msgs"]:
        return
    found: list[str] = []
    for sort, names in sorts.items():
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            found.append(f"{len(names)} {sort}: {shown}")
    raise ModelRefusedError(
        f"the checkpoint {model!r} does not hold the tensors of its config.json; "
        f"{'; '.join([*found, *info['error_msgs']])}. Nothing was computed: with random numbers "
        "in their place it would be another model. Save it again with save_pretrained of the class "
        "that config.json names"
    )


def _downloaded(source: Source) -> Path | None:
    """Return where the files of a Hub model lie that was not cached before it was loaded."""
    commit = source.arguments.get("revision")
    return hub.cached_snapshot(source.model, "model", commit) if commit else None


def _stored_masks(files: Sequence[Path], names: Collection[str]) -> set[str]:
    """Return which of these tensors are causal masks, which GPT-J and CodeGen once stored.

    Nothing declares them any more. They are known by what they hold, and no weight holds that: a
    lower triangle of ones (`attn.bias`, `attn.causal_mask`), or a single number for what is hidden
    (`attn.masked_bias`).
    """
    found: set[str] = set()
    for path in files if names else ():
        with safe_open(path, "pt") as file:
            for name in set(file.keys()) & set(names):
                shape = tuple(file.get_slice(name).get_shape())
                alone = math.prod(shape) == 1
                square = len(shape) > 1 and shape[-1] == shape[-2]
                if (alone or square) and _is_mask(file.get_tensor(name)):
                    found.add(name)
    return found


def _is_mask(stored: Tensor) -> bool:
    if stored.numel() == 1:
        return float(stored) <= _HIDDEN
    return torch.equal(stored, torch.ones_like(stored).tril())


def _refuse_integers(name_of_model: str, files: Sequence[Path], model: Any) -> None:
    """Refuse packed weights that no configuration tells how to unpack; they would be rounded."""
    floats = {name for name, tensor in model.named_parameters() if tensor.is_floating_point()}
    for path in files:
        for name, kind in tensor_types(path).items():
            if name in floats and kind in _INTEGERS:
                raise ModelRefusedError(
                    f"the checkpoint {name_of_model!r} holds whole numbers ({kind}) as the weight "
                    f"{name}, and its config.json does not say how they are unpacked; name the "
                    "original weights"
                )


def _shape(sizes: Collection[int]) -> str:
    return " x ".join(map(str, sizes))


def _refuse_quantised(source: Source) -> None:
    if source.gguf is not None:
        return
    config = AutoConfig.from_pretrained(**source.arguments)
    for part in (config, config.get_text_config()):
        if settings := getattr(part, "quantization_config", None):
            known = settings if isinstance(settings, dict) else settings.to_dict()
            method = known.get("quant_method") or "an unknown method"
            raise ModelRefusedError(
                f"{source.model!r} is a quantised checkpoint ({method}), whose kernels round "
                "differently from device to device; name the original weights, or a GGUF file, "
                "which is dequantised"
            )


def _refuse_adapters(source: Source) -> None:
    if source.folder is not None and (source.folder / "adapter_config.json").is_file():
        raise ModelRefusedError(
            f"{source.model!r} holds an adapter (adapter_config.json), which is applied only where "
            "peft is installed; merge it into its model and save that"
        )


def _gguf_format(path: Path) -> str:
    """Return `gguf` and the type that most weights have, for example `gguf Q4_1`."""
    from gguf import GGUFReader  # the extra sinksweep[gguf]

    sizes: dict[str, int] = {}
    for tensor in GGUFReader(path).tensors:
        name = tensor.tensor_type.name
        sizes[name] = sizes.get(name, 0) + int(tensor.n_elements)
    largest = max(sizes, key=lambda name: sizes[name])
    return f"gguf {largest}, dequantised" if largest not in ("F32", "F16", "BF16") else "gguf"
