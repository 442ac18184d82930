import pytest
import torch

from inceptcli.data.pixels.normalization import normalize


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ((0.4, 0.5, 0.6), (0.2, 0.2, 0.3))]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_it_is_the_formula_and_leaves_the_images_alone(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype
) -> None:
    images = torch.arange(256).expand(2, 3, 1, 256).to(dtype).clone()
    found = normalize(images, mean, std)
    for channel in range(3):
        expected = (torch.arange(256) / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(found[1, channel, 0], expected, atol=1e-6, rtol=0)
    assert torch.equal(images, torch.arange(256).expand(2, 3, 1, 256).to(dtype))
