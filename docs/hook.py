"""Hook of mkdocs: adds the generated pages and figures, draws formulas, and checks that nothing is fetched."""

from __future__ import annotations

from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from sitegen import mathml, pages
from sitegen.fetched import fetched


def on_files(files: Any, config: Any) -> Any:
    for path, text in pages.generated().items():
        files.append(File.generated(config, path, content=text))
    for path, drawn in pages.figures().items():
        files.append(File.generated(config, path, abs_src_path=str(drawn)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    return mathml.replaced(html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    found = fetched(output)
    if found:
        raise PluginError(f"{page.file.src_uri} must fetch nothing from elsewhere, but fetches {', '.join(found)}.")
    return output
