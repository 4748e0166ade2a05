"""Draws the Mermaid diagrams of the pages for the site: `python docs/draw_diagrams.py`.

The forge draws the fenced blocks by itself. The site shows pictures instead, so that no page needs a script: this one
has Mermaid, from npm and by its hash, draw each block in Chromium. It is needed after a block has changed, and then
`tests/check_docs.py` reports it; the pictures are in the repository, and a build needs neither npm nor a browser.
"""  # noqa: INP001

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
from site_hooks import DIAGRAMS, MERMAID, ROOT, diagram

MERMAID_VERSION = "11.12.0"
SHA512 = "ZudVx73BwrMJfCFmSSJT84y6u5brEoV8DOItdHomNLz32uBjNrelm7mg95X7g+C6UoQH/W6mBLGDEDv73JdxBg=="
COLORS = {  # stand for the theme's own, which differ in the light and in the dark
    "#010101": "var(--md-default-fg-color)",
    "#020202": "var(--md-default-fg-color--light)",
    "#fdfdfd": "var(--md-code-bg-color)",
    "#fcfcfc": "var(--md-default-bg-color)",
    "#eaeaea": "var(--md-code-bg-color)",  # Mermaid's own, which no option changes
    "#030303": "var(--md-default-fg-color)",
}
INK, LINE, BOX, GROUND, *_ = COLORS
OPTIONS = {
    "startOnLoad": False,
    "theme": "base",
    "htmlLabels": False,
    "flowchart": {"htmlLabels": False, "curve": "basis", "padding": 12},
    "sequence": {"mirrorActors": False, "messageMargin": 30, "width": 110, "actorMargin": 24}
    | dict.fromkeys(("actorFontSize", "messageFontSize", "noteFontSize"), 15),
    "themeVariables": {
        "fontFamily": "Arial, Helvetica, sans-serif",
        "fontSize": "16px",
        "background": GROUND,
        "lineColor": LINE,
        **dict.fromkeys(("textColor", "primaryTextColor", "titleColor", "nodeTextColor", "actorTextColor"), INK),
        **dict.fromkeys(("signalTextColor", "labelTextColor", "loopTextColor", "noteTextColor"), INK),
        **dict.fromkeys(("mainBkg", "primaryColor", "actorBkg", "labelBoxBkgColor", "noteBkgColor"), BOX),
        **dict.fromkeys(("clusterBkg", "edgeLabelBackground", "tertiaryColor", "secondaryColor"), GROUND),
        **dict.fromkeys(("primaryBorderColor", "nodeBorder", "actorBorder", "clusterBorder", "noteBorderColor"), LINE),
        **dict.fromkeys(("actorLineColor", "signalColor", "labelBoxBorderColor", "defaultLinkColor"), LINE),
    },
}


def main() -> None:
    wanted = {diagram(source): source for source in sources()}
    for old in set(DIAGRAMS.glob("*.svg")) - set(wanted):
        old.unlink()
    missing = {path: source for path, source in wanted.items() if not path.exists()}
    if missing:
        DIAGRAMS.mkdir(exist_ok=True)
        with sync_playwright() as playwright:
            path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_content("<body></body>")
            page.add_script_tag(content=mermaid())
            page.evaluate("options => mermaid.initialize(options)", OPTIONS)
            for path, source in missing.items():
                path.write_text(drawn(page, path.stem, source))


def sources() -> Iterator[str]:
    for path in sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]):
        yield from MERMAID.findall(path.read_text())


def drawn(page: Page, name: str, source: str) -> str:
    """An SVG in the theme's colours. Raises Mermaid's error for an invalid text."""
    svg: str = page.evaluate("async ([id, text]) => (await mermaid.render(id, text)).svg", [f"diagram-{name}", source])
    for color, variable in COLORS.items():
        svg = svg.replace(color, variable)
    return re.sub(r'max-width: ([\d.]+)px; background-color: [^;"]+;?', r"max-width: \1px;", svg) + "\n"


def mermaid() -> str:
    """The script of the pinned version, fetched by npm."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"mermaid@{MERMAID_VERSION}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        [archive] = Path(folder).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != SHA512:
            sys.exit(f"mermaid {MERMAID_VERSION} has the hash {found}, not {SHA512}.")
        with tarfile.open(archive) as files:
            script = files.extractfile("package/dist/mermaid.min.js")
            assert script is not None  # noqa: S101
            return script.read().decode()


if __name__ == "__main__":
    main()
