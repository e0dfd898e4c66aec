"""Two small models that others trained, with what others recorded of them: a sorter and a storyteller."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gptmodel.load import GPT, assemble
from gptmodel.model import ModelConfig

Tensors = dict[str, Tensor]


def read_json_tensors(path: Path) -> tuple[dict[str, Any], Tensors]:
    """The sorter's form: shapes and base64 of little-endian fp32, by name."""
    document = json.loads(path.read_text())
    config = document.pop("config")

    def tensor(entry: dict[str, Any]) -> Tensor:
        return torch.from_numpy(np.frombuffer(base64.b64decode(entry["data"]), "<f4").copy()).view(
            entry["shape"]
        )

    return config, {name: tensor(entry) for name, entry in document.items()}


@pytest.fixture(scope="module")
def sorter(shared_file: Callable[[str], Path]) -> GPT:
    """A minGPT of 3 layers that sorts 6 digits of 0 to 2."""
    config, weights = read_json_tensors(shared_file("reference/checkpoints/gpt-nano-sort-model.json"))
    names = {
        "transformer.wte": "token_embedding",
        "transformer.wpe": "positions",
        "transformer.ln_f": "final_norm",
        "lm_head": "head",
        "transformer.h": "blocks",
        "ln_1": "attention_norm",
        "ln_2": "feed_forward_norm",
        "attn.c_attn": "attention.qkv",
        "attn.c_proj": "attention.output",
        "mlp.c_fc": "feed_forward.up",
        "mlp.c_proj": "feed_forward.down",
    }

    def ours(name: str) -> str:
        for theirs, mine in names.items():
            name = name.replace(theirs, mine)
        return name

    state = {ours(name): tensor for name, tensor in weights.items() if not name.endswith(".attn.bias")}
    return assemble(
        ModelConfig(
            vocab_size=config["vocab_size"],
            context_length=config["block_size"],
            width=config["n_embd"],
            layers=config["n_layer"],
            heads=config["n_head"],
            dropout=config["resid_pdrop"],
            position="learned",
            normalization="layer",
            norm_affine=True,
            activation="gelu_tanh",
            qk_norm=False,
            embedding_norm=False,
            bias=True,
        ),
        state,
    ).eval()


@pytest.fixture(scope="module")
def recorded(shared_file: Callable[[str], Path]) -> Tensors:
    return read_json_tensors(shared_file("reference/checkpoints/gpt-nano-sort-t0-partials.json"))[1]


