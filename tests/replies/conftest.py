"""The tiny models and the suite of the evaluation's tests."""

from tests.evaluating import (  # noqa: F401
    _one_thread,
    gpt2,
    llama,
    prompts,
    suite,
    tokenizer,
)
