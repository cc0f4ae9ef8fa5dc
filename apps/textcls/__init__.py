"""Text classification with Kim's convolutional network (EMNLP 2014)."""

from cnnapps.apps.textcls.predict import Contribution, TextPredictor, TextResult, load

__all__ = ["Contribution", "TextPredictor", "TextResult", "load"]
