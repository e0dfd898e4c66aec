"""What a measurement needs: texts, vocabularies, the peers' interpreter, and what the machine is."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from _apis import SEPARATOR, Job, Vocabulary

REPOSITORY = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).resolve().with_name("_worker.py")
PEERS = {  # of encoding
    "gigatoken": "0.10.0",
    "fastokens": "0.3.5",
    "tiktoken": "0.14.0",
    "tokenizers": "0.23.3",
}
TRAINERS = {
    "rustbpe": "0.1.0",
    "gigatoken": "0.10.0",
    "ffbpe": "0.1.10",
    "fast-bpe-rs": "0.6.1",
    "tokenizers": "0.23.3",
}


class MissingError(Exception):
    """Something that a case needs is not on this machine; the case is skipped by name."""


class FailedError(Exception):
    """A worker could not do what it was asked to."""


@dataclass(frozen=True)
class Pythons:
    """The interpreters of both sides."""

    own: str
    peers: str

    def of(self, library: str) -> str:
        return self.own if library == "gptbpe" else self.peers


def environment(python: str, pythons: Pythons, threads: int) -> dict[str, str]:
    """Return the environment of a worker: no more threads than it is asked to use, and no network."""
    variables = dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # starting a process is measured, compiling Python is not
    if python != pythons.own:
        variables.pop("PYTHONPATH", None)
    number = str(threads)
    return variables | {
        "RAYON_NUM_THREADS": number,
        "FASTOKENS_BPE_THREADS": number,
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "TIKTOKEN_CACHE_DIR": "",  # rank files are on disk already
    }


def serialise(job: Job) -> str:
    return json.dumps(asdict(job))


def ask(pythons: Pythons, task: str, job: Job) -> dict[str, Any]:
    """Have a worker do one unmeasured thing."""
    python = pythons.of(job.library)
    done = subprocess.run(
        [python, str(WORKER), task, serialise(job)],
        env=environment(python, pythons, job.threads),
        capture_output=True,
        text=True,
        check=False,
    )
    return parsed(done.stdout, done.stderr)


def parsed(line: str, errors: str = "") -> dict[str, Any]:
    """Read an answer of a worker; a failure is an exception."""
    if not line.strip():
        last = errors.strip().splitlines()[-1:] or ["it ended without an answer"]
        raise FailedError(last[0])
    values: dict[str, Any] = json.loads(line)
    if "error" in values:
        raise FailedError(values["error"])
    return values


# ---- the peers ------------------------------------------------------------------------------------


def peers_python(named: str | None, peers: dict[str, str], say: Callable[[str], None]) -> str:
    """Return an interpreter that has the peers, in these versions; one is made where none is named."""
    python = Path(named) if named else REPOSITORY / ".venv-peers" / "bin" / "python"
    if named and not python.exists():
        raise SystemExit(f"no interpreter at {named}")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    found = versions(str(python), list(peers))
    if found != peers and not named:
        say(f"installing the peers in {python.parents[1].name}")
        wanted = [f"{name}=={version}" for name, version in peers.items()]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "numpy", *wanted], check=True)
        found = versions(str(python), list(peers))
    if found != peers:
        raise SystemExit(f"{python} has {found}, expected {peers}; install those")
    return str(python)


def versions(python: str, names: list[str]) -> dict[str, str]:
    """Ask an interpreter for the versions of packages; one that is absent is left out."""
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([python, "-c", program, *names], capture_output=True, text=True, check=True)
    values: dict[str, str] = json.loads(done.stdout)
    return values


# ---- texts and vocabularies -----------------------------------------------------------------------


@dataclass
class Inputs:
    """Where the data is, and a folder for what is made from it once."""

    data: Path
    cache: Path
    pythons: Pythons
    vocabularies: dict[str, Vocabulary]

    def text(self, name: str, megabytes: float | None = None, repeat: int = 1) -> Path:
        """Return the file of a corpus, or of its first megabytes, whole documents only, or of repetitions."""
        whole = self._joined(name) if "+" in name else self._corpus(name)
        if repeat > 1:
            part = self.text(name, megabytes)
            path = self.cache / f"{part.stem}-times-{repeat}.txt"
            if not path.exists():
                _publish(path, (block for _ in range(repeat) for block in _blocks(part)))
            return path
        limit = None if megabytes is None else int(megabytes * 1e6)
        if limit is None or whole.stat().st_size <= limit:
            return whole
        path = self.cache / f"{name}-{limit}-bytes.txt"
        if not path.exists():
            with whole.open("rb") as file:
                data = file.read(limit)
            end = data.rfind(SEPARATOR) + len(SEPARATOR)
            # Where the last document is most of the text, it ends at a line instead.
            data = data[: end if end > limit // 2 else data.rfind(b"\n") + 1]
            _publish(path, [data])
        return path

    def _joined(self, names: str) -> Path:
        """Return a file of several corpora, ``one+other``, one after the other."""
        path = self.cache / f"{names}.txt"
        parts = [self._corpus(name) for name in names.split("+")]
        if not path.exists():
            _publish(path, (block for part in parts for block in _blocks(part)))
        return path

    def _corpus(self, name: str) -> Path:
        if not (self.data / "text" / f"{name}.txt.xz").exists():
            raise MissingError(f"no text {name} in {self.data}")
        return _unpacked(self.data / "unpack", name)

    def vocabulary(self, name: str) -> Vocabulary:
        """Return a vocabulary with absolute paths; one of our own is trained first, once."""
        vocabulary = self.vocabularies[name]
        if vocabulary.size is not None:
            return self._trained(vocabulary)
        if not (self.data / vocabulary.ranks).exists():
            raise MissingError(f"no ranks {vocabulary.ranks} in {self.data}")
        tokenizer = None if vocabulary.json is None else str((self.data / vocabulary.json).resolve())
        return replace(vocabulary, ranks=str((self.data / vocabulary.ranks).resolve()), json=tokenizer)

    def _trained(self, vocabulary: Vocabulary) -> Vocabulary:
        text = self.text("enwiki_100M", 20)
        stem = self.cache / f"{vocabulary.name}-{vocabulary.size}"
        description = stem.with_suffix(".pattern.json")
        vocabulary = replace(
            vocabulary, ranks=str(stem.with_suffix(".tiktoken")), json=str(stem.with_suffix(".json"))
        )
        if not description.exists():
            job = Job("gptbpe train", vocabulary, str(text))
            _publish(description, [json.dumps(ask(self.pythons, "train", job)).encode()])
        (regex,) = json.loads(description.read_text())["regexes"]
        return replace(vocabulary, pattern=regex)

    def reference(self, job: Job) -> dict[str, Any]:
        """Return number and digest of tiktoken's ids; computed once for every vocabulary and text."""
        api = "tiktoken reference"
        return self._once("reference", replace(job, api=api, threads=1, cpu=None), PEERS["tiktoken"])

    def merges(self, job: Job) -> dict[str, Any]:
        """Return number and digest of what rustbpe learns; computed once for every vocabulary and text."""
        api = "rustbpe train_from_iterator"
        threads = len(os.sched_getaffinity(0))
        return self._once("training", replace(job, api=api, threads=threads, cpu=None), TRAINERS["rustbpe"])

    def joined_text(self, job: Job) -> dict[str, Any]:
        """Return the digest of the documents without what stands between them."""
        return self._once("text", replace(job, api="gptbpe text", threads=1, cpu=None), PEERS["tiktoken"])

    def shards(self, job: Job, folder: Path) -> dict[str, Any]:
        """Return number and digest of the ids in a folder of shards, without those that end documents."""
        return ask(self.pythons, "shards", replace(job, text=str(folder)))

    def _once(self, task: str, job: Job, version: str) -> dict[str, Any]:
        """Have something computed and keep the answer, under a hash of all that it depends on."""
        vocabulary = job.vocabulary
        parts = [task, version, str(vocabulary.pattern), str(job.documents)]
        parts += [_hashed(Path(vocabulary.ranks)) if vocabulary.ranks else str(vocabulary.size)]
        parts += [_hashed(Path(job.text))]
        key = blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
        path = self.cache / f"{task}-{key}.json"
        if not path.exists():
            _publish(path, [json.dumps(ask(self.pythons, task, job)).encode()])
        values: dict[str, Any] = json.loads(path.read_text())
        return values


