"""What a token costs at least: bytes that must be read and operations that must be done."""

from torch import Tensor, nn

from workers.models.loading import LoadedModel


def weight_bytes(loaded: LoadedModel) -> int:
    """Return the bytes of weights that one decode step reads: all but the rows of an embedding."""
    embedding: Tensor = loaded.model.get_input_embeddings().weight
    total: int = sum(weight.nbytes for weight in loaded.model.parameters())
    is_tied = any(weight is embedding for weight in _matrices(loaded))
    return total if is_tied else total - embedding.nbytes


def cache_bytes(loaded: LoadedModel, keys: int) -> int:
    """Return the bytes of keys and values that a query over so many keys reads."""
    per_layer = 2 * loaded.kv_heads * loaded.head_dim * loaded.dtype.itemsize
    return loaded.n_layers * per_layer * keys


def operations(loaded: LoadedModel, *, queries: int, logits: int, keys: float) -> float:
    """Return the operations of a forward over `queries` tokens of which `logits` get logits.

    keys: that a query sees on average. Two operations per multiplication; norms and activations
    are not counted.
    """
    head: Tensor = loaded.model.get_output_embeddings().weight
    body = sum(weight.numel() for weight in _matrices(loaded) if weight is not head)
    attention = 4 * loaded.n_layers * loaded.heads * loaded.head_dim * keys
    return queries * (2 * body + attention) + logits * 2 * head.numel()


def _matrices(loaded: LoadedModel) -> list[Tensor]:
    return [module.weight for module in loaded.model.modules() if isinstance(module, nn.Linear)]
