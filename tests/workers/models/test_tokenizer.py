"""A tokenizer is whole, or refused with the names of what is missing."""

import json

import pytest
import sentencepiece

from tests.support.checkpoints import edit_json, llama_folder
from tests.workers.models.test_checkpoint import loaded, refusal


@pytest.fixture
def folder(tmp_path):
    return llama_folder(tmp_path / "m")


def test_missing_files_of_a_tokenizer_are_named(folder):
    (folder / "tokenizer.json").unlink()
    config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert "lacks tokenizer.json" in refusal(folder)


def test_words_without_their_merges_are_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "<|endoftext|>": 2}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert "merges.txt" in refusal(folder)


def test_a_folder_without_any_tokenizer_is_refused(tmp_path):
    message = refusal(llama_folder(tmp_path / "m", tokenizer=False))
    assert "tokenizer" in message


def test_random_token_ids_need_no_tokenizer(tmp_path):
    folder = llama_folder(tmp_path / "m", tokenizer=False)
    assert loaded(folder, max_tokens=8, dataset="random").tokenizer is None


def test_a_vocabulary_of_special_tokens_alone_is_empty(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    special = {item["content"]: item["id"] for item in tokenizer["added_tokens"]}
    edit_json(
        folder, "tokenizer.json", model={**tokenizer["model"], "vocab": special, "merges": []}
    )
    assert "empty vocabulary" in refusal(folder)


def test_a_sentencepiece_model_is_all_a_folder_needs(folder, tmp_path):
    (folder / "tokenizer.json").unlink()
    (tmp_path / "text").write_text("the cat sat on the mat and saw the other cat\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=21,
        minloglevel=2,
    )
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "LlamaTokenizer", **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ids = loaded(folder).tokenizer("the cat")["input_ids"]
    assert max(ids) < 21
    assert len(set(ids)) > 2
