"""How every causal-LM type of transformers is made tiny, with thresholds that short texts cross.

`SMALL` holds for any configuration that knows the name; `SPECIAL` is what single types need: a
pattern of layers whose period fits into few layers, an own window, long-context frequencies.
"""

from collections.abc import Mapping
from typing import Any

VOCABULARY = 97
THRESHOLD = 100
"""Own sliding windows, chunks and original lengths of the tiny models."""

SMALL: Mapping[str, int] = {
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "projection_size"), 64),
    **dict.fromkeys(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "ffn_hidden_size"), 96),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim"), 96),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_experts", "num_local_experts"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("n_routed_experts", "moe_num_experts", "linear_num_value_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_experts_per_tok", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("n_layer", "num_layers", "num_decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers", "mamba_expand"), 2),
    **dict.fromkeys(("linear_num_key_heads", "index_n_heads"), 2),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace", "n_shared_experts"), 1),
    "zero_expert_num": 1,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 4096),
    **dict.fromkeys(("sliding_window", "attention_chunk_size"), THRESHOLD),
    **dict.fromkeys(("head_dim", "query_pre_attn_scalar", "qk_nope_head_dim", "index_topk"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "index_head_dim"), 16),
    **dict.fromkeys(("mamba_d_head", "mamba_d_state", "mamba_head_dim", "ssm_state_size"), 16),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("expert_ffn_hidden_size", "kv_lora_rank", "global_head_dim"), 32),
    **dict.fromkeys(("rotary_dim", "qk_rope_head_dim", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads"), 8),
    "q_lora_rank": 24,
    "v_head_dim": 12,
    "mamba_d_ssm": 128,
}

MIXED = ["linear_attention", "full_attention", "linear_attention"]
CONV = ["conv", "full_attention", "conv", "full_attention"]
ALTERNATING = ["sliding_attention", "full_attention"]
WINDOWED = {"use_sliding_window": True, "max_window_layers": 1, "num_hidden_layers": 3}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.1 * pair for pair in range(8)],
    "long_factor": [2.0 + 0.3 * pair for pair in range(8)],
    "original_max_position_embeddings": THRESHOLD,
}
LATENT_LINEAR: Mapping[str, Any] = {
    "num_hidden_layers": 3,
    "layer_types": MIXED,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "num_experts_per_token": 2,
    "linear_head_dim": 16,
    "linear_num_heads": 4,
    "qk_head_dim": 24,
}

SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "bailing_hybrid": {**LATENT_LINEAR, "num_experts": 8, "num_expert_group": 2, "topk_group": 1},
    "bamba": {"num_hidden_layers": 3, "attn_layer_indices": [1]},
    "cohere_compass_text": {
        "num_hidden_layers": 4,
        "layer_types": ALTERNATING * 2,
        "rope_parameters": {
            "full_attention": None,
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {
            "hidden_size": 64,
            "ffn_hidden_size": 96,
            "moe_num_experts": 4,
            "moe_top_k": 2,
        },
        "n_heads": 4,
        "n_layers": 3,
    },
    "deepseek_v2": {"topk_method": "greedy", "num_experts_per_tok": 2},
    "dots1": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "num_hidden_layers": 3,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    },
    "dots3_note_audio_encoder": {"adapter_input_size": 64, "adapter_out_dim": 64},
    "dots3_note_text": {"num_key_value_heads": 4},
    "dots3_note_vision_encoder": {
        "adapter_in_dim": 64,
        "adapter_out_dim": 64,
        "mlp_layer_types": ["dense"],
        "per_layer_config": {},
    },
    "gemma3n_text": {
        "num_hidden_layers": 6,
        "num_kv_shared_layers": 2,
        "layer_types": ALTERNATING * 3,
        "intermediate_size": [96] * 6,
        "activation_sparsity_pattern": [0.0] * 6,
        "laurel_rank": 8,
    },
    "gemma4_text": {
        "num_hidden_layers": 6,
        "num_kv_shared_layers": 2,
        "layer_types": ALTERNATING * 3,
        "global_head_dim": 32,
    },
    "gpt_neo": {
        "num_layers": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": THRESHOLD,
        "hidden_size": 64,
        "num_heads": 4,
    },
    "granitemoehybrid": {
        "num_hidden_layers": 3,
        "layer_types": MIXED,
        "shared_intermediate_size": 32,
        "position_embedding_type": "rope",
    },
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "moe_topk": 2},
    "kimi_linear": {**LATENT_LINEAR, "num_experts": 4},
    "laguna": {"num_hidden_layers": 5},
    "lfm2": {"num_hidden_layers": 4, "layer_types": CONV},
    "lfm2_moe": {"num_hidden_layers": 4, "layer_types": CONV, "num_dense_layers": 1},
    "longcat_flash": {"num_layers": 2, "num_hidden_layers": 4},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1},
    "mellum": {"num_hidden_layers": 5},
    "minimax_m3_vl_text": {"num_hidden_layers": 3},
    "ministral": {
        "head_dim": 16,
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "ministral3": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 16.0,
            "original_max_position_embeddings": THRESHOLD,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "llama_4_scaling_beta": 0.1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        }
    },
    "nemotron": {"num_key_value_heads": 2},
    "phi3": {"original_max_position_embeddings": THRESHOLD, "rope_parameters": LONGROPE},
    "phimoe": {
        "original_max_position_embeddings": THRESHOLD,
        "rope_parameters": {**LONGROPE, "short_mscale": 1.1, "long_mscale": 1.2},
    },
    "qwen2": WINDOWED,
    "qwen2_moe": {
        **WINDOWED,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    "qwen3": WINDOWED,
    "qwen3_moe": WINDOWED,
    "qwen4_exp_text": {
        "hc_count": 2,
        "hc_lowrank": 8,
        "ple_embed_dim": 16,
        "heads_per_ngram": 2,
        "ngram_vocab_size_base": 211,
        "split_ngram_parts": 1,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
    },
    "recurrent_gemma": {
        "attention_window_size": THRESHOLD,
        "lru_width": 64,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
    },
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 48]},
    "smollm3": {
        "num_hidden_layers": 5,
        "no_rope_layers": [1, 1, 0, 1, 0],
        "use_sliding_window": True,
        "layer_types": [*ALTERNATING[::-1] * 2, "full_attention"],
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 12,
        "attention_head_dim": 32,
        "attention_hidden_size": 128,
        "n_mamba_heads": 2,
        "mamba_dt_rank": 8,
    },
    "zamba2": {
        "num_hidden_layers": 8,
        "attention_head_dim": 32,
        "attention_hidden_size": 128,
        "mamba_headdim": 16,
        "n_mamba_heads": 8,
        "kv_channels": 16,
        "num_query_groups": 4,
        "num_key_value_heads": 4,
        "adapter_rank": 8,
        "layers_block_type": ["linear_attention", "hybrid"] * 4,
        "use_mem_rope": True,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}

DRAFTER = (
    "it drafts for another model of its family, whose keys its layers read, and predicts nothing "
    "alone; name the model that it drafts for"
)
MUSIC = (
    "its configuration is that of three models, which transformers does not make a causal "
    "language model of; what it predicts is sound, not text"
)
NOT_BUILT: Mapping[str, str] = {
    "gemma3n": "its vision part needs the package timm; `gemma3n_text` is the same language model",
    "gemma4_assistant": DRAFTER,
    "gemma4_unified_assistant": DRAFTER,
    "musicgen": MUSIC,
    "musicgen_melody": MUSIC,
}
"""Why there is no tiny model of a type."""
