from tests.prediction.conftest import pictures as pictures
from tests.prediction.conftest import weights as weights
