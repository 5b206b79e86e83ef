"""`lartpc view` on a phone: nothing wider than the screen, all in reach, swipes by a finger, dark and light."""

from collections.abc import Iterator

import pytest
from browser import browser, errors, look, num_colours, swipe, wait_for
from viewing import SHOWN, click_voxel, served, small_production

from lartpc.run.view.server import Server

WIDTH, HEIGHT = 390, 844
EYE = "return JSON.stringify(document.querySelector('[data-part=truth]').picture.aim.camera.eye)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(small_production(tmp_path_factory.mktemp("phone"))) as started:
        yield started


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_all_and_scrolls_by_a_swipe(server: Server, dark: bool) -> None:
    with browser() as page:
        look(page, WIDTH, HEIGHT, dark=dark)
        page.get(f"{server.address}#mode=particle")
        wait_for(page, SHOWN, "the first event")
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark
        assert page.execute_script("return document.documentElement.scrollWidth") == WIDTH
        controls = page.execute_script("""
            return [...document.querySelectorAll('button, select, input, summary')]
                .filter((one) => one.checkVisibility() && !one.closest('.list'))
                .map((one) => [one.textContent.slice(0, 20) || one.id, one.getBoundingClientRect()])
                .map(([name, box]) => [name, box.left, box.right, box.height]);
        """)
        assert len(controls) > 20
        outside = [name for name, left, right, _ in controls if left < 0 or right > WIDTH]
        assert outside == []
        assert [name for name, _, _, height in controls if height < 28] == []
        assert num_colours(page, "[data-part=truth]") > 5

        # a swipe that begins on a picture scrolls the page, until the picture was asked to turn, and then turns it
        before, eye = page.execute_script("return scrollY"), page.execute_script(EYE)
        swipe(page, "[data-part=truth]", down=150)
        wait_for(page, f"return scrollY > {before} + 60", "scrolling past a picture")
        assert page.execute_script(EYE) == eye
        page.find_element("css selector", "[data-wake=truth]").click()
        before = swipe(page, "[data-part=truth]", down=60, right=80)
        assert page.execute_script(EYE) != eye, "turning the picture"
        assert page.execute_script(EYE.replace("truth", "prediction")) == page.execute_script(EYE)
        assert page.execute_script("return scrollY") == before
        page.find_element("css selector", "[data-wake=truth]").click()
        before = swipe(page, "[data-part=truth]", down=150)
        wait_for(page, f"return scrollY > {before} + 60", "scrolling again")

        page.find_element("css selector", "[data-part=next]").click()
        wait_for(page, f"{SHOWN} === '1/particle/3d'", "the next event, by a finger")
        click_voxel(page, "prediction", "particles")
        wait_for(page, "return !document.querySelector('[data-part=object]').hidden", "the description")
        assert page.execute_script("return document.documentElement.scrollWidth") == WIDTH
        assert errors(page) == []
