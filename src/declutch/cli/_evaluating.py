"""From the options of ``declutch evaluate`` to an evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from declutch.cli.options import EngineFlags
from declutch.errors import SettingsError
from declutch.settings import EvaluateSettings, ModelSettings

if TYPE_CHECKING:
    from declutch.comparing.checks import Guard
    from declutch.comparing.results import ModelRecord, Results
    from declutch.evaluating.plan import Plan
    from declutch.replies.engine import ReplyEngine


@dataclass(frozen=True)
class EvaluateJob:
    """All that is asked for."""

    model: str
    output: Path
    patch: Path | None
    evaluation: EvaluateSettings
    engine: EngineFlags
    load: ModelSettings
    guards: tuple[Guard, ...] = ()

    def run(self) -> Results:
        """Evaluate.

        Raises:
            SettingsError: options contradict each other.
        """
        from declutch.evaluating.plan import make_plan

        name = self.engine.engine
        if name != "server" and (self.engine.url or self.engine.api_key_env):
            raise SettingsError("--url and --api-key-env are for --engine server.")
        if name == "transformers":
            return self._with_weights(make_plan(self.evaluation))
        if self.patch is not None:
            raise SettingsError(
                f"--patch needs the model's weights, and --engine {name} does not show them. Write "
                f"a patched checkpoint first: declutch apply MODEL {self.patch} -o DIR, and "
                "evaluate that."
            )
        return self._replies_alone(make_plan(self.evaluation, weights=False))

    def _with_weights(self, plan: Plan) -> Results:
        from declutch.evaluating.checking import check_guard_names
        from declutch.evaluating.evaluate import evaluate
        from declutch.models.loading import load_model

        check_guard_names(self.guards, plan)
        loaded = load_model(self.model, self.load)
        return evaluate(
            loaded.model,
            loaded.tokenizer,
            plan.suite,
            judges=plan.judges,
            settings=plan.settings,
            out=self.output,
            patch=self.patch,
            model_info=loaded.info,
        )

    def _replies_alone(self, plan: Plan) -> Results:
        """What can be measured without the weights."""
        from declutch.evaluating.checking import check_guard_names
        from declutch.evaluating.evaluate import evaluate_engine

        check_guard_names(self.guards, replace(plan, suite=plan.suite.prompts_alone()))
        engine, record = self._server() if self.engine.engine == "server" else self._vllm()
        return evaluate_engine(
            engine,
            plan.suite,
            model=record,
            judges=plan.judges,
            settings=plan.settings,
            out=self.output,
        )

    def _server(self) -> tuple[ReplyEngine, ModelRecord | str]:
        from declutch.evaluating.plan import decoding_from
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
        return ServerEngine(client, decoding_from(self.evaluation)), self.model

    def _vllm(self) -> tuple[ReplyEngine, ModelRecord | str]:
        from declutch.comparing.results import ModelRecord
        from declutch.evaluating.evaluate import NOT_READ
        from declutch.evaluating.plan import decoding_from
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
            decoding_from(self.evaluation),
            dtype=dtype,
            revision=load.revision,
            trust_remote_code=load.trust_remote_code,
        )
        record = ModelRecord(
            id=self.model, revision=load.revision, fingerprint=NOT_READ, dtype=dtype
        )
        return engine, record
