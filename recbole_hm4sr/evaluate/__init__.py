"""Ranks of the targets, groups of users and paired tests."""

from recbole_hm4sr.base.callable_room import make_callable

make_callable(__name__, "recbole_hm4sr.run.quick_start:evaluate")
