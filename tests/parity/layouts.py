"""The layouts of ``tokenizer.json`` that models publish, around vocabularies that this package carries.

What stands around a vocabulary decides how text is split, so a layout is compared with any vocabulary. Those
that ``transformers`` makes offline are made by it; the others are spelled as the models publish them.
"""

# ruff: noqa: E501 - the layouts are a table

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gptbpe import Tokenizer

Section = dict[str, Any]

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KIMI = (
    r"[\p{Han}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V2 = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿ\u0386\u0388-\u038AΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
    r"ὐ-ὗὙὛὝ\u1F5F-\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBEῂ-ῄῆ-ῌ\u1FD0-\u1FD3\u1FD6-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄ"
    r"Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
]
DEEPSEEK_V3 = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
NUMBERS_IN_THREES = {
    "type": "Split",
    "pattern": {"Regex": "[0-9][0-9][0-9]"},
    "behavior": "Isolated",
    "invert": False,
}


@dataclass(frozen=True)
class Layout:
    """A layout: its name, the models that have it, and its file."""

    name: str
    models: str
    make: Callable[[], Section] = field(repr=False)


@functools.cache
def packaged(name: str) -> str:
    """Return a packaged vocabulary as ``tokenizer.json``, without added tokens and fingerprint."""
    file = json.loads(Tokenizer.get(name).to_bytes())
    del file["model"]["fingerprint"]
    for token in file["added_tokens"]:
        file["model"]["vocab"].pop(token["content"], None)
    file["added_tokens"] = []
    return json.dumps(file)


def byte_level(**options: bool) -> Section:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | options


def split(regex: str, behavior: str = "Isolated", **options: bool) -> Section:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False} | options


def steps(*all_steps: Section) -> Section:
    return {"type": "Sequence", "pretokenizers": list(all_steps)}


def regexes(*all_regexes: str) -> Section:
    return steps(*map(split, all_regexes), byte_level(use_regex=False))


def token(content: str, **options: bool) -> Section:
    flags = (
        dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False) | {"special": True} | options
    )
    return {"content": content, **flags}


def template(before: list[str], after: list[str]) -> Callable[[dict[str, int]], Section]:
    """Return what makes a ``TemplateProcessing`` of the ids."""

    def section(ids: dict[str, int]) -> Section:
        named = [{"SpecialToken": {"id": name, "type_id": 0}} for name in before]
        ends = [{"SpecialToken": {"id": name, "type_id": 0}} for name in after]
        first, second = ({"Sequence": {"id": name, "type_id": type}} for type, name in enumerate("AB"))
        tokens = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in before + after}
        return {
            "type": "TemplateProcessing",
            "single": [*named, first, *ends],
            "pair": [*named, first, *named, second],
            "special_tokens": tokens,
        }

    return section


def spelled(
    vocabulary: str,
    pre_tokenizer: Section,
    added: list[Section],
    post: Callable[[dict[str, int]], Section] | None = None,
    **sections: Any,
) -> Callable[[], Section]:
    """Return what makes a file of these sections; options of the model are given as ``model``."""

    def make() -> Section:
        file: Section = json.loads(packaged(vocabulary))
        first = len(file["model"]["vocab"])
        file["added_tokens"] = [{"id": first + number} | token for number, token in enumerate(added)]
        file["pre_tokenizer"] = pre_tokenizer
        file["decoder"] = byte_level(add_prefix_space=True)
        ids = {token["content"]: token["id"] for token in file["added_tokens"]}
        file["post_processor"] = post(ids) if post else byte_level(trim_offsets=False)
        file["model"] |= sections.pop("model", {})
        return file | sections

    return make


def converted(name: str, *added: str, **options: Any) -> Callable[[], Section]:
    """Return what makes the file that a tokenizer class of ``transformers`` makes of GPT-2's vocabulary."""

    def make() -> Section:
        import transformers

        model = json.loads(packaged("gpt2"))["model"]
        merges = [tuple(merge.split(" ")) for merge in model["merges"]]
        made = getattr(transformers, name)(vocab=model["vocab"], merges=merges, **options)
        made.add_tokens(list(added))
        file: Section = json.loads(made.backend_tokenizer.to_str())
        return file

    return make


def llama3(ids: dict[str, int]) -> Section:
    return {"type": "Sequence", "processors": [byte_level(), template(["<|begin_of_text|>"], [])(ids)]}


