"""What all commands share: where output goes, what ``-`` means, progress, and how to fail in one line.

Data goes to standard output and everything else to standard error, so that commands can be piped into one
another.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from gptbpe import extras, files, names
from gptbpe.cli import usage
from gptbpe.errors import GptBpeError, TokenizerError
from gptbpe.io import STANDARD_PATH, remote

if TYPE_CHECKING:
    from gptbpe.tokenizer import Tokenizer

STANDARD = STANDARD_PATH
"""What ``-`` on the command line arrives as: standard input, or standard output where a file is written."""

DEFAULT_TOKENIZER = Path("tokenizer.json")
"""The tokenizer of a command that names none."""

TokenizerName: TypeAlias = Annotated[str | None, Parameter(name=["--tokenizer", "-t"])]
Threads: TypeAlias = Annotated[int | None, Parameter(name=["--threads"], converter=usage.whole)]
Json: TypeAlias = Annotated[bool, Parameter(name=["--json"], negative="")]


class Failure(Exception):  # noqa: N818 - it is what the command reports, not always a mistake
    """Ends the command with one line on standard error and an exit code (2: usage; 1: a check failed)."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def say(message: str) -> None:
    """Print a line for people, on standard error."""
    print(message, file=sys.stderr, flush=True)


def write(data: str | bytes) -> None:
    """Write data to standard output, as it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data.encode() if isinstance(data, str) else data)


def write_json(value: object) -> None:
    """Write one line of JSON to standard output."""
    write(json.dumps(value, ensure_ascii=False) + "\n")


def shown(path: Path) -> str:
    """Name an input for people."""
    return "-" if path == STANDARD else str(path)


def name(path: Path) -> Path | str:
    """Return an input as it was typed: a path has lost one of the slashes of a URL."""
    scheme, colon, rest = path.as_posix().partition(":/")
    url = f"{scheme}://{rest}"
    return url if colon and remote.is_remote(url) and not path.exists() else path


def read_input(path: Path) -> bytes:
    """Read a file, or standard input for ``-``."""
    if path == STANDARD:
        explain_standard_input()
        return sys.stdin.buffer.read()
    return files.read(path)


def explain_standard_input() -> None:
    """Say what is waited for, where somebody might wonder."""
    if sys.stdin is None or sys.stdin.isatty():
        say("reading standard input; end it with Ctrl-D")


def inputs_given(
    inputs: Iterable[Path], text: str | None, option: str = "--text"
) -> Iterator[tuple[str, Path | bytes]]:
    """Yield (name, text or path) of ``--text`` and of each input; ``-`` where there is neither."""
    given = list(inputs)
    if text is not None:
        yield option, text.encode("utf-8", "surrogateescape")
    elif not given:
        if sys.stdin is None or sys.stdin.isatty():
            raise Failure(f'nothing to read; name a file, pipe something in, or pass {option} "…"')
        given = [STANDARD]
    for path in given:
        if path != STANDARD and isinstance(name(path), Path) and not path.exists():
            _no_such_input(path, option)
        yield shown(path), path


def _no_such_input(path: Path, option: str) -> None:
    """Raise Failure where what was named is no file: perhaps it is the text itself."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = names.did_you_mean(path.name, beside) if path.suffix else ""
    hint = (
        hint
        or f"; {'ids are' if option == '--ids' else 'a text is'} given as {option} {shlex.quote(str(path))}"
    )
    raise Failure(f"{path}: no such file or directory{hint}")


def texts(inputs: Iterable[Path], text: str | None, option: str = "--text") -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of ``--text`` and of each input; of standard input where there is neither."""
    for name, given in inputs_given(inputs, text, option):
        yield name, given if isinstance(given, bytes) else read_input(given)


def check_output(path: Path, *inputs: Path | str | None) -> None:
    """Find out before the work whether a file can be put there, and that it replaces none of the inputs.

    Inputs that are None or no file (the name of a packaged tokenizer) are not compared.
    """
    if path == STANDARD:
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder; make it first", str(path.parent))
    if not path.is_file():
        return
    for given in inputs:
        if given is not None and _is_file(path, Path(given)):
            same = "" if str(path) == str(given) else f", the same file as {shown(Path(given))},"
            raise Failure(f"{path}{same} is read here and would be replaced; give -o another name")


def _is_file(path: Path, given: Path) -> bool:
    """Whether an input is the file at ``path``, by whatever name or redirection."""
    try:
        stat = os.fstat(sys.stdin.fileno()) if given == STANDARD else given.stat()
    except (OSError, ValueError, AttributeError):  # a missing file, a closed or replaced standard input
        return False
    return os.path.samestat(path.stat(), stat)


def save(path: Path, data: bytes) -> None:
    """Write a file atomically, or standard output for ``-``."""
    if path == STANDARD:
        write(data)
    else:
        files.write_atomically(path, data)


def tokenizer_file(name: str | None) -> Path:
    """Return the file that ``--tokenizer`` means; where it is a packaged name, a file that is not there."""
    path = DEFAULT_TOKENIZER if name is None else Path(name)
    return path / DEFAULT_TOKENIZER if path.is_dir() else path


def tokenizer(name: str | None) -> Tokenizer:
    """Load ``--tokenizer``: a file, a folder or a packaged name; ``tokenizer.json`` here by default."""
    from gptbpe import packaged
    from gptbpe.tokenizer import Tokenizer

    if name is None:
        if not DEFAULT_TOKENIZER.exists():
            raise Failure(
                "no tokenizer: there is no tokenizer.json here; pass -t FILE, or -t with a packaged name "
                f"({', '.join(packaged.names())}), or make one: gptbpe train input.txt --vocab 512"
            )
        return Tokenizer.load(DEFAULT_TOKENIZER)
    if Path(name) == STANDARD:
        return Tokenizer.from_bytes(read_input(STANDARD), "standard input")
    if Path(name).exists():
        return Tokenizer.load(name)
    try:
        return Tokenizer.get(names.encoding(name, packaged.names()))
    except TokenizerError:
        hint = names.did_you_mean(name, packaged.names()) or f"; packaged: {', '.join(packaged.names())}"
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            hint = f"; of a model on Hugging Face's hub, download https://huggingface.co/{name}/resolve/main/tokenizer.json"
        raise Failure(f"there is no tokenizer file {name}{hint}") from None


@contextmanager
def output(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes bit by bit to a file that appears whole, or for ``-`` to standard output."""
    if path == STANDARD:
        yield write
        return
    with files.opened_atomically(path) as write_to_file:
        yield write_to_file


