"""``gptmodel train | generate | eval | plot | export``, and where errors become one line and an exit code.

0: done. 1: something went wrong on the way (a loss that is not a number, memory). 2: usage, or input that
cannot be used. 130: interrupted. What a command makes goes to standard output, everything else to standard
error.

The options of ``train`` are the fields of the configuration's models: they are written down there, once, with
their help.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Group, Parameter
from pydantic.fields import FieldInfo

from gptbpe.errors import GptBpeError
from gptmodel.errors import DataError, GptModelError, InterruptedRunError

EXAMPLES = {
    "train": "gptmodel train --train-data input.txt --preset tiny --max-steps 200",
    "generate": 'gptmodel generate --checkpoint runs/tiny --prompt "ROMEO:" --temperature 0.8',
    "eval": "gptmodel eval --checkpoint runs/tiny --data input.txt --batches 10",
    "plot": "gptmodel plot runs/tiny runs/nano -o losses.pdf",
    "export": "gptmodel export --checkpoint runs/tiny --format hf -o exported/",
}

app = App(
    name="gptmodel",
    help="Train small GPTs on your own text, and use them.",
    help_epilogue="First steps: `gptmodel train --train-data input.txt`, then `gptmodel generate`.",
    help_format="markdown",
    version=lambda: __import__("gptbpe").__version__,
    suppress_keyboard_interrupt=False,
)

CheckpointOption = Annotated[Path | None, Parameter(name=["--checkpoint", "-c"])]


# --- train ---

ALIASES = {"train_data": ["--train-data", "--data-path"]}
GROUPS = {
    "train": Group("Run", sort_key=2),
    "data": Group("Data", sort_key=1),
    "model": Group("Model", sort_key=3),
    "optim": Group("Optimizer", sort_key=4),
    "schedule": Group("Schedule", sort_key=5),
    "checkpoint": Group("Checkpoints", sort_key=6),
}
TRAIN_HELP = """Train a GPT on text or on token shards.

