"""Which browser tests the gallery's page: Debian's chromium, or a Chrome, driven by playwright."""

import shutil
from importlib.util import find_spec

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = (
    ""
    if CHROMIUM and find_spec("playwright")
    else "no Chromium, or no playwright (make browser-test installs one where it may)"
)
