"""Where a run's numbers and texts go besides its own record: TensorBoard, and Weights & Biases if asked.

A logger is a view of the record and never the record itself; the protocol is all that a third one needs.
"""

from __future__ import annotations

import html
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gptbpe import extras
from gptmodel import files
from gptmodel.errors import ConfigError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Logger", "TensorBoard", "WeightsAndBiases"]

COORDINATES = {"epoch", "tokens", "evaluated_tokens", "seconds"}
"""What is plotted against, not looked at: in ``metrics.jsonl``, but no curve."""


class Logger(Protocol):
    """What `gptmodel.training.log.RunLog` asks of a logger. Any method may raise OSError."""

    def scalars(self, kind: str, step: int, values: Mapping[str, float | None]) -> None:
        """Points of the curves ``kind/name`` at ``step``; None is a number that was not finite."""

    def text(self, name: str, text: str, step: int) -> None:
        """A text that belongs to ``step``: a sample, the configuration."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files in the run's folder. ``resumed_at`` hides what the run did after that step before.

    TensorBoard takes a second to load. It is loaded with the first numbers, when the first loss has been
    shown; texts that come before them wait.
    """

    def __init__(self, run: Path, resumed_at: int = 0) -> None:
        self._run, self._purge_step = run, resumed_at + 1 if resumed_at else None
        self._board: SummaryWriter | None = None
        self._waiting: list[tuple[str, str, int]] = []

    def scalars(self, kind: str, step: int, values: Mapping[str, float | None]) -> None:
        board = self._loaded()
        for name, value in values.items():
            if name not in COORDINATES and value is not None:
                board.add_scalar(f"{kind}/{name}", value, step)

    def text(self, name: str, text: str, step: int) -> None:
        self._waiting.append((name, f"```\n{text}\n```", step))
        if self._board is not None:
            self._loaded()

    def close(self) -> None:
        self._loaded().close()

    def _loaded(self) -> SummaryWriter:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._run), purge_step=self._purge_step)
        while self._waiting:
            self._board.add_text(*self._waiting.pop(0))
        return self._board


class WeightsAndBiases:
    """A run of ``project`` there, under the name of the run's folder; a resumed run goes on with the same.

    ``WANDB_MODE=offline`` keeps everything in the run's folder. Raises ConfigError where the package wandb is
    not installed.
    """

    def __init__(self, run: Path, project: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise ConfigError(f"--wandb needs the package wandb: {extras.install('wandb')}") from None
        known = run / "wandb-id.txt"
        if not known.exists():
            files.write_text(known, secrets.token_hex(8))
        self._html = wandb.Html
        self._run = wandb.init(
            project=project,
            name=run.name,
            id=known.read_text(encoding="utf-8"),
            resume="allow",
            dir=run,
            config=dict(config),
        )

    def scalars(self, kind: str, step: int, values: Mapping[str, float | None]) -> None:
        self._run.log({f"{kind}/{k}": v for k, v in values.items() if v is not None}, step=step)

    def text(self, name: str, text: str, step: int) -> None:
        self._run.log({name: self._html(f"<pre>{html.escape(text)}</pre>")}, step=step)

    def close(self) -> None:
        self._run.finish()
