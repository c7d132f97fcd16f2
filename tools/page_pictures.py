"""Pictures of the main pages of the documentation, as a browser shows them.

Run it as ``python tools/page_pictures.py`` after ``make docs``. It needs Chromium. The pictures are
in docs/screenshots, and on the page docs/about.rst.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
LARGEST = 150_000  # bytes of a picture: pages should load quickly

PICTURES = {
    "page-landing": ("index.html", 1000, 1040, "light"),
    "page-tutorial": ("gateway.html", 1000, 760, "light"),
    "page-delivery": ("delivery.html", 1000, 760, "dark"),
    "page-migration": ("migration/paho.html", 1280, 760, "light"),
    "page-narrow": ("cancellation.html", 400, 800, "dark"),
}
"""Of each: the page, width and height in pixels, and light or dark."""


def take(name: str, page: str, size: tuple[int, int], scheme: str) -> int:
    """Take one picture; returns its size in bytes."""
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("this needs Chromium: 'apt-get install chromium' on Debian")
    target = DOCS / "screenshots" / f"{name}.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += ["--hide-scrollbars", f"--window-size={size[0]},{size[1]}"]
    if scheme == "dark":
        options += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
    with tempfile.TemporaryDirectory() as profile:
        options += [f"--user-data-dir={profile}", f"--screenshot={target}"]
        url = f"{(DOCS / '_build' / 'html').as_uri()}/{page}"
        subprocess.run([browser, *options, url], check=True, timeout=60, capture_output=True)  # noqa: S603 - our own
    return target.stat().st_size


def main() -> None:
    """Take all of them; exit with an error if one is too large."""
    for name, (page, width, height, scheme) in PICTURES.items():
        taken = take(name, page, (width, height), scheme)
        print(f"{name}: {taken} bytes")
        if taken > LARGEST:
            sys.exit(f"{name} is larger than {LARGEST} bytes; take less of the page")


if __name__ == "__main__":
    main()