Needs --shards or --train-data and nothing else. Settings come from a preset, then a TOML file, then
GPTMODEL_… variables, then these options, the later over the earlier; --print-config shows the result and
where each value came from.
"""


def train(**given: Any) -> None:
    """See TRAIN_HELP."""
    from gptmodel import checkpoint, config, initial, runs, train

    file, resume, print_config = (given.pop(name, None) for name in ("config", "resume", "print_config"))
    run = None
    if resume:
        named: dict[str, Any] = {name: given[name] for name in ("output", "experiment_name") if name in given}
        settings = config.compose(named, file=file, environment=os.environ).config.train
        run = runs.find(settings.output, settings.experiment_name)
        base = checkpoint.latest(run).config()
        resolved = config.compose(given, file=file, environment=os.environ, base=base)
    else:
        resolved = config.compose(given, file=file, environment=os.environ)
    if not resume and resolved.config.train.init_from is not None:
        resolved = config.compose(
            given, file=file, environment=os.environ, shape=initial.shape_of(resolved.config.train.init_from)
        )
    if print_config:
        print(resolved, end="")
        return
    state = train.train(resolved.config, resume=run)
    _say(
        f"done      try: gptmodel generate --checkpoint {state.run}\n"
        f"               gptmodel plot {state.run} -o losses.pdf"
    )


def _train_parameters() -> list[inspect.Parameter]:
    """One keyword for each setting, and the four that are about the configuration as a whole."""
    from gptmodel.config import SECTIONS

    first = Group("Configuration", sort_key=0)
    whole = {
        "preset": (str | None, "Named starting point: tiny, nano, micro, gpt2, modern, … [default: tiny]"),
        "depth": (int | None, "Preset modern: derive the model's shape from its number of layers."),
        "config": (Path | None, "A TOML file of settings, such as a run's config.toml."),
        "print_config": (
            bool | None,
            "Print the resulting configuration and where each value came from, then stop.",
        ),
        "resume": (
            bool | None,
            "Go on with the run of --experiment-name, or the newest, where it was saved last.",
        ),
    }
    parameters = [
        _keyword(name, kind, Parameter(help=text, group=first, negative="", show_default=False))
        for name, (kind, text) in whole.items()
    ]
    for section, model in SECTIONS.items():
        for name, info in model.model_fields.items():
            names = ALIASES.get(name)
            many = "tuple" in str(info.annotation)
            parameters.append(
                _keyword(
                    name,
                    info.annotation | None,  # type: ignore[operator]
                    Parameter(
                        name=names,
                        help=_help(name, info),
                        group=GROUPS[section],
                        consume_multiple=many,
                        negative_iterable=(),
                        negative_none=(),
                        show_default=False,
                    ),
                )
            )
    return parameters


def _keyword(name: str, kind: Any, parameter: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, parameter]
    )


def _help(name: str, info: FieldInfo) -> str:
    text = info.description or name.replace("_", " ")
    text = text[0].upper() + text[1:]
    if info.is_required() or info.default is None or info.default == "":
        return text
    default = info.default if not isinstance(info.default, bool) else str(info.default).lower()
    return f"{text} [default: {default}]"


def _define_train() -> None:
    parameters = _train_parameters()
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    train.__annotations__ = {p.name: p.annotation for p in parameters}
    train.__doc__ = TRAIN_HELP
    app.command(train, help_epilogue=f"Example: `{EXAMPLES['train']}`")


# --- generate ---


@app.command(help_epilogue=f"Example: `{EXAMPLES['generate']}`")
def generate(
    *,
    checkpoint: CheckpointOption = None,
    prompt: str | None = None,
    prompt_file: Path | None = None,
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Annotated[list[str] | None, Parameter(negative="")] = None,
    samples: int = 1,
    tokenizer: str | None = None,
    device: str = "auto",
) -> None:
    """Let a trained model write on, and print the text as it comes, the prompt first.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, RUN/best, or a Hugging Face folder; left out: the newest run in runs/.
    prompt
        What to go on from; without it (and without --prompt-file) standard input is read if it is piped.
    prompt_file
        Read the prompt from a file.
    max_new_tokens
        The most tokens to write.
    temperature
        Below 1 safer, above 1 wilder; 0 takes the likeliest token each time.
    top_k
        Draw among the k likeliest tokens only.
    top_p
        Draw among the fewest tokens that hold this share of the probability.
    seed
        The same seed writes the same text.
    stop
        Stop before this text; may be given several times.
    samples
        How many texts to write.
    tokenizer
        A tokenizer file or packaged name, for models that carry none.
    device
        auto, cpu, cuda, cuda:1, mps.
    """
    from gptmodel import hf
    from gptmodel.data import named_tokenizer

    if samples < 1:
        raise DataError(f"--samples {samples}: should be 1 or more")
    text = _prompt(prompt, prompt_file)
    folder = _checkpoint(checkpoint)
    shape, state, tok = hf.load_parts(folder)
    model = hf.assemble(shape, state).to(_device(device)).eval()
    tok = tok if tokenizer is None else named_tokenizer(tokenizer)
    if tok is None:
        raise DataError(f"{folder} carries no tokenizer: give --tokenizer")
    end = tok.special_tokens.get("<|endoftext|>")
    ids = tok.encode_ordinary(text) or ([end] if end is not None else [])
    if not ids:
        raise DataError('there is no prompt and no <|endoftext|> token to begin with: give --prompt "…"')
    for number in range(samples):
        if samples > 1:
            _say(f"--- sample {number + 1} of {samples} ---")
        new = model.stream(
            ids,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=end,
            seed=None if seed is None else seed + number,
        )
        sys.stdout.write(text)
        for piece in until(_decoded(tok, new), stop or []):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")


def _prompt(prompt: str | None, prompt_file: Path | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise DataError("give --prompt or --prompt-file, not both")
    if prompt is not None:
        return prompt
    if prompt_file is not None and str(prompt_file) != "-":
        return prompt_file.read_text(encoding="utf-8", errors="replace")
    if prompt_file is not None or (sys.stdin is not None and not sys.stdin.isatty()):
        return sys.stdin.read()
    return ""


def _decoded(tokenizer: Any, ids: Iterable[int]) -> Iterator[str]:
    """Text as soon as it is whole characters."""
    stream = tokenizer.decode_stream()
    for token in ids:
        yield stream.push(token)
    yield stream.finish()


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """``pieces`` up to the first of ``stops``; what may be the beginning of one is held back until it is
    known.

    >>> "".join(until(["ab", "c", "d"], ["cd"]))
    'ab'
    """
    stops = [stop for stop in stops if stop]
    held = ""
    for piece in pieces:
        held += piece
        found = [place for stop in stops if (place := held.find(stop)) >= 0]
        if found:
            yield held[: min(found)]
            return
        keep = max(
            (n for stop in stops for n in range(1, min(len(stop), len(held) + 1)) if held.endswith(stop[:n])),
            default=0,
        )
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield held


# --- eval ---


@app.command(name="eval", help_epilogue=f"Example: `{EXAMPLES['eval']}`")
def evaluate(
    *,
    checkpoint: CheckpointOption = None,
    data: Annotated[tuple[Path, ...] | None, Parameter(consume_multiple=True, negative="")] = None,
    shards: Path | None = None,
    batches: int | None = None,
    batch_size: int = 16,
    stride: int | None = None,
    device: str = "auto",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure a model on text: loss, perplexity and bits per byte, with the number of tokens.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, or RUN/best; left out: the newest run in runs/.
    data
        Text files; without them and --shards, the text that the run itself held out.
    shards
        A folder of token shards.
    batches
        Measure the first N batches only; left out: everything.
    batch_size
        Windows at once; the result does not depend on it.
    stride
        Tokens from one window to the next, at most the context length, which it is when left out. Every token
        is counted once; a smaller stride gives each more context and takes longer.
    device
        auto, cpu, cuda, cuda:1, mps.
    as_json
        Print one line of JSON.
    """
    from gptmodel import evaluate
    from gptmodel.model import GPT
    from gptmodel.windows import evaluation_windows

    folder = _checkpoint(checkpoint)
    model = GPT.load(folder, device=_device(device))
    parts, tok = _evaluation_parts(folder, data, shards)
    length = model.config.context_length
    found = evaluate.measure(
        model,
        evaluation_windows(parts, length, stride or length, batch_size),
        batches,
        token_bytes=None if tok is None else evaluate.token_bytes(tok, model.config.vocab_size),
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
    folder: Path, data: tuple[Path, ...] | None, shards: Path | None
) -> tuple[list[Any], Any]:
    """The ids to evaluate on, and the tokenizer if there is one."""
    from gptbpe import ShardReader
    from gptmodel import checkpoint
    from gptmodel.data import existing, held_out_parts, shard_text
    from gptmodel.windows import shard_parts

    if data and shards:
        raise DataError("give --data or --shards, not both")
    found = checkpoint.find(folder)
    if shards is not None:
        reader = ShardReader(shards)
        trained = found.state.get("tokenizer")
        if trained and reader.tokenizer_fingerprint != trained:
            raise DataError(
                f"the shards in {shards} were made with another tokenizer than the model: "
                f"{reader.tokenizer_fingerprint[:12]}, not {trained[:12]}"
            )
        return shard_parts(reader), reader.tokenizer()
    tok = checkpoint.load_tokenizer(folder)
    if data:
        return shard_parts(ShardReader(shard_text(existing(data), tok))), tok
    return held_out_parts(found.config(), tok), tok


