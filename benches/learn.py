"""What is learned in the same time: bits per byte of held-out text, nanoGPT's CPU recipe beside our `tiny`.

    python benches/learn.py --nanogpt PATH                           # both, three seeds each
    python benches/learn.py --nanogpt PATH --steps 20 --seeds 1      # does everything work? a minute
    python benches/learn.py --seconds 70 --precision bf16            # ours alone, in a time measured before

The recipe is the one for a CPU in nanoGPT's README: characters, 4 layers, 4 heads, 128 wide, 64 characters of
context, 12 rows, 2,000 steps. PATH is a checkout of it. Its iterations are timed from outside, by the lines
that it prints, without its evaluations. Ours trains for that many seconds by its own clock, with the first
step and what the compiler takes inside it, and with a vocabulary of its own, trained on the same text.

Both train on the first nine tenths of the text. Then each is measured on the whole last tenth, in windows
that do not overlap, of its own context; every byte but the first token's is predicted once. Bits per byte do
not depend on the vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = [
    "config/train_shakespeare_char.py", "--device=cpu", "--compile=False", "--log_interval=1",
    "--eval_iters=1", "--always_save_checkpoint=True", "--block_size=64", "--batch_size=12", "--n_layer=4",
    "--n_head=4", "--n_embd=128", "--dropout=0.0", "--dataset=bench", "--out_dir=out",
]  # fmt: skip

MEASURE = """
import json, math, sys
import numpy as np, torch
from torch.nn import functional as F
from model import GPT, GPTConfig
stored = torch.load("out/ckpt.pt", map_location="cpu", weights_only=False)
model = GPT(GPTConfig(**stored["model_args"])).eval()
model.load_state_dict(stored["model"])
ids = torch.from_numpy(np.fromfile("data/bench/val.bin", dtype=np.uint16).astype(np.int64))
length, nats = model.config.block_size, 0.0
with torch.no_grad():
    for start in range(0, len(ids) - 1, length):
        inputs, targets = ids[start : start + length], ids[start + 1 : start + 1 + length]
        logits, _ = model(inputs[None, : len(targets)], targets[None])
        nats += float(F.cross_entropy(logits[0], targets, reduction="sum"))
print(json.dumps({"bits_per_byte": nats / math.log(2) / (int(sys.argv[1]) - 1)}))
"""


def main() -> None:
    settings = arguments()
    text = settings.text.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.txt").write_text(text[:cut], encoding="utf-8")
        (folder / "valid.txt").write_text(text[cut:], encoding="utf-8")
        theirs, seconds = [], settings.seconds
        if settings.nanogpt is not None:
            theirs = [nanogpt(settings, folder, seed) for seed in range(settings.seeds)]
            seconds = seconds or statistics.median(row["seconds"] for row in theirs)
        if seconds is None:
            sys.exit("learn.py: give --nanogpt PATH, or --seconds to run ours alone")
        ours = [
            tiny(settings, folder, seed, seconds)
            for seed in range(settings.first_seed, settings.first_seed + settings.seeds)
            if not settings.only_nanogpt
        ]
    report(settings, text, theirs, ours, seconds)


def arguments() -> argparse.Namespace:
    corpora = Path(os.environ.get("GPTBPE_CORPORA", "~/.cache/gptbpe-corpora")).expanduser()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--only-nanogpt", action="store_true", help="leave ours out")
    parser.add_argument("--seconds", type=float, help="time for ours; left out: what nanoGPT took")
    parser.add_argument("--text", type=Path, default=corpora / "tinyshakespeare.txt")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed of ours")
    parser.add_argument("--steps", type=int, default=2000, help="steps of nanoGPT's recipe")
    parser.add_argument("--precision", default="fp32", help="ours: fp32 or bf16")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("options", nargs="*", help="after --: further options of `gptmodel train`")
    return parser.parse_args()


def nanogpt(settings: argparse.Namespace, folder: Path, seed: int) -> dict[str, float]:
    """Train nanoGPT's recipe from a copy of its sources; the seed is a constant in them."""
    copy = folder / f"nanogpt-{seed}"
    shutil.copytree(settings.nanogpt, copy, ignore=shutil.ignore_patterns(".git", "*.bin", "out*"))
    write_characters(folder, copy / "data" / "bench")
    source = (copy / "train.py").read_text()
    if "manual_seed(1337 " not in source:
        sys.exit(f"learn.py: {settings.nanogpt} is not the nanoGPT that this was written for")
    (copy / "train.py").write_text(source.replace("manual_seed(1337 ", f"manual_seed({1337 + seed} "))
    steps = settings.steps
    lengths = [f"--max_iters={steps}", f"--lr_decay_iters={steps}", f"--eval_interval={steps}"]
    began = last = 0.0
    command = [sys.executable, "-u", "train.py", *RECIPE, *lengths]
    with subprocess.Popen(command, cwd=copy, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            found = re.match(r"iter (\d+):", line)
            if found and int(found[1]) == 0:
                began = time.perf_counter()
            if found and int(found[1]) == steps - 1:
                last = time.perf_counter()
    if child.returncode:
        sys.exit(f"learn.py: {' '.join(command)} ended with {child.returncode}")
    size = str((folder / "valid.txt").stat().st_size)
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, size], cwd=copy, check=True, capture_output=True, text=True
    ).stdout
    row = {"seed": seed, "steps": steps, "seconds": (last - began) * steps / (steps - 1)}
    row |= json.loads(measured.splitlines()[-1])
    show("nanoGPT", row)
    return row


