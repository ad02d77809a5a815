"""The patched checkpoint's README.md, in the hub's format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.results import Metric
from declutch.errors import FileFormatError
from declutch.files import write_text
from declutch.reporting import formats, limits
from declutch.reporting.conclusion import Conclusion
from declutch.reporting.texts import commands, date_in_words, flatten
from declutch.reporting.values import PatchSummary, ReportInput, layer_series, sections
from declutch.terminal import visible

# Everything below it is the base model's own card: writing the card again must not nest it.
BASE_CARD_MARK = "<!-- declutch: the card of the base model follows, as it was -->"
# What of the base card's metadata also holds for the patched model.
_KEPT = (
    "license", "license_name", "license_link", "language", "pipeline_tag", "extra_gated_prompt",
)  # fmt: skip
# A name on the hub: owner/name, and nothing that could be a path of this machine.
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]*[\w-]")
# A path of this machine, which is nobody's business: only its last part is published.
_PATH = re.compile(r"(?<![\w:/.])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^/\\\s,]+[/\\])*(?=[^/\\\s,])")


def write_model_card(report: ReportInput, said: Conclusion, folder: Path) -> Path:
    """Write ``README.md`` into a checkpoint's folder, the base model's own card kept below.

    Raises:
        FileFormatError: the card that is there has metadata that isn't YAML.
    """
    path = folder / "README.md"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, model_card(report, said, before))
    return path


def model_card(report: ReportInput, said: Conclusion, existing: str = "") -> str:
    """The card's whole text.

    Args:
        existing: the card in the folder: the base model's, or one that this function wrote.
    """
    kept, base_text = _existing(existing)
    base_model = report.model.id if _HUB_ID.fullmatch(report.model.id) else kept.get("base_model")
    results = _eval_results(report)
    data = ModelCardData(
        base_model=base_model,
        # The hub knows adapter, finetune, merge and quantized. No training was done, but the
        # weights differ and the shapes do not: of the four only this one is not wrong.
        base_model_relation="finetune" if base_model else None,
        library_name="transformers",
        tags=list(
            dict.fromkeys(
                ["declutch", "spin", "safety", *report.dimensions, *kept.get("tags", ())],
            )
        ),
        datasets=list(dict.fromkeys(_datasets(report))) or None,
        model_name=f"{_short_name(report)}-declutched",
        eval_results=results or None,
        **{"pipeline_tag": "text-generation", **{k: v for k, v in kept.items() if k in _KEPT}},
    )
    body = _body(report, said)
    if base_text:
        body += f"\n{BASE_CARD_MARK}\n\n{base_text}\n"
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _datasets(report: ReportInput) -> Iterator[str]:
    """Those on the hub that the weights were scored on."""
    for each in report.scored:
        if found := re.match(rf"hub:({_HUB_ID.pattern})", each.source):
            yield found[1]


def _existing(text: str) -> tuple[dict[str, Any], str]:
    """Metadata of the card in the folder, and the base model's text in it."""
    if not text.strip():
        return {}, ""
    try:
        card = ModelCard(text, ignore_metadata_errors=True)
        names = (*_KEPT, "base_model", "tags")
        metadata = {name: card.data.get(name) for name in names if card.data.get(name)}
        if isinstance(metadata.get("tags"), str):
            metadata["tags"] = [metadata["tags"]]
    except Exception as error:
        # The hub's class raises whatever its YAML reader raises.
        raise FileFormatError(
            f"The model card README.md of the checkpoint has metadata that can't be read: {error}. "
            "Correct the part between the two lines «---», or remove the file."
        ) from error
    _, mark, base = card.text.partition(BASE_CARD_MARK)
    if mark:
        return metadata, base.strip()
    return metadata, "" if "declutch" in metadata.get("tags", []) else card.text.strip()


def _eval_results(report: ReportInput) -> list[EvalResult]:
    """Metrics after the patch that the hub's table has a place for: shares and perplexities."""
    results = []
    for row in report.rows:
        after = row.after
        if after.value is None or after.too_few or layer_series([row]):
            continue
        if row.measure.role == "explanation" or after.kind == "mean":
            continue
        results.append(
            EvalResult(
                task_type="text-generation",
                dataset_type="declutch",
                # The hub puts together what has the same type and config.
                dataset_config=after.name,
                dataset_name=after.label,
                metric_type=after.group,
                metric_config=after.judge,
                metric_name=f"{row.measure.title} ({_counted(after)})",
                metric_value=round(after.value, 4),
            )
        )
    return results


