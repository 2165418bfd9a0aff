"""Tiny random causal LMs of real architectures with a tokenizer made on the spot, for tests that need no hub.

Chat formats follow those that the families document: Llama 3 headers, Gemma turns without a system role, ChatML for
Qwen.
"""

from __future__ import annotations

from pathlib import Path

SPECIAL = {
    "llama": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "gemma": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    "qwen": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
}
TEMPLATES = {
    "llama": (
        "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "gemma": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "<bos>{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "qwen": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    ),
}
FAMILIES = tuple(TEMPLATES)


def tiny_tokenizer(family: str, split_digits: bool = True):
    """A byte-level BPE tokenizer with the family's control tokens and chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    text = ["Query: how tall is the tower", "Passage: the tower is tall.", "Yes", "No", "Relevance grade (0-3):"] * 20
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL[family], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(text, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[family][-1])
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[family]})
    fast.chat_template = TEMPLATES[family]
    return fast


def tiny_model(family: str, folder: Path, heads: int = 4) -> Path:
    """A two-layer random model of the family's architecture, saved as safetensors with its tokenizer.

    vLLM on CPU wants heads of 32 dimensions or more: two heads.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tiny_tokenizer(family)
    kind = {"llama": "llama", "gemma": "gemma2", "qwen": "qwen2"}[family]
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=64 // heads,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=0,
        tie_word_embeddings=family != "llama",
    )
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
