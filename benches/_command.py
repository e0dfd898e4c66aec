"""What the command lines of the benches share: options, the run over the cases, and what is written."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import _inputs
import _table
from _apis import Vocabulary
from _rounds import Case, Settings, measure


def say(line: str) -> None:
    """Tell what goes on, where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that every bench has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = made.add_argument
    add("--only", action="append", metavar="TEXT", help="only cases with this in their name; may be repeated")
    add("--cores", choices=("1", "all"), help="only cases on one core, or on all")
    add("--rounds", type=int, default=5, help="rounds; every API runs once in each (default: 5)")
    add("--megabytes", type=float, help="use at most this much of every text, for a quick look")
    add("--python", default=sys.executable, help="interpreter that has gptbpe (default: this one)")
    add(
        "--peers",
        metavar="PYTHON",
        help="interpreter that has the peers (default: .venv-peers, made if absent)",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        default=_inputs.REPOSITORY.parent / "shared" / "data",
        help="folder with unpack, text/ and vocabs/ (default: ../shared/data beside the repository)",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / "gptbpe-benches",
        help="folder for cut texts, reference digests and the trained vocabulary",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--svg", type=Path, metavar="FILE", help="draw a bar chart")
    add("--draw", type=Path, metavar="JSON", help="measure nothing: print and draw what was recorded")
    add("--list", action="store_true", help="print the names of the cases")
    return made


def run(
    arguments: argparse.Namespace,
    cases: Sequence[Case],
    vocabularies: dict[str, Vocabulary],
    peers: dict[str, str],
    settings: Settings,
    draw: Callable[[_table.Run], str],
) -> int:
    """Do what the command line says; return its exit status, which is 1 where ours is wrong."""
    if arguments.list:
        print("\n".join(case.name for case in cases))
        return 0
    if arguments.draw is not None:
        found = json.loads(arguments.draw.read_text())
    else:
        found = _measured(arguments, cases, vocabularies, peers, settings)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(_table.table(found))
    if arguments.svg is not None:
        arguments.svg.write_text(draw(found))
    rows = [row for case in found["cases"] for row in case["rows"]]
    wrong = [row["api"] for row in rows if "WRONG" in (row["problem"] or "")]
    return 1 if any(api.startswith("gptbpe") for api in wrong) else 0


def _measured(
    arguments: argparse.Namespace,
    cases: Sequence[Case],
    vocabularies: dict[str, Vocabulary],
    peers: dict[str, str],
    settings: Settings,
) -> _table.Run:
    pythons = _inputs.Pythons(
        own=arguments.python, peers=_inputs.peers_python(arguments.peers, peers, settings.say)
    )
    arguments.cache.mkdir(parents=True, exist_ok=True)
    inputs = _inputs.Inputs(arguments.data, arguments.cache, pythons, vocabularies)
    results, skipped = [], []
    for case in cases:
        if arguments.only and not any(part in case.name for part in arguments.only):
            continue
        if arguments.cores not in (None, case.cores):
            continue
        try:
            results.append(measure(case, inputs, settings).as_json())
        except (_inputs.MissingError, _inputs.FailedError) as error:
            skipped.append(f"{case.name}: {error}")
            settings.say(f"skipped: {skipped[-1]}")
    return {
        "machine": _inputs.machine(pythons, peers),
        "settings": settings.as_json(),
        "cases": results,
        "skipped": skipped,
    }
