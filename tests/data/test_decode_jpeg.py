from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from inceptcli.data.pixels.decode import decode
from tests.data.test_decode import encoded, noise


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_pixels_that_pillow_gives(subsampling: str, progressive: bool) -> None:
    image = Image.fromarray(noise(41, 31))
    options = {"quality": 80, "subsampling": subsampling, "progressive": progressive}
    several = {"save_all": True, "append_images": [Image.fromarray(noise(20, 20))]}
    for file in (encoded(image, "JPEG", **options), encoded(image, "MPO", **options, **several)):
        np.testing.assert_array_equal(decode(file), np.asarray(Image.open(BytesIO(file))))


def test_exif_orientation_6_turns_a_wide_jpeg_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255
    pixels = decode(encoded(Image.fromarray(stored), "JPEG", exif=exif))
    assert pixels.shape == (32, 16, 3)
    assert pixels[:16].min() > 250
    assert pixels[16:].max() < 5


@pytest.mark.parametrize("before", [b"", b"\xff", b"\xff\xed\0\4\xff\xda", b"\xff\xe2\0\2"])
def test_exif_is_found_behind_other_segments(before: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    image = Image.fromarray(np.repeat([[[0] * 3], [[255] * 3]], 8, axis=0).astype(np.uint8))
    file = encoded(image, "JPEG", exif=exif)
    at = file.index(b"\xff\xe1")
    for jpeg, top in (
        (file, 255),
        (file[:at] + before + file[at:], 255),
        (encoded(image, "JPEG"), 0),
    ):
        assert abs(int(decode(jpeg)[0, 0, 0]) - top) < 10


def test_pillow_does_not_look_at_a_plain_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    file = encoded(Image.fromarray(noise()), "JPEG", dpi=(300, 300), icc_profile=bytes(300))
    monkeypatch.setattr(Image, "open", None)
    assert decode(file).shape == (40, 30, 3)
