"""The whole way in Python: text, tokenizer, shards, a small GPT, its loss, and what it writes.

    python docs/examples/whole_way.py

Works in a folder `whole-way/` where it is started, on text that every Python installation carries, and takes
less than a minute on a CPU. What it writes is letter soup with words in it: raise STEPS and look again.
"""

from pathlib import Path
from pydoc_data.topics import topics

from gptbpe import Tokenizer, shard_files
from gptmodel import GPT
from gptmodel.config import compose
from gptmodel.plot import plot_losses
from gptmodel.train import train
from gptmodel.training import read_metrics

STEPS = 40


def main() -> None:
    folder = Path("whole-way")
    folder.mkdir(exist_ok=True)
    text = folder / "input.txt"
    text.write_text("\n".join(topics.values()), encoding="utf-8")

    tokenizer = Tokenizer.train([text], vocab_size=512)
    tokenizer.save(folder / "tokenizer.json")
    print(f"a token stands for {text.stat().st_size / tokenizer.count(text.read_bytes()):.2f} bytes")

    shards = shard_files([text], tokenizer, folder / "data", force=True)
    print(f"{shards.total_tokens:,} tokens in {folder / 'data'}")

    settings = {
        "preset": "tiny",
        "shards": folder / "data",
        "output": folder / "runs",
        "max_steps": STEPS,
        "context_length": 64,
        "eval_every": STEPS // 2,
        "eval_batches": 2,
    }
    run = train(compose(settings).config).run

    losses = [record["loss"] for record in read_metrics(run) if record["kind"] == "train"]
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}; drawn in {plot_losses([run], folder / 'losses.png')}")

    model = GPT.load(run)
    ids = model.generate(tokenizer.encode("Python is "), max_new_tokens=60, temperature=0.8, seed=1)
    print(tokenizer.decode(ids))


if __name__ == "__main__":
    main()
