"""Searches for settings: spaces, trials, engines."""

from recbole_hm4sr.base.callable_room import make_callable

make_callable(__name__, "recbole_hm4sr.tune.command:tune_model")
