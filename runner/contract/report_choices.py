"""What may be chosen about a job's report, in a request, beside its notebook, and in settings."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_TITLE = 200
Theme = Literal["auto", "light", "dark"]


class ReportChoices(BaseModel):
    """Choices for the report of a job. What is not chosen is None."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    code: Literal["hide", "show"] | None = Field(None, description="Whether its code is shown.")
    title: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_TITLE,
        description="Its title; default the notebook's first heading, or the job's name.",
    )
    theme: Theme | None = Field(
        None, description="`auto`, as the reader's screen is, `light` or `dark`."
    )
    figures: Literal["still", "live"] | None = Field(
        None,
        description="Whether figures that scripts draw are drawn, in frames without a network.",
    )


def first_of(choices: Iterable[ReportChoices]) -> ReportChoices:
    """Put choices together: for each key the first that was made counts."""
    made: dict[str, object] = {}
    for one in choices:
        made = {**one.model_dump(exclude_none=True), **made}
    return ReportChoices.model_validate(made)
