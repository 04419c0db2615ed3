"""The bench process: ``python -m autotune.bench`` reads requests and writes replies, one JSON
line each, and ends when its input does.

Replies go to a private copy of standard output; standard output itself is joined with standard
error, which the parent sends to the log, so that nothing a library prints can be taken for a
reply.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from autotune.bench.ahead import import_libraries
from autotune.bench.line import Line
from autotune.bench.protocol import Operation, Reply, Request
from autotune.errors import BenchError
from autotune.outcome import Outcome
from autotune.plugin import Unsupported
from autotune.processes import die_with_parent


def _take_standard_output() -> TextIO:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def quiet_libraries() -> None:
    """Keeps the log for what matters: on import torchao says which of its GPU libraries do not
    load on this machine, which is harmless where they are not used, and torch what of torchao it
    will refuse one day."""
    logging.getLogger("torchao").addFilter(
        lambda record: not record.getMessage().startswith("Failed to load ")
    )
    logging.getLogger("torch.utils._pytree").addFilter(
        lambda record: "is an Enum subclass" not in record.getMessage()
    )


def _let_go(error: BaseException | None) -> None:
    """Drops what the failed frames hold: it may be all the memory there is."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


_NO_KERNEL = ("No available kernel", "No viable backend")
"""What torch says where its kernels of attention are switched off that could."""


_END = 2000
"""Characters."""


def failure(error: BaseException) -> Reply:
    from autotune.bench.prepare import is_out_of_memory

    _let_go(error)
    traceback.print_exception(error)
    if isinstance(error, BenchError):
        return Reply(outcome=error.outcome, explanation=error.explanation)
    if isinstance(error, Unsupported):
        return Reply(outcome=Outcome.UNSUPPORTED, explanation=str(error))
    words = f"{type(error).__name__}: {error}"
    if any(said in words for said in _NO_KERNEL):
        reason = "no kernel of scaled_dot_product_attention that is left can compute this"
        return Reply(outcome=Outcome.UNSUPPORTED, explanation=f"{reason}: {words}")
    if is_out_of_memory(error):
        return Reply(outcome=Outcome.OUT_OF_MEMORY, explanation=words)
    return Reply(outcome=Outcome.CRASHED, explanation=_shortened(words))


def _shortened(words: str) -> str:
    """Both ends of what a compiler may say in 100,000 characters; the log has all of it."""
    if len(words) <= 2 * _END:
        return words
    return f"{words[:_END]}\n[...]\n{words[-_END:]}"


def main() -> None:
    """Answers requests until the input ends."""
    if not die_with_parent(int(os.environ["AUTOTUNE_PARENT_PID"])):
        sys.exit("the parent is gone")
    # If memory runs out, this process goes, not the search.
    Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = Line(sys.stdin, _take_standard_output())
    quiet_libraries()
    failed = import_libraries()
    session = None
    for text in sys.stdin:
        request = Request.model_validate_json(text)
        if request.operation is Operation.CLOSE:
            break
        if request.operation is Operation.STOP:
            continue
        try:
            if request.operation in (Operation.PROBE, Operation.ROOF):
                from autotune.bench.bare import measure_device

                assert request.spec is not None
                reply = measure_device(request.operation, request.spec)
            elif request.operation in (Operation.PREPARE, Operation.EXPORT):
                if failed is not None:
                    raise failed
                from autotune.bench.exported.export import Export
                from autotune.bench.session import Session

                assert request.spec is not None
                session = Session(request.spec, Export.of(request))
                reply = session.prepared()
            else:
                assert session is not None
                reply = session.handle(request, line)
        except Exception as error:
            reply = failure(error)
        line.reply(reply)
    # A plugin's stray threads or exit handlers must not keep the process alive.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
