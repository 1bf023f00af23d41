"""Settings that no result depends on may change while a run lasts."""

import json

from recbole_hm4sr.config.compose import FLAGS_ONLY
from recbole_hm4sr.config.fingerprint import OF_THE_MACHINE, settings_hash
from recbole_hm4sr.train.checkpoint_folder import settings_to_meet


def test_a_run_goes_on_with_other_settings_of_the_machine():
    """Among them all that a run's folder cannot set, since reading it leaves them out."""
    assert set(OF_THE_MACHINE) >= FLAGS_ONLY
    values = dict.fromkeys(OF_THE_MACHINE, "here")
    assert json.loads(settings_to_meet({**values, "seed": 7})) == {"seed": 7}
    hashes = {settings_hash("M", "d", "x", dict.fromkeys(OF_THE_MACHINE, v)) for v in ("a", "b")}
    assert len(hashes) == 1
