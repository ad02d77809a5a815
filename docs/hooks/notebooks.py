"""Show the notebooks as pages of the site (a hook of MkDocs).

A notebook is the one copy of its text, code and outputs; its page is made when the site is built.
That takes two dozen lines, where a plugin would bring the whole of nbconvert.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page beside every notebook; the notebook stays, to be downloaded from it."""
    for file in [each for each in files if each.src_uri.endswith(".ipynb")]:
        notebook = json.loads(Path(str(file.abs_src_path)).read_text(encoding="utf-8"))
        place = PurePosixPath(file.src_uri)
        pictures: dict[str, bytes] = {}
        text = "\n\n".join(_parts(notebook, place, pictures)) + "\n"
        files.append(File.generated(config, str(place.with_suffix(".md")), content=text))
        for name, png in pictures.items():
            files.append(File.generated(config, str(place.parent / name), content=png))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let a link to a notebook, which is right in the repository, lead to its page."""
    return re.sub(r"\]\(([\w./-]+)\.ipynb\)", r"](\1.md)", markdown)


def _parts(
    notebook: Mapping[str, Any], place: PurePosixPath, pictures: dict[str, bytes]
) -> Iterator[str]:
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        else:
            yield _block("python", source)
            for output in cell["outputs"]:
                yield _shown(output, f"{place.stem}-{number}", pictures)
        if number == 0:  # under the title
            link = f'<a href="{place.name}" download>download it</a>'
            yield f"*This page is a notebook: {link} to run it.*"


def _shown(output: Mapping[str, Any], name: str, pictures: dict[str, bytes]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        file = f"{name}-{len(pictures)}.png"
        pictures[file] = base64.b64decode("".join(data["image/png"]))
        about = output.get("metadata", {}).get("image/png", {})
        return f"![{about.get('alt', 'a picture')}]({file})"
    return _block("text", "".join(data.get("text/plain") or output.get("text", "")))


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
