"""Comparisons: many runs under one protocol, and the tables of their results."""

from recbole_hm4sr.base.callable_room import make_callable

make_callable(__name__, "recbole_hm4sr.compare.frame:compare_frame")
