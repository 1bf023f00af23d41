"""Train, test and report one run: ``python run_hm4sr.py --model=HM4SR --dataset=sports``."""

from recbole_hm4sr.cli import main_train

main_train()