@torch.no_grad()
def test_every_stage_of_the_sorter(sorter: GPT, recorded: Tensors) -> None:
    ids, block = recorded["idx"].long(), sorter.blocks[0]
    got: Tensors = {
        "tok_emb": sorter.token_embedding(ids),
        "pos_emb": sorter.positions(torch.arange(11))[None],
    }
    got["x"] = x = got["tok_emb"] + got["pos_emb"]
    got["ln1"] = block.attention_norm(x)
    got["qkv"] = block.attention.qkv(got["ln1"])
    q, k, v = got["qkv"].view(3, 11, 9, 16).transpose(1, 2).split(3, 1)
    got |= {"q": q, "k": k, "v": v}
    got["yProj"] = block.attention(got["ln1"])
    got["attnResid"] = x + got["yProj"]
    got["ln2"] = block.feed_forward_norm(got["attnResid"])
    got["fc"] = block.feed_forward.up(got["ln2"])
    got["mlp"] = block.feed_forward(got["ln2"])
    got["mlpResid"] = got["block0"] = block(x)
    got["block1"] = sorter.blocks[1](got["block0"])
    got["block2"] = sorter.blocks[2](got["block1"])
    got["ln_f"] = sorter.hidden(ids)
    got["lm_head"] = sorter(ids)
    got["probs"] = sorter(ids).softmax(-1)
    for name, value in got.items():
        torch.testing.assert_close(
            value, recorded[name], atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    unchecked = recorded.keys() - got.keys()
    assert unchecked == {
        "idx",
        "att",
        "attSm",
        "y",
        "gelu",
    }  # inside a kernel here; what follows them is checked


@pytest.mark.parametrize("digits", [[2, 0, 1, 1, 0, 2], [0, 0, 0, 2, 1, 0], [2, 2, 2, 1, 1, 0]])
def test_the_sorter_sorts(sorter: GPT, digits: list[int]) -> None:
    assert sorter.generate(digits, 6, temperature=0)[6:] == sorted(digits)


def read_llama2c(path: Path) -> tuple[dict[str, int], Tensors]:
    """llama2.c's first format: seven int32, then fp32 tensors in a fixed order, each over all layers."""
    raw = path.read_bytes()
    fields = ("width", "hidden", "layers", "heads", "kv_heads", "vocab_size", "context_length")
    shape = dict(zip(fields, struct.unpack("<7i", raw[:28]), strict=True))
    floats, place = torch.from_numpy(np.frombuffer(raw[28:], "<f4").copy()), 0

    def take(*size: int) -> Tensor:
        nonlocal place
        place += math.prod(size)
        return floats[place - math.prod(size) : place].view(size)

    layers, width, hidden = shape["layers"], shape["width"], shape["hidden"]
    keys = shape["kv_heads"] * (width // shape["heads"])
    order = [
        ("embed", (shape["vocab_size"], width)),
        ("attention_norm", (layers, width)),
        ("q", (layers, width, width)),
        ("k", (layers, keys, width)),
        ("v", (layers, keys, width)),
        ("o", (layers, width, width)),
        ("feed_forward_norm", (layers, width)),
        ("gate", (layers, hidden, width)),
        ("down", (layers, width, hidden)),
        ("up", (layers, hidden, width)),
        ("norm", (width,)),
    ]
    return shape, {name: take(*size) for name, size in order}


@pytest.fixture(scope="module")
def llama_folder(shared_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storyteller as a folder in Hugging Face's form, written by this test and not by the product."""
    from safetensors.torch import save_file

    shape, weights = read_llama2c(shared_file("reference/checkpoints/stories260K.bin"))
    head_width = shape["width"] // shape["heads"]

    def halves(rows: Tensor) -> Tensor:  # llama2.c turns neighbours, transformers turns halves
        return rows.view(-1, head_width // 2, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)

    tensors = {"model.embed_tokens.weight": weights["embed"], "model.norm.weight": weights["norm"]}
    for i in range(shape["layers"]):
        layer = {
            "input_layernorm": weights["attention_norm"][i],
            "post_attention_layernorm": weights["feed_forward_norm"][i],
            "self_attn.q_proj": halves(weights["q"][i]),
            "self_attn.k_proj": halves(weights["k"][i]),
            "self_attn.v_proj": weights["v"][i],
            "self_attn.o_proj": weights["o"][i],
            "mlp.gate_proj": weights["gate"][i],
            "mlp.up_proj": weights["up"][i],
            "mlp.down_proj": weights["down"][i],
        }
        tensors |= {f"model.layers.{i}.{name}.weight": tensor.clone() for name, tensor in layer.items()}
    folder = tmp_path_factory.mktemp("stories260K")
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape["vocab_size"],
        "hidden_size": shape["width"],
        "intermediate_size": shape["hidden"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"],
        "max_position_embeddings": shape["context_length"],
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def read_pieces(path: Path) -> list[bytes]:
    """llama2.c's tokenizer: the longest piece, then for each a score, a length and bytes."""
    raw, place, pieces = path.read_bytes(), 4, []
    while place < len(raw):
        (length,) = struct.unpack_from("<i", raw, place + 4)
        pieces.append(raw[place + 8 : place + 8 + length])
        place += 8 + length
    return pieces


STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do."
)


def test_the_storyteller_tells_its_story(llama_folder: Path, shared_file: Callable[[str], Path]) -> None:
    """Greedy text from the begin-of-text id alone: the words that llama2.c prints at temperature 0."""
    pieces = read_pieces(shared_file("reference/checkpoints/tok512.bin"))
    model = GPT.load(llama_folder)
    assert model.num_parameters() == 260_032
    new = model.generate([1], 200, temperature=0)[1:]
    text = b"".join(
        bytes([int(pieces[i][3:5], 16)]) if pieces[i].startswith(b"<0x") else pieces[i] for i in new
    )
    assert text.decode().lstrip().startswith(STORY)


def test_the_storyteller_in_transformers(llama_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlamaForCausalLM.from_pretrained(llama_folder).eval()
    ours = GPT.load(llama_folder)
    ids = torch.randint(3, 512, (2, 200), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=1e-4)
    told = theirs.generate(torch.tensor([[1]]), max_new_tokens=120, do_sample=False)[0].tolist()
    assert ours.generate([1], 120, temperature=0) == told
