"""WikiText-103 and PG19 from the Hugging Face Hub, at pinned revisions.

The data sets are plain Parquet files. If the local Hub cache holds them (`hf download` puts them
there) they are read from it, without network and without the `datasets` package; otherwise
`datasets` downloads them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from workers.contract.errors import CorpusError
from workers.contract.failures import reason_of
from workers.models import hub
from workers.texts.text_files import parquet_texts


@dataclass(frozen=True, kw_only=True)
class HubCorpus:
    """Where a corpus lies on the Hub."""

    repo: str
    folder: str
    """The folder in the repository that holds `SPLIT-*.parquet`."""
    revision: str
    """The commit that is evaluated unless the grid names another."""


HUB_CORPORA = {
    "wikitext-103": HubCorpus(
        repo="Salesforce/wikitext",
        folder="wikitext-103-v1",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
    ),
    "pg19": HubCorpus(
        repo="emozilla/pg19-test",
        folder="data",
        revision="c5e39bf32e33f9111323aa68d7d9000d22722035",
    ),
}

_COLUMN = "text"


def read_hub_texts(dataset: str, *, split: str, revision: str | None) -> Iterator[str]:
    """Yield the texts of all rows of a split, in order. Raises `CorpusError`."""
    corpus = HUB_CORPORA[dataset]
    try:
        commit = hub.commit(corpus.repo, "dataset", revision or corpus.revision)
    except hub.HubError as error:
        raise CorpusError(str(error)) from error
    if (snapshot := hub.cached_snapshot(corpus.repo, "dataset", commit)) is not None:
        cached = sorted((snapshot / corpus.folder).glob(f"{split}-*.parquet"))
        counts = {int(n) for path in cached for n in re.findall(r"-of-(\d+)", path.name)}
        if counts == {len(cached)}:  # as many as their names announce
            return chain.from_iterable(map(_read_cached, cached))
    return _download(dataset, corpus, split, commit)


def cache_command(corpus: HubCorpus, split: str, commit: str) -> str:
    """Return the shell command that puts a split into the local Hub cache."""
    return (
        f"hf download --repo-type dataset {corpus.repo} --revision {commit} "
        f"--include '{corpus.folder}/{split}-*'"
    )


def _read_cached(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for text in parquet_texts(file, str(path), _COLUMN):
            yield text or ""


def _download(dataset: str, corpus: HubCorpus, split: str, commit: str) -> Iterator[str]:
    try:
        # Imported only here: evaluations of other texts run where `datasets` is not installed.
        from datasets import load_dataset
    except ImportError as error:
        raise CorpusError(
            f"{dataset}: the package `datasets` is missing (pip install datasets), "
            f"and the text is not in the local Hub cache; {_remedy(corpus, split, commit)}"
        ) from error
    if reason := hub.silence(corpus.repo, "dataset", commit):
        raise CorpusError(_cannot_load(dataset, corpus, split, commit, reason))
    try:
        # The files are named because a config's name alone downloads every split of it.
        only = {split: f"{corpus.folder}/{split}-*.parquet"}
        rows: Any = load_dataset(corpus.repo, data_files=only, split=split, revision=commit)
    except Exception as error:  # one of a dozen classes, by what fails first
        reason = reason_of(error)
        raise CorpusError(_cannot_load(dataset, corpus, split, commit, reason)) from error
    if _COLUMN not in rows.column_names:
        raise CorpusError(
            f"{dataset}: no column {_COLUMN!r}; it has {', '.join(rows.column_names)}"
        )
    return (str(row[_COLUMN]) for row in rows)


def _cannot_load(dataset: str, corpus: HubCorpus, split: str, commit: str, reason: str) -> str:
    return (
        f"{dataset}: split {split!r} cannot be loaded from the Hub ({reason}); "
        f"{_remedy(corpus, split, commit)}"
    )


def _remedy(corpus: HubCorpus, split: str, commit: str) -> str:
    return (
        f"cache it first on a machine with network (`{cache_command(corpus, split, commit)}`), "
        "use file:PATH with a text of your own, or try --grid quickstart, which needs no network"
    )
