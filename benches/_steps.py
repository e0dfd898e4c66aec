"""The training steps that `train_step.py` compares, and the process that runs one of them.

Each system is a function that takes the specification of a case and returns a `Step`: how to train on a
given batch, and how to get its next batch the way that system does. All begin with the same weights, under
the names of nanoGPT, and use AdamW with the same settings, written as each project writes it.

The process reads one JSON object a line and answers with one: `losses` trains on batches that are the same
for every system, `time` trains on the system's own batches and returns seconds. It waits between commands, so
systems can be interleaved, each with its own allocator and its own process-wide settings.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Batch = tuple[Any, Any]
Spec = dict[str, Any]


@dataclass
class Step:
    """One system, ready to train. `train` returns the loss as a tensor on the device."""

    train: Callable[[Any, Any], Any]
    batches: Iterator[Batch]
    says: str = ""
    """What the system chose by itself: kernel, compiled or not."""
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What must stay open while it trains."""


# --- the systems ---


def ours(spec: Spec) -> Step:
    """The step of ``gptmodel train``, with its loader."""
    from gptmodel.config import compose
    from gptmodel.training.cuda_graph import replaying
    from gptmodel.training.distributed import Ranks
    from gptmodel.training.report import attention_kernel
    from gptmodel.training.state import start
    from gptmodel.training.step import train_step

    flags = model_flags(spec) | {
        "precision": spec["precision"],
        "compile": spec["compile"],
        "cuda_graph": spec["cuda_graph"],
        "output": Path(spec["folder"]) / "runs",
        "device": spec["device"],
    }
    held = contextlib.ExitStack()
    state = held.enter_context(start(compose(flags).config, None, Ranks()))
    state.model.load_state_dict(our_names(read_weights(spec)))
    held.enter_context(replaying(state))

    def step(inputs: Any, targets: Any) -> Any:
        return train_step(state, inputs, targets).loss

    batches = state.data.batches(state.device, 0, state.total_steps)
    says = f"{state.compiler}; attention {attention_kernel(state)[0]}"
    return Step(step, iter(batches), says, held)


def nanogpt(spec: Spec) -> Step:
    """NanoGPT's model and the body of the loop of its train.py."""
    module = load(Path(spec["nanogpt"]) / "model.py")
    shape = spec["model"]
    with contextlib.redirect_stdout(io.StringIO()):
        config = module.GPTConfig(
            block_size=shape["context_length"],
            vocab_size=spec["vocab_size"] if not spec["pad"] else padded(spec["vocab_size"], 64),
            n_layer=shape["layers"],
            n_head=shape["heads"],
            n_embd=shape["width"],
            dropout=0.0,
            bias=shape["bias"],
        )
        model = module.GPT(config).to(spec["device"])
        load_padded(model, read_weights(spec))
        optimizer = model.configure_optimizers(
            spec["weight_decay"], spec["learning_rate"], tuple(spec["betas"]), kind(spec)
        )
    says = "erf GELU" if shape["activation"] != "gelu" else ""
    return peer(spec, model, optimizer, lambda model, x, y: model(x, y)[1], says)


def huggingface(spec: Spec) -> Step:
    """`GPT2LMHeadModel` with SDPA in a bare loop with the fused AdamW."""
    import torch
    import torch.nn.functional as F
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = spec["model"]
    config = GPT2Config(
        vocab_size=spec["vocab_size"],
        n_positions=shape["context_length"],
        n_embd=shape["width"],
        n_layer=shape["layers"],
        n_head=shape["heads"],
        activation_function={"gelu": "gelu", "gelu_tanh": "gelu_new"}[shape["activation"]],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    weights = read_weights(spec)
    for name, parameter in model.named_parameters():
        tensor = weights.get(name)
        with torch.no_grad():
            if tensor is None:  # nanoGPT without biases: zero, and never trained
                parameter.zero_().requires_grad_(False)
            else:
                conv1d = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
                parameter.copy_(tensor.t() if conv1d else tensor)
    model.to(spec["device"]).train()

    def loss(model: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x).logits.float().flatten(0, 1), y.flatten())

    return peer(spec, model, adamw(spec, model), loss)