@cache
def _unpacked(program: Path, name: str) -> Path:
    done = subprocess.run([sys.executable, str(program), name], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / f"{name}.txt"


@cache
def _hashed(path: Path) -> str:
    state = blake2b(digest_size=16)
    for block in _blocks(path):
        state.update(block)
    return state.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    """Read in pieces: this process stays small, because a child's peak memory begins with its parent's."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def _publish(path: Path, blocks: Iterator[bytes] | list[bytes]) -> None:
    """Write a file of the cache; an interrupted run leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.writelines(blocks)
    part.replace(path)


# ---- the machine ----------------------------------------------------------------------------------


def machine(pythons: Pythons, peers: dict[str, str]) -> dict[str, Any]:
    """Say what was measured on what, and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "versions": versions(pythons.own, ["gptbpe"]) | versions(pythons.peers, list(peers)),
    }


def _cpu() -> str:
    """Return the model, and the widest vectors: virtual machines often hide the model."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in text.splitlines()]
    fields = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    flags = fields.get("flags", "").split()
    vectors = next((name for flag, name in _VECTORS.items() if flag in flags), "")
    return f"{fields.get('model name', platform.machine())}{vectors}"


_VECTORS = {"avx512bw": ", AVX-512", "avx2": ", AVX2"}


def _commit() -> str:
    """Return the commit, with a plus where files that git knows differ from it."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return "unknown"
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=False
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
