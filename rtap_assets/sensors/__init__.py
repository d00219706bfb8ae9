"""Sensors. The code server evaluates them side by side in threads."""

# Each would import this at its first statement; two threads at once can leave it half imported, and the tick fails.
import sqlalchemy.orm  # noqa: F401
