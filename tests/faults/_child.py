"""Work in a forked process that may be killed, and that says why when it fails."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable


class Child:
    """A process that does some work and ends."""

    def __init__(self, work: Callable[[], object], what: str) -> None:
        self._what = what
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed when it has ended)
        self._began = time.monotonic()
        self._process = os.fork()
        if self._process == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc(file=self._said)
                self._said.flush()
            finally:
                os._exit(code)

    def kill(self) -> None:
        """Kill it, if it has not ended yet."""
        os.kill(self._process, signal.SIGKILL)  # it was not waited for, so its number is still its own

    def ended(self) -> bool:
        """Wait for it; return whether it ended by itself.

        Raises:
            AssertionError: it failed; the message has its traceback, or its exit code.
        """
        _, status = os.waitpid(self._process, 0)
        with self._said:
            self._said.seek(0)
            said = self._said.read()
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return False
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return True
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        seconds = time.monotonic() - self._began
        raise AssertionError(f"{self._what} {how} after {seconds:.2f} s\n{said or 'It raised nothing.'}")
