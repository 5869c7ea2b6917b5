"""The HTTP side of Faasm behind the gateway: planner messages and the upload server (spec faasm 6)."""

from guesthouse.server.faasm.planner import PlannerApi
from guesthouse.server.faasm.uploads import FaasmUploads

__all__ = ["FaasmUploads", "PlannerApi"]
