"""The shipped demo model: what it was trained on, what it weighs, and what its card states."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from benchmarks.demo_training import measuring
from benchmarks.demo_training.card import read_figures
from benchmarks.demo_training.export import TRAINING_FILES
from benchmarks.demo_training.recipe import Recipe
from benchmarks.demo_training.text import (
    SHARED_SPAN,
    held_out_texts,
    overlapping,
    possibly_overlapping,
    text_hash,
    training_texts,
)
from benchmarks.demo_training.tokenizer import BOS, BOS_ID, encode
from benchmarks.demo_training.training import rate_factor, sink_weight
from workers.contract.spec import EvalSpec
from workers.models.loading import load_model
from workers.models.presets import DEMO_FOLDER
from workers.models.sinks import sink_strength
from workers.texts.heldout import is_held_out

LARGEST_BYTES = 9_000_000
TOLERANCE = 2e-3
"""Relative: other processors and versions of torch round differently."""
STEP = 8
"""Of the 33 held-out documents, five are measured again."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(DEMO_FOLDER)


@pytest.fixture(scope="module")
def recorded() -> dict[str, str]:
    hashes: dict[str, str] = json.loads((DEMO_FOLDER / TRAINING_FILES).read_text())
    return hashes


@pytest.fixture(scope="module")
def stated() -> dict[str, Any]:
    return read_figures(DEMO_FOLDER / "README.md")


