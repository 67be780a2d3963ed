"""What a tokenizer adds to a text and reads into it is a choice, and is counted."""

from dataclasses import replace

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.support.models import demo
from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
from workers.texts.encoding import encode
from workers.texts.tokens import tokenised_documents

SPELLS = "one </s> two <unk> xyz </s>"


def words(*, adds_bos, bos="<s>"):
    """A tokenizer of whole words that knows `one`, `two` and what spells a special token."""
    specials = ["<unk>", "<s>", "</s>"]
    vocabulary = ["one", "two", "a", "<", ">", "/", "s", "unk"]
    numbers = {word: number for number, word in enumerate([*specials, *vocabulary])}
    inner = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.add_special_tokens([AddedToken(word, special=True) for word in specials])
    if adds_bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token="</s>", unk_token="<unk>"
    )


def encoded(text, tokenizer, **fields):
    spec = EvalSpec(model="demo", dataset="pydoc", method="dense", **fields)
    return encode(text, tokenizer, spec)


@pytest.mark.parametrize("adds_bos", [True, False])
def test_bos_is_what_the_tokenizer_does_unless_it_is_chosen(adds_bos):
    tokenizer = words(adds_bos=adds_bos)
    assert (encoded("one two", tokenizer).ids[0] == 1) is adds_bos
    assert encoded("one two", tokenizer, bos="always").ids == [1, 3, 4]
    assert encoded("one two", tokenizer, bos="never").ids == [3, 4]


def test_a_bos_that_the_text_spells_is_not_taken_away():
    assert encoded("<s> one", words(adds_bos=True), bos="never").ids == [1, 3]
    assert encoded("<s> one", words(adds_bos=False), bos="always").ids == [1, 1, 3]


def test_a_bos_that_does_not_exist_cannot_be_added():
    with pytest.raises(CorpusError, match="has no BOS token"):
        encoded("one", words(adds_bos=False, bos=None), bos="always")


def test_a_limit_counts_the_bos():
    assert encoded("one two one", words(adds_bos=False), bos="always", max_tokens=2).ids == [1, 3]


def test_special_tokens_of_a_text_are_parsed_and_counted():
    found = encoded(SPELLS, words(adds_bos=True))
    assert found.ids == [1, 3, 2, 4, 0, 0, 2]
    assert found.n_special == 3  # not the BOS, and not the word that is unknown
    assert found.n_unknown == 1


def test_special_tokens_of_a_text_can_be_its_characters():
    found = encoded("one </s>", words(adds_bos=True), special_tokens="text")
    assert 2 not in found.ids
    assert found.n_special == 0


def test_both_choices_change_the_run_id_and_their_defaults_do_not():
    def run_id(**fields):
        return EvalSpec(model="demo", dataset="pydoc", method="dense", **fields).run_id

    assert run_id(bos="model", special_tokens="parse") == run_id()
    assert len({run_id(), run_id(bos="always"), run_id(special_tokens="text")}) == 3


def test_random_token_ids_have_no_such_choices():
    fields = {"model": "demo", "dataset": "random", "method": "dense", "max_tokens": 8}
    assert EvalSpec(**fields, bos="never") == EvalSpec(**fields)


def test_the_demo_model_reads_its_text_as_characters_on_request(tmp_path):
    (tmp_path / "a.txt").write_text("one <|endoftext|> two <|endoftext|>")

    def document(**fields):
        dataset = f"file:{tmp_path / 'a.txt'}"
        spec = EvalSpec(model="demo", dataset=dataset, method="dense", **fields)
        return tokenised_documents(spec, demo())[0]

    parsed, plain = document(), document(special_tokens="text")
    assert (parsed.n_special, plain.n_special) == (2, 0)
    assert len(plain.ids) > len(parsed.ids)
    assert plain.n_bytes == parsed.n_bytes == len("one <|endoftext|> two <|endoftext|>")
    assert not document(bos="never").starts_with_bos
    assert torch.equal(document(bos="never").ids, parsed.ids[1:])


@pytest.mark.parametrize("allowed", [True, False])
def test_a_text_in_another_language_is_refused_with_the_way_to_allow_it(allowed, tmp_path):
    (tmp_path / "a.txt").write_text("one two three four five")
    loaded = replace(demo(), tokenizer=words(adds_bos=True))
    spec = EvalSpec(
        model="demo",
        dataset=f"file:{tmp_path / 'a.txt'}",
        method="dense",
        allow_unknown_tokens=allowed,
    )
    if allowed:
        assert tokenised_documents(spec, loaded)[0].n_unknown == 3
    else:
        with pytest.raises(CorpusError, match=r"50% .* `allow_unknown_tokens: true`"):
            tokenised_documents(spec, loaded)
