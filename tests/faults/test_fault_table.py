"""Every row of the table of faults: one sentence, exit code 2, and nothing half written."""

import pytest
import rows_atomic
import rows_commands
import rows_features
import rows_later
import rows_runs
import rows_settings
from faultkit import TRAIN, assert_refused

from recbole_hm4sr import cli

pytestmark = pytest.mark.integration
MODULES = (rows_atomic, rows_features, rows_settings, rows_runs, rows_commands, rows_later)
FAULTS = [fault for module in MODULES for fault in module.FAULTS]


def test_the_table_has_at_least_120_rows_each_of_its_own_name():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 120


def test_the_place_is_sound_before_it_is_broken(place):
    with pytest.raises(SystemExit, match="0"):
        cli.main(TRAIN)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--resume=done"])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_one_sentence_and_exit_code_2(fault, place, capsys):
    assert_refused(fault, place, capsys)
    assert not (place / "trap-was-sprung").exists()
