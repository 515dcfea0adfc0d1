"""The operator's commands: what `python -m models COMMAND` does, a file for each noun.

Each file adds its commands to the parser, with the function that carries one out and returns what to print.
Promises: a command does one thing in a short transaction, and a refusal is one line. Needs neither Redis
nor a doorbell: what it changes is found within a tick.
"""

__all__ = ["command", "parsing"]