class Progress:
    """A bar with rate, time left and memory on a terminal; a plain line every few seconds elsewhere."""

    UNITS = {  # noqa: RUF012 - a constant
        "counting": "B",
        "merging": " merges",
        "measuring": "B",
        "sharding": "B",
        "verifying": "B",
    }
    SECONDS_BETWEEN_LINES = 5.0
    SECONDS_BETWEEN_ESTIMATES = 0.5
    BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._phase: str | None = None
        # When the last line was written, and what was done then.
        self._last = (time.monotonic(), 0)

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` (None: unknown) is done in this phase."""
        if self._quiet:
            return
        if phase != self._phase:
            self.close()
            # What is done by now was done since the phase before was last heard of.
            self._phase, self._last = phase, (time.monotonic(), 0)
        if sys.stderr.isatty():
            self._show_bar(phase, done, total)
            return
        now, (then, before) = time.monotonic(), self._last
        if now - then >= self.SECONDS_BETWEEN_LINES:
            self._last = (now, done)
            part = f"{100 * done / total:.0f} % of {amount(phase, total)}" if total else amount(phase, done)
            rate = f"{amount(phase, (done - before) / (now - then))}/s"
            left = _left(phase, before, done, total, now - then)
            say(f"{phase}: {', '.join([part, rate, *left, *_held()])}")

    def _show_bar(self, phase: str, done: int, total: int | None) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                desc=phase,
                unit=self.UNITS.get(phase, ""),
                unit_scale=True,
                leave=False,
                bar_format=self.BAR if total else None,
            )
        now, (then, before) = time.monotonic(), self._last
        if now - then >= self.SECONDS_BETWEEN_ESTIMATES:
            self._last = (now, done)
            left = _left(phase, before, done, total, now - then)
            self._bar.set_postfix_str(", ".join([*left, *_held()]), refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """Show progress for the length of a block."""
    shower = Progress(quiet)
    try:
        yield shower
    finally:
        shower.close()


def memory() -> int | None:
    """Return how many bytes of memory this process holds, or None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def seconds_left(phase: str, before: int, done: int, total: int, seconds: float) -> float | None:
    """Estimate how long the rest takes, where it lately took ``seconds`` from ``before`` to ``done``.

    A merge costs about as much as its pair has occurrences, and these fall as one over the rank (Zipf): so do
    the costs, and time goes with the logarithm of the merges. Everything else takes its time evenly.
    """
    if done <= before or (phase == "merging" and before == 0):
        return None
    if phase == "merging":
        return seconds * math.log(total / done) / math.log(done / before)
    return seconds * (total - done) / (done - before)


def _left(phase: str, before: int, done: int, total: int | None, seconds: float) -> list[str]:
    left = seconds_left(phase, before, done, total, seconds) if total and done <= total else None
    return [] if left is None else [f"{left:.0f} s left" if left < 600 else f"{left / 60:.0f} min left"]


def _held() -> list[str]:
    held = memory()
    return [] if held is None else [f"{size(held)} of memory"]


def amount(phase: str, value: float) -> str:
    """Write an amount of a phase's unit."""
    unit = Progress.UNITS.get(phase, "")
    return size(value) if unit == "B" else f"{value:,.0f}{unit}"


def size(number: float) -> str:
    """Write a number of bytes as people do: 999 B, 1.1 MB, 12 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def one_line(error: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        if isinstance(name, bytes):
            name = os.fsdecode(name)
        where = f"{name}: " if name is not None else ""
        return f"{where}{error.strerror[0].lower()}{error.strerror[1:]}{_advice(error)}"
    if isinstance(error, UnicodeError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in extras.OPTIONAL:
        return extras.missing(error.name)
    text = " ".join(str(error).split())
    if isinstance(error, (GptBpeError, Failure, ValueError, OSError)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _advice(error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "; name a file in it"
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        path = Path(error.filename)
        with suppress(OSError):
            return names.did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
    return ""
