"""What can be seen of a host from outside: the log, and the seam for instruments.

Nothing is printed unless asked for: records go to the standard logger ``guesthouse``, instruments are
called only where somebody added one.
"""

from guesthouse.observe.instruments import Instrument, Instruments, LogInstrument
from guesthouse.observe.logs import configure, log

__all__ = ["Instrument", "Instruments", "LogInstrument", "configure", "log"]