@pytest.fixture(scope="module")
def same_text(stated: dict[str, Any]) -> None:
    if stated["text"] != measuring.text_hashes():
        pytest.skip("this Python carries other text than the card was measured on (3.11.7)")


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Everything but the exact baseline, which takes ten times as long as all others."""
    methods = {name: each for name, each in measuring.METHODS.items() if name != "recompute"}
    return measuring.measure("demo", methods)


def test_the_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in DEMO_FOLDER.iterdir()) <= LARGEST_BYTES


def test_the_weights_are_float16_and_as_many_as_the_recipe_says() -> None:
    loaded = load_model(
        EvalSpec(model="demo", dataset="pydoc", method="dense"), torch.device("cpu")
    )
    config = json.loads((DEMO_FOLDER / "config.json").read_text())
    assert config["dtype"] == "float16"
    assert config["max_position_embeddings"] == Recipe().context == loaded.trained_positions
    assert 2e6 <= loaded.model.num_parameters() <= 5e6


def test_the_tokenizer_puts_bos_in_front_by_itself(tokenizer: Any) -> None:
    ids = tokenizer("import os\n")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == BOS_ID
    assert ids.count(BOS_ID) == 1
    assert tokenizer("import os\n", add_special_tokens=False)["input_ids"] == ids[1:]
    assert tokenizer("")["input_ids"] == [BOS_ID]


@pytest.mark.parametrize(
    "text",
    ["def f(x):\n\treturn x  # a   b\r\n", "é 中文 🎉 \u202e", "".join(map(chr, range(256)))],
)
def test_any_text_comes_back_from_its_tokens(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == BOS + text


def test_no_recorded_training_file_is_held_out_by_the_rule(recorded: dict[str, str]) -> None:
    assert len(recorded) > 1000
    assert list(recorded) == sorted(recorded)
    assert not [name for name in recorded if is_held_out(name.partition("/")[2])]
    assert all(len(digest) == 64 for digest in recorded.values())


@pytest.mark.slow
def test_no_training_file_shares_64_tokens_with_a_held_out_document(
    recorded: dict[str, str],
) -> None:
    """Of the recorded files, those that this Python carries unchanged."""
    tokenizer = Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))
    texts = training_texts()
    present = {n: t for n, t in texts.items() if recorded.get(n) == text_hash(t)}
    assert present
    suspects = possibly_overlapping(present, held_out_texts().values())
    assert suspects, "licences and idioms alone"
    held_out = encode(tokenizer, held_out_texts()).values()
    assert overlapping(encode(tokenizer, suspects), held_out) == []


def test_an_overlap_is_found_wherever_it_lies() -> None:
    generator = np.random.default_rng(0)
    passage = generator.integers(0, 2048, SHARED_SPAN).astype(np.uint16)
    around = generator.integers(0, 2048, (2, 100)).astype(np.uint16)
    texts = {
        "copied": np.concatenate([around[0], passage, around[1]]),
        "one token short": np.concatenate([around[0], passage[1:], around[1]]),
        "too short": passage[: SHARED_SPAN - 1],
    }
    assert overlapping(texts, [np.concatenate([passage, around[1]])]) == [
        "copied",
        "one token short",
    ]
    assert overlapping(texts, [passage]) == ["copied"]


@pytest.mark.parametrize("place", range(0, SHARED_SPAN, 5))
def test_whatever_shares_64_bytes_is_looked_at(place: int) -> None:
    letters = np.random.default_rng(0).integers(97, 123, (2, 200), dtype=np.uint8)
    before, passage = (bytes(row).decode() for row in letters)
    texts = {
        "as many": before[:place] + passage[7 : 7 + SHARED_SPAN] + before,
        "none": before,
        "few": before[:place] + passage[: SHARED_SPAN // 2 - 1] + before,
    }
    assert list(possibly_overlapping(texts, [passage])) == ["as many"]


def test_the_rates_warm_up_hold_and_fall() -> None:
    recipe = Recipe()
    assert rate_factor(recipe, 0) == pytest.approx(1 / recipe.warmup_steps)
    assert rate_factor(recipe, recipe.steps // 2) == 1
    assert 0 < rate_factor(recipe, recipe.steps - 1) < 1e-2


def test_the_sink_loss_goes_through_its_points() -> None:
    recipe = Recipe()
    for tokens, weight in recipe.sink_weights:
        step = round(tokens / recipe.tokens_per_step) - 1
        assert sink_weight(recipe, step) == pytest.approx(weight, abs=5e-3)


@pytest.mark.slow
def test_the_card_states_what_the_shipped_files_measure(
    stated: dict[str, Any], same_text: None, measured: dict[str, Any]
) -> None:
    for dataset, by_method in measured.items():
        for method, values in by_method.items():
            for name, value in values.items():
                approximately = value if value is None else pytest.approx(value, rel=TOLERANCE)
                assert stated[dataset][method][name] == approximately, (dataset, method, name)


def test_the_card_states_the_exact_baseline_on_a_sample_of_its_blocks(
    stated: dict[str, Any], same_text: None
) -> None:
    measured = measuring.measure_sample("demo")
    assert stated["recompute_sample"] == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.slow
def test_the_card_states_the_perplexity_of_whole_texts(
    stated: dict[str, Any], same_text: None
) -> None:
    """From the sums of every document, some of which are measured again."""
    for dataset, sums in stated["documents"].items():
        assert stated["whole"][dataset] == pytest.approx(measuring.perplexity_of(sums), rel=1e-4)
    for dataset, sums in measuring.measure_documents("demo", step=STEP).items():
        of_card = stated["documents"][dataset]
        assert of_card["tokens"][::STEP] == sums["tokens"]
        perplexities, expected = (
            np.exp(np.divide(nll, sums["tokens"])) for nll in (sums["nll"], of_card["nll"][::STEP])
        )
        assert perplexities == pytest.approx(expected, rel=TOLERANCE)


def test_the_card_states_the_sinks_that_the_shipped_files_have(
    stated: dict[str, Any], same_text: None
) -> None:
    for name, value in measuring.sinks("demo").items():
        assert np.allclose(stated["sink"][name], value, atol=0.011 if "layer" in name else 0.04)


@pytest.mark.slow
def test_the_effect_shows_on_the_text_of_any_python(measured: dict[str, Any]) -> None:
    for by_method in measured.values():
        assert by_method["window"]["after_128"] > 1.5 * by_method["streaming"]["after_128"]


def test_the_card_shows_the_effect(stated: dict[str, Any]) -> None:
    for dataset in measuring.SLICES:
        after = {method: values["after_128"] for method, values in stated[dataset].items()}
        assert after["streaming"] == pytest.approx(after["recompute"], rel=0.03)
        assert after["window"] > 1.5 * after["streaming"]
        assert stated[dataset]["dense"]["late"] > 1.5 * stated[dataset]["streaming"]["late"]


def test_a_sink_is_measured_by_attention_to_position_zero() -> None:
    loaded = load_model(
        EvalSpec(model="demo", dataset="pydoc", method="dense"), torch.device("cpu")
    )
    texts = [torch.arange(64), torch.arange(200, 230)]
    together = sink_strength(loaded, texts).attention
    apart = [sink_strength(loaded, [text]).attention for text in texts]
    assert together.shape == (loaded.n_layers, loaded.kv_heads)
    assert torch.allclose(together, (63 * apart[0] + 29 * apart[1]) / 92)
    loaded.model.set_attn_implementation("eager")
    eager = loaded.model(texts[0][None], output_attentions=True).attentions
    expected = torch.stack([layer[0, :, 1:, 0].double().mean(-1) for layer in eager])
    assert torch.allclose(apart[0], expected, atol=1e-5)


def test_a_sink_needs_a_text_of_two_tokens() -> None:
    loaded = load_model(
        EvalSpec(model="demo", dataset="pydoc", method="dense"), torch.device("cpu")
    )
    with pytest.raises(ValueError, match="two tokens"):
        sink_strength(loaded, [torch.zeros(1, dtype=torch.int64)])


def test_the_recorded_list_lies_beside_the_model() -> None:
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    names = {path.name for path in Path(DEMO_FOLDER).iterdir()}
    assert names == expected | {"README.md", TRAINING_FILES}
