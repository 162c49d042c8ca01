"""What a person sees in Temporal's web interface: its pages in a real browser."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from .browser import Browser, chromium, running
from .interface import filter_of
from .run import NotRunError

if TYPE_CHECKING:
    from .interface import WebInterface

_LOGIN = "Let's get you signed in"


def check_pages(web: WebInterface, namespace: str, secret: str, images: Path | None) -> None:
    """Look at the list of runs with a filter, and at a history whose payloads the codec server opens for the page.

    Without the token nothing is shown. The page itself sends the token to the codec server, as after a company's login.

    Args:
        web: The interface.
        namespace: The namespace.
        secret: The planted string.
        images: The folder for images of the pages; None for no images.

    Raises:
        NotRunError: There is no browser.
        AssertionError: A page does not show what a person should see.
    """
    program = chromium()
    if program is None:
        raise NotRunError("there is no Chromium; install it, for example with 'apt-get install chromium'")
    with (
        tempfile.TemporaryDirectory(prefix="strongroom-browser-") as folder,
        running(program, Path(folder), pin=web.certificate.pin) as browser,
    ):
        base = f"{web.url}/namespaces/{namespace}/workflows"
        workflow_id = f"two-activities-{secret}"
        filtered = f"{base}?{filter_of(secret)}"
        browser.open(filtered)
        browser.wait_for(_LOGIN)
        browser.open(f"{web.url}/demo")
        browser.wait_for("Namespaces")  # the page has read the token
        browser.open(filtered)
        listed = browser.wait_for(workflow_id)
        assert f"conversation-{secret}" not in listed, "the page lists a run that the filter leaves out"
        _image(browser, images, "list")
        browser.open(f"{base}/{quote(workflow_id)}")
        browser.wait_for(f"charged {secret}")  # the result of an activity, which is only in a payload
        _image(browser, images, "history")


def _image(browser: Browser, images: Path | None, name: str) -> None:
    if images is not None:
        browser.screenshot(images / f"{name}.png")
