"""The weights are those of the checkpoint, or nothing is computed and the error says why."""

import pytest
import torch
from safetensors.torch import load_file

from tests.support.checkpoints import edit_json, edit_weights, llama_folder
from tests.support.models import tiny_transformer
from workers.contract.errors import ModelLoadError, ModelRefusedError
from workers.contract.failures import MODEL_LOAD, kind_of
from workers.contract.spec import EvalSpec
from workers.models.causes import fault_of
from workers.models.loading import load_model
from workers.models.sources import source_of

NORM = "model.norm.weight"


@pytest.fixture
def folder(tmp_path):
    return llama_folder(tmp_path / "m")


def loaded(folder, **fields):
    spec = EvalSpec(**{"model": str(folder), "dataset": "pydoc", "method": "dense", **fields})
    return load_model(spec, torch.device("cpu"))


def refusal(folder, **fields):
    with pytest.raises(ModelRefusedError) as caught:
        loaded(folder, **fields)
    assert kind_of(caught.value) == MODEL_LOAD
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_checkpoint_is_loaded_as_it_is(folder):
    model = loaded(folder)
    assert model.weights_format == "safetensors"
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(model.model.state_dict()[name], stored[name]) for name in stored)


def test_renamed_tensors_are_missing_and_surplus(folder):
    edit_weights(folder, lambda old: {f"_orig_mod.{key}": value for key, value in old.items()})
    message = refusal(folder)
    assert "21 missing" in message
    assert "21 surplus: _orig_mod.lm_head.weight" in message


def test_a_missing_tensor_is_named(folder):
    edit_weights(folder, lambda old: {key: old[key] for key in old if key != NORM})
    assert f"1 missing: {NORM}" in refusal(folder)


def test_a_surplus_tensor_is_named(folder):
    edit_weights(folder, lambda old: {**old, "model.layers.0.gate.bias": torch.ones(3)})
    assert "1 surplus: model.layers.0.gate.bias" in refusal(folder)


def test_a_resized_tensor_is_named_with_both_sizes(folder):
    edit_weights(folder, lambda old: {**old, "lm_head.weight": torch.ones(2049, 32)})
    message = refusal(folder)
    assert "1 of another size: lm_head.weight (2049 x 32 in the file, 2048 x 32" in message


def test_a_layer_more_than_config_json_says_is_surplus(folder):
    edit_json(folder, "config.json", num_hidden_layers=1)
    assert "9 surplus: model.layers.1." in refusal(folder)


