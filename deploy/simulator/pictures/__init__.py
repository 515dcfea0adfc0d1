"""The pictures: what each is drawn from, the drawing itself, and two references to try editing with.

Remembers parameters, never bytes: a picture is drawn whenever it is asked for, the same each time.
"""

from deploy.simulator.pictures.images import Images, Picture

__all__ = ["Images", "Picture", "drawing", "references"]
