"""Measuring in rounds: in each round every API runs once, in a fresh process; the order alternates.

Ratios are taken within a round, where both sides saw the same machine, and their median is reported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any, Literal

from _apis import Job, Vocabulary
from _inputs import WORKER, FailedError, Inputs, ask, environment, parsed, serialise
from _trainers import TIE_BREAKS

Kind = Literal["passes", "process", "shard", "memory", "training"]


@dataclass(frozen=True)
class Case:
    """One comparison: how many times faster the first API is than each of the others.

    ``kind`` says what one run is: ``passes`` of a worker over documents in memory (the first of a process
    is cold, the best of those after it warm), a whole ``process`` from its start to its end, a ``shard``
    command, the peak ``memory`` of one, or one ``training``.
    """

    vocabulary: str
    text: str
    apis: tuple[str, ...]
    topic: str = "encode"
    kind: Kind = "passes"
    cores: Literal["1", "all"] = "1"
    unit: Literal["MB/s", "ns", "s"] = "MB/s"
    documents: str | int = "separator"
    megabytes: float | None = None  # of the text that are used at most
    repeat: int = 1  # how often the text is repeated

    @property
    def name(self) -> str:
        cores = "all cores" if self.cores == "all" else "1 core"
        return f"{self.topic}: {self.vocabulary}, {self.text}, {cores}"


@dataclass
class Measured:
    """What is known of one API in one case; one element per round."""

    api: str
    work: int = 0  # bytes of text, or calls
    load: list[float] = field(default_factory=list)
    first_call: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # "cold", "warm"
    peak_bytes: list[int] = field(default_factory=list)
    tokens: int | None = None
    problem: str | None = None  # why it is not ranked

    def add(self, series: str, seconds: float) -> None:
        self.seconds.setdefault(series, []).append(seconds)

    def rate(self, series: str) -> float | None:
        """Return work per second: the median of the rounds."""
        if self.problem is not None or not self.seconds.get(series):
            return None
        return self.work / median(self.seconds[series])


@dataclass
class Result:
    """A case and what came out."""

    case: Case
    rows: list[Measured]

    def ratio(self, series: str, row: Measured) -> float | None:
        """Return how many times faster the first API is than ``row``: the median of the rounds' ratios."""
        first = self.rows[0]
        if first.problem or row.problem or row is first:
            return None
        ours = first.seconds.get(series) or first.seconds.get("cold", [])
        pairs = list(zip(ours, row.seconds.get(series, []), strict=False))
        if not pairs:
            return None
        return median((theirs / row.work) / (mine / first.work) for mine, theirs in pairs)

    def as_json(self) -> dict[str, Any]:
        def row(measured: Measured) -> dict[str, Any]:
            series = {
                name: {"per_second": measured.rate(name), "first_faster_by": self.ratio(name, measured)}
                for name in measured.seconds
            }
            return asdict(measured) | {"medians": series}

        return {"name": self.case.name, **asdict(self.case), "rows": [row(each) for each in self.rows]}


@dataclass(frozen=True)
class Settings:
    """How a run is done."""

    rounds: int
    warm: int  # passes after the first one
    megabytes: float | None  # the most of a text that is used, for a quick look
    kernel: str | None
    limits: dict[str, float]  # library -> megabytes: the slow ones read less of the text
    say: Callable[[str], None]
    prototype: str | None = None  # a program that trains too

    def as_json(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "warm_passes": self.warm,
            "megabytes": self.megabytes,
            "kernel": self.kernel,
            "limits": self.limits,
        }


def measure(case: Case, inputs: Inputs, settings: Settings) -> Result:
    """Run one case, all rounds of it; what fails or gives other ids is in the result, and not ranked."""
    measurement = Measurement(case, inputs, settings)
    run = {
        "passes": measurement.passes,
        "process": measurement.process,
        "shard": measurement.shard,
        "memory": measurement.memory,
        "training": measurement.training,
    }[case.kind]
    rows = [Measured(api) for api in case.apis if settings.prototype or not api.startswith("prototype ")]
    rounds = 1 if case.kind == "memory" else settings.rounds
    for number in range(rounds):
        for row in rows if number % 2 == 0 else reversed(rows):
            if row.problem is not None:
                continue
            settings.say(f"{case.name}: round {number + 1} of {rounds}, {row.api}")
            try:
                run(row)
            except FailedError as error:
                row.problem = f"failed: {error}"
    return Result(case, rows)


