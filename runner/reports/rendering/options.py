"""What a report shows of a notebook. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args

Form = Literal["html", "md", "pdf"]
FORMS: tuple[Form, ...] = get_args(Form)
"""The formats of a report, the usual one first."""


@dataclass(frozen=True)
class ReportOptions:
    """How a job is reported. `code`: whether its code is shown; `theme`: `auto`, `light`, `dark`.

    `title` is the chosen one; without one, the notebook's first heading or else the job's `name`
    is. `about` is the line below it. `is_live`: whether scripts draw figures, each in a frame; the
    address of one is `frames` and its number.
    """

    form: str = "html"
    code: bool = False
    theme: str = "auto"
    title: str = ""
    name: str = ""
    about: str = ""
    is_live: bool = False
    frames: str = ""
