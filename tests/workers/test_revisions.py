"""Revisions: what changes a run id, what does not, and what is refused."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import SHARD, edit_json, llama_folder, move_into_subfolder
from tests.support.local_hub import COMMITS, serve
from workers.contract.errors import CorpusError, ModelLoadError
from workers.contract.spec import EvalSpec
from workers.revisions import resolve
from workers.texts.hub_corpora import HUB_CORPORA

COMMIT = "a" * 40


def spec(**fields: Any) -> EvalSpec:
    given = {"model": "owner/name", "model_revision": COMMIT, "dataset": "pg19"} | fields
    return EvalSpec(method="streaming", **given)


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "gpt_neox"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 20_000)  # several blocks
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("A card.")
    (folder / "code.py").write_text("x = 1")
    return folder


def folder_spec(folder: Path | str, **fields: Any) -> EvalSpec:
    return spec(model=str(folder), model_revision=None, **fields)


# -- texts


def test_a_changed_file_gives_another_run_id_and_moving_it_does_not(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("one")
    first = resolve(spec(dataset=f"file:{text}"))
    assert first.dataset_revision == hashlib.sha256(b"one").hexdigest()
    moved = text.rename(tmp_path / "b.txt")
    assert resolve(spec(dataset=f"file:{moved}")).run_id == first.run_id
    moved.write_text("two")
    assert resolve(spec(dataset=f"file:{moved}")).run_id != first.run_id


def test_the_same_bytes_read_as_another_column_are_another_evaluation(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": "x", "b": "y"}')
    ids = {resolve(spec(dataset=f"file:{tmp_path / 'a.json'}#{c}")).run_id for c in "ab"}
    assert len(ids) == 2


def test_a_relative_file_becomes_absolute_and_keeps_its_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for dataset in ("file:a.json#body", "file:./a.json#body", "file:~/a.json#body"):
        assert resolve(spec(dataset=dataset)).dataset == f"file:{tmp_path}/a.json#body"


def test_a_uri_is_hashed_through_its_file_system(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    resolved = resolve(spec(dataset=f"file:{path.as_uri()}"))
    assert resolved.dataset == f"file:{path.as_uri()}"
    assert resolved.dataset_revision == hashlib.sha256(b"one").hexdigest()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for location in (tmp_path / "nowhere.txt", (tmp_path / "nowhere.txt").as_uri()):
        with pytest.raises(CorpusError, match=r"nowhere\.txt: cannot be read"):
            resolve(spec(dataset=f"file:{location}"))


def test_a_given_revision_that_is_not_that_of_the_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("one")
    resolved = resolve(spec(dataset=f"file:{text}"))
    assert resolve(resolved) == resolved
    text.write_text("changed since")
    with pytest.raises(CorpusError, match="dataset_revision"):
        resolve(resolved)


def test_held_out_texts_are_identified_by_their_content() -> None:
    found = {name: resolve(spec(dataset=name)).dataset_revision for name in ("pydoc", "stdlib")}
    assert all(len(str(revision)) == 64 for revision in found.values())
    assert found["pydoc"] != found["stdlib"]
    assert resolve(spec(dataset="stdlib", max_documents=1)).dataset_revision == found["stdlib"]
    with pytest.raises(CorpusError, match="dataset_revision"):
        resolve(spec(dataset="pydoc", dataset_revision=found["stdlib"]))


def test_random_tokens_have_no_revision() -> None:
    assert resolve(spec(dataset="random", max_tokens=8)).dataset_revision is None
    with pytest.raises(CorpusError, match="it has no revision"):
        resolve(spec(dataset="random", max_tokens=8, dataset_revision=COMMIT))


def test_hub_texts_are_pinned_unless_the_user_names_another_commit() -> None:
    pinned = "c5e39bf32e33f9111323aa68d7d9000d22722035"
    assert resolve(spec()).dataset_revision == pinned == HUB_CORPORA["pg19"].revision
    assert resolve(spec(dataset_revision=COMMIT)).dataset_revision == COMMIT


# -- models


def test_moving_a_model_folder_keeps_the_run_id_and_changing_it_does_not(tmp_path: Path) -> None:
    first = resolve(folder_spec(model_folder(tmp_path / "here")))
    moved = (tmp_path / "here").rename(tmp_path / "there")
    assert resolve(folder_spec(moved)).run_id == first.run_id
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        changed = model_folder(tmp_path / f"changed-{name}")
        (changed / name).write_text("something else")
        assert resolve(folder_spec(changed)).run_id != first.run_id


def test_cards_do_not_count_and_code_counts_only_if_it_is_trusted(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    first = resolve(folder_spec(folder))
    trusting = resolve(folder_spec(folder, trust_remote_code=True))
    (folder / "README.md").write_text("Another card.")
    (folder / "code.py").write_text("x = 2")
    assert resolve(folder_spec(folder)) == first
    changed = resolve(folder_spec(folder, trust_remote_code=True))
    assert changed.model_revision != trusting.model_revision


@pytest.mark.parametrize("named_by", ["index", "config"])
def test_weights_below_a_subfolder_count_if_they_are_named(tmp_path: Path, named_by: str) -> None:
    first, second = (llama_folder(tmp_path / name) for name in "ab")
    for folder, scale in ((first, 1.0), (second, 20.0)):
        move_into_subfolder(folder, scale)
        if named_by == "config":
            (folder / "model.safetensors.index.json").unlink()
            edit_json(folder, "config.json", transformers_weights=SHARD)
    assert resolve(folder_spec(first)).run_id != resolve(folder_spec(second)).run_id


def test_the_shipped_model_keeps_its_revision() -> None:
    # Run ids of earlier sweeps hold it; a card or a log beside the weights must not change it.
    revision = resolve(folder_spec("demo")).model_revision
    assert revision == "837ae563b3fa68c865ee30244bca5324f82b23979cf740c0e4eacc1626f4ec1f"


def test_a_gguf_file_is_identified_by_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    for path in (first, second):
        path.write_bytes(b"GGUF one")
    assert resolve(folder_spec(first)).run_id == resolve(folder_spec(second)).run_id
    second.write_bytes(b"GGUF two")
    assert resolve(folder_spec(first)).run_id != resolve(folder_spec(second)).run_id


def test_renaming_a_file_inside_a_folder_changes_its_revision(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    first = resolve(folder_spec(folder))
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert resolve(folder_spec(folder)).model_revision != first.model_revision


def test_an_existing_relative_folder_becomes_absolute_and_hides_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_folder(tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    resolved = [resolve(folder_spec(model)) for model in ("owner/name", "./owner/name")]
    assert {found.model for found in resolved} == {f"{tmp_path}/owner/name"}
    assert resolved[0].run_id == resolved[1].run_id


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        resolve(folder_spec(tmp_path))
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        resolve(folder_spec("./nowhere"))


def test_a_given_revision_that_is_not_that_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    resolved = resolve(folder_spec(folder))
    assert resolve(resolved) == resolved
    with pytest.raises(ModelLoadError, match="model_revision"):
        resolve(replace(resolved, model_revision=COMMIT))


def test_a_random_model_is_identified_by_its_configuration() -> None:
    models = ("random:pythia-70m", "random:pythia-2.8b", "random:pythia-70m")
    first, other, again = (resolve(folder_spec(model)) for model in models)
    assert first == again
    assert first.model_revision != other.model_revision
    with pytest.raises(ModelLoadError, match=r"known presets: .*pythia-70m"):
        resolve(folder_spec("random:pythia-7m"))
    with pytest.raises(ModelLoadError, match="model_revision"):
        resolve(replace(first, model_revision=COMMIT))


def test_a_commit_is_taken_as_it_is() -> None:
    assert resolve(spec()).model_revision == COMMIT


# -- branches: in processes of their own, because the Hub's settings are read at import

RESOLVE = """
import json, sys
from workers.contract.errors import SinkSweepError
from workers.revisions import resolve
from workers.contract.spec import EvalSpec
try:
    found = resolve(EvalSpec(method="dense", **json.loads(sys.argv[1])))
    print(json.dumps([found.model_revision, found.dataset_revision]))
