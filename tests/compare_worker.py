"""``hm4sr compare`` whose runs train nothing: each waits a moment and writes metrics of its seed.

``python compare_worker.py <words of compare>``. All is copied from the run that ``HM4SR_RUN`` names
but the metrics; the run that takes away the file that ``HM4SR_HANGS`` names waits for ever.
"""

import sys

from recbole_hm4sr import cli
from recbole_hm4sr.compare import runner

# A process of its own, as the runner starts it: it ends with its standard input.
runner._WORKER = """
import json, os, shutil, sys, threading, time
sys.path[:] = json.loads(sys.argv.pop(1))
from pathlib import Path
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
folder, template = Path(sys.argv[1]), Path(os.environ["HM4SR_RUN"])
try:
    os.rename(os.environ.get("HM4SR_HANGS", "nothing"), folder / "hangs")
    time.sleep(600)
except FileNotFoundError:
    pass
seed = json.loads((folder / "cell.json").read_text())["seed"]
time.sleep(0.3)
(folder / f"run-by-{os.getppid()}-{os.getpid()}").touch()
values = {"ndcg@10": seed / 100, "mrr@10": seed / 200}
names = ("test_include", "test_exclude", "valid", "test")
metrics = {**json.loads((template / "metrics.json").read_text()), **dict.fromkeys(names, values)}
shutil.copy(template / "test_ranks.npz", folder)
(folder / "metrics.json").write_text(json.dumps(metrics))
"""

if __name__ == "__main__":
    sys.exit(cli.main(["compare", *sys.argv[1:]]))