NFC = {"type": "NFC"}
SPACES = [token(" " * count, special=False, normalized=True) for count in range(2, 32)]
END = token("<|endoftext|>")
CHAT = [END, token("<|im_start|>"), token("<|im_end|>")]
DIGITS = steps({"type": "Digits", "individual_digits": True}, byte_level())
FALCON = steps(
    {"type": "Punctuation", "behavior": "Contiguous"},
    byte_level(),
    {"type": "Digits", "individual_digits": False},
    NUMBERS_IN_THREES,
)
QWEN = regexes(LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"))
THINK = [
    *CHAT,
    *(token(name, special=False) for name in ["<think>", "</think>", "<tool_call>", "</tool_call>"]),
]

LAYOUTS = [
    Layout("GPT-2", "GPT-2, GPT-J, Cerebras-GPT", converted("GPT2TokenizerFast")),
    Layout("GPT-2 with spaces", "CodeGen, Phi-1, Phi-1.5, Phi-2", spelled("gpt2", byte_level(), [END, *SPACES])),
    Layout("RoBERTa", "RoBERTa, Longformer", converted("RobertaTokenizerFast")),
    Layout("BART", "BART, LED", converted("BartTokenizerFast")),
    Layout("BlenderBot", "BlenderBot", converted("BlenderbotTokenizerFast")),
    Layout("DeBERTa", "DeBERTa", converted("DebertaTokenizerFast")),
    Layout("Whisper", "Whisper", converted("WhisperTokenizerFast")),
    Layout("GPT-NeoX", "Pythia, GPT-NeoX, MPT, OLMo", spelled("gpt2", byte_level(), [END, token("<|padding|>"), *SPACES], normalizer=NFC)),
    Layout("GPT-NeoX as converted", "GPT-NeoX", converted("GPTNeoXTokenizerFast")),
    Layout("ModernBERT", "ModernBERT", spelled("gpt2", byte_level(), [token("[CLS]"), token("[SEP]"), token("[MASK]", lstrip=True), *SPACES], template(["[CLS]"], ["[SEP]"]), normalizer=NFC)),
    Layout("StarCoder", "StarCoder, StarCoder 2, Granite, SmolLM", spelled("gpt2", DIGITS, [END, token("<fim_prefix>"), token("<fim_middle>")])),
    Layout("Command R", "Command R, Aya", converted("CohereTokenizerFast")),
    Layout("Falcon", "Falcon", spelled("gpt2", FALCON, [END, token(">>QUESTION<<"), token(">>ANSWER<<")])),
    Layout("BLOOM", "BLOOM", spelled("gpt2", regexes(BLOOM), [token("<s>"), token("</s>"), token("<pad>")])),
    Layout("Qwen 2", "Qwen 1.5, Qwen 2, Qwen 2.5", spelled("cl100k_base", QWEN, CHAT, normalizer=NFC)),
    Layout("Qwen 2 as converted", "Qwen 2", converted("Qwen2TokenizerFast", "<|im_start|>")),
    Layout("Qwen 3", "Qwen 3", spelled("cl100k_base", QWEN, THINK, normalizer=NFC)),
    Layout("Llama 3", "Llama 3, 3.1, 3.2, 3.3", spelled("cl100k_base", regexes(LLAMA3), [token("<|begin_of_text|>"), token("<|end_of_text|>"), token("<|eot_id|>")], llama3, model={"ignore_merges": True})),
    Layout("OLMo 2", "OLMo 2, Phi-4", spelled("cl100k_base", regexes(LLAMA3), [END, *(token(f"<|extra_id_{n}|>") for n in range(9))])),
    Layout("GPT-OSS", "GPT-OSS", spelled("o200k_base", regexes(O200K), [token("<|startoftext|>"), END, token("<|return|>")])),
    Layout("Mistral Tekken", "Mistral NeMo, Ministral, Mistral Small 3", spelled("cl100k_base", regexes(TEKKEN), [token("<unk>"), token("<s>"), token("</s>"), token("[INST]")], template(["<s>"], []), model={"ignore_merges": True})),
    Layout("Kimi", "Kimi K2, Moonlight", spelled("cl100k_base", regexes(KIMI), [token("[BOS]"), token("[EOS]")])),
    Layout("DeepSeek V2", "DeepSeek LLM, Coder, V2", spelled("gpt2", steps(*map(split, DEEPSEEK_V2), {"type": "Digits", "individual_digits": True}, byte_level(use_regex=False)), [token("<｜begin▁of▁sentence｜>", normalized=True), token("<｜end▁of▁sentence｜>", normalized=True), *SPACES], template(["<｜begin▁of▁sentence｜>"], []), normalizer={"type": "Sequence", "normalizers": []})),
    Layout("DeepSeek V3", "DeepSeek V3, R1", spelled("cl100k_base", regexes(*DEEPSEEK_V3), [token("<｜begin▁of▁sentence｜>", normalized=True), token("<｜end▁of▁sentence｜>", normalized=True), token("<｜User｜>", special=False), token("<think>", special=False, normalized=True)], template(["<｜begin▁of▁sentence｜>"], []), normalizer={"type": "Sequence", "normalizers": []})),
    Layout("CLIP", "CLIP", converted("CLIPTokenizerFast")),
    Layout("SentencePiece BPE", "Llama 2, Mistral 7B, Gemma", converted("LlamaTokenizerFast")),
]  # fmt: skip
