"""What a call to a model costs, as far as it is known, and what of it follows from its input.

The provider quotes one price for an image, or a price for each combination of some fields (`variants`). Of
the second kind the dearest that an input may come to is held: the variants whose fields it names, or, where
it names none of them whole, the dearest of all. What it quotes neither of may be called within an
`allowance` that the operator has set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

_CLOSE = 10  # a told price may differ from the published one by a tenth of it


@dataclass(frozen=True, slots=True)
class Variant:
    """The price in credits of an input with these fields."""

    when: Mapping[str, object] = field(hash=False)
    credits: int

    def dump(self) -> dict[str, object]:
        """Return what `of_row` reads."""
        return {"when": dict(self.when), "credits": self.credits}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model's price: what the provider publishes, and what its charges have taught.

    `published` is the dearest of `variants`, where there are some. `allowance` is what the operator lets
    a call cost whose price cannot be told ahead; None where one is published.
    """

    published: int
    taught: int | None = None
    variants: tuple[Variant, ...] = ()
    allowance: int | None = None

    @property
    def present(self) -> int:
        """What is held for a call, whatever is asked for."""
        return max(self.published, self.taught or 0)

    def of(self, given: Mapping[str, object]) -> int:
        """Return what is held for a call with this input."""
        fitting = [each.credits for each in self.variants if each.when.items() <= given.items()]
        return max(max(fitting, default=self.published), self.taught or 0)

    def believes(self, told: int, *, held: int) -> bool:
        """Judge whether an answer's own price may be booked before the provider's books confirm it."""
        close = abs(told - self.published) * _CLOSE <= self.published
        return told > 0 and (close or told in {held, self.taught} or self.expects(told))

    def expects(self, charged: int) -> bool:
        """Return whether a charge is what some input costs, so that it teaches nothing new."""
        within = self.allowance is not None and 0 < charged <= self.allowance
        return within or any(each.credits == charged for each in self.variants)
