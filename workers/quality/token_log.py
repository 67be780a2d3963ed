"""Per-token losses of one evaluation, as one Parquet file when it is complete."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.quality.nll import Scored

_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("document", pa.int32()),
    ("query", pa.int64()),
    ("nll", pa.float32()),
]
SCHEMA = pa.schema(_COLUMNS)


class TokenLog:
    """Collects the losses of consecutive chunks of consecutive documents."""

    def __init__(self) -> None:
        self._columns: list[tuple[int, int, np.ndarray]] = []  # document, start, losses

    def add(self, document: int, scored: Scored) -> None:
        """Add the next chunk of a document, given by its position in the evaluated list."""
        self._columns.append((document, scored.start, scored.nll.numpy()))

    def parquet(self) -> bytes:
        """Return the file: document, query (position) and nll (nats) of every scored token."""
        sizes = [len(nll) for _, _, nll in self._columns]
        queries = [np.arange(start, start + len(nll)) for _, start, nll in self._columns]
        arrays = [
            np.repeat([document for document, _, _ in self._columns], sizes),
            np.concatenate(queries),
            np.concatenate([nll for _, _, nll in self._columns]),
        ]
        table = pa.table([pa.array(array) for array in arrays], names=SCHEMA.names).cast(SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue().to_pybytes()