def test_tied_embeddings_need_no_head(tmp_path):
    folder = llama_folder(tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    model = loaded(folder).model
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_buffers_that_older_versions_stored_are_no_surplus(folder):
    edit_weights(
        folder, lambda old: {**old, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    )
    assert loaded(folder).n_layers == 2


TRIANGLE = torch.ones(1, 1, 8, 8).tril()
NEOX, GPTJ = "gpt_neox.layers.0.attention.", "transformer.h.0.attn."


@pytest.mark.parametrize(
    ("model_type", "stored"),
    [
        ("gpt_neox", {f"{NEOX}bias": TRIANGLE.bool(), f"{NEOX}masked_bias": torch.tensor(-1e9)}),
        ("gpt_neox", {f"{NEOX}bias": TRIANGLE, f"{NEOX}rotary_emb.inv_freq": torch.ones(2)}),
        ("gptj", {f"{GPTJ}bias": TRIANGLE.byte(), f"{GPTJ}masked_bias": torch.tensor(-1e9)}),
        (
            "gptj",
            {f"{GPTJ}bias": TRIANGLE.half(), f"{GPTJ}masked_bias": torch.tensor([-1e9]).half()},
        ),
        (
            "codegen",
            {f"{GPTJ}causal_mask": TRIANGLE.bool(), f"{GPTJ}masked_bias": torch.tensor(-1e4)},
        ),
    ],
)
def test_masks_that_older_versions_stored_are_no_surplus(tmp_path, model_type, stored):
    model = tiny_transformer(model_type)
    model.save_pretrained(tmp_path)
    edit_weights(tmp_path, lambda old: {**old, **stored})
    spec = EvalSpec(model=str(tmp_path), dataset="random", method="dense", max_tokens=8)
    read, own = load_model(spec, torch.device("cpu")).model.state_dict(), model.state_dict()
    assert set(read) == set(own)
    assert all(torch.equal(read[name], own[name]) for name in own)


@pytest.mark.parametrize(
    "stored", [torch.ones(1, 1, 8, 8), 2 * TRIANGLE, torch.tensor(-1.0), torch.ones(8)]
)
def test_what_is_no_mask_is_surplus_under_a_masks_name(tmp_path, stored):
    tiny_transformer("gptj").save_pretrained(tmp_path)
    edit_weights(tmp_path, lambda old: {**old, f"{GPTJ}bias": stored})
    assert f"1 surplus: {GPTJ}bias" in refusal(tmp_path, dataset="random", max_tokens=8)


def pointer(folder, name):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345678\n"
    (folder / name).write_text(text)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_git_lfs_pointer_is_called_one(folder, name):
    pointer(folder, name)
    assert f"{name} is a Git LFS pointer" in refusal(folder)


def test_a_truncated_file_says_how_long_it_should_be(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    message = refusal(folder)
    assert "truncated" in message
    assert f"{len(whole):,}" in message


def test_a_file_that_is_too_long_says_so(folder):
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"12345")
    assert "5 bytes too many" in refusal(folder)


def test_an_empty_file_is_no_safetensors_file(folder):
    (folder / "model.safetensors").write_bytes(b"")
    assert "cut off" in refusal(folder)


def test_pickled_weights_are_not_loaded_and_named(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "no safetensors weights" in message
    assert "pytorch_model.bin" in message


def test_a_shard_that_is_not_there_is_named(folder):
    (folder / "model.safetensors").unlink()
    index = '{"metadata": {}, "weight_map": {"lm_head.weight": "w/model-1.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)
    assert "names w/model-1.safetensors, which is not there" in refusal(folder)


def test_an_unknown_model_type_needs_a_newer_transformers(folder):
    edit_json(folder, "config.json", model_type="llama_9")
    message = refusal(folder)
    assert "'llama_9' is unknown to transformers" in message
    assert "trust_remote_code" in message


def test_code_of_the_checkpoint_is_run_on_request_alone(folder):
    auto = {"AutoConfig": "configuration_x.XConfig"}
    edit_json(folder, "config.json", model_type="own", auto_map=auto)
    assert "trust_remote_code: true" in refusal(folder)


def test_an_unknown_rope_type_is_named(folder):
    edit_json(folder, "config.json", rope_parameters={"rope_type": "spiral", "rope_theta": 1e4})
    assert "rope type 'spiral' is unknown" in refusal(folder)


def test_a_rope_type_of_another_name_is_told_its_name(folder):
    rope = {"type": "su", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    edit_json(folder, "config.json", rope_parameters=None, rope_scaling=rope)
    assert "rope type 'su' is an old name of 'longrope'" in refusal(folder)


@pytest.mark.parametrize("name", ["rope_parameters", "quantization_config"])
def test_a_setting_that_has_to_be_an_object_is_named(folder, name):
    edit_json(folder, "config.json", **{name: "linear"})
    assert f"{name} in config.json is 'linear', and has to be an object" in refusal(folder)


def test_a_model_that_does_not_load_is_not_blamed_on_a_tokenizer_that_nobody_reads(folder):
    edit_json(folder, "config.json", model_type="clip")
    (folder / "tokenizer.json").unlink()
    message = refusal(folder, dataset="random", max_tokens=50)
    assert "model_type 'clip' is no causal language model" in message


def test_a_quantised_checkpoint_is_refused(folder):
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    edit_json(folder, "config.json", quantization_config=settings)
    assert "quantised checkpoint (gptq)" in refusal(folder)


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert "merge it" in refusal(folder)


@pytest.mark.parametrize("value", ["many", -3])
def test_whatever_a_wrong_config_raises_is_a_load_error(folder, value):
    edit_json(folder, "config.json", hidden_size=value)
    assert "cannot load the model" in refusal(folder)


def test_a_hub_that_does_not_answer_may_answer_later(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ModelLoadError, match="cache it first") as caught:
        loaded("nobody/nothing", model_revision="0" * 40)
    assert not isinstance(caught.value, ModelRefusedError)


def test_a_link_into_a_cache_that_was_not_copied_is_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blobs/0123")
    assert "model.safetensors is a symbolic link to ../blobs/0123, which is not there" in refusal(
        folder
    )


def test_a_folder_in_place_of_the_weights_is_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors is a folder, not a file" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"<!DOCTYPE html>", "a web page or XML"), (b"PK\x03\x04" + b"x" * 99, "a pickle of torch")],
)
def test_another_file_in_place_of_the_weights_is_called_what_it_is(folder, content, message):
    (folder / "model.safetensors").write_bytes(content)
    assert f"model.safetensors is {'a zip archive or ' * content.startswith(b'PK')}{message}" in (
        refusal(folder)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        ("{}".encode("utf-16"), "is not UTF-8"),
        (b"<html>", "a web page or XML"),
        (b'{"model_type": "lla', "no JSON, or was cut off"),
        (b"[]", "is no JSON object"),
        (b"{}", "names no model_type"),
    ],
)
def test_a_damaged_config_says_how(folder, content, message):
    (folder / "config.json").write_bytes(content)
    assert f"config.json {'is ' * message.startswith(('a ', 'no '))}{message}" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no JSON"), ("{}", "has no weight_map"), ("[]", "is no JSON object")],
)
def test_an_index_that_names_nothing_says_so(folder, content, message):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(content)
    found = refusal(folder)
    assert "model.safetensors.index.json" in found
    assert message in found


def test_weights_of_another_name_are_named(folder):
    (folder / "model.safetensors").rename(folder / "llama.safetensors")
    assert "only llama.safetensors: rename it" in refusal(folder)


def test_whole_numbers_that_nothing_unpacks_are_no_weights(folder):
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda tensors: tensors | {name: tensors[name].to(torch.int8)})
    assert f"whole numbers (I8) as the weight {name}" in refusal(folder)


def test_a_type_that_generates_no_text_is_said_to_be_none(folder):
    edit_json(folder, "config.json", model_type="t5")
    assert "model_type 't5' is no causal language model" in refusal(folder)


def test_files_beside_the_weights_that_are_not_read_are_not_blamed(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "pytorch_model.bin").write_text(pointer)
    (folder / "consolidated.safetensors").write_text(pointer)
    assert fault_of(source_of(EvalSpec(model=str(folder), dataset="pydoc", method="dense"))) is None
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin" not in refusal(folder).partition("only")[0]
