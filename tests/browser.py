"""A real headless Chromium, without a graphics card; tests that need one are skipped where there is none."""

import io
import shutil
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-gpu", "--disable-background-networking", "--force-device-scale-factor=1"),
)
PATIENCE_S = 120


@contextmanager
def browser():
    """Start Chromium with its driver; skip the test where either is not installed (apt-get install chromium-driver)."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_script_timeout(PATIENCE_S)  # software that draws on a busy machine is slow
    try:
        yield started
    finally:
        started.quit()


def look(page, width, height=900, *, dark=False):
    """Give the page the size of a screen, and light or dark; a narrow one is touched by fingers."""
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 600})
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


def swipe(page, selector, *, down=0, right=0):
    """Draw a finger over the middle of an element, up where the page is to go down [pixels]; return where it was."""
    element = page.find_element("css selector", selector)
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    at_rest(page)
    box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", element)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = page.execute_script("return scrollY")
    page.execute_cdp_cmd(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    )
    for part in range(1, 9):
        at = {"x": x + right * part / 8, "y": y - down * part / 8}
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [at]})
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    at_rest(page)
    return before


def at_rest(page):
    """Wait until the page has scrolled to where it stays: after a swipe it goes on for a while."""
    end, last = time.monotonic() + PATIENCE_S, None
    while (place := page.execute_script("return scrollY")) != last and time.monotonic() < end:
        last = place
        time.sleep(0.3)


def wait_for(page, script, what):
    """Wait until a script returns something true, and return it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := page.execute_script(script):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen in {PATIENCE_S} s")


def errors(page):
    """Return what the page's console says that is wrong."""
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def num_colours(page, selector):
    """Return how many colours, coarsely told apart, a screenshot of an element has: an empty one has two or three."""
    element = page.find_element("css selector", selector)
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    time.sleep(0.3)
    picture = np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB"))
    return len(np.unique(picture.reshape(-1, 3) >> 5, axis=0))
