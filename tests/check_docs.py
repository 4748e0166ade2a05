"""Holds the documents true: `python tests/check_docs.py` prints what does not hold, and then ends with 1.

Beside links, examples and the pages that are written by a script, it looks at the names of our own that the documents
use: `room/file.py`, `room/file.py: Class.method` and `GALLERY_…` have to exist.
"""

import ast
import io
import re
import runpy
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import unquote

from gallery.settings import CLIENT_VARIABLES, all_settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "gallery"
DECISIONS = ROOT / "docs" / "decisions"
# Where there is no git to ask.
IGNORED_FOLDERS = {".git", ".venv", "data", "dist", "site", "node_modules", "__pycache__"}

FENCED = re.compile(r"^ *(```|~~~)(\w*)[^\n]*\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: +\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
CODE_REFERENCE = re.compile(r"([a-z_]+(?:/[a-z_]+)*/[a-z_]+\.py)(?:: ([\w.]+))?")
VARIABLE = re.compile(r"\bGALLERY_[A-Z0-9_]*[A-Z0-9]\b")
GLOSSARY_ENTRY = re.compile(r"^\| \*\*(.+?)\*\* \|", re.MULTILINE)
MAX_GLOSSARY_ENTRIES = 29
MAX_SOURCE_LINES = 320
LONG_ON_PURPOSE = re.compile(r"\b(?:Long|Longer than 320 lines) on purpose: \w.{10,}")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Words of Gallery's own that must not come back, each with the standard word for it.
RETIRED = {
    "anybody": "any caller",
    "bell": "queue, notify",
    "bury": "purge",
    "doorkeeper": "AuthGuard",
    "dossier": "image detail",
    "everybody": "all callers",
    "house": "application",
    "nobody": "no caller, no worker",
    "roster": "WorkerRegistry",
    "rung": "enqueued",
    "somebody": "a caller, a client",
    "stranger": "anonymous caller, client",
    "strangers": "anonymous callers, clients",
    "unsealed": "not committed",
    "whoever": "the caller, the client",
}
RETIRED_IN_NAMES = RETIRED | {
    "desk": "worker resources",
    "door": "route policy",
    "news": "outbox",
    "whatever": "any",
}
KEPT_NAMES = {"stranger", "GALLERY_RATE__STRANGER"}  # the setting
FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.:/])/(?:home|Users|root|work)/[\w.]"),
    "the address of a package index": re.compile(
        r"(?:index-url|extra-index)\b|https?://[^\s'\"]+/simple\b|--find-links"
    ),
}


def main() -> int:
    found = sorted(set(find_problems()))
    for line in found:
        print(line)  # noqa: T201
    return 1 if found else 0


def find_problems() -> Iterator[str]:
    files = tracked_files()
    pages = [path for path in files if path.suffix == ".md"]
    for path in pages:
        text = path.read_text()
        yield from (f"{relative_name(path)}: {fault}" for fault in check_page(path, text))
    for path in files:
        yield from (f"{relative_name(path)}: {fault}" for fault in check_any(path))
    yield from check_generated()
    yield from check_alerts()
    yield from check_log_events()
    yield from check_decisions()
    yield from check_glossary()
    for path in files:
        if path.suffix == ".py" and path != Path(__file__).resolve():
            yield from (f"{relative_name(path)}: {fault}" for fault in check_words(path.read_text()))
        if PACKAGE in path.parents and path.suffix == ".py":
            yield from (f"{relative_name(path)}: {fault}" for fault in check_length(path.read_text()))


def check_page(path: Path, text: str) -> Iterator[str]:
    prose = FENCED.sub("", text)
    yield from find_broken_links(path, prose)
    yield from find_unknown_references(prose)
    yield from unknown_variables(text)
    yield from find_retired(CODE.sub("", prose), RETIRED)
    for _, language, code in FENCED.findall(text):
        if language == "python":
            yield from broken_python(dedent(code))
            if path.name == "STYLE.md":
                yield from find_misquoted(code)


