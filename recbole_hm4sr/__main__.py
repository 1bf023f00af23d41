"""``python -m recbole_hm4sr``: the command ``hm4sr`` where scripts are not on the path."""

from recbole_hm4sr.cli import main

main()
