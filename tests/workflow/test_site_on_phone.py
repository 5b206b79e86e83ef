"""The site that `make docs` built, on a phone: no page is wider than the screen."""

import pytest
from browser import browser, look
from checkout import REPOSITORY

SITE = REPOSITORY / "build/site"
WIDTH = 390
# What reaches beyond the screen, and stands in nothing that scrolls or cuts by itself.
WIDE = """
    const cut = ['auto', 'scroll', 'hidden'];
    const clips = (one) => one && (cut.includes(getComputedStyle(one).overflowX) || clips(one.parentElement));
    return [...document.querySelectorAll('article *')]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !clips(one.parentElement))
        .map((one) => one.tagName + ' ' + one.textContent.slice(0, 60));
"""


def test_no_page_is_wider_than_a_phone() -> None:
    pages = sorted(SITE.rglob("*.html"))
    if not pages:
        pytest.skip("the site is not built: make docs")
    wide = {}
    with browser() as page:
        look(page, WIDTH, 844)
        for path in pages:
            page.get(path.as_uri())
            reach = page.execute_script("return document.documentElement.scrollWidth")
            if (found := page.execute_script(WIDE)) or reach > WIDTH:
                wide[str(path.relative_to(SITE))] = (reach, found)
    assert wide == {}
