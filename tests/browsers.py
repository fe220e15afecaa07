"""What the tests of pages in a real browser share: the browser, the sizes of its window, and how well texts stand out."""

import shutil
from collections.abc import Iterator

from conftest import optional

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}

# Of every text that is shown within main: its contrast to what is behind it, and the element.
CONTRAST = """() => {
    const luminance = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (!colour.endsWith(", 0)") && colour !== "transparent") return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const ratios = [];
    for (const element of document.querySelectorAll("main *")) {
        if (!element.checkVisibility() || ![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
        const style = getComputedStyle(element);
        const [one, other] = [element instanceof SVGElement ? style.fill : style.color, behind(element)].map(luminance);
        ratios.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), element.outerHTML.slice(0, 90)]);
    }
    return ratios;
}"""


def opened_browser() -> Iterator:
    """A browser until the test is over; skipped where there is none, or failed where everything must be there (`.ci/run`)."""
    playwright = optional("playwright.sync_api")
    if CHROMIUM is None:
        optional("chromium")  # there is no such module
    with playwright.sync_playwright() as api:
        chromium = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
