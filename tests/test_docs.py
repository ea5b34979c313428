"""The Python in the documents runs: each document's blocks in order, in one namespace, in an empty folder."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_DOCUMENTS = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]


def _blocks(text):
    """(line before the block's first, source) of each block fenced as python."""
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)), match[1]


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: path.name)
def test_code_in_document_runs(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, source in _blocks(document.read_text(encoding="utf-8")):
        # As many empty lines before it as in the document, so that a traceback names the document's line.
        exec(compile("\n" * line + source, document, "exec"), namespace)


def test_readme_has_code():
    assert list(_blocks(_DOCUMENTS[0].read_text(encoding="utf-8")))
