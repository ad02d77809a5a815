"""From the flags of ``declutch evaluate`` to an evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from declutch.cli._convert import evaluate_settings, model_options
from declutch.cli.options import DecodingFlags, EngineFlags, EvaluateFlags, ModelFlags
from declutch.errors import SettingsError

if TYPE_CHECKING:
    from declutch.comparing.checks import Guard
    from declutch.comparing.results import ModelRecord, Results
    from declutch.replies.decoding import Decoding
    from declutch.replies.engine import ReplyEngine


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that is asked for, flag by flag."""

    model: str
    output: Path
    patch: Path | None
    evaluation: EvaluateFlags
    decoding: DecodingFlags
    capability: tuple[str, ...]
    capability_limit: int | None
    dependence: Literal["order", "length", "seeded"] | None
    engine: EngineFlags
    load: ModelFlags
    guards: tuple[Guard, ...] = ()

    def run(self) -> Results:
        """Evaluate.

        Raises:
            SettingsError: options contradict each other.
        """
        if self.engine.engine != "server" and (self.engine.url or self.engine.api_key_env):
            raise SettingsError("--url and --api-key-env are for --engine server.")
        return self._with_weights() if self.engine.engine == "transformers" else self._replies()

    def _with_weights(self) -> Results:
        from declutch.measures.asking import check_evaluation
        from declutch.measures.checking import check_guard_names
        from declutch.measures.evaluate import evaluate
        from declutch.models.loading import load_model

        chosen, decoding = evaluate_settings(self.evaluation), self._decoding()
        asked = check_evaluation(
            chosen.suite, chosen.judge, limit=chosen.limit, capability=self.capability,
            capability_limit=self.capability_limit, dependence=self.dependence,
            batch_size=chosen.batch_size,
        )  # fmt: skip
        if self.dependence is None:
            check_guard_names(self.guards, asked)
        loaded = load_model(self.model, model_options(self.load))
        return evaluate(
            loaded.model,
            loaded.tokenizer,
            asked.suite,
            judges=asked.judges,
            out=self.output,
            decoding=decoding,
            batch_size=chosen.batch_size,
            limit=chosen.limit,
            capability=asked.tasks,
            capability_limit=self.capability_limit,
            dependence=self.dependence,
            seed=self.decoding.seed,
            patch=self.patch,
            info=loaded.info,
        )

    def _replies(self) -> Results:
        """What can be measured without the weights."""
        from declutch.measures.asking import check_evaluation, split_suites
        from declutch.measures.checking import check_guard_names
        from declutch.measures.evaluate import evaluate_engine

        name = self.engine.engine
        if self.patch is not None:
            raise SettingsError(
                f"--patch needs the model's weights, and --engine {name} does not show them. Write "
                f"a patched checkpoint first: declutch apply MODEL {self.patch} -o DIR, and "
                "evaluate that."
            )
        chosen = evaluate_settings(self.evaluation)
        references, tasks = split_suites(chosen.suite, self.capability)
        if tasks or self.dependence:
            flag = "--capability" if tasks else "--dependence"
            raise SettingsError(
                f"{flag} needs the model's weights, and --engine {name} does not show them. "
                "Measure it with --engine transformers, into a folder of its own."
            )
        asked = check_evaluation(references, chosen.judge, limit=chosen.limit)
        measured = replace(asked.suite, pairs={}, passages=())
        check_guard_names(self.guards, asked._replace(suite=measured))
        engine, record = self._server() if name == "server" else self._vllm()
        return evaluate_engine(
            engine,
            chosen.suite,
            model=record,
            judges=chosen.judge,
            out=self.output,
            limit=chosen.limit,
            seed=self.decoding.seed,
        )

    def _server(self) -> tuple[ReplyEngine, ModelRecord | str]:
        from declutch.replies.openai_client import OpenAIClient
        from declutch.replies.served_engines import ServerEngine

        if not self.engine.url:
            raise SettingsError(
                "--engine server needs --url, as http://localhost:8000/v1, and MODEL is the name "
                "under which that server knows its model."
            )
        key = None
        if variable := self.engine.api_key_env:
            key = os.environ.get(variable)
            if not key:
                raise SettingsError(f"--api-key-env {variable}: that variable is not set.")
        client = OpenAIClient(
            self.engine.url,
            self.model,
            key,
            timeout=self.engine.timeout,
            concurrency=self.engine.concurrency,
        )
        return ServerEngine(client, self._decoding()), self.model

    def _vllm(self) -> tuple[ReplyEngine, ModelRecord | str]:
        from declutch.comparing.results import ModelRecord
        from declutch.measures.evaluate import NOT_READ
        from declutch.replies.served_engines import VllmEngine

        load = self.load
        if load.device or load.device_map:
            raise SettingsError(
                "--device and --device-map are not for --engine vllm: it takes the GPUs that "
                "CUDA_VISIBLE_DEVICES names."
            )
        dtype = "auto" if load.dtype == "checkpoint" else load.dtype
        engine = VllmEngine(
            self.model,
            self._decoding(),
            dtype=dtype,
            revision=load.revision,
            trust_remote_code=load.trust_remote_code,
        )
        record = ModelRecord(
            id=self.model, revision=load.revision, fingerprint=NOT_READ, dtype=dtype
        )
        return engine, record

    def _decoding(self) -> Decoding:
        from declutch.replies.decoding import decoding_of

        flags = self.decoding
        changes: dict[str, Any] = {
            "prompt_format": flags.prompt_format,
            "temperature": flags.temperature,
            "top_p": flags.top_p,
            "max_new_tokens": self.evaluation.max_new_tokens,
            "seed": flags.seed,
        }
        return decoding_of(flags.preset, **changes)
