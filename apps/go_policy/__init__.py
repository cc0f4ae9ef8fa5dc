"""The next move of strong Go players: AlphaGo's policy network (Nature 2016) as a tool."""

from cnnapps.apps.go_policy.predict import Candidate, GoPredictor, GoResult, Position, load

__all__ = ["Candidate", "GoPredictor", "GoResult", "Position", "load"]
