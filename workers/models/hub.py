"""What the Hugging Face Hub is asked for directly: which commit a revision is, what is cached.

An evaluation is identified by a commit, never by a branch. A 40-digit commit needs no network; a
branch or tag is looked up on the Hub or, where that cannot be reached, in the local cache.
"""

import functools
import re
from pathlib import Path
from typing import Literal

from workers.contract.errors import SinkSweepError
from workers.contract.failures import reason_of

RepoType = Literal["model", "dataset"]

_TIMEOUT_S = 15.0


class HubError(SinkSweepError):
    """The Hub cannot say which commit is meant: unreachable, or it knows no such thing."""


def is_commit(revision: str) -> bool:
    """Tell a full commit from a branch or a tag."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def commit(repo: str, repo_type: RepoType, revision: str | None) -> str:
    """Return the commit that a revision (None: `main`) stands for. Raises `HubError`."""
    if revision and is_commit(revision):
        return revision
    return _commit_of_branch(repo, repo_type, revision or "main")


def cached_snapshot(repo: str, repo_type: RepoType, commit_: str) -> Path | None:
    """Return the folder with the cached files of a commit; it may hold only some of them."""
    from huggingface_hub import snapshot_download  # lazily: most evaluations need no Hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo, repo_type=repo_type, revision=commit_, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def silence(repo: str, repo_type: RepoType, commit_: str | None) -> str | None:
    """Return why the Hub does not answer, after one attempt; None: it does, or is switched off.

    Downloads try again for minutes before they give up; this tells at once that they will.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    try:
        if not HF_HUB_OFFLINE:
            HfApi().repo_info(repo, repo_type=repo_type, revision=commit_, timeout=_TIMEOUT_S)
    except Exception as error:  # the HTTP library's own classes change with its version
        return reason_of(error)
    return None


@functools.cache
def unavailable_on_hub(repo: str, repo_type: RepoType, revision: str, pattern: str) -> str | None:
    """Return why a repository can neither be downloaded nor read from the cache; None: it can.

    pattern: of a file that the cache must hold.
    """
    snapshot = cached_snapshot(repo, repo_type, revision)
    if snapshot is not None and any(snapshot.glob(pattern)):
        return None
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.constants import HF_HUB_OFFLINE

    remedy = f"cache it first: hf download --repo-type {repo_type} {repo} --revision {revision}"
    if HF_HUB_OFFLINE:
        return f"{repo}: not in the cache, and HF_HUB_OFFLINE is set; {remedy}"
    try:
        info = HfApi().repo_info(repo, repo_type=repo_type, revision=revision, timeout=_TIMEOUT_S)
    except Exception as error:  # the HTTP library's own classes change with its version
        return (
            f"{repo}: not in the cache, and the Hub does not answer ({reason_of(error)}); {remedy}"
        )
    if getattr(info, "gated", False) and get_token() is None:
        return f"{repo}: asks for a login: accept its terms on the Hub, then `hf auth login`"
    return None


@functools.cache
def _commit_of_branch(repo: str, repo_type: RepoType, revision: str) -> str:
    from huggingface_hub import HfApi  # lazily: most evaluations have a commit already
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi()
    try:
        info = api.repo_info(repo, repo_type=repo_type, revision=revision, timeout=_TIMEOUT_S)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise HubError(
            f"the Hub knows no {repo_type} {repo!r} at revision {revision!r}, or asks for a login; "
            "check the name, or use a local folder (an absolute path, or one that starts with ./)"
        ) from error
    except Exception as error:  # the HTTP library's own classes change with its version
        folder = cached_snapshot(repo, repo_type, revision)
        if folder is not None and is_commit(folder.name):
            return folder.name
        cache = f"hf download --repo-type {repo_type} {repo} --revision {revision}"
        raise HubError(
            f"the Hub cannot be reached to look up {repo_type} {repo} at {revision!r} "
            f"({reason_of(error)}); "
            f"cache it first with `{cache}`, or give the 40-digit commit as {repo_type}_revision"
        ) from error
    return str(info.sha)
