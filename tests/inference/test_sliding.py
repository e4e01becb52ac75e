"""Sliding windows against the evaluation loops of semseg and of Caffe, in plain NumPy."""

import math

import jax
import numpy as np
import pytest

from jaxseg.inference.sliding import Sliding
from jaxseg.inference.windows import cut_windows, make_axis, scaled_size

C = 5
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
CROP = (33, 41)


@pytest.fixture(scope="module")
def network(random_network):
    """A narrow PSPNet, its variables, and its compiled `apply`."""
    model, variables = random_network("pspnet_resnet50", C, depth=14, width=0.06)
    return model, variables, jax.jit(model.apply)


def photograph(size, seed=0):
    """Coloured patches with noise, so that interpolation and antialiasing matter."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-size[0] // 6), -(-size[1] // 5), 3))
    image = np.kron(coarse, np.ones((6, 5, 1)))[: size[0], : size[1]]
    return (image + rng.normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)


def opencv_resize(x, size):
    """Plain bilinear with half-pixel centres, one output at a time; float64 [H, W, C]."""
    for axis, m in enumerate(size):
        n = x.shape[axis]
        rows = []
        for i in range(m):
            at = min(max((i + 0.5) * n / m - 0.5, 0), n - 1)
            low = min(int(at), n - 1)
            high = min(low + 1, n - 1)
            t = at - low
            rows.append((1 - t) * np.take(x, low, axis) + t * np.take(x, high, axis))
        x = np.stack(rows, axis)
    return x


def matlab_resize(x, size):
    """`imresize(x, size, 'bilinear')`: antialiased when shrinking, with mirrored edges."""
    for axis, m in enumerate(size):
        n = x.shape[axis]
        scale = m / n
        h = min(scale, 1)
        rows = []
        for i in range(1, m + 1):
            u = i / scale + 0.5 * (1 - 1 / scale)
            left = math.floor(u - 1 / h)
            places = range(left, left + math.ceil(2 / h) + 2)
            weights = np.array([h * max(0, 1 - abs(h * (u - p))) for p in places])
            mirror = [*range(n), *range(n - 1, -1, -1)]
            total = 0
            for p, w in zip(places, weights / weights.sum(), strict=True):
                total = total + w * np.take(x, mirror[(p - 1) % (2 * n)], axis)
            rows.append(total)
        x = np.stack(rows, axis)
    return x


def scaled_and_padded(image, size, fill, caffe):
    """Resizes an image and pads it to at least a window; also returns its slices in the result."""
    scaled = (matlab_resize if caffe else opencv_resize)(np.float64(image), size)
    if caffe:
        scaled = np.floor(scaled + 0.5 + 1e-6)  # halves round up despite last-bit errors
    pads = [max(c - n, 0) for c, n in zip(CROP, size, strict=True)]
    before = [0, 0] if caffe else [p // 2 for p in pads]
    padded = np.tile(fill, (size[0] + pads[0], size[1] + pads[1], 1))
    inner = tuple(slice(b, b + n) for b, n in zip(before, size, strict=True))
    padded[inner] = scaled
    return padded, inner


def places(size):
    """The windows of the authors' loops, by row and column: a pair of slices for each."""
    strides = [math.ceil(c * 2 / 3) for c in CROP]
    grid = [math.ceil((n - c) / s) + 1 for n, c, s in zip(size, CROP, strides, strict=True)]
    found = {}
    for i, j in np.ndindex(*grid):
        bottom = min(i * strides[0] + CROP[0], size[0])
        right = min(j * strides[1] + CROP[1], size[1])
        found[i, j] = slice(bottom - CROP[0], bottom), slice(right - CROP[1], right)
    return found


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def brute_force(network, image, scales, base_size, flip, fusion):
    """The authors' loop over scales, rows and columns of windows, in float64."""
    model, variables, apply = network
    mean, std = (np.array(v) for v in (model.preprocessing.mean, model.preprocessing.std))
    caffe = fusion == "caffe"
    resize = matlab_resize if caffe else opencv_resize
    height, width = image.shape[:2]

    def process(window):
        x = ((window - mean) / std).astype(np.float32)
        mirrored = [x, x[:, ::-1]] if flip else [x]
        scores = [np.float64(apply(variables, v[None])[0]) for v in mirrored]
        if flip:
            scores[1] = scores[1][:, ::-1]
        return softmax(sum(scores)) if caffe else sum(map(softmax, scores)) / len(scores)

    total = np.zeros((height, width, C))
    for scale in scales:
        long = round(base_size * scale) + caffe
        size = [long, long]
        if height > width:
            size[1] = round(long / height * width)
        else:
            size[0] = round(long / width * height)
        padded, inner = scaled_and_padded(image, size, mean, caffe)
        maps, visits = np.zeros((*padded.shape[:2], C)), np.zeros(padded.shape[:2])
        for place in places(padded.shape[:2]).values():
            maps[place] += process(padded[place])
            visits[place] += 1
        result = resize((maps / visits[..., None])[inner], (height, width))
        total += result / result.sum(-1, keepdims=True) if caffe else result
    return total / len(scales)