# --- plot and export ---


@app.command(help_epilogue=f"Example: `{EXAMPLES['plot']}`")
def plot(
    *runs: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("losses.png"),
    title: str | None = None,
) -> None:
    """Draw training and held-out loss of runs against steps, epochs and tokens seen.

    Parameters
    ----------
    runs
        One run folder or several; without any, the newest in runs/.
    output
        The picture: .pdf, .png or .svg.
    title
        A line above the picture.
    """
    from gptmodel import runs as folders
    from gptmodel.plot import plot_losses

    chosen = list(runs) or [folders.find(Path("runs"), None)]
    print(plot_losses(chosen, output, title=title))


@app.command(help_epilogue=f"Example: `{EXAMPLES['export']}`")
def export(
    *,
    checkpoint: CheckpointOption = None,
    format: Annotated[Literal["hf", "pth", "safetensors"], Parameter(name=["--format", "-f"])] = "hf",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Write a model for other programs.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, or RUN/best; left out: the newest run in runs/.
    format
        hf: a folder for transformers; pth: one file for torch.load; safetensors: one file of tensors.
    output
        The folder (hf) or file to write; left out: beside the run's name.
    """
    from gptmodel.export import export as write

    folder = _checkpoint(checkpoint)
    name = folder.resolve().name
    target = output or Path(f"{name}-hf" if format == "hf" else f"{name}.{format}")
    print(write(folder, target, format=format))


# --- what commands share ---


def _checkpoint(path: Path | None) -> Path:
    from gptmodel import runs

    return runs.find(Path("runs"), None) if path is None else path


def _device(name: str) -> Any:
    from gptmodel.device import pick_device

    return pick_device(name)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no traceback reaches the user."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(f"warning: {' '.join(str(message).split())}")
        return _run(words)


def _run(words: list[str]) -> int:
    """Run the command and turn what it raises into a line and an exit code."""
    try:
        app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return 0
    except cyclopts.CycloptsError as error:
        return _fail(str(error), 2)
    except InterruptedRunError as error:
        return _fail(str(error), error.exit_code, label="")
    except GptModelError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; what was saved is whole", 130, label="")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0  # whoever read the output has seen enough
    except (GptBpeError, OSError, ValueError, ImportError) as error:
        return _fail(str(error), 2)
    except Exception as error:
        if os.environ.get("GPTMODEL_DEBUG"):
            raise
        return _fail(*_explain(error))


def _explain(error: Exception) -> tuple[str, int]:
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "out of memory on the device: lower --micro-batch-size (same result, less memory), or the model",
            1,
        )
    name = type(error).__name__
    return f"{name}: {error} (a bug in gptmodel; GPTMODEL_DEBUG=1 shows where, please report it)", 1


def _fail(message: str, code: int, label: str = "error: ") -> int:
    _say(f"gptmodel: {label}{' '.join(message.split())}")
    return code


def train_main() -> None:
    """``python -m gptmodel.train``: the options of ``gptmodel train``."""
    sys.exit(main(["train", *sys.argv[1:]]))


_define_train()
app.register_install_completion_command()
