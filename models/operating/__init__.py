"""What an operator sees and does: the same for the API, the page and the commands; `now` is for a project.

Owns projects as a whole (listed, limited, suspended, deleted with all that is theirs), the state of the
installation on one page, how one project stands, what needs a person, and by what a person acts: pauses,
probes, charges.
Promises: what changes anything is written to the audit log with it. Never decides by itself.
"""

__all__ = ["attention", "charges", "emptying", "limits", "now", "state", "stops", "tenants"]
