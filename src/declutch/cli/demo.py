"""``declutch demo``: the whole job on the embedded model and the bundled data."""

from __future__ import annotations

from pathlib import Path

from declutch.cli.options import Out, OutputFlags


def demo(
    *,
    output: Out = Path("declutch-demo"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Search for an edit of SmolLM2-135M-Instruct that helps, and prove it: offline, in minutes.

    On bundled data: one scoring; candidates of the paper's rule and of the balanced one; the best
    of each and a random edit side by side with the original, on prompts that no choice was made by.
    """
    say.start()
    from declutch.cli.printing import print_tuned
    from declutch.pipeline import tune
    from declutch.settings import demo_settings

    print_tuned(tune(demo_settings(), out=output), output, as_json=say.json)
