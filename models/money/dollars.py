"""Credits, as the provider counts them, in US dollars."""

from functools import lru_cache

_PER_USD = 2_000_000  # credits for $1 (https://docs.aimlapi.com/faq/credits)
_SUMS = 1024  # that are remembered: prices are few, and each job shows five sums


@lru_cache(_SUMS)
def usd(credits_: int) -> str:
    """Write credits in US dollars, exactly: "0.0455", "1.00"; two decimals at least, seven at most."""
    whole, rest = divmod(abs(credits_), _PER_USD)
    decimals = f"{rest * 10_000_000 // _PER_USD:07}".rstrip("0")  # a credit is $0.0000005
    return f"{'-' if credits_ < 0 else ''}{whole}.{decimals:0<2}"
