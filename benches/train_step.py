"""One training step beside nanoGPT, Hugging Face and llm.c: equal losses first, then how fast.

    python benches/train_step.py --nanogpt FOLDER                 every case that this machine can run
    python benches/train_step.py --nanogpt FOLDER --only recipe --rounds 9
    python benches/train_step.py --nanogpt FOLDER --dry-run       the CUDA cases on the CPU, at toy size
    python benches/train_step.py --nanogpt FOLDER --llmc FOLDER --json results/X.json       on a GPU

FOLDER is a checkout of karpathy/nanoGPT, or of karpathy/llm.c; nothing of theirs is in this repository. Every
system is a process of its own with the same weights and AdamW settings. First each trains on the same
batches, and its losses are compared with those of the first system of the case: a system that is further
off than the case allows is WRONG and not ranked. Then they are timed in turns, data loading included; the
order is reversed from round to round, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Variant:
    """One system with its options."""

    system: str
    compile: bool = False
    precision: str = "fp32"
    micro_batch_size: int | None = None
    cuda_graph: bool = False

    @property
    def name(self) -> str:
        words = [self.system, "compiled" if self.compile else "eager", self.precision]
        words += [f"B {self.micro_batch_size}"] if self.micro_batch_size else []
        return ", ".join(words + (["CUDA graph"] if self.cuda_graph else []))


@dataclass(frozen=True)
class Case:
    """A model, a batch, and who is compared on it."""

    name: str
    layers: int
    heads: int
    width: int
    context_length: int
    batch_size: int
    variants: tuple[Variant, ...]
    vocab_size: int | None = None
    tokenizer: str | None = None
    bias: bool = False
    activation: str = "gelu"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    device: str = "cpu"
    loss_steps: int = 50
    steps: int = 10
    pad: bool = False
    tolerance: dict[str, float] = field(default_factory=lambda: {"fp32": 1e-5, "bf16": 3e-2})
    """The largest difference of any loss from the reference, in nats, for each precision."""


CPU = (
    Variant("nanoGPT"),
    Variant("nanoGPT", compile=True),
    Variant("Hugging Face"),
    Variant("ours"),
    Variant("ours", compile=True),
    Variant("ours", compile=True, precision="bf16"),
)
CUDA = (
    *(Variant("nanoGPT", True, "bf16", rows) for rows in (12, 16, 32, 64, 128)),
    Variant("Hugging Face", True, "bf16", 32),
    Variant("llm.c", True, "bf16", 64),
    *(Variant("ours", True, "bf16", rows) for rows in (32, 64, 128)),
    Variant("ours", True, "bf16", 32, cuda_graph=True),
)
SMALL_CUDA = (
    Variant("nanoGPT", True, "bf16", 64),
    Variant("Hugging Face", True, "bf16", 64),
    *(Variant("ours", compiled, "bf16", 64, graph) for compiled in (True, False) for graph in (False, True)),
)
CASES = (
    Case("recipe: 4 layers, 128 wide, T 64, B 12", 4, 4, 128, 64, 12, CPU, tokenizer="characters", steps=40),
    Case("6 layers, 384 wide, T 256, V 8,192, B 4", 6, 6, 384, 256, 4, CPU, vocab_size=8192, steps=3),
    Case(
        "6 layers, 384 wide, T 128, V 512, B 64",
        6,
        6,
        384,
        128,
        64,
        CPU,
        vocab_size=512,
        steps=1,
        loss_steps=8,
    ),
    Case(
        "GPT-2 124M, T 1,024, 524,288 tokens a step",
        12,
        12,
        768,
        1024,
        512,
        CUDA,
        vocab_size=50257,
        bias=True,
        activation="gelu_tanh",
        learning_rate=6e-4,
        betas=(0.9, 0.95),
        device="cuda",
        steps=10,
        pad=True,
        tolerance={"bf16": 2e-2},
    ),
    Case(
        "6 layers, 384 wide, T 256, V 512, B 64, on a card",
        6,
        6,
        384,
        256,
        64,
        SMALL_CUDA,
        vocab_size=512,
        device="cuda",
        steps=50,
    ),
)


def toy(case: Case) -> Case:
    """A case of CUDA at a size that a CPU trains in seconds, each system once, and without the graph."""
    once = {
        variant.system: replace(variant, compile=False, micro_batch_size=4, cuda_graph=False)
        for variant in case.variants
    }
    return replace(
        case,
        layers=2,
        heads=2,
        width=32,
        context_length=32,
        batch_size=8,
        vocab_size=512,
        device="cpu",
        steps=2,
        loss_steps=4,
        variants=tuple(once.values()),
    )


class Process:
    """A system in a process of its own; see `_steps.py`."""

    def __init__(self, spec: dict[str, Any]) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(spec["threads"]),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "_steps.py"), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("GPTBPE_BENCH_VERBOSE") else subprocess.PIPE,
            text=True,
            env=environment,
        )

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises RuntimeError with the end of what the process said when it died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.communicate()[1] or ""
            raise RuntimeError(" | ".join(said.strip().splitlines()[-3:]))
        return dict(json.loads(line))

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.communicate()


def measure(case: Case, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one case: losses of each system, then `--rounds` rounds of timing in turns."""
    spec = specification(case, arguments, folder)
    made = Process(spec | {"system": "prepare", "precision": "fp32", "compile": False})
    facts = made.answer()
    made.close()
    spec["vocab_size"] = facts["vocab_size"]
    running: dict[str, Process] = {}
    results: dict[str, dict[str, Any]] = {}
    reference: list[float] | None = None
    for variant in case.variants:
        if (variant.system == "nanoGPT" and not arguments.nanogpt) or (
            variant.system == "llm.c" and not arguments.llmc
        ):
            say(f"  {variant.name}: left out, no folder given")
            continue
        options = {k: v for k, v in asdict(variant).items() if v is not None}
        process = Process(spec | options)
        try:
            found = process.answer()
        except RuntimeError as error:
            results[variant.name] = {"problem": str(error)}
            say(f"  {variant.name}: {error}")
            continue
        reference = reference or found["losses"]
        apart = max(abs(a - b) for a, b in zip(found["losses"], reference, strict=True))
        results[variant.name] = found | {"apart": apart, "seconds": [], "peak_bytes": 0}
        say(f"  {variant.name}: first step {found['first']:.1f} s, losses apart {apart:.1e}")
        if apart > case.tolerance[variant.precision]:
            results[variant.name]["problem"] = f"WRONG: losses differ by {apart:.1e}"
            process.close()
        else:
            running[variant.name] = process
    for name, process in running.items():
        process.ask(steps=max(1, case.steps // 4))  # warm
        say(f"  {name}: warm")
    for turn in range(arguments.rounds):
        for name in list(running)[:: 1 if turn % 2 == 0 else -1]:
            found = running[name].ask(steps=case.steps)
            results[name]["seconds"].append(found["seconds"] / case.steps)
            results[name]["peak_bytes"] = max(results[name]["peak_bytes"], found["peak_bytes"])
    for process in running.values():
        process.close()
    return {"case": case.name, "tokens": case.batch_size * case.context_length, **facts, "systems": results}


def specification(case: Case, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a process must know, as JSON."""
    text = arguments.text or folder / "text.txt"
    if not text.exists():
        write_text(text)
    return {
        "folder": str(folder),
        "text": str(text),
        "tokenizer": case.tokenizer,
        "vocab_size": case.vocab_size,
        "model": {
            "layers": case.layers,
            "heads": case.heads,
            "width": case.width,
            "context_length": case.context_length,
            "bias": case.bias,
            "activation": case.activation,
        },
        "batch_size": case.batch_size,
        "micro_batch_size": case.batch_size,
        "learning_rate": case.learning_rate,
        "weight_decay": 0.1,
        "betas": list(case.betas),
        "warmup_steps": 100,
        "device": case.device,
        "loss_steps": case.loss_steps,
        "pad": case.pad,
        "threads": arguments.threads,
        "nanogpt": arguments.nanogpt and str(arguments.nanogpt),
        "llmc": arguments.llmc and str(arguments.llmc),
    }


def write_text(path: Path) -> None:
    """A text of made words, the same everywhere; `--text` gives a real one."""
    import random

    draw = random.Random(0)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(20_000):
            at = [int(5000 * draw.random() ** 3) for _ in range(10)]
            file.write(" ".join(words[i] for i in at).capitalize() + ".\n")


# --- what is shown ---


def table(result: dict[str, Any], peak: float | None) -> list[str]:
    """The rows of one case, as Markdown. Ratios are to the first system, medians of the rounds."""
    share = "MFU full / causal" if peak else "GFLOP/s"
    lines = [
        f"### {result['case']}",
        "",
        f"| system | ms a step | min | × | tokens/s | {share} | peak MB | first step s | losses apart |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    first: list[float] | None = None
    for name, found in result["systems"].items():
        if "problem" in found:
            lines.append(f"| {name} | {found['problem']} | | | | | | | |")
            continue
        seconds = found["seconds"]
        first = first or seconds
        middle = median(seconds)
        ratio = median(a / b for a, b in zip(first, seconds, strict=True))
        rate = result["tokens"] / middle
        full, causal = (rate * result[key] for key in ("flops_per_token", "flops_per_token_causal"))
        work = f"{full / peak:.1%} / {causal / peak:.1%}" if peak else f"{full / 1e9:.0f}"
        lines.append(
            f"| {name} | {middle * 1e3:.1f} | {min(seconds) * 1e3:.1f} | {ratio:.2f} | {rate:,.0f} | {work} "
            f"| {found['peak_bytes'] / 1e6:.0f} | {found['first']:.1f} | {found['apart']:.0e} |"
        )
    said = sorted(
        {f"{name}: {found['says']}" for name, found in result["systems"].items() if found.get("says")}
    )
    return [*lines, *([""] if said else []), *said, ""]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--nanogpt", type=Path, metavar="FOLDER", help="a checkout of karpathy/nanoGPT")
    add("--llmc", type=Path, metavar="FOLDER", help="a checkout of karpathy/llm.c")
    add("--text", type=Path, metavar="FILE", help="what to train on (default: a text of made words)")
    add("--only", action="append", metavar="TEXT", help="only cases with this in their name; may be repeated")
    add(
        "--systems",
        action="append",
        metavar="TEXT",
        help="only systems with this in their name, and the first",
    )
    add("--rounds", type=int, default=5, help="rounds of timing; every system runs once in each (default: 5)")
    add(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="threads on the CPU (default: all processors)",
    )
    add("--loss-steps", type=int, metavar="N", help="compare so many steps (default: 50, with B 64 8)")
    add("--dry-run", action="store_true", help="the CUDA cases on the CPU at toy size")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    import torch

    from gptmodel.device import peak_flops

    arguments = options().parse_args(words)
    cuda = torch.cuda.is_available()
    cases = [case for case in CASES if (case.device == "cuda") == (cuda or arguments.dry_run)]
    if arguments.dry_run:
        cases = [toy(case) for case in cases]
        say("systems with a CUDA graph: left out, they need a card")
    if arguments.only:
        cases = [case for case in cases if any(text in case.name for text in arguments.only)]
    results = []
    for case in cases:
        say(case.name)
        if arguments.systems:
            kept = [
                v for i, v in enumerate(case.variants) if not i or any(t in v.name for t in arguments.systems)
            ]
            case = replace(case, variants=tuple(kept))
        if arguments.loss_steps:
            case = replace(case, loss_steps=arguments.loss_steps)
        with tempfile.TemporaryDirectory(prefix="train-step-") as folder:
            results.append(measure(case, arguments, Path(folder)))
        card = torch.cuda.get_device_name() if case.device == "cuda" else ""
        print("\n".join(table(results[-1], peak_flops(card, "bf16") if card else None)), flush=True)
    if arguments.json:
        machine = {
            "machine": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
            "threads": arguments.threads,
            "torch": torch.__version__,
        }
        arguments.json.write_text(json.dumps(machine | {"cases": results}, indent=1) + "\n", encoding="utf-8")
    wrong = [n for r in results for n, f in r["systems"].items() if n.startswith("ours") and "problem" in f]
    return 1 if wrong or not results else 0


if __name__ == "__main__":
    sys.exit(main())
