"""Serves requests with the points of a table, each in a bench process as it was measured."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any

from autotune import registry
from autotune.bench.protocol import Operation
from autotune.bench.tokenizer import load_tokenizer
from autotune.config import build_study
from autotune.dispatch.measure import refuse_device_settings, with_batch
from autotune.dispatch.request import Answer, Batch, OnTokens, PendingRequest
from autotune.dispatch.table import DispatchTable, Point, Route, read_table
from autotune.environment import environment_differences
from autotune.errors import AutotuneError, InputError
from autotune.execute.warm import WarmSessions, ask
from autotune.messages import RecipeDict, TrialSpec
from autotune.search.plan import Plan, make_plan
from autotune.search.single import make_spec
from autotune.workload.model import end_tokens, max_positions, read_config
from autotune.workload.paths import cache_directory


class Server:
    """Holds the points that a table chooses, and takes for each request the one measured best.

    Points with the same ``setup_key`` share a process, so that their model is in memory once.
    Prompts that wait while others run are joined, up to the largest batch that was measured:
    under load requests go where larger batches were measured. Use it as a context manager, or
    close it; any number of threads may ask.
    """

    def __init__(self, table: DispatchTable, plan: Plan) -> None:
        """
        Args:
            table: As measured.
            plan: Model, workload and device, on this machine.

        Raises:
            InputError: No cell has a point, or one sets something of the device.
            AutotuneError: A point cannot be prepared, or runs otherwise than it was measured.
        """
        refuse_device_settings(table.served, plan.registry.plugins)
        self.table = table
        self._plan = plan
        self._largest = table.largest_batch
        self.name = table.study
        """How clients name what is served: the study."""
        self.max_positions = max_positions(Path(plan.model.path))
        """Tokens of a prompt with its answer, at most; None where the model does not say."""
        self._ends = end_tokens(Path(plan.model.path))
        self._vocabulary: int = read_config(Path(plan.model.path))["vocab_size"]
        self._sessions: dict[str, WarmSessions] = {}
        self._warned: set[str] = set()
        self._waiting: deque[PendingRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        ready: Future[None] = Future()
        # The kernel ends a bench process when the thread that began it ends.
        self._thread = threading.Thread(
            target=self._work, args=(ready,), name="dispatch", daemon=True
        )
        self._thread.start()
        ready.result()

    def generate(
        self, prompts: Sequence[str] | Sequence[Sequence[int]], max_new_tokens: int = 32
    ) -> list[Answer]:
        """Continues prompts greedily.

        Args:
            prompts: Texts, or token ids.
            max_new_tokens: At most so many for each; all are computed, and cut at the end.

        Returns:
            One answer for each prompt, in their order.

        Raises:
            InputError: There is no prompt, one is empty or holds tokens that the model does not
                have, or no token is asked for.
            AutotuneError: The bench process failed.
        """
        self.check_generates()
        if isinstance(prompts, str) or not prompts or max_new_tokens < 1:
            raise InputError("give a list of prompts and a max_new_tokens of 1 or more")
        items = [PendingRequest(ids, max_new_tokens) for ids in self._token_ids(prompts)]
        self._enqueue(items)
        answers = [item.answer.result() for item in items]
        self._warn({answer.outside for answer in answers})
        texts = isinstance(prompts[0], str)
        return [self._with_text(answer) for answer in answers] if texts else answers

    def check_generates(self) -> None:
        """
        Raises:
            InputError: The model is an encoder.
        """
        if (task := self._plan.model.task) != "causal-lm":
            raise InputError(f"a {task} model generates nothing; ask for its outputs")

    def stream(
        self, prompt: Sequence[int], max_new_tokens: int, on_tokens: OnTokens
    ) -> PendingRequest:
        """Begins to continue a prompt greedily, and tells its tokens as they are made.

        It ends at the end-of-sequence token: what is computed after it is not waited for. Engines
        that do not tell their steps (``Engine.on_tokens``) have all tokens told at the end.

        Args:
            prompt: Token ids.
            max_new_tokens: At most so many.
            on_tokens: Called in the server's thread with the next tokens, without the one that
                ends the sequence; must not raise.

        Returns:
            The request, whose ``answer`` is a future and which can be stopped.

        Raises:
            InputError: The prompt is empty or holds tokens that the model does not have, or no
                token is asked for.
            AutotuneError: The server was closed.
        """
        self.check_generates()
        if not prompt or max_new_tokens < 1:
            raise InputError("give a prompt of 1 token or more and a max_new_tokens of 1 or more")
        item = PendingRequest(tuple(map(int, prompt)), max_new_tokens, on_tokens)
        item.answer.add_done_callback(self._warn_of)
        self._enqueue([item])
        return item

    def _token_ids(
        self, prompts: Sequence[str] | Sequence[Sequence[int]]
    ) -> list[tuple[int, ...]]:
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        ids = self._encode(texts) if texts else prompts
        if not ids or len(ids) != len(prompts) or not all(ids):
            raise InputError("prompts are all texts or all token ids, and none is empty")
        return [tuple(map(int, one)) for one in ids]

    def _enqueue(self, items: Sequence[PendingRequest]) -> None:
        # In the bench process it would fail whatever runs with it.
        for token in (token for item in items for token in item.ids):
            if not 0 <= token < self._vocabulary:
                raise InputError(f"no token {token}; this model has {self._vocabulary}, from 0 on")
        with self._changed:
            if self._closed:
                raise AutotuneError("this server was closed")
            self._waiting.extend(items)
            self._changed.notify()

    @cached_property
    def tokenizer(self) -> Any:
        """The model's, of transformers."""
        return load_tokenizer(self._plan.model)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, verbose=False)["input_ids"]
        return ids

    def _with_text(self, answer: Answer) -> Answer:
        return replace(answer, text=str(self.tokenizer.decode(answer.token_ids)))

    def _warn_of(self, answer: Future[Answer]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._warn({answer.result().outside})

    def _warn(self, outside: set[str]) -> None:
        """Once for each way of being outside."""
        for words in outside - self._warned - {""}:
            self._warned.add(words)
            warnings.warn(
                f"{words}: served by what was measured nearest to it; measure such requests with "
                "autotune dispatch",
                stacklevel=3,
            )

    def _work(self, ready: Future[None]) -> None:
        try:
            for point in self.table.served:
                self._session(self._spec(point, 1))
        except BaseException as error:
            self._end_sessions()
            ready.set_exception(error)
            return
        ready.set_result(None)
        while items := self._next():
            if wanted := [item for item in items if item.begin()]:
                self._run(wanted)
        self._end_sessions()

    def _next(self) -> list[PendingRequest]:
        """The one that waits longest, and those that can run with it; none once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            shape = self._waiting[0].shape
            batch = [item for item in self._waiting if item.shape == shape][: self._largest]
            for item in batch:
                self._waiting.remove(item)
            return batch

    def _run(self, items: list[PendingRequest]) -> None:
        prompt_tokens, new_tokens = items[0].shape
        route = self.table.route(len(items), prompt_tokens, new_tokens)
        spec = self._spec(route.point, len(items))
        batch = Batch(items, self._ends, partial(_answer, route, spec.recipe, len(items)))
        try:
            self._generate(spec, batch, new_tokens)
        except BaseException as error:
            batch.fail(error)

    def _generate(self, spec: TrialSpec, batch: Batch, new_tokens: int) -> None:
        sessions = self._session(spec)
        session, _ = sessions.get("candidate", spec)
        try:
            on_tokens = batch.take if batch.is_read_along else None
            batch.finish(session.generate(spec, batch.prompts, new_tokens, on_tokens).tokens)
        except BaseException:
            sessions.drop("candidate")  # the next request prepares it anew
            raise

    def _spec(self, point: Point, size: int) -> TrialSpec:
        recipe = with_batch(self._plan, point.recipe, size)
        return make_spec(self._plan, point.number, recipe, known_accuracy={})

    def _session(self, spec: TrialSpec) -> WarmSessions:
        """The process that holds a point, prepared and warm."""
        sessions = self._sessions.setdefault(spec.setup_key, WarmSessions(self._plan.registry))
        if not sessions.is_warm("candidate", spec):
            session, prepared = sessions.get("candidate", spec)
            warm = ask(session, Operation.WARMUP, spec)
            if found := (*prepared.fallbacks, *warm.fallbacks):
                raise AutotuneError(
                    "a point would run otherwise than it was measured: "
                    + "; ".join(one.words for one in found)
                )
        return sessions

    def _end_sessions(self) -> None:
        for sessions in self._sessions.values():
            sessions.close()

    def close(self) -> None:
        """Answers what waits, and ends the processes."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _answer(route: Route, recipe: RecipeDict, batch_size: int, item: PendingRequest) -> Answer:
    return Answer(
        token_ids=tuple(item.tokens),
        text="",
        point=route.point.name,
        recipe=recipe,
        cell=route.cell,
        batch_size=batch_size,
        outside=route.outside,
    )


def warn_elsewhere(what: str, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Warns whoever called ``autotune.load`` if something was measured in another environment.

    Args:
        what: The beginning of the sentence.
        then: The environment of the measurement.
        now: That of this machine.
    """
    if differing := environment_differences(then, now):
        words = "; ".join(f"{key}: then {a}, now {b}" for key, (a, b) in differing.items())
        warnings.warn(f"{what} measured elsewhere ({words})", stacklevel=4)


def load(path: Path, model: str | None = None) -> Server:
    """Builds a server from a dispatch table; see ``autotune.load``."""
    table = read_table(path)
    # Calibration is the study's own: the points are those whose accuracy it measured.
    keys = {**table.keys, "name": table.study, **({"model": model} if model else {})}
    study = build_study(keys, str(path))
    plan = make_plan(study, cache_directory() / "serving", lambda *_: None, only={})
    if plan.model.fingerprint != table.model_fingerprint:
        raise InputError(
            f"the files of {plan.model.path} are not those that the table was measured with; "
            "give that model's folder, or measure this one"
        )
    warn_elsewhere("the table was", table.environment, plan.environment)
    return Server(table, replace(plan, registry=registry.installed()))
