"""Train, test and report one run: ``python run_hm4sr.py --model=HM4SR --dataset=sports``."""

from recbole_hm4sr.__main__ import main

main("train")
