"""A storm: one hostile project does all that it may beside a quiet one, whose figures are compared.

    python -m tests.e2e.storm --jobs 60 --amount 400 --rate 10 --attacks hanging_origins pings

`play.py` reads as the whole story: the quiet project works alone (`quiet.py`), then beside the attacks
(`attacks.py`, and below HTTP `sockets.py`, one function each, in a process of their own: `attackers.py`),
and `Report` tells each figure as a ratio. An attack is whatever a project may do with a key of its
own, or a stranger without one; another one is a function and a line in `ATTACKS`.

All processes share one machine, whose cores the attackers take too, and the pictures of the jobs that are
made. So a figure is about Darkroom as long as these leave some: each attack asks at a stated pace (10 a
second, some 120 with all of them), a call takes 5 s, and what the machine itself costs is told by the
control: `--attacks nobody_home` asks at the same pace for what there is not.
"""
