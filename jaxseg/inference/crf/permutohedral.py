"""Gaussian sums over many points at once, on the permutohedral lattice (Adams et al. 2010)."""

import itertools
import math

import numpy as np
from scipy import sparse

from jaxseg.errors import InputError


class Lattice:
    """The sums `y[i] = sum_j exp(-|f[i] - f[j]|² / 2) x[j]`, approximately, in time linear in N.

    Space is tiled with simplices whose vertices are the points of the lattice A*_d. Each point adds
    its value to the d + 1 vertices of its simplex (splat), values are blurred with (1/2, 1, 1/2)
    along the d + 1 directions of the lattice, and each point reads from its simplex (slice).
    Together these steps approximate a Gaussian of standard deviation 1. Vertices exist only in the
    simplices of points; the blur does not pass through missing vertices.

    The accuracy depends on the points. For 1200 normally distributed points in 1, 2 and 5
    dimensions, the mean error of a sum is 1, 2 and 11 %, and larger for isolated points. After
    division by the sum for x = 1, it is much smaller: 0.0003, 0.0007 and 0.004 for x in 0..1. For
    the positions and colours of an image, many vertices are missing: sums are 20 to 30 % too low,
    and the quotients have errors of 0.002 to 0.02.

    Args:
      features: [N, d] floating point, in units of the Gaussian's standard deviation.

    Raises:
      InputError: the points span too many standard deviations to number the vertices in 64 bits.

    >>> near, far = [0.0, 0.0], [50.0, 0.0]
    >>> sums = Lattice(np.array([near, near, far]))(np.array([[1.0], [2.0], [4.0]], np.float32))
    >>> sums.shape, bool(sums[0] == sums[1])
    ((3, 1), True)
    """

    def __init__(self, features: np.ndarray):
        count, d = features.shape
        vertices, weights = _simplices(np.asarray(features, np.float64))
        codes, strides = _numbered(vertices)
        codes, owner = np.unique(codes, return_inverse=True)
        rows = np.arange(0, count * (d + 1) + 1, d + 1)
        shape = (count, len(codes))
        self._slice = sparse.csr_array(
            (weights.astype(np.float32).ravel(), owner.ravel(), rows), shape
        )
        self._splat = self._slice.T.tocsr()
        self._blurs = [_blur(codes, step) for step in _steps(strides)]
        # A vertex covers the volume `cell`; a Gaussian of std 1 has the integral (2 pi) ** (d / 2).
        cell = (d + 1) ** (d - 0.5) / _spread(d) ** d
        self._scale = np.float32((2 * math.pi) ** (d / 2) / (2 ** (d + 1) * cell))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Maps [N, C] float32 to the sums, [N, C] float32."""
        x = self._splat @ values
        for blur in self._blurs:
            x = blur @ x
        return (self._slice @ x) * self._scale


def _spread(d: int) -> float:
    """The factor on coordinates that gives the blur a standard deviation of 1."""
    return math.sqrt(2 / 3) * (d + 1)


def _simplices(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the simplex of each point.

    Points are mapped to the hyperplane of d + 1 coordinates with sum 0. Each simplex has one vertex
    of each remainder 0, ..., d: dividing any coordinate of that vertex by d + 1 leaves this
    remainder. The first vertex is the nearest point of remainder 0. The order of the coordinates'
    distances from it determines the other vertices.

    Returns:
      The vertices [N, d + 1, d] int64, without their last coordinate, and their barycentric
      coordinates, the shares of the point's value, [N, d + 1] float64 with sum 1.
    """
    d = features.shape[1]
    basis = np.triu(np.ones((d + 1, d))) - np.diag(np.arange(1.0, d + 1), -1)[:, :d]
    basis /= np.linalg.norm(basis, axis=0)
    points = features @ (basis.T * _spread(d))

    nearest = np.rint(points / (d + 1)) * (d + 1)
    rank = np.argsort(np.argsort(nearest - points, axis=1, kind="stable"), axis=1, kind="stable")
    rank += (nearest.sum(1, keepdims=True) / (d + 1)).round().astype(rank.dtype)
    turn = (rank < 0).astype(rank.dtype) - (rank > d)  # moves it back onto the hyperplane
    rank += turn * (d + 1)
    nearest += turn * (d + 1)

    away = np.empty_like(points)  # distances from the nearest vertex, the largest first
    np.put_along_axis(away, rank, (points - nearest) / (d + 1), axis=1)
    first = 1 + away[:, -1:] - away[:, :1]
    weights = np.concatenate([first, -np.diff(away, axis=1)[:, ::-1]], axis=1)

    k = np.arange(d + 1)
    moves = np.where(k[None, :] < d + 1 - k[:, None], k[:, None], k[:, None] - (d + 1))
    vertices = nearest[:, None, :d].astype(np.int64) + moves[:, rank[:, :d]].transpose(1, 0, 2)
    return vertices, weights


def _numbered(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each vertex, int64, and the increment of the number along each coordinate."""
    d = vertices.shape[-1]
    lowest = vertices.min((0, 1)) - (d + 1)
    extents = (vertices.max((0, 1)) + (d + 2) - lowest).tolist()
    if math.prod(extents) >= 2**63:
        raise InputError(
            "The points of a Gaussian sum are too far apart for its standard deviations.",
            "Raise the standard deviations of the dense CRF.",
        )
    strides = np.array([1, *itertools.accumulate(extents[:-1], int.__mul__)], np.int64)
    return (vertices - lowest) @ strides, strides


def _steps(strides: np.ndarray) -> list[int]:
    """The increment of a vertex's number along each of the lattice's d + 1 directions."""
    d, everywhere = len(strides), int(strides.sum())  # adds 1 to all coordinates, -d to one
    return [everywhere - (d + 1) * int(stride) for stride in strides] + [everywhere]


def _blur(codes: np.ndarray, step: int) -> sparse.csr_array:
    """The matrix that adds half of the two neighbours, one `step` away, to each vertex."""
    count = len(codes)
    there = np.minimum(np.searchsorted(codes, codes + step), count - 1)
    here = np.flatnonzero(codes[there] == codes + step)
    halves = np.full(len(here), 0.5, np.float32)
    half = sparse.csr_array((halves, (here, there[here])), (count, count))
    return (sparse.eye_array(count, dtype=np.float32) + half + half.T).tocsr()
