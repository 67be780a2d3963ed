"""Random histories of a store against a dictionary: appends, compactions, crashes, damaged files.

Whatever happens in whatever order, every row that was committed is read once, and no other.
"""

import random
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.store.compaction import compact, merge
from orchestrator.store.part_files import part_names
from orchestrator.store.remaining import find_remaining
from orchestrator.store.store import RESULT_KEY, Store
from tests.support.sweeps import row, sweep_of

N_SPECS = 5
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
SWEEP = sweep_of(N_SPECS)


class History:
    """One store, and what it has to hold."""

    def __init__(self, seed: int, root: Path) -> None:
        self.draw = random.Random(seed)
        self.root = root
        self.writers = [Store(root) for _ in range(self.draw.randint(1, 3))]
        self.rows: dict[str, dict[str, Any]] = {}
        self.unreadable: set[str] = set()
        self._strangers = 0

    def append(self) -> None:
        """Commit some attempts as one part; one of them may be there already."""
        draw = self.draw
        added = [self._attempt() for _ in range(draw.randint(1, 4))]
        if self.rows and draw.random() < 0.2:
            added.append(draw.choice([*self.rows.values()]))
        draw.choice(self.writers).append_trials(added)
        self.rows |= {one["row_id"]: one for one in added}

    def _attempt(self) -> dict[str, Any]:
        draw = self.draw
        return row(
            draw.randrange(N_SPECS),
            row_id=f"row-{len(self.rows)}-{draw.random()}",
            status=draw.choice(["ok", "ok", "failed"]),
            device_name=draw.choice(["cpu", "NVIDIA A100", None]),
            num_threads=draw.choice([1, 2, None]),
            finished_at=NOON + timedelta(seconds=len(self.rows)),
            block_nll=[draw.random() for _ in range(draw.randrange(3))],
        )

    def compact_all(self) -> None:
        names = part_names(self.writers[0].storage, "trials")
        skipped = set(compact(Store(self.root)).skipped)
        assert skipped == (self.unreadable if len(names) > 1 else set())

    def compact_some(self) -> None:
        """Merge some of the files; the inputs may stay, as after a crash."""
        store = self.draw.choice(self.writers)
        names = part_names(store.storage, "trials")
        chosen = self.draw.sample(names, self.draw.randint(0, len(names)))
        folder, kept = self.root / "trials", self.root / "aside"
        crashed = [name for name in chosen if self.draw.random() < 0.3]
        kept.mkdir(parents=True, exist_ok=True)
        for name in crashed:
            shutil.copy(folder / name, kept / name)
        assert set(merge(store, "trials", chosen)) == self.unreadable & set(chosen)
        for name in crashed:
            shutil.copy(kept / name, folder / name)

    def add_stranger(self) -> None:
        """Put a file into the folder that is not ours, damaged, or under way."""
        self._strangers += 1
        folder = self.root / "trials"
        folder.mkdir(parents=True, exist_ok=True)
        whole = [folder / name for name in part_names(self.writers[0].storage, "trials")]
        whole = [path for path in whole if path.name not in self.unreadable]
        kind = self.draw.choice(["noise", "foreign", "cut off", "under way", "other", "empty"])
        path = folder / f"part-x-{self._strangers:08d}.parquet"
        if kind == "noise":
            path.write_bytes(self.draw.randbytes(self.draw.randint(1, 300)))
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "foreign":
            pq.write_table(pa.table({"run_id": ["x"], "perplexity": [1.0]}), path)
        elif kind == "cut off" and whole:
            content = self.draw.choice(whole).read_bytes()
            path.write_bytes(content[: self.draw.randrange(len(content))])
        else:
            name = "_part.parquet" if kind == "under way" else "notes.txt"
            (folder / name).write_bytes(b"PAR1 and no more")
        if path.exists():
            self.unreadable.add(path.name)

    def check(self) -> None:
        """Compare everything that readers see with the dictionary."""
        store = Store(self.root)
        found = store.trials(["row_id", "run_id", "status", "finished_at", "block_nll"])
        ids = found.column("row_id").to_pylist()
        assert sorted(ids) == sorted(self.rows)
        for one in found.to_pylist():
            assert all(self.rows[one["row_id"]][name] == value for name, value in one.items())
        assert {name.rpartition("/")[2] for name, _ in store.damaged} == self.unreadable
        latest: dict[tuple[Any, ...], dict[str, Any]] = {}
        for one in sorted(self.rows.values(), key=lambda one: one["finished_at"]):
            if one["status"] == "ok":
                latest[tuple(one.get(name) for name in RESULT_KEY)] = one
        results = store.results(["row_id"]).column("row_id").to_pylist()
        assert sorted(results) == sorted(one["row_id"] for one in latest.values())
        done = {one["run_id"] for one in latest.values()}
        remaining = find_remaining(SWEEP, store)
        assert [SWEEP.evaluations[i].spec.run_id in done for i in range(N_SPECS)] == [
            i in remaining.done for i in range(N_SPECS)
        ]


def check(seed: int, folder: Path) -> str:
    """Play one history; the store is looked at in the middle and at the end."""
    history = History(seed, folder / "store")
    steps = [history.append, history.append, history.append, history.compact_all]
    steps += [history.compact_some, history.add_stranger, history.check]
    for _ in range(history.draw.randint(3, 14)):
        history.draw.choice(steps)()
    history.check()
    return "histories"
