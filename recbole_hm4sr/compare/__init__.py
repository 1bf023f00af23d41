"""Many runs, one protocol: every cell of a grid run once, and the tables that compare them."""

from recbole_hm4sr.base.callable_room import make_callable

make_callable(__name__, "recbole_hm4sr.compare.command:compare_grid")
