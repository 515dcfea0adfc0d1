"""Run the simulator: `python -m deploy.simulator --port 8900 --key KEY`."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from deploy.simulator import scenarios
from deploy.simulator.app import serve
from deploy.simulator.config import Config

log = logging.getLogger("simulator")


def main() -> int:
    """Serve until SIGTERM or SIGINT; 2 when the settings cannot be."""
    try:
        config = Config(**vars(_arguments().parse_args()))
    except ValueError as wrong:
        print(f"simulator: {wrong}", file=sys.stderr)  # the command's own output
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    log.info("a stand-in for AIML API: no model runs here and no money moves")
    asyncio.run(_serve(config))
    return 0


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serve(config) as running:
        print(f"simulator listening on {running.url}", flush=True)  # what starters wait for
        await stop.wait()


def _arguments() -> argparse.ArgumentParser:
    of = Config()
    parser = argparse.ArgumentParser(
        prog="python -m deploy.simulator",
        description="A stand-in for AIML API, with pretend money. Durations are seconds.",
    )
    add = parser.add_argument
    add("--host", default=of.host)
    add("--port", type=int, default=of.port, help="0 takes a free one")
    add("--data", type=Path, help="a folder to remember everything in; without it, memory only")
    add("--key", default=of.key)
    add("--latency", type=float, default=of.latency)
    add(
        "--spread",
        type=float,
        default=of.spread,
        help="of the latency, give or take: a share, 0 to 1",
    )
    add("--rates", type=_rates, default={}, help='shares of all calls: "504_charged=0.1,500=0.2"')
    add("--log-lag", type=float, default=of.log_lag, help="how late /v2/logs shows a call")
    add("--charge-lag", type=float, default=of.charge_lag, help="how late a charge is shown")
    add("--limit", type=int, help="calls in flight before a 429; without it, no limit")
    add("--balance-usd", type=float, default=of.balance_usd, help="of a new --data only")
    add("--price", type=int, default=of.price, help="credits a call")
    add("--public-url", help="in image URLs; without it, the host that was asked")
    add("--seed", type=int, default=of.seed, help="of the dice behind --rates")
    add("--pictures", choices=("drawn", "stamped"), default=of.pictures)
    return parser


def _rates(text: str) -> dict[str, float]:
    try:
        return scenarios.read_rates(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


if __name__ == "__main__":
    sys.exit(main())