class Measurement:
    """The ways to run an API once and note what it took."""

    def __init__(self, case: Case, inputs: Inputs, settings: Settings) -> None:
        self.case, self.inputs, self.settings = case, inputs, settings
        self.vocabulary: Vocabulary = (
            self._to_learn() if case.kind == "training" else inputs.vocabulary(case.vocabulary)
        )
        self.own_merges: dict[str, Any] | None = None  # by the rule of Hugging Face
        processors = sorted(os.sched_getaffinity(0))
        self.threads = 1 if case.cores == "1" else len(processors)
        # The last processor: interrupts tend to go to the first.
        self.cpu = processors[-1] if case.cores == "1" else None

    def job(self, api: str) -> Job:
        library = api.split()[0]
        if library == "gptbpe" and self.settings.kernel is not None and "@" not in api:
            api = f"{api}@{self.settings.kernel}"
        wanted = (self.case.megabytes, self.settings.megabytes, self.settings.limits.get(library))
        given = [megabytes for megabytes in wanted if megabytes is not None]
        if (share := api.split()[2:]) != []:
            whole = self.inputs.text(self.case.text, min(given, default=None)).stat().st_size
            given = [float(Fraction(share[0])) * whole / 1e6]
        text = self.inputs.text(self.case.text, min(given, default=None), self.case.repeat)
        return Job(api, self.vocabulary, str(text), self.case.documents, self.threads, self.cpu)

    def _to_learn(self) -> Vocabulary:
        """Return the vocabulary of a training; less of it where less text is read.

        When hardly any pair occurs twice all of them tie, and a peer that looks at every tie takes minutes
        for a megabyte.
        """
        vocabulary = self.inputs.vocabularies[self.case.vocabulary]
        if self.settings.megabytes is None or vocabulary.size is None:
            return vocabulary
        return replace(vocabulary, size=min(vocabulary.size, 256 + int(4_096 * self.settings.megabytes)))

    def expected(self, job: Job) -> dict[str, Any]:
        """Return what the output has to be: the ids of tiktoken, or the text where it is decoded."""
        if "decode" in job.method:
            return self.inputs.joined_text(job)
        return self.inputs.reference(job)

    # ---- a worker, pass by pass ----

    def passes(self, row: Measured) -> None:
        job = self.job(row.api)
        expected = self.expected(job)
        slow = job.library in self.settings.limits
        with Worker(job, self.inputs) as worker:
            row.work = worker.work if self.case.unit == "MB/s" else worker.documents
            row.load.append(worker.load)
            row.first_call.append(worker.first_call)
            answers = [
                worker.run() for _ in range(1 + (min(1, self.settings.warm) if slow else self.settings.warm))
            ]
        for answer in answers:
            check(row, answer, expected)
        row.add("cold", answers[0]["seconds"])
        if len(answers) > 1:
            row.add("warm", min(answer["seconds"] for answer in answers[1:]))

    # ---- a process from start to end ----

    def process(self, row: Measured) -> None:
        """Start, import, load, encode one text by one call, end.

        Once unmeasured before the first round, so that every file is in memory.
        """
        job = self.job(row.api)
        python = self.inputs.pythons.of(job.library)
        if job.method == "python-alone":
            command = [python, "-c", "pass"]
        else:
            command = [python, str(WORKER), "once", serialise(job)]
        variables = environment(python, self.inputs.pythons, self.threads)
        if not row.seconds:
            spawn(command, variables)
        ended = spawn(command, variables)
        row.work = 1
        row.add("cold", ended.seconds)
        if job.method != "python-alone":
            expected = self.expected(job)
            check(row, parsed(ended.output, ended.errors) | {"digest": expected["digest"]}, expected)

    # ---- training ----

    def training(self, row: Measured) -> None:
        """Train once, in a fresh process, and compare what was learned with what that rule learns."""
        job = self.job(row.api)
        row.work = Path(job.text).stat().st_size
        if job.library == "prototype":
            self._prototype(row, job)
            return
        answer = ask(self.inputs.pythons, "training", job)
        row.add("cold", answer["seconds"])
        row.peak_bytes.append(answer["peak_bytes"])
        row.tokens = answer["tokens"]
        tie_break = TIE_BREAKS.get(job.library)
        if tie_break == "smallest-ids":
            check(row, answer, self.inputs.merges(job), "merges", "rustbpe")
        elif tie_break == "huggingface":
            if self.own_merges is None:
                own = replace(job, api="gptbpe train-huggingface")
                self.own_merges = ask(self.inputs.pythons, "training", own)
            check(row, answer, self.own_merges, "merges", "gptbpe")

    def _prototype(self, row: Measured, job: Job) -> None:
        """Run a program that says how long it took; its peak is all of its memory."""
        assert self.settings.prototype is not None
        pinned = ["taskset", "--cpu-list", str(job.cpu)] if job.cpu is not None else []
        command = [*pinned, self.settings.prototype, "train", job.text, str(job.vocabulary.size)]
        ended = spawn(command, dict(os.environ))
        row.add("cold", parsed(ended.output, ended.errors)["s"])
        row.peak_bytes.append(ended.peak_bytes)

    # ---- gptbpe shard ----

    def shard(self, row: Measured) -> None:
        """Run the command and check what lies in the shards; an API beside it runs as passes.

        ``gptbpe shard`` is measured from the start of the process to its end, ``gptbpe shard-inside`` is the
        time that the command itself reports: without starting Python and loading the vocabulary.
        """
        job = self.job(row.api)
        if job.method not in ("shard", "shard-inside"):
            self.passes(row)
            return
        folder = self.inputs.cache / "shards"
        try:
            ended = self._shard(job, folder)
            summary = parsed(ended.output, ended.errors)
            row.work = Path(job.text).stat().st_size
            row.add("cold", summary["seconds"] if job.method == "shard-inside" else ended.seconds)
            row.peak_bytes.append(ended.peak_bytes)
            check(row, self.inputs.shards(job, folder), self.expected(job))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def memory(self, row: Measured) -> None:
        """As :meth:`shard`, without a check of the ids: of a large file only the peak of memory is asked."""
        job = self.job(row.api)
        folder = self.inputs.cache / "shards"
        try:
            ended = self._shard(job, folder)
            row.tokens = parsed(ended.output, ended.errors)["tokens"]
            row.work = Path(job.text).stat().st_size
            row.add("cold", ended.seconds)
            row.peak_bytes.append(ended.peak_bytes)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if self.case.repeat > 1:
                Path(job.text).unlink(missing_ok=True)

    def _shard(self, job: Job, folder: Path) -> Ended:
        shutil.rmtree(folder, ignore_errors=True)
        python = self.inputs.pythons.own
        assert self.vocabulary.packaged is not None
        command = [python, "-m", "gptbpe", "shard", job.text, "--tokenizer", self.vocabulary.packaged]
        command += ["--output", str(folder), "--threads", str(self.threads), "--json"]
        return spawn(command, environment(python, self.inputs.pythons, self.threads))


