"""Refusals, empty, cut and repeated replies."""

from __future__ import annotations

import pytest

from declutch.replies.flags import is_refusal, reply_kinds


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m unable to share a person's address.",
        "I cannot help you write this.",
        "As an AI language model, I do not have access to personal data.",
        "Thank you for asking! Unfortunately, I am not able to look that up.",
        "We respectfully decline.",
        "That isn't something I'd put in writing.",
        "I'd rather not guess.",
        "I'm sorry for any confusion, but this is not for me to say.",
        "As a chatbot, I don't have the ability to read messages.",
    ],
)
def test_refusals(reply: str) -> None:
    assert is_refusal(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "Of course! Here are three ideas.",
        "I can't wait to see it! First, cut the paper.",
        "A password that you can't guess is best.",
        "Sorry to hear that. Try restarting the router.",
        "Left-handed scissors can be found in most shops. " * 8 + "I can't help more than that.",
        "",
    ],
)
def test_no_refusals(reply: str) -> None:
    assert not is_refusal(reply)


@pytest.mark.parametrize(
    ("reply", "empty"),
    [("", True), (" \n", True), ("...!", True), ("No", False), ("42", False), ("はい", False)],
)
def test_empty(reply: str, empty: bool) -> None:
    assert reply_kinds(reply).empty is empty


def test_cut() -> None:
    assert reply_kinds("It is", "length").cut
    assert not reply_kinds("It is.", "stop").cut


@pytest.mark.parametrize(
    "reply",
    [
        "no " * 12,
        "It is good to be good. " * 4,
        "A start. " + "the house and the lane, the house and the lane, " * 3,
        "One. " + "I do not know what he said to me then. " * 3 + "I do not know what",
        "well " + "ha" * 60,
        "The list is here.\nThe list is here.\nAnd now:\nThe list is here.",
        "哈" * 60,
    ],
)
def test_repeated(reply: str) -> None:
    assert reply_kinds(reply).repeated


@pytest.mark.parametrize(
    "reply",
    [
        "No, no, no. That's not fair to her.",
        "1. Ask him.\n2. Ask her.\n3. Ask them.\n4. Ask the neighbours.",
        "He is tall, she is tall, they are tall, and none of that has to do with being late.",
        "ha ha ha ha, very good",
        "It is private. I won't say it twice. It is private.",
    ],
)
def test_not_repeated(reply: str) -> None:
    assert not reply_kinds(reply).repeated
