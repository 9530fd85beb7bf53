"""How every script ends."""

import asyncio
import os
import sys


def run(main) -> None:
    """Runs the coroutine function `main`; an exception fails the script as usual.

    The client's own threads may still be at work when the interpreter shuts down, and then it
    aborts the process now and then. What is tested is over by that time, so the process ends
    without shutting the interpreter down."""
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)
