"""The last step of a run that is to have a page: ask the model, then write ``report.html``."""

from typing import TYPE_CHECKING

from recbole_hm4sr.report.model_facts import write_facts
from recbole_hm4sr.report.page import write_report

if TYPE_CHECKING:
    from recbole_hm4sr.run.parts import RunParts


def report_run(session: "RunParts") -> None:
    """Write ``report.json`` and ``report.html`` of a run; handed to ``run`` as ``on_finish``.

    Args:
        session: The run, with its model at the best epoch and its results written.

    Raises:
        WriteError: If a file cannot be written.
    """
    write_facts(session)
    write_report(session.run_dir)
