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


@pytest.fixture
def pieces(folder, tmp_path):
    """A folder whose tokenizer is a SentencePiece model alone."""
    (folder / "tokenizer.json").unlink()
    (tmp_path / "text").write_text("the cat sat on the mat and saw the other cat\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=21,
        minloglevel=2,
        model_type="bpe",
    )
    name_class(folder, "LlamaTokenizer")
    return folder


def name_class(folder, name):
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": name, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_sentencepiece_model_is_all_a_folder_needs(pieces):
    ids = loaded(pieces).tokenizer("the cat")["input_ids"]
    assert max(ids) < 21
    assert len(set(ids)) > 2


def test_a_class_that_leaves_out_the_rules_of_sentencepiece_is_refused(pieces):
    name_class(pieces, "PreTrainedTokenizerFast")
    message = refusal(pieces)
    assert "does not split a text as its tokenizer.model does" in message
    assert '"tokenizer_class": "LlamaTokenizer"' in message


def test_a_class_that_does_not_read_the_model_that_is_there_says_so(pieces):
    name_class(pieces, "GemmaTokenizer")
    assert "lacks tokenizer.json" in refusal(pieces)
    assert "It has tokenizer.model" in refusal(pieces)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x0a\x0e" + b"damaged" * 50, "is no SentencePiece model"),
        (b"IQ== 0\nIg== 1\n", "pip install tiktoken"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_what_a_tokenizer_model_is_instead_is_said(pieces, content, message):
    (pieces / "tokenizer.model").write_bytes(content)
    assert message in refusal(pieces)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "", "tokenizer.json is no JSON"),
        ("tokenizer.json", '{"version": "1.0", "mod', "tokenizer.json is no JSON, or was cut off"),
        ("tokenizer.json", "{}", "holds no tokenizer"),
        ("tokenizer_config.json", "{", "tokenizer_config.json is no JSON"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["a.B", null]}}', "trust_remote"),
    ],
)
def test_a_damaged_file_of_a_tokenizer_is_named(folder, name, content, message):
    (folder / name).write_text(content)
    assert message in refusal(folder)


def test_a_newer_tokenizer_is_told_from_a_missing_one(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    edit_json(folder, "tokenizer.json", model={**tokenizer["model"], "type": "Newer"})
    assert "written by a newer release than tokenizers" in refusal(folder)
