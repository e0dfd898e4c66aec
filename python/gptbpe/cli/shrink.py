"""``gptbpe shrink``: a smaller vocabulary out of a larger one, without training again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptbpe.cli import console, usage


def shrink(
    tokenizer: console.TokenizerName = None,
    *,
    vocab: Annotated[int | None, Parameter(name=["--vocab", "--vocab-size"], converter=usage.whole)] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    json: console.Json = False,
) -> None:
    """Cut a tokenizer down to its first merges, as if trained with a smaller `--vocab`.

    Merges are learned in order, so this is exact and needs no text. The special tokens are kept and take
    the ids after the last merge.

    Parameters
    ----------
    tokenizer
        A tokenizer file or folder, or the name of a packaged tokenizer; `-` reads standard input. [default:
        tokenizer.json]
    vocab
        Number of ids to keep: 256 bytes, merges and special tokens.
    output
        The smaller tokenizer's file; `-` is standard output.
    json
        Print a summary as JSON on standard output.
    """
    if vocab is None:
        raise console.Failure("say how large it is to become: --vocab N")
    if output is None:
        raise console.Failure("say where to write: -o FILE, or -o - for standard output")
    if json and output == console.STANDARD:
        raise console.Failure("--json and -o - both write to standard output; give -o a file")
    console.check_output(output, console.tokenizer_file(tokenizer))
    large = console.tokenizer(tokenizer)
    small = large.shrink(vocab)
    console.save(output, small.to_bytes())
    if json:
        console.write_json(
            {
                "output": str(output),
                "vocab_size": small.vocab_size,
                "merges": len(small.merges),
                "special_tokens": small.special_tokens,
                "fingerprint": small.fingerprint,
                "from_vocab_size": large.vocab_size,
                "from_fingerprint": large.fingerprint,
            }
        )
        return
    console.say(f"{small.vocab_size:,} of {large.vocab_size:,} tokens -> {console.shown(output)}")
