"""A process of a training by scripts/train.py looking whether it still belongs to a group: train_and_look.py RECIPE"""

import sys

import torch
from tiny_release import load_command

load_command("train").main(sys.argv[1:])
if torch.distributed.is_initialized():
    raise SystemExit("error: the process ends with its group open")
