"""What a report shows of a notebook. Pure."""

from dataclasses import dataclass
from typing import Literal

Form = Literal["html", "md"]


@dataclass(frozen=True)
class ReportOptions:
    """How a job is reported. `code`: whether its code is shown; `theme`: `auto`, `light`, `dark`.

    `title` and `about`, the line below it, are of the job.
    """

    form: str = "html"
    code: bool = False
    theme: str = "auto"
    title: str = ""
    about: str = ""
