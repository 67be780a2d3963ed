"""Models for the tests: tiny random ones of every family, and the demo model that ships.

Every weight is random, norms and biases too, and wide, so that attention is far from uniform and
a wrong key changes the loss (`benchmarks/families/tiny.py`).
"""

import copy
import functools
import json

import torch

from benchmarks.families.shapes import VOCABULARY
from benchmarks.families.tiny import tiny_model
from workers.contract.spec import EvalSpec
from workers.models.checkpoint import Checkpoint
from workers.models.loading import load_model, switched


def tiny_transformer(model_type, **changes):
    """A transformers model of a family as the library builds it, untouched by us."""
    return _built(model_type, json.dumps(changes))


@functools.cache
def _built(model_type, changes):
    return tiny_model(model_type, **json.loads(changes))


def tiny(model_type, **changes):
    """The same model, copied and switched to our attention."""
    return loaded(copy.deepcopy(tiny_transformer(model_type, **changes)))


def loaded(model):
    return switched(
        Checkpoint(model, "random"),
        key=type(model).__name__,
        tokenizer=None,
        device=torch.device("cpu"),
        dtype=model.dtype,
    )


@functools.cache
def demo():
    """The demo model, switched to our attention, with its tokenizer."""
    spec = EvalSpec(model="demo", dataset="pydoc", method="dense")
    return load_model(spec, torch.device("cpu"))


def random_ids(n_tokens, vocabulary=VOCABULARY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (n_tokens,), generator=generator)