# --- what git knows -----------------------------------------------------------------------------------------------


def tracked_files() -> list[Path]:
    """All files that are or will be in the repository."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        found = [ROOT / path for path in listed if path]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in ROOT.rglob("*") if not IGNORED_FOLDERS & {*path.relative_to(ROOT).parts}]
    return sorted(path for path in found if path.is_file())


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- links ----------------------------------------------------------------------------------------------------------


def find_broken_links(path: Path, prose: str) -> Iterator[str]:
    for link in LINK.findall(CODE.sub("", prose)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists():
            yield f"the link {link} leads nowhere"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"the link {link} has no such heading"


@cache
def anchors(path: Path) -> frozenset[str]:
    """The names that GitHub gives to the headings."""
    seen: dict[str, int] = {}
    found = set()
    for heading in HEADING.findall(FENCED.sub("", path.read_text())):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return frozenset(found)


# --- what the page on style quotes ----------------------------------------------------------------------------------


def find_misquoted(code: str) -> Iterator[str]:
    """Its examples are quotations: each line stands in the code."""
    for line in code.splitlines():
        if line.strip() not in {"", "..."} and line.strip() not in source_lines():
            yield f"no file has the line that it quotes: {line.strip()}"


@cache
def source_lines() -> frozenset[str]:
    return frozenset(line.strip() for path in PACKAGE.rglob("*.py") for line in path.read_text().splitlines())


# --- names of files and settings ------------------------------------------------------------------------------------


def find_unknown_references(prose: str) -> Iterator[str]:
    for code in CODE.findall(prose):
        if match := CODE_REFERENCE.fullmatch(code):
            yield from check_reference(*match.groups())


def check_reference(place: str, member: str | None) -> Iterator[str]:
    path = next((root / place for root in (PACKAGE, ROOT) if (root / place).is_file()), None)
    if path is None:
        yield f"there is no {place}"
    elif member and member not in members(path):
        yield f"{place} has no {member}"


@cache
def members(path: Path) -> frozenset[str]:
    """What a file defines at its top level, and what its classes define, as `Class.member`."""
    tree = ast.parse(path.read_text())
    inner = [f"{c.name}.{n}" for c in tree.body if isinstance(c, ast.ClassDef) for n in defined_names(c.body)]
    return frozenset([*defined_names(tree.body), *inner])


def defined_names(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=target)):
                yield target


def unknown_variables(text: str) -> Iterator[str]:
    known = {entry.variable for entry in all_settings()}
    open_ended = tuple(entry.variable.removesuffix(entry.name) for entry in all_settings() if entry.open_ended)
    for variable in VARIABLE.findall(text):
        if variable not in known.union(CLIENT_VARIABLES) and not f"{variable}__".startswith(open_ended):
            yield f"{variable} is no setting"


def broken_python(code: str) -> Iterator[str]:
    try:
        compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError as error:
        yield f"a Python example does not compile: {error.msg}: {(error.text or '').strip()}"


# --- what must not be there, what must ----------------------------------------------------------------------------


def check_any(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        return  # a picture
    if path == Path(__file__).resolve():
        return
    for number, line in enumerate(lines, 1):
        yield from (f"line {number} has {what}" for what, pattern in FORBIDDEN.items() if pattern.search(line))


def check_generated() -> Iterator[str]:
    for script in sorted((ROOT / "docs").glob("make_*.py")):
        generator = runpy.run_path(str(script))
        page: Path = generator["PAGE"]
        if not page.is_file() or page.read_text() != generator["page"]():
            yield f"{relative_name(page)} is not what {relative_name(script)} writes: run make docs"
    yield from find_undrawn(runpy.run_path(str(ROOT / "docs" / "site_hooks.py")))
    for page in runpy.run_path(str(ROOT / "docs" / "copy_examples.py"))["stale"]():
        yield f"{relative_name(page)} has a copy that is not what its example is: run make docs"
    yield from (f"{entry.variable} has no description" for entry in all_settings() if not entry.description)


def check_alerts() -> Iterator[str]:
    """Each alert is told with what to do about it, and no other."""
    rules = re.findall(r"alert: (\w+)", (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    told = re.findall(r"^\| `(Gallery\w+)`", (ROOT / "docs" / "operate" / "alerts.md").read_text(), re.MULTILINE)
    if rules != told:
        yield f"docs/operate/alerts.md does not list the alerts in their order: {rules}"


def check_log_events() -> Iterator[str]:
    """Each name on the page is logged by some line of the source."""
    page = ROOT / "docs" / "reference" / "log-events.md"
    written = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    for row in re.findall(r"^\| (`[a-z].*?) \|", page.read_text(), re.MULTILINE):
        yield from (
            f"{relative_name(page)}: nothing logs {event}" for event in CODE.findall(row) if f'"{event}"' not in written
        )


def find_undrawn(hooks: dict[str, Any]) -> Iterator[str]:
    """The pictures of diagrams are named by their texts."""
    drawn = {hooks["diagram"](source) for path in tracked_files() for source in mermaid(path, hooks["MERMAID"])}
    if missing := [*filter(lambda path: not path.is_file(), drawn)]:
        yield f"a diagram has changed: run python docs/draw_diagrams.py ({len(missing)} to draw)"
    yield from (f"{relative_name(path)} is of no diagram" for path in set(hooks["DIAGRAMS"].glob("*.svg")) - drawn)


def mermaid(path: Path, pattern: re.Pattern[str]) -> list[str]:
    return pattern.findall(path.read_text()) if path.suffix == ".md" else []


def check_decisions() -> Iterator[str]:
    index = (DECISIONS / "README.md").read_text()
    numbers = []
    for path in sorted(DECISIONS.glob("[0-9]*.md")):
        numbers.append(int(path.name[:4]))
        if f"({path.name})" not in index:
            yield f"docs/decisions/README.md does not list {path.name}"
        title = f"# {path.name[:4]} "
        if not path.read_text().startswith(title):
            yield f"docs/decisions/{path.name} does not begin with {title!r}"
    if len(numbers) != len(set(numbers)):
        yield f"docs/decisions has a number twice: {numbers}"


def check_glossary() -> Iterator[str]:
    entries = GLOSSARY_ENTRY.findall((ROOT / "docs" / "glossary.md").read_text())
    if len(entries) > MAX_GLOSSARY_ENTRIES:
        yield f"docs/glossary.md has {len(entries)} entries, more than {MAX_GLOSSARY_ENTRIES}: use the field's words"
    if len(entries) != len(set(entries)):
        yield f"docs/glossary.md has an entry twice: {entries}"
    if entries != sorted(entries):
        yield "docs/glossary.md is not sorted"


# --- what holds for the source ------------------------------------------------------------------------------------


def check_length(text: str) -> Iterator[str]:
    lines = text.count("\n")
    if lines > MAX_SOURCE_LINES and not LONG_ON_PURPOSE.search(text):
        yield f"has {lines} lines, more than {MAX_SOURCE_LINES}: split it, or say why: `# Long on purpose: …`"


def check_words(text: str) -> Iterator[str]:
    """Finds retired words in names, comments and docstrings."""
    tokens = [*tokenize.generate_tokens(io.StringIO(text).readline)]
    names = {token.string for token in tokens if token.type == tokenize.NAME} - KEPT_NAMES
    yield from find_retired(" ".join(sorted(names)), RETIRED_IN_NAMES)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    sentences = "\n".join([*comments, *docstrings(ast.parse(text))])
    yield from find_retired(CODE.sub("", sentences), RETIRED)


def docstrings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def find_retired(text: str, retired: dict[str, str]) -> Iterator[str]:
    for word in sorted({found.lower() for found in WORD.findall(text)} & retired.keys()):
        yield f"uses the retired word {word!r}; the standard word is: {retired[word]}"


if __name__ == "__main__":
    sys.exit(main())
