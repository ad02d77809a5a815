"""The tiny models and the suite of the evaluation's tests."""

from tests.tiny_evaluation import (  # noqa: F401
    _one_thread,
    gpt2,
    llama,
    prompts,
    suite,
    tokenizer,
)
