"""Hook of mkdocs: adds what pages link to outside of docs/, draws formulas, and checks that nothing is fetched."""

from __future__ import annotations

from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from sitegen import mathml, outside
from sitegen.fetched import fetched
from sitegen.formulas import BRACKETS, rewritten
from sitegen.markdown import slug

HIDDEN = {"index.md": ["navigation"], "repository/studies/README.md": ["toc"]}  # at the sides of a page


def on_config(config: Any) -> Any:
    config.mdx_configs["toc"]["slugify"] = lambda title, separator: slug(title)
    return config


def on_files(files: Any, config: Any) -> Any:
    for path, text in outside.pages().items():
        files.append(File.generated(config, path, content=text))
    for path, picture in outside.pictures().items():
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    path = page.file.src_uri
    page.meta["hide"] = HIDDEN.get(path, [])
    if path.startswith(f"{outside.BELOW}/"):
        page.meta["search"] = {"exclude": True}
    else:
        markdown = outside.moved(markdown, outside.DOCS / path)
    return rewritten(markdown, BRACKETS)


def on_page_content(html: str, **_: Any) -> str:
    return mathml.replaced(html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    found = fetched(output)
    if found:
        raise PluginError(f"{page.file.src_uri} must fetch nothing from elsewhere, but fetches {', '.join(found)}.")
    return output
