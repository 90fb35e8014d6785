"""What stands beside the boards while a station runs: live state file, page, results.

    async with shop_floor(config, live, notice) as results:
        await run_ports(config, ports, plan, fan_out(live, results, shown))

None of it can hold a board up or change a verdict. What cannot start is said before the first board.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from agent.adapters.checks.state import check_alone
from agent.adapters.journal.schema import FILE_NAME as JOURNAL
from agent.adapters.results.desk import ResultsDesk
from agent.adapters.shown.live_state import LiveFile, LiveState
from agent.config import Config
from agent.core.events import Progress


@asynccontextmanager
async def shop_floor(
    config: Config, live: LiveState, notice: Callable[[str], None]
) -> AsyncIterator[Progress]:
    """Opens all of it. Yields what must be told of results.

    Raises:
        ConfigError: another station works in the folder, the page's address is taken, or the folder of the
            results is not there.
        AgentError: results of an earlier run cannot be written.
    """
    check_alone(config)  # before this one's live state takes the other's place
    async with AsyncExitStack() as stack:
        if config.page is not None:
            # aiohttp is 5 MB that a station without a page does not need.
            from agent.adapters.shown.page.server import PageServer  # noqa: PLC0415

            await stack.enter_async_context(PageServer(config.page, live, config.state / JOURNAL))
        await stack.enter_async_context(LiveFile(config.state, live, certificate=config.signerd.certificate))
        yield await stack.enter_async_context(ResultsDesk(config, notice))
