"""Which vocabulary suits a text? Train one small model for each, on the same bytes, and compare fairly.

    python docs/examples/which_vocabulary.py

Losses of different vocabularies cannot be compared: a token of a larger one stands for more text. Bits per
byte can. Every model here has the same shape and sees about the same number of bytes. Works in a folder
`which-vocabulary/` where it is started. It takes less than a minute on a CPU, so read the result as an
example of the method and not of vocabularies: raise TRAINED_BYTES for that.
"""

from pathlib import Path
from pydoc_data.topics import topics

from gptbpe import Tokenizer
from gptmodel.config import compose
from gptmodel.train import train
from gptmodel.training import read_metrics

TRAINED_BYTES = 40_000
CONTEXT, BATCH = 64, 8


def main() -> None:
    folder = Path("which-vocabulary")
    folder.mkdir(exist_ok=True)
    text = folder / "input.txt"
    text.write_text("\n".join(topics.values()), encoding="utf-8")

    tokenizers = {
        "characters": Tokenizer.characters([text]),
        "512": Tokenizer.train([text], vocab_size=512),
        "2048": Tokenizer.train([text], vocab_size=2048),
    }
    found = {}
    for name, tokenizer in tokenizers.items():
        file = folder / f"{name}.json"
        tokenizer.save(file)
        bytes_per_token = text.stat().st_size / tokenizer.count(text.read_bytes())
        steps = max(1, round(TRAINED_BYTES / bytes_per_token / (CONTEXT * BATCH)))
        settings = {
            "preset": "tiny",
            "train_data": (text,),
            "tokenizer": str(file),
            "output": folder / "runs",
            "experiment_name": name,
            "max_steps": steps,
            "batch_size": BATCH,
            "context_length": CONTEXT,
            "layers": 2,
            "eval_every": steps,
            "eval_batches": 4,
            "sample_tokens": 0,
        }
        run = train(compose(settings).config).run
        last = [record for record in read_metrics(run) if record["kind"] == "evaluation"][-1]
        found[name] = (tokenizer.vocab_size, bytes_per_token, steps, last["loss"], last["bits_per_byte"])

    print(f"{'':<12} {'ids':>6} {'bytes/token':>12} {'steps':>6} {'loss':>6} {'bits/byte':>10}")
    for name, (size, ratio, steps, loss, bits) in found.items():
        print(f"{name:<12} {size:>6} {ratio:>12.2f} {steps:>6} {loss:>6.2f} {bits:>10.3f}")


if __name__ == "__main__":
    main()
