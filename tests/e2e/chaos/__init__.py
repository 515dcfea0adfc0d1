"""The chaos suite: the whole stack under load, with every fault of a seed, and then the books.

    python -m tests.e2e.chaos --jobs 300 --kills 15 --seed 7

`play.py` reads as the whole story. Clients submit, wait and cancel (`load.py`); the director injects what
`plan.py` drew from the seed (`faults.py`); an orchestrator starts again what died (`company.py`). Then
`report.py` compares the database with those who saw it from outside: the simulator's log of calls and
money, the receiver's log of webhooks, what the clients were told, and a trigger that wrote down every
move of a job (`moves.py`).
"""
