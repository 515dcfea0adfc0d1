"""A storm: one hostile project does all that it may beside a quiet one, whose figures are compared.

    python -m tests.e2e.storm --jobs 50 --amount 400 --rate 10 --attacks hanging_origins pings
    python -m tests.e2e.storm --each --jobs 20        (which attack costs whom how much)

`play.py` reads as the whole story: the quiet project works alone (`quiet.py`), then beside the attacks
(`attacks.py`, and below HTTP `sockets.py`, one function each, in a process of their own: `attackers.py`),
and `Report` tells each figure as a ratio. An attack is whatever a project may do with a key of its
own, or a stranger without one; another one is a function and a line in `ATTACKS`.

All processes share one machine. The attackers take only what the others leave, each attack asks at a
stated pace at most (10 a second, some 120 with all of them), and a call takes 5 s. Still the attacks make
Darkroom work, and where all cores are taken everything is late, whoever takes them. So the control is the
quiet project alone on a stage of its own, while processes that have nothing to do with Darkroom take as
many more cores as the attacks made its roles take (`cores.py`): what is judged is the ratio to that one,
and the ratio to a machine that is idle is told beside it. Who else works on the machine is told, too.
Percentiles are of the jobs of all rounds together. Where others use the machine, so nice an attacker gets
no time at all: use `--nice 0` then, and trust only what it says of cores.
"""