def write_characters(folder: Path, target: Path) -> None:
    """The text as nanoGPT's `shakespeare_char/prepare.py` writes it."""
    import numpy as np

    target.mkdir(parents=True, exist_ok=True)
    parts = {name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("train", "valid")}
    number = {c: i for i, c in enumerate(sorted(set("".join(parts.values()))))}
    for name, file in (("train", "train.bin"), ("valid", "val.bin")):
        np.array([number[c] for c in parts[name]], dtype=np.uint16).tofile(target / file)
    (target / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(number)}))


def tiny(settings: argparse.Namespace, folder: Path, seed: int, seconds: float) -> dict[str, float]:
    """Train our preset for ``seconds`` of its own clock."""
    environment = os.environ | {"GPTMODEL_CACHE": str(folder / "cache")}
    share = 0.85  # gptmodel.training.budget.TRAINING_SHARE: evaluations and samples are not in `seconds`
    command = [
        sys.executable, "-m", "gptmodel.train", "--train-data", "train.txt", "--eval-data", "valid.txt",
        "--preset", "tiny", "--budget", f"{seconds / share:.1f}s", "--seed", str(seed),
        "--precision", settings.precision, "--experiment-name", f"tiny-{seed}",
        "--eval-every", "1000000", "--sample-tokens", "0", "--save-every", "1000000", *settings.options,
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=not settings.options)
    run = folder / "runs" / f"tiny-{seed}"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if record["kind"] == "train"][-1]
    measured = subprocess.run(
        [sys.executable, "-m", "gptmodel", "eval", "--checkpoint", str(run), "--data", "valid.txt", "--json"],
        cwd=folder, env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    row = {"seed": seed, "steps": last["step"], "seconds": last["seconds"]}
    row["bits_per_byte"] = json.loads(measured)["bits_per_byte"]
    show("tiny", row)
    return row


def show(name: str, row: dict[str, float]) -> None:
    print(
        f"{name:<8} seed {row['seed']}: {row['steps']:,} steps in {row['seconds']:.1f} s, "
        f"{row['bits_per_byte']:.4f} bits per byte",
        flush=True,
    )


def report(
    settings: argparse.Namespace,
    text: str,
    theirs: list[dict[str, float]],
    ours: list[dict[str, float]],
    seconds: float,
) -> None:
    import torch

    found = {
        "text": f"{settings.text.name}, {len(text):,} characters",
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "precision": settings.precision,
        "seconds": seconds,
        "nanogpt": theirs,
        "tiny": ours,
    }
    means = {
        name: statistics.mean(row["bits_per_byte"] for row in rows)
        for name, rows in (("nanogpt", theirs), ("tiny", ours))
        if rows
    }
    print(", ".join(f"{name} {mean:.4f}" for name, mean in means.items()), "bits per byte on average")
    if len(means) == 2:
        found["ratio"] = means["tiny"] / means["nanogpt"]
        print(f"ratio {found['ratio']:.3f}")
    if settings.json:
        settings.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