except SinkSweepError as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def resolve_elsewhere(home: Path, fields: dict[str, Any], **environment: str) -> Any:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, json.dumps({"dataset": "pg19", **fields})],
        env=variables | {"HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_branch_is_looked_up_on_the_hub(tmp_path: Path) -> None:
    model_folder(tmp_path / "models" / "owner" / "name")
    with serve(tmp_path) as endpoint:
        hub = {"HF_ENDPOINT": endpoint}
        main = resolve_elsewhere(tmp_path, {"model": "owner/name"}, **hub)
        v2 = resolve_elsewhere(tmp_path, {"model": "owner/name", "model_revision": "v2"}, **hub)
        wrong = resolve_elsewhere(tmp_path, {"model": "owner/name", "model_revision": "v3"}, **hub)
        unknown = resolve_elsewhere(tmp_path, {"model": "owner/nmae"}, **hub)
    assert main[0] == COMMITS["main"]
    assert v2[0] == COMMITS["v2"]
    assert wrong.startswith("ModelLoadError: owner/name: the Hub knows no model")
    assert "'v3'" in wrong
    assert "'owner/nmae'" in unknown


def test_offline_a_branch_is_looked_up_in_the_cache(tmp_path: Path) -> None:
    for repo in ("models--owner--name", "datasets--emozilla--pg19-test"):
        (tmp_path / "hub" / repo / "refs").mkdir(parents=True)
        (tmp_path / "hub" / repo / "refs" / "main").write_text(COMMIT)
        (tmp_path / "hub" / repo / "snapshots" / COMMIT).mkdir(parents=True)
    fields = {"model": "owner/name", "dataset_revision": "main"}
    assert resolve_elsewhere(tmp_path, fields, HF_HUB_OFFLINE="1") == [COMMIT, COMMIT]


def test_an_unreachable_hub_is_one_clear_line(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # the discard port: nothing listens
    model = resolve_elsewhere(tmp_path, {"model": "owner/name"}, **nowhere)
    assert model.startswith("ModelLoadError: owner/name: the Hub cannot be reached")
    assert "hf download --repo-type model owner/name --revision main" in model
    fields = {"model": "owner/name", "model_revision": COMMIT, "dataset_revision": "main"}
    dataset = resolve_elsewhere(tmp_path, fields, **nowhere)
    assert dataset.startswith("CorpusError: pg19: the Hub cannot be reached")
    assert "\n" not in model + dataset
