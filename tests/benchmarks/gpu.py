"""How fast is a training step on a GPU beside timm's? bfloat16, 299 pixels, eager and compiled.

    python -m tests.benchmarks.gpu [NETWORK ...] [--batch N ...] [--eager]

Of irv2-tf and iv4-tf, batches of 64, 128 and 256 unless others are given: time and peak memory of a
step, and which share of the roofline it reaches, whose rates of matrix products and of copies are
measured in the same run. The same weights, images, loss and optimizer (SGD with momentum; ours
fused, as in training); where logits differ there is no figure. Without CUDA it says so and
writes nothing. Needs inceptcli[bench]. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from inceptcli.networks.compiling import compile_stages
from inceptcli.networks.network import Network
from inceptcli.weights.file import load_network
from inceptcli.weights.foreign.importing import convert
from tests.benchmarks.comparison import in_turns, show, write

NETWORKS = {"irv2-tf": "inception_resnet_v2", "iv4-tf": "inception_v4"}
BATCHES, SIDE, ROUNDS = (64, 128, 256), 299, 10
LARGEST_DIFFERENCE = 1e-3
"""Of logits in float32, as a share of their deviation."""

BYTES = 2
LAST = torch.channels_last

Step = Callable[[], None]


class Roofline:
    """The least seconds of a step, by rates of large products and copies measured here."""

    def __init__(self, device: torch.device, side: int = 8192) -> None:
        one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in "ab")
        whole, copy = torch.empty(2, 64 * side, side // 16, device=device)
        self.multiply_adds = side**3 / _seconds(device, lambda: torch.mm(one, other))
        # A copy reads and writes.
        self.bandwidth = 2 * whole.nbytes / _seconds(device, lambda: copy.copy_(whole))

    def of(self, network: nn.Module, images: Tensor, trained: bool = True) -> float:
        """Convolutions three times (forward, for the input, for the weight), batch norms by bytes.

        Of what is not trained convolutions once, and no batch norms, which are folded into them.

        A batch norm reads its input twice and writes once; backward it reads input and gradient
        twice and writes once. What else there is could be part of these.
        """
        seconds = 0.0

        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal seconds
            if isinstance(module, nn.BatchNorm2d):
                seconds += trained * 8 * output.numel() * BYTES / self.bandwidth
            else:
                weight = module.get_parameter("weight")
                moved = (inputs[0].numel() + output.numel() + weight.numel()) * BYTES
                products = output.numel() * weight[0].numel() / self.multiply_adds
                seconds += (3 if trained else 1) * max(products, moved / self.bandwidth)

        kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
        hooks = [
            module.register_forward_hook(look)
            for module in network.modules()
            if isinstance(module, kinds)
        ]
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            network(images)
        for hook in hooks:
            hook.remove()
        return seconds


def _seconds(device: torch.device, run: Callable[[], object]) -> float:
    run()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(20):
        run()
    _wait(device)
    return (time.perf_counter() - begun) / 20


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def networks(peer: str, folder: Path) -> tuple[Callable[[], nn.Module], Callable[[], Network]]:
    """What builds timm's network and ours, with the same weights."""
    torch.manual_seed(0)
    source, ours = folder / "a.safetensors", folder / "b.safetensors"
    save_file(timm.create_model(peer).state_dict(), source)
    convert(source, ours)

    def build() -> Network:
        network, _ = load_network(ours)
        assert isinstance(network, Network)
        return network

    return lambda: timm.create_model(peer, checkpoint_path=str(source)), build


def step(network: nn.Module, images: Tensor, **settings: Any) -> Step:
    """Forward in bfloat16, backward, optimizer; done when the device has done it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, **settings)
    labels = torch.arange(len(images), device=images.device)
    network.train()

    def run() -> None:
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait(images.device)

    return run


def compare(
    peer: str,
    batch: int,
    device: torch.device,
    rounds: int = ROUNDS,
    side: int = SIDE,
    compiled: bool = True,
) -> tuple[Mapping[str, Any], Mapping[str, int], float]:
    """Seconds of the contestants, their peak bytes, and the least seconds of a step."""
    roofline = Roofline(device, 8192 if device.type == "cuda" else 1024)
    images = torch.randn(batch, 3, side, side, device=device)
    last = images.to(memory_format=LAST)
    with TemporaryDirectory() as folder:
        theirs, ours = networks(peer, Path(folder))
        made = [theirs().to(device), theirs().to(device).to(memory_format=LAST)]
        own = [ours().to(device).to(memory_format=LAST) for _ in range(2)]
    check([*made, *own], last[:8])
    least = roofline.of(own[0], last)
    steps = {
        "timm, as it comes": step(made[0], images),
        "timm, channels last": step(made[1], last),
        "ours": step(own[0], last, fused=True),
    }
    if compiled:
        compile_stages(own[1], device.type)
        del steps["timm, channels last"]
        whole: Any = torch.compile(made[1])
        steps["timm, channels last, compiled"] = step(whole, last)
        steps["ours, compiled"] = step(own[1], last, fused=True)
    memory = {}
    for name, run in steps.items():
        run()  # compiles
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            run()
            memory[name] = torch.cuda.max_memory_allocated(device)
    return in_turns(steps, rounds, time.perf_counter), memory, least


@torch.no_grad()
def check(contestants: Sequence[nn.Module], images: Tensor) -> None:
    """SystemExit where the networks, in evaluation mode, do not say the same."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = [network.eval()(images) for network in contestants]
    for logits in found[1:]:
        difference = float((logits - found[0]).abs().max() / found[0].std())
        if difference > LARGEST_DIFFERENCE:
            raise SystemExit(f"logits differ by {difference:.1e} of their deviation, no figures")


def main() -> None:
    """Compare, print."""
    if not torch.cuda.is_available():
        print("no CUDA device here: no figures")
        return
    arguments = ArgumentParser()
    arguments.add_argument("networks", nargs="*", default=[*NETWORKS])
    arguments.add_argument("--batch", nargs="+", type=int, default=BATCHES)
    arguments.add_argument("--eager", action="store_true")
    chosen = arguments.parse_args()
    device = torch.device("cuda")
    results: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for name in chosen.networks:
        peer = NETWORKS[name]
        for batch in chosen.batch:
            title = f"{name}, batch {batch}" + ", eager" * chosen.eager
            try:
                found, memory, least = compare(peer, batch, device, compiled=not chosen.eager)
            except torch.OutOfMemoryError:
                print(f"{title}: does not fit")
                results[title] = None
                continue
            finally:
                torch.compiler.reset()
                torch.cuda.empty_cache()
            show(title, found)
            shares = {who: least / row["seconds"]["median"] for who, row in found.items()}
            for who, share in shares.items():
                print(f"  {who:28} {memory[who] / 2**20:8.0f} MiB, {share:.2f} of the roofline")
            results[title] = {"contestants": found, "peak_bytes": memory, "roofline": shares}
            write("gpu_eager" if chosen.eager else "gpu", ("torch", "timm"), results)


if __name__ == "__main__":
    main()
