from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from inceptcli.data.decode import decode
from tests.data.test_decode import encoded, noise


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_pixels_that_pillow_gives(subsampling: str, progressive: bool) -> None:
    image = Image.fromarray(noise(41, 31))
    jpeg = encoded(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(decode(jpeg), np.asarray(Image.open(BytesIO(jpeg))))
