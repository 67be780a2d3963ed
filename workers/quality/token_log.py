"""Per-token losses of one evaluation, written as one Parquet file when it is complete."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from workers.contract.spec import EvalSpec
from workers.quality.nll import Scored

_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("document", pa.int32()),
    ("query", pa.int64()),
    ("nll", pa.float32()),
]
SCHEMA = pa.schema(_COLUMNS)


class TokenLog:
    """Collects the losses of consecutive chunks of consecutive documents."""

    def __init__(self, spec: EvalSpec, store: str | None) -> None:
        if store is None:
            raise ValueError("save_token_nll needs a store to write to")
        self._run_id, self._store = spec.run_id, store
        self._columns: list[tuple[int, int, np.ndarray]] = []  # document, start, losses

    def add(self, document: int, scored: Scored) -> None:
        """Take the next chunk of a document, given by its position in the evaluated list."""
        self._columns.append((document, scored.start, scored.nll.numpy()))

    def write(self) -> None:
        """Write STORE/tokens/<run_id>.parquet: whole or not at all."""
        sizes = [len(nll) for _, _, nll in self._columns]
        queries = [np.arange(start, start + len(nll)) for _, start, nll in self._columns]
        arrays = [
            np.repeat([document for document, _, _ in self._columns], sizes),
            np.concatenate(queries),
            np.concatenate([nll for _, _, nll in self._columns]),
        ]
        table = pa.table([pa.array(array) for array in arrays], names=SCHEMA.names).cast(SCHEMA)
        if "://" in self._store:
            filesystem, root = fs.FileSystem.from_uri(self._store)
            pq.write_table(table, f"{root}/tokens/{self._run_id}.parquet", filesystem=filesystem)
            return
        folder = Path(self._store) / "tokens"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"_{self._run_id}.parquet"
        pq.write_table(table, temporary)
        temporary.rename(folder / f"{self._run_id}.parquet")
