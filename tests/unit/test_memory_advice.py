"""What is said to a run that took more memory than it may: what can be done at all."""

import pytest

from runner.contract.request import Resources
from runner.execution.job.diagnosis import Circumstances, _memory
from runner.execution.job.guard import MEMORY
from runner.execution.limits.hold import RunLimits, limits_of


@pytest.mark.parametrize(
    ("own_mb", "said"),
    [
        (None, "or raise limits.memory_mb in the settings and start the runner again."),
        (100, "or raise `resources.memory_mb` in the request, up to limits.memory_mb (200)."),
        (200, "start the runner again, then raise `resources.memory_mb` in the request."),
        (300, "or raise `resources.memory_mb` in the request."),
    ],
)
def test_advice_on_memory_leads_to_more(own_mb: int | None, said: str) -> None:
    """Who has as much as may be had is led to the setting; a cluster's worker may have more."""
    limits = limits_of(RunLimits(memory_mb=200), Resources(memory_mb=own_mb))
    known = Circumstances(MEMORY, 60, limits, peak=0, is_out_of_files=False)
    assert _memory(known).endswith(said)