def llmc(spec: Spec) -> Step:
    """The model of llm.c's train_gpt2.py; biases and the tanh form of GELU are fixed there."""
    module = load(Path(spec["llmc"]) / "train_gpt2.py")
    module.FLASH = 1
    shape = spec["model"]
    with contextlib.redirect_stdout(io.StringIO()):
        config = module.GPTConfig(
            block_size=shape["context_length"],
            vocab_size=spec["vocab_size"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
            n_embd=shape["width"],
        )
        model = module.GPT(config).to(spec["device"])
    load_padded(model, read_weights(spec))
    options = (
        {"return_logits": False} if "return_logits" in inspect.signature(model.forward).parameters else {}
    )
    return peer(spec, model, adamw(spec, model), lambda model, x, y: model(x, y, **options)[1])


SYSTEMS: dict[str, Callable[[Spec], Step]] = {
    "ours": ours,
    "nanoGPT": nanogpt,
    "Hugging Face": huggingface,
    "llm.c": llmc,
}


# --- what they share ---


def peer(
    spec: Spec, model: Any, optimizer: Any, loss: Callable[[Any, Any, Any], Any], says: str = ""
) -> Step:
    """A loop as nanoGPT's train.py has it: autocast on CUDA, micro-batches, clipping, one update."""
    import torch

    compiled = torch.compile(model) if spec["compile"] else model
    on_cuda = kind(spec) == "cuda"
    precision = torch.bfloat16 if on_cuda and spec["precision"] == "bf16" else None
    rows, batch = spec["micro_batch_size"], spec["batch_size"]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on_cuda and bool(precision)
    done = 0

    def step(inputs: Any, targets: Any) -> Any:
        nonlocal done
        for group in optimizer.param_groups:
            group["lr"] = spec["learning_rate"] * min(1.0, (done + 1) / spec["warmup_steps"])
        done += 1
        total = torch.zeros((), device=inputs.device)
        for start in range(0, batch, rows):
            with torch.autocast("cuda", precision) if precision else contextlib.nullcontext():
                value = loss(compiled, inputs[start : start + rows], targets[start : start + rows])
                value = value * (rows / batch)
            value.backward()
            total += value.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    return Step(step, nanogpt_batches(spec), says)


def nanogpt_batches(spec: Spec) -> Iterator[Batch]:
    """Batches as nanoGPT's train.py draws them: a new memory map each time, row by row, pinned on CUDA."""
    import numpy as np
    import torch

    length, rows = spec["model"]["context_length"], spec["batch_size"]
    while True:
        data = np.memmap(Path(spec["folder"]) / "train.bin", dtype=np.uint16, mode="r")
        at = torch.randint(len(data) - length, (rows,))
        x, y = (
            torch.stack([torch.from_numpy(data[i + d : i + d + length].astype(np.int64)) for i in at])
            for d in (0, 1)
        )
        if kind(spec) == "cuda":
            x, y = x.pin_memory(), y.pin_memory()
        yield x.to(spec["device"], non_blocking=True), y.to(spec["device"], non_blocking=True)


def adamw(spec: Spec, model: Any) -> Any:
    """The fused AdamW, with the two groups that nanoGPT makes."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": spec["weight_decay"]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=spec["learning_rate"], betas=tuple(spec["betas"]), fused=True)


def model_flags(spec: Spec) -> dict[str, Any]:
    """The case as settings of gptmodel. `preset` is one whose shape is GPT-2's."""
    wanted = spec["model"] | {
        name: spec[name] for name in ("batch_size", "micro_batch_size", "learning_rate")
    }
    return wanted | {
        "preset": "gpt2",
        "train_data": (Path(spec["text"]),),
        "tokenizer": spec["tokenizer"],
        "vocab": None if spec["tokenizer"] else min(spec["vocab_size"], 4096),
        "vocab_size": spec["vocab_size"],
        "dropout": 0.0,
        "weight_decay": spec["weight_decay"],
        "beta1": spec["betas"][0],
        "beta2": spec["betas"][1],
        "schedule": "constant",
        "warmup_steps": spec["warmup_steps"],
        "max_steps": 1_000_000,
    }


OUR_NAMES = {
    "token_embedding": "transformer.wte",
    "positions": "transformer.wpe",
    "final_norm": "transformer.ln_f",
    "blocks": "transformer.h",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
    "attention_norm": "ln_1",
    "feed_forward_norm": "ln_2",
}


def nanogpt_name(name: str) -> str:
    """The name of one of our tensors in nanoGPT, which has the same shapes."""
    for mine, theirs in OUR_NAMES.items():
        parts = f".{name}.".replace(f".{mine}.", f".{theirs}.")
        name = parts.strip(".")
    return name


def our_names(weights: dict[str, Any]) -> dict[str, Any]:
    """Weights under nanoGPT's names, under ours."""
    renamed = {}
    for name, tensor in weights.items():
        for mine, theirs in OUR_NAMES.items():
            name = f".{name}.".replace(f".{theirs}.", f".{mine}.").strip(".")
        renamed[name] = tensor
    return renamed


def read_weights(spec: Spec) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(Path(spec["folder"]) / "weights.safetensors")


def load_padded(model: Any, weights: dict[str, Any]) -> None:
    """Copy the weights; rows of a padded vocabulary beyond ours are zero."""
    import torch

    parameters = dict(model.named_parameters())
    missing = parameters.keys() ^ weights.keys()
    missing -= {"lm_head.weight", "transformer.wte.weight"}  # one tensor, under the name that comes first
    if missing:
        raise SystemExit(f"the weights do not fit {type(model).__module__}: {sorted(missing)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            tensor = weights.get(name, weights["transformer.wte.weight"])
            parameter.zero_()[: len(tensor)].copy_(tensor)


def load(path: Path) -> Any:
    """A module from a file of somebody else's, under a name of its own."""
    spec = importlib.util.spec_from_file_location(
        f"peer_{path.parent.name}_{path.stem}".replace(".", "_"), path
    )
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def kind(spec: Spec) -> str:
    return str(spec["device"]).partition(":")[0]


# --- the process ---


def prepare(spec: Spec) -> dict[str, Any]:
    """Write what the systems share: weights, ids as nanoGPT's prepare.py writes them, batches for losses."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from gptmodel.config import compose
    from gptmodel.data import prepare as prepare_data
    from gptmodel.model import GPT
    from gptmodel.training.state import choose_model_config

    folder = Path(spec["folder"])
    config = compose(model_flags(spec)).config
    found = prepare_data(
        config.data,
        context_length=config.model["context_length"],
        batch_size=spec["batch_size"],
        seed=config.train.seed,
        stored_tokenizer=lambda: None,
    )
    shape = choose_model_config(config, found)
    model = GPT(shape, seed=1)
    save_file(
        {nanogpt_name(k): v.contiguous() for k, v in model.state_dict().items()},
        folder / "weights.safetensors",
    )
    steps = [found.batch(step) for step in range(spec["loss_steps"])]
    np.save(folder / "inputs.npy", torch.stack([x for x, _ in steps]).numpy())
    np.save(folder / "targets.npy", torch.stack([y for _, y in steps]).numpy())
    windows = [
        found.batch(step)[0].flatten() for step in range(min(200, found.windows // spec["batch_size"] or 1))
    ]
    torch.cat(windows).numpy().astype(np.uint16).tofile(folder / "train.bin")
    return {
        "vocab_size": shape.vocab_size,
        "parameters": model.num_parameters(),
        "flops_per_token": model.flops_per_token(),
        "flops_per_token_causal": model.flops_per_token(causal=True),
    }


def reset_peak(spec: Spec) -> None:
    """Begin to measure peak memory anew, after what the process itself needs."""
    if kind(spec) == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def memory(field: str) -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(next((line.split()[1] for line in status.splitlines() if line.startswith(field)), "0")) * 1024


def wait(spec: Spec) -> None:
    if kind(spec) == "cuda":
        import torch

        torch.cuda.synchronize()


def run(spec: Spec, commands: Iterator[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Build the system, then do what is asked until the input ends."""
    import numpy as np
    import torch

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    before = memory("VmRSS")
    reset_peak(spec)
    began = time.perf_counter()
    system = SYSTEMS[spec["system"]](spec)
    built = time.perf_counter() - began
    folder = Path(spec["folder"])
    inputs, targets = (torch.from_numpy(np.load(folder / f"{n}.npy")) for n in ("inputs", "targets"))
    losses, seconds = [], []
    for x, y in zip(inputs.to(spec["device"]), targets.to(spec["device"]), strict=True):
        start = time.perf_counter()
        losses.append(float(system.train(x, y)))
        seconds.append(time.perf_counter() - start)
    answer(
        {
            "build": built,
            "losses": losses,
            "first": seconds[0],
            "then": median(seconds[1:] or seconds),
            "says": system.says,
        }
    )
    for line in commands:
        steps = json.loads(line)["steps"]
        wait(spec)
        start = time.perf_counter()
        loss = None
        for _ in range(steps):
            loss = system.train(*next(system.batches))
            if kind(spec) == "cpu":
                float(loss)  # both sides read every loss; on CUDA only the last one of a round
        final = float(loss) if loss is not None else 0.0
        wait(spec)
        taken = time.perf_counter() - start
        on_cuda = kind(spec) == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_cuda else max(0, memory("VmHWM") - before)
        if on_cuda:
            torch.cuda.empty_cache()  # the next system needs the card
        answer({"seconds": taken, "loss": final, "peak_bytes": peak})


def main() -> None:
    spec = json.loads(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a system prints must not be taken for an answer

    def answer(values: dict[str, Any]) -> None:
        channel.write(json.dumps(values) + "\n")
        channel.flush()

    if spec["system"] == "prepare":
        answer(prepare(spec))
    else:
        run(spec, iter(sys.stdin), answer)


if __name__ == "__main__":
    main()
