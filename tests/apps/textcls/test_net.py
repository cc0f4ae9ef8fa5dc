"""Kim's net: the paper's numbers, the two ways to compute it, and independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.textcls.context import ContextCNN, Layer, quantise
from cnnapps.apps.textcls.net import Int8Table, KimCNN, WordTable, max_norm
from cnnapps.apps.textcls.start import floats_of

UNITS, DIMENSIONS = 60, 12


def make(seed: int = 0, **options: object) -> KimCNN:
    torch.manual_seed(seed)
    arguments = {"units": UNITS, "dimensions": DIMENSIONS, "classes": 3, "maps": 7, **options}
    net = KimCNN(**arguments)  # type: ignore[arg-type]
    net.table.load(torch.randn(UNITS, DIMENSIONS))
    return net.eval()


def padded(texts: list[list[int]]) -> torch.Tensor:
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    return ids


texts_of_ids = st.lists(
    st.lists(st.integers(1, UNITS - 1), min_size=1, max_size=15), min_size=1, max_size=6
)


def test_parameter_count_is_the_papers() -> None:
    """300 x (3 + 4 + 5) x 100 filter weights, 300 biases, 2 x 300 + 2 of the output (section 2)."""
    net = KimCNN(units=1000, dimensions=300, classes=2)
    parts = {n: p.numel() for n, p in net.named_parameters()}
    assert sum(v for n, v in parts.items() if n.startswith("filters")) == 360_000 + 300
    assert parts["output.weight"] + parts["output.bias"] == 602
    assert parts["table.weight"] == 300_000


def test_forward_equals_the_definition() -> None:
    """c_i = relu(w . x[i : i + h] + b), feature = max_i c_i, by plain loops over one sentence."""
    net = make(widths=(2, 3))
    text = [5, 9, 1, 30]
    x = net.table(torch.tensor(text)).detach().numpy()
    features = []
    for h, block in zip(net.widths, net.filters, strict=True):
        w, b = (t.detach().numpy() for t in (block.conv.weight, block.conv.bias))
        wide = np.concatenate([np.zeros((h - 1, DIMENSIONS)), x, np.zeros((h - 1, DIMENSIONS))])
        rows = [
            [float((wide[i : i + h].T * w[f]).sum() + b[f]) for f in range(len(b))]
            for i in range(len(wide) - h + 1)
        ]
        features.append(np.maximum(np.array(rows).max(0), 0))
    want = net.output(torch.from_numpy(np.concatenate(features)).float())
    got = net(torch.tensor([text]))[0]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(texts_of_ids, st.booleans())
def test_predict_equals_forward(texts: list[list[int]], bottleneck: bool) -> None:
    net = make(bottleneck=6 if bottleneck else 0, widths=(1, 3, 5))
    ids = padded(texts)
    words, tokens = torch.unique(ids, return_inverse=True)
    if words[0] != 0:
        words, tokens = torch.cat([torch.zeros(1, dtype=torch.long), words]), tokens + 1
    length = torch.tensor([len(t) for t in texts])
    logits, _ = net.predict(words, tokens, length, torch.ones(len(texts), 2, dtype=torch.long))
    torch.testing.assert_close(logits, net(ids), atol=1e-5, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(texts_of_ids)
def test_a_text_scores_the_same_alone_and_in_a_batch(texts: list[list[int]]) -> None:
    net = make()
    for block in net.filters:  # positive biases: padding-only windows would show
        torch.nn.init.constant_(block.conv.bias, 3.0)
    together = net(padded(texts))
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(net(torch.tensor([text]))[0], row, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, UNITS - 1), min_size=12, max_size=40),
    st.integers(8, 11),
)
def test_features_of_overlapping_pieces_are_the_features_of_the_whole(
    text: list[int], size: int
) -> None:
    net = make(widths=(3, 4, 5))
    words = torch.arange(UNITS)

    def features(piece: list[int], first: int, last: int) -> torch.Tensor:
        edges = torch.tensor([[first, last]])
        return net.predict(words, torch.tensor([piece]), torch.tensor([len(piece)]), edges)[1]

    step = size - 4
    starts = list(range(0, max(1, len(text) - 4), step))
    pieces = [text[s : s + size] for s in starts]
    parts = [features(p, int(i == 0), int(i == len(pieces) - 1)) for i, p in enumerate(pieces)]
    torch.testing.assert_close(torch.stack(parts).amax(0), features(text, 1, 1))


def test_multichannel_is_the_sum_of_both_copies() -> None:
    net = make(multichannel=True)
    table = net.table
    assert isinstance(table, WordTable)
    torch.testing.assert_close(table.frozen, table.weight.detach())
    ids = torch.tensor([[3, 4, 5]])
    static, tuned = F.embedding(ids, table.frozen), F.embedding(ids, table.weight)
    for block in net.filters:
        conv = block.conv
        both = F.conv1d(static.mT, conv.weight, conv.bias, padding=conv.padding)
        both = both + F.conv1d(tuned.mT, conv.weight, padding=conv.padding)
        torch.testing.assert_close(both, conv(table(ids).mT), atol=1e-5, rtol=1e-5)


def test_padding_row_stays_zero_through_training() -> None:
    net = make().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    net(torch.tensor([[4, 5, 0], [6, 0, 0]])).sum().backward()
    optimizer.step()
    assert not net.table.weight[0].any()


def test_words_outside_training_keep_their_vectors() -> None:
    net = make(tuned=10).train()
    before = net.table.rows()[10:].clone()
    net(torch.tensor([[4, 5, 6]])).sum().backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    torch.testing.assert_close(net.table.rows()[10:], before, rtol=0, atol=0)


def test_int8_table_error_is_within_half_a_step() -> None:
    vectors = torch.randn(50, 40)
    vectors[7] = 0
    table = Int8Table(50, 40)
    table.load(vectors)
    got = table(torch.arange(50))
    assert not got[0].any() and not got[7].any()
    step = vectors.abs().amax(1, keepdim=True) / 127
    assert ((got - vectors)[1:].abs() <= 0.51 * step[1:] + 1e-6).all()


def test_max_norm_limits_each_class_row() -> None:
    net = make()
    torch.nn.init.normal_(net.output.weight, std=5.0)
    small = net.output.weight[0].detach().clone() / net.output.weight[0].norm()
    with torch.no_grad():
        net.output.weight[0] = small
    max_norm(net, 3.0)
    norms = net.output.weight.norm(dim=1)
    assert (norms <= 3.0 + 1e-5).all()
    torch.testing.assert_close(net.output.weight[0], small)


def test_compiles_without_graph_breaks() -> None:
    net = make()
    ids = torch.tensor([[4, 5, 6, 7], [8, 9, 0, 0]])
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids), net(ids))


def test_a_layer_of_the_encoder_is_torch_s_transformer_layer() -> None:
    layer = Layer(24, 4, 48, int8=False, dropout=0.0)
    other = torch.nn.TransformerEncoderLayer(
        24, 4, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    state = {
        "self_attn.in_proj": layer.qkv, "self_attn.out_proj": layer.out, "linear1": layer.up,
        "linear2": layer.down, "norm1": layer.norm1, "norm2": layer.norm2,
    }  # fmt: skip
    other.load_state_dict({
        f"{name}{'_' if name.endswith('in_proj') else '.'}{part}": getattr(module, part)
        for name, module in state.items() for part in ("weight", "bias")
    })  # fmt: skip
    x = torch.randn(3, 7, 24)
    mask = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    bias = torch.where(mask, 0.0, -1e4)[:, None, None, :]
    wanted = other(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(layer(x, bias)[mask], wanted[mask], atol=1e-5, rtol=1e-4)


def test_context_net_ignores_padding_and_survives_quantisation() -> None:
    torch.manual_seed(0)
    arguments = {
        "units": 50, "classes": 2, "width": 24, "layers": 2, "heads": 3, "inner": 48, "maps": 6,
    }  # fmt: skip
    net = ContextCNN(**arguments).eval()  # type: ignore[arg-type]
    for p in net.encoder.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.3)
    texts = [[2, 7, 8, 3], [2, 9, 3], [2, 11, 12, 13, 14, 15, 3]]
    together = net(padded(texts))
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(net(torch.tensor([text]))[0], row, atol=1e-5, rtol=1e-5)
    small = quantise(net, arguments)
    assert small.encoder.layers[0].qkv.codes.dtype == torch.int8
    assert (small(padded(texts)) - together).abs().max() < 0.1 * together.abs().max()
    again = ContextCNN(**arguments).eval()  # trained further, an exported net is in float again
    again.load_state_dict(floats_of({k: v.numpy() for k, v in small.state_dict().items()}))
    assert (again(padded(texts)) - small(padded(texts))).abs().max() < 1e-5


@pytest.mark.parametrize("table", ["float16", ""])
def test_unknown_table_kind_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="neither float nor int8"):
        make(table=table)
