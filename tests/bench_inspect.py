"""Five tools count one forward pass; each total is explained from `inspect net`'s columns.

    python tests/bench_inspect.py [--write]

Needs torchinfo, fvcore, thop, ptflops and torchvision (pip install -e ".[bench]"). The same
torchvision module goes to every tool, batch 1, in one run. ``--write`` puts the table into
docs/inspect.md.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torchvision

from cnnapps.apps.inspect.peers import peers
from cnnapps.apps.inspect.torchtrace import trace_torch

NETS = {"resnet18": 224, "googlenet": 224, "alexnet": 224, "vgg11": 224, "mobilenet_v2": 224}
ROOT = Path(__file__).resolve().parent.parent


def build(name: str) -> torch.nn.Module:
    more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(**more).eval()


def _torchinfo(net: Any, x: torch.Tensor) -> int:
    import torchinfo

    return int(torchinfo.summary(net, input_data=x, verbose=0).total_mult_adds)


def _fvcore(net: Any, x: torch.Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(net, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def _thop(net: Any, x: torch.Tensor) -> int:
    import thop

    return int(thop.profile(net, (x,), verbose=False)[0])


def _ptflops(net: Any, x: torch.Tensor) -> int:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        net, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend="pytorch"
    )
    return int(macs)


def _torch(net: Any, x: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return int(counter.get_total_flops())


TOOLS = {
    "torchinfo": _torchinfo,
    "fvcore": _fvcore,
    "thop": _thop,
    "ptflops": _ptflops,
    "FlopCounterMode": _torch,
}


def measure() -> tuple[list[str], bool]:
    """The rows of the table, and whether every total is explained."""
    rows = ["| net | tool | its total | from our columns | CPU s |", "|---|---|---|---|---|"]
    good = True
    for name, side in NETS.items():
        begun = time.process_time()
        report = trace_torch(build(name), {"x": ((1, 3, side, side), torch.float32)}, name=name)
        spent = time.process_time() - begun
        macs = report.totals.macs
        rows.append(f"| {name} | **inspect net** | {macs:,} | MACs, exact | {spent:.2f} |")
        ours = {p.tool: p for p in peers(report)}
        for tool, count in TOOLS.items():
            net, x = build(name), torch.zeros(1, 3, side, side)
            begun = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                total = count(net, x)
            spent = time.process_time() - begun
            want = ours[tool]
            said = want.formula if want.total == total else f"NOT explained: {want.total:,}"
            good &= want.total == total
            rows.append(f"| | {tool} | {total:,} | {said} | {spent:.2f} |")
    return rows, good


def main() -> int:
    torch.set_num_threads(1)
    rows, good = measure()
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}"
        for p in ("torchinfo", "fvcore", "thop", "ptflops", "torch", "torchvision")
    )
    text = "\n".join(rows) + f"\n\n{versions}; one thread, the net built anew for each tool."
    print(text)
    if "--write" in sys.argv:
        page = ROOT / "docs" / "inspect.md"
        before, _, rest = page.read_text(encoding="utf-8").partition("<!-- peers -->")
        _, _, after = rest.partition("<!-- /peers -->")
        page.write_text(f"{before}<!-- peers -->\n{text}\n<!-- /peers -->{after}", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