@pytest.mark.parametrize("caffe", [False, True], ids=["semseg", "caffe"])
@pytest.mark.parametrize(
    ("size", "scale", "base_size"),
    [((87, 61), 0.5, 70), ((87, 61), 1.75, 70), ((50, 131), 0.8, 90), ((50, 131), 1.7, 90)],
)
def test_windows_and_how_their_maps_come_back(size, scale, base_size, caffe):
    """Random maps per window, averaged and resized to the image, strip by strip."""
    image = photograph(size)
    fill = np.array([120.0, 110.0, 100.0])
    scaled = scaled_size(size, scale, base_size, caffe)
    rows, columns = (make_axis(size[i], scaled[i], size[i], CROP[i], caffe=caffe) for i in (0, 1))
    padded, inner = scaled_and_padded(image, scaled, fill, caffe)
    rng = np.random.default_rng(0)
    sums, visits, maps = np.zeros((*padded.shape[:2], 2)), np.zeros(padded.shape[:2]), {}
    for (i, j), place in places(padded.shape[:2]).items():
        window = list(cut_windows(image, rows, columns, i, fill, caffe))[j]
        np.testing.assert_allclose(window, padded[place], rtol=0, atol=1e-4)
        maps[i, j] = rng.random((*CROP, 2))
        sums[place] += maps[i, j]
        visits[place] += 1
    assert max(maps) == (len(rows.starts) - 1, len(columns.starts) - 1)
    resize = matlab_resize if caffe else opencv_resize
    want = resize((sums / visits[..., None])[inner], size)
    got, height, length = np.zeros_like(want), 16, min(rows.reach(16, size[0]) + 2, CROP[0])
    for first in range(0, size[0], height):
        last = min(first + height, size[0])
        for i in rows.touched(first, last):
            begin, above = rows.part(i, first, last, length)
            for j in range(len(columns.starts)):
                left, right = columns.results(j)
                _, across = columns.part(j, left, right, CROP[1])
                part = np.einsum("ry,yxc->rxc", above, maps[i, j][begin : begin + length])
                got[first:last, left:right] += np.einsum("qx,rxc->rqc", across, part)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "flip", "scales", "size", "base_size"),
    [
        ("caffe", True, (0.75,), (43, 31), 40),
        pytest.param("caffe", True, (0.75, 1.5), (59, 43), 50, marks=pytest.mark.slow),
        pytest.param("semseg", True, SCALES, (87, 61), 72, marks=pytest.mark.slow),
        pytest.param("caffe", True, SCALES, (87, 61), 72, marks=pytest.mark.slow),
        pytest.param("semseg", False, (1.0,), (20, 75), None, marks=pytest.mark.slow),
        pytest.param("caffe", False, (0.8, 1.7), (50, 131), 90, marks=pytest.mark.slow),
    ],
)
def test_probabilities_are_those_of_the_authors_loops(
    network, fusion, flip, scales, size, base_size
):
    model, variables, _ = network
    image = photograph(size)
    sliding = Sliding(
        model, CROP, base_size=base_size, scales=scales, flip=flip, fusion=fusion, batch_size=8
    )
    got = sliding.probabilities(variables, image)
    want = brute_force(network, image, scales, base_size or max(size), flip, fusion)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    clear = np.sort(want, axis=-1)
    clear = clear[..., -1] - clear[..., -2] > 1e-4
    labels = sliding.labels(variables, image)
    assert labels.dtype == np.uint8 and clear.mean() > 0.99 and len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels[clear], want.argmax(-1)[clear])
