"""Reply engines beside the transformers one: a server, and vLLM in this process.

Both answer faster than transformers and give no access to the weights, so that only what replies
show can be measured with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from declutch.data.encoding import Encoder
from declutch.errors import DataError, SettingsError
from declutch.extras import require
from declutch.replies.decoding import Decoding, decoding_of
from declutch.replies.engine import Finish, Reply
from declutch.replies.openai_client import OpenAIClient
from declutch.replies.transformers_engine import end_setting

# Prompts handed to vLLM at a time: enough to keep it busy, few enough to lose little.
_VLLM_PROMPTS = 256


class ServerEngine:
    """Replies of a model behind an OpenAI-compatible server (vLLM, llama.cpp, Ollama).

    The format ``chat`` (and ``auto``) sends the prompt as a user's message, and the server applies
    its own template; ``raw`` sends it as text to be continued.

    Args:
        client: the server and the name of the model there.
        decoding: how; a :class:`Decoding`, or a preset's name. What the server's own defaults
            add (a repetition penalty, a system prompt) can't be seen from here.

    Raises:
        SettingsError: the decoding is one that a server can't be asked for.
    """

    def __init__(self, client: OpenAIClient, decoding: Decoding | str = "chat") -> None:
        asked = decoding_of(decoding)
        if asked.prompt_format == "auto":
            asked = decoding_of(asked, prompt_format="chat")
        if asked.prompt_format not in ("chat", "raw"):
            raise SettingsError(
                f"--prompt-format {asked.prompt_format} needs the model's tokenizer, which a "
                "server keeps to itself; use chat or raw."
            )
        if asked.top_p < 1:
            raise SettingsError("--top-p is not sent to a server. Leave it out, or sample locally.")
        self.client = client
        self.decoding = asked

    @property
    def settings(self) -> Mapping[str, Any]:
        """Format and decoding; whether a model thinks is the server's business."""
        settings = {"engine": "server", **self.decoding.settings()}
        del settings["thinking"]
        return settings

    def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
        """Yield each prompt's position and reply, in the order in which they come.

        Raises:
            DataError: a prompt is empty.
            ServerError: a request failed for good.
        """
        if any(not prompt.strip() for prompt in prompts):
            raise DataError("A prompt is empty: a server has nothing to reply to.")
        chosen = self.decoding
        seed = None if chosen.greedy else chosen.seed_of(draw)
        options: dict[str, Any] = {"temperature": chosen.temperature, "seed": seed}
        if chosen.prompt_format == "chat":
            messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
            yield from self.client.chat_each(messages, chosen.max_new_tokens, **options)
        else:
            yield from self.client.complete_each(prompts, chosen.max_new_tokens, **options)


class VllmEngine:
    """Replies of vLLM in this process, on the tokens that the transformers engine would use.

    Args:
        model: a folder or hub id, as vLLM takes it.
        decoding: how; a :class:`Decoding`, or a preset's name.
        options: more arguments of ``vllm.LLM``, as ``dtype`` or ``tensor_parallel_size``.

    Raises:
        MissingExtra: vllm is not installed.
    """

    def __init__(self, model: str, decoding: Decoding | str = "chat", **options: Any) -> None:
        self._vllm = require("vllm", extra="vllm", why="replying with vLLM")
        self._llm = self._vllm.LLM(model=model, **options)
        asked = decoding_of(decoding)
        self.encoder = Encoder(
            self._llm.get_tokenizer(), asked.prompt_format, thinking=asked.thinking
        )
        self.decoding = decoding_of(asked, prompt_format=self.encoder.prompt_format)
        end = self.encoder.turn_end()
        # What the generation config calls an end is vLLM's to know.
        self._turn_end = None if end == self.encoder.tokenizer.eos_token_id else end

    @property
    def settings(self) -> Mapping[str, Any]:
        """Format and decoding."""
        return {
            "engine": "vllm",
            **self.decoding.settings(),
            **end_setting(self.encoder.tokenizer, self._turn_end),
            **self.encoder.facts(),
        }

    def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
        """Yield each prompt's position and reply, some hundreds at a time, in order.

        Raises:
            DataError: a prompt is empty.
        """
        # vLLM leaves the mark that ended a reply in its text, unless it is a special token.
        mark = end_setting(self.encoder.tokenizer, self._turn_end).get("turn_end", "")
        for start in range(0, len(prompts), _VLLM_PROMPTS):
            chunk = prompts[start : start + _VLLM_PROMPTS]
            inputs = [
                {"prompt_token_ids": list(self.encoder.encode_prompt(prompt))} for prompt in chunk
            ]
            parameters = [self._parameters(prompt, draw) for prompt in chunk]
            outputs = self._llm.generate(inputs, parameters, use_tqdm=False)
            for index, output in enumerate(outputs, start):
                best = output.outputs[0]
                finish: Finish = "length" if best.finish_reason == "length" else "stop"
                yield index, Reply(best.text.removesuffix(mark), finish)

    def _parameters(self, prompt: str, draw: int = 0) -> Any:
        # All of it is named: what is left out would still be plain, but not visibly so.
        chosen = self.decoding
        sampling: dict[str, Any] = {}
        if not chosen.greedy:
            from declutch.replies.sampling import prompt_seed

            sampling = {"top_p": chosen.top_p, "seed": prompt_seed(chosen.seed_of(draw), prompt)}
        return self._vllm.SamplingParams(
            n=1,
            temperature=chosen.temperature,
            max_tokens=chosen.max_new_tokens,
            repetition_penalty=1.0,
            skip_special_tokens=True,
            stop_token_ids=[] if self._turn_end is None else [self._turn_end],
            **sampling,
        )
