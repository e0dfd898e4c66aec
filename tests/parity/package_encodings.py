"""Make the packaged encodings (``python/gptbpe/data``) of OpenAI's rank files, and print their hashes.

    python tests/parity/package_encodings.py ../shared/data/vocabs

The rank files are checked against the hashes that tiktoken publishes. What comes out depends on nothing else:
a second run writes the same bytes. ``test_packaged.py`` compares every token with the ranks.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from gptbpe import Tokenizer, files

END = "<|endoftext|>"

SOURCES = {
    "r50k_base": (
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "gpt2",
        {END: 50256},
    ),
    "p50k_base": (
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        "gpt2",
        {END: 50256},
    ),
    "cl100k_base": (
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "cl100k",
        {
            END: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": (
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "o200k",
        {END: 199999, "<|endofprompt|>": 200018},
    ),
}
"""Name -> sha256 of the rank file as tiktoken has it, pattern, special tokens."""


def main(folder: Path, target: Path) -> None:
    """Write one compact file per encoding."""
    target.mkdir(exist_ok=True)
    for name, (expected, pattern, special_tokens) in SOURCES.items():
        source = folder / f"{name}.tiktoken"
        found = sha256(source.read_bytes()).hexdigest()
        if found != expected:
            raise SystemExit(f"{source} is not the published file: sha256 {found}, expected {expected}")
        tok = Tokenizer.from_tiktoken(source, pattern=pattern, special_tokens=special_tokens)
        data = tok._core.write_compact()
        files.write_atomically(target / f"{name}.gptbpe", data)
        print(
            f'    "{name}": Encoding("{name}.gptbpe", "{sha256(data).hexdigest()}"),  # {len(data):,} bytes'
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parents[2] / "python" / "gptbpe" / "data")
