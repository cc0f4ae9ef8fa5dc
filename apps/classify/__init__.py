"""What is in a picture: 1000 ImageNet classes, digits, or classes of your own."""

from cnnapps.apps.classify.predict import Classifier, ClassResult, Guess, load
from cnnapps.apps.classify.read import DigitReader, DigitsResult, load_digits

__all__ = [
    "ClassResult",
    "Classifier",
    "DigitReader",
    "DigitsResult",
    "Guess",
    "load",
    "load_digits",
]
