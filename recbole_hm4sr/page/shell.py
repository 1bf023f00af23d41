"""Fill a template: one HTML file with its style and script inside, which opens without a network.

All text is escaped, and the page's own rules (its content security policy) let no other script run
than the one that belongs to it.
"""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(room: str, template: str, **values: Any) -> str:
    """A page of a room's template, which extends ``base.html`` of this room.

    Args:
        room: Folder of the package that holds the template, as ``report``.
        template: Its name.
        **values: What it shows; ``title`` and ``sections`` always.
    """
    rooms = [PackageLoader("recbole_hm4sr", name) for name in (room, "page")]
    environment = Environment(
        loader=ChoiceLoader(rooms),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = resources.files("recbole_hm4sr.page")
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("style.css", "script.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    page = environment.get_template(template)
    return page.render(style=style, script=script, script_digest=digest, **values)