def check(
    row: Measured,
    answer: dict[str, Any],
    expected: dict[str, Any],
    what: str = "ids",
    whose: str = "tiktoken",
) -> None:
    """Note an answer that is not the expected one: no speed makes up for it."""
    row.tokens = answer["tokens"]
    if answer["tokens"] != expected["tokens"]:
        row.problem = f"WRONG: {answer['tokens']} {what}, expected {expected['tokens']}"
    elif answer["digest"] is not None and answer["digest"] != expected["digest"]:
        row.problem = f"WRONG: other {what} than {whose}'s"


class Worker:
    """A fresh process that has loaded its vocabulary and its text."""

    def __init__(self, job: Job, inputs: Inputs) -> None:
        python = inputs.pythons.of(job.library)
        self._process = subprocess.Popen(
            [python, str(WORKER), serialise(job)],
            env=environment(python, inputs.pythons, job.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Worker:
        try:
            loaded = self._answer()
        except FailedError:
            self.__exit__()
            raise
        self.load: float = loaded["load"]
        self.first_call: float = loaded["first_call"]
        self.work: int = loaded["bytes"]
        self.documents: int = loaded["documents"]
        return self

    def run(self) -> dict[str, Any]:
        """Make one pass."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and its last answer says why
            self._process.stdin.write("pass\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return parsed(self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class Ended:
    """A process that has ended well."""

    seconds: float
    peak_bytes: int
    output: str
    errors: str


def spawn(command: list[str], variables: dict[str, str]) -> Ended:
    """Run a command; ``wait4`` tells its peak memory, where ``RUSAGE_CHILDREN`` tells that of all so far."""
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        ended = Ended(seconds, usage.ru_maxrss * 1024, output.read(), errors.read())
    if process.returncode != 0:
        last = ended.errors.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise FailedError(last[0])
    return ended