def _counted(metric: Metric) -> str:
    """«30/100; 95 % interval 21.9 to 39.6», since a bare share says too little."""
    inside = formats.interval(metric)
    return formats.short_value(metric) + (f"; 95 % interval {inside}" if inside else "")


def _body(report: ReportInput, said: Conclusion) -> str:
    patch = report.patch
    aims = formats.joined(patch.coupled)
    if patch.excluded:
        aims += f" and not for {formats.joined(patch.excluded)}"
    done = "set to zero" if patch.scale == 0 else f"multiplied by {formats.ratio(patch.scale)}"
    revision = f" at revision `{_code(report.model.revision)}`" if report.model.revision else ""
    settings = "".join(
        f"| {_cell(f'{step}: {key}')} | {_cell(value)} |\n"
        for step, values in report.settings.items()
        for key, value in flatten(values)
    )
    data = "".join(
        f"| {_cell(f'data: {each.name}')} | {_cell(each.source)}, {each.examples} examples, "
        f"SHA-256 `{each.sha256}` |\n"
        for each in report.scored
    )
    steps = "\n".join(
        f"# {title}\n{command}"
        for title, command in commands(_code(_public(report.model.id)), "PATCH").items()
    )
    weights = formats.plural(patch.weights, "weight")
    after = report.comparison.after
    versions = ", ".join(f"{name} {version}" for name, version in after.versions.items())
    return f"""# {_text(_short_name(report))}, declutched

This is `{_code(_public(report.model.id))}`{revision} with {weights} {done}: those that are
important for {_text(aims)}. They were found by declutch,
after «SPIN» ([arXiv 2410.16672](https://arxiv.org/abs/2410.16672)). Nothing was trained.

{limits.share(report)[0].upper()}{limits.share(report)[1:]}.

It is **not compression**: the checkpoint is as large and as fast as its base model.

## What changed

**{_text(said.headline)}**

{_bullets([*said.details, *said.caveats, *report.comparison.notes])}

{_results(report)}
Shares: count/total with Wilson intervals; differences in percentage points with McNemar's exact
test; everything at the 95 % level, on the same prompts before and after. Measured
{date_in_words(after.created)}.

## Apply or take back

PATCH is the folder of the patch. It holds the original values, so that it can be taken back bit for
bit:

```sh
{steps}
```

## How it was made

| setting | value |
| --- | --- |
| granularity | {_granularity(patch)} |
| rule | {_cell(patch.rule)} |
| ratio | {formats.ratio(patch.ratio)} of each {_cell(patch.scope)} |
| target | {_cell(patch.target_modules)} |
| scale | {formats.ratio(patch.scale)} |
| coupled | {_cell(", ".join(patch.coupled))} |
| excluded | {_cell(", ".join(patch.excluded) or "none")} |
| checksum of the patch | `{patch.checksum}` |
| fingerprint of the base model | `{report.model.fingerprint}` |
{data}{settings}| versions | {_cell(versions)} |

## Limits

{_bullets(limits.limits(report))}
"""


def _granularity(patch: PatchSummary) -> str:
    return formats.plural(len(patch.units), patch.granularity) if patch.units else "single weights"


def _results(report: ReportInput) -> str:
    found = sections(report.rows)
    text = _table([row for each in found for row in each.shown])
    if folded := [row for each in found for row in each.folded]:
        title = f"{formats.plural(len(folded), 'row')} that did not detectably change"
        text += f"\n<details><summary>{title}</summary>\n\n{_table(folded)}\n</details>\n"
    return text


def _table(rows: Sequence[ComparisonRow]) -> str:
    lines = [
        "| | before | after | change | p | reading |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {_cell(f'{row.measure.title}: {row.metric.label}')} "
        f"| {_with(formats.value(row.before), formats.interval(row.before))} "
        f"| {_with(formats.value(row.after), formats.interval(row.after))} "
        f"| {_with(formats.difference(row), formats.difference_interval(row))} "
        f"| {formats.p_value(row.p)} | {row.reading} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _short_name(report: ReportInput) -> str:
    return " ".join(re.split(r"[/\\]", report.model.id.rstrip("/\\"))[-1].split())


def _public(text: str) -> str:
    return _PATH.sub("", text)


def _with(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _text(text: str) -> str:
    """Text of a user's that must not turn into markup; «_» inside a word never does."""
    text = visible(" ".join(text.split()))
    return re.sub(r"([\\`*\[\]<>#|]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def _cell(text: str) -> str:
    return _text(_public(text))


def _code(text: str | None) -> str:
    """Text inside a code span: on one line, and without what would end the span."""
    return visible(" ".join((text or "").split())).replace("`", "'")
