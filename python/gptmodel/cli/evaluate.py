"""``gptmodel eval``: how well a model predicts a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gptbpe.cli import usage
from gptmodel import checkpoint as checkpoints
from gptmodel import data as texts
from gptmodel.cli.app import CheckpointOption, EvaluationPrecision, chosen, placed, say_taken
from gptmodel.errors import DataError
from gptmodel.threads import wait_politely
from gptmodel.training.config import parse

if TYPE_CHECKING:
    from gptmodel.checkpoint import Checkpoint


def evaluate(
    checkpoint: CheckpointOption = None,
    *,
    data: Annotated[tuple[Path, ...] | None, Parameter(consume_multiple=True, negative="")] = None,
    shards: Path | None = None,
    batches: usage.MaybeWhole = None,
    batch_size: usage.Whole = 16,
    stride: usage.MaybeWhole = None,
    device: str = "auto",
    precision: EvaluationPrecision = "auto",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure a model on text: loss, perplexity and bits per byte, with the number of tokens.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, or RUN/best. [default: the newest run in runs/]
    data
        Text files. [default: the text that the run held out]
    shards
        A folder of token shards, instead of --data.
    batches
        Measure only the first N batches. [default: all]
    batch_size
        Windows at once; it does not affect the result.
    stride
        Tokens from one window to the next. Every token is counted once; with a smaller stride each has more
        context, and the evaluation takes longer. [default: the context length]
    device
        Where to compute: auto, cpu, cuda, cuda:1, mps.
    precision
        Number format of the activations; auto is what training would use on the device.
    as_json
        Print one line of JSON.
    """
    for option, number in (("--batches", batches), ("--batch-size", batch_size), ("--stride", stride)):
        if number is not None and number < 1:
            raise DataError(f"{option} {number}: should be 1 or more")
    wait_politely()
    from gptmodel.evaluate import measure
    from gptmodel.load import assemble

    stored = checkpoints.find(chosen(checkpoint))
    say_taken(stored.path, checkpoint)
    model = placed(assemble(stored.model_config(), stored.model_tensors()), device, precision)
    parts, tok = _evaluation_parts(stored, data, shards)
    length = model.config.context_length
    found = measure(
        model,
        texts.evaluation_windows(parts, length, stride or length, batch_size),
        batches,
        token_bytes=None if tok is None else texts.token_bytes(tok, model.config.vocab_size),
    )
    values = {
        "loss": found.loss,
        "perplexity": found.perplexity,
        "bits_per_byte": found.bits_per_byte,
        "tokens": found.tokens,
        "bytes": found.bytes,
    }
    if as_json:
        print(json.dumps(values))
        return
    for name, value in values.items():
        if value is not None:
            print(
                f"{name.replace('_', ' '):<14} "
                + (f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
            )


def _evaluation_parts(
    stored: Checkpoint, data: tuple[Path, ...] | None, shards: Path | None
) -> tuple[list[Any], Any]:
    """The ids to evaluate on, and the tokenizer if there is one."""
    from gptbpe import ShardReader
    from gptmodel.data.tokenize import existing

    if data and shards:
        raise DataError("give --data or --shards, not both")
    if shards is not None:
        reader = ShardReader(shards)
        trained = stored.state.get("tokenizer")
        if trained and reader.tokenizer_fingerprint != trained:
            raise DataError(
                f"the shards in {shards} were made with another tokenizer than the model: "
                f"{reader.tokenizer_fingerprint[:12]}, not {trained[:12]}"
            )
        return texts.shard_parts(reader), reader.tokenizer()
    tok = stored.require_tokenizer()
    if data:
        return texts.shard_parts(ShardReader(texts.shard_text(existing(data), tok))), tok
    config = parse(stored.text("config.toml"), str(stored.path / "config.toml"))
    return texts.held_out_parts(config.data, stored.model_config().context_length, tok), tok
