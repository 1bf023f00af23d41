"""From raw material to the files a run reads: samples, encoders."""

from recbole_hm4sr.base.callable_room import make_callable

make_callable(__name__, "recbole_hm4sr.prepare.command:prepare")
