"""The inner loops of the memory model: hops on a lattice that remembers.

Everything is exact in distribution to the rules as printed. An exciton's lifetime is drawn once,
as a geometric variable, and the list of excitons is sorted by it, so that those alive are always
the first ones. Several replicas, each on a lattice of its own, share one list. Arguments that are
None leave no trace in the compiled code.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tplm_simulators._jit import jit

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MOD, GND, OCCUPIED, WALL = 0, 1, 2, 3
"""States of a site. An occupied site is always modified; a wall lets nothing in.

A try of class c enters sites of a state below c: class 2 both kinds, class 1 modified sites only,
class 0 none.
"""
LANES = 16
"""Random numbers made side by side."""
COLUMNS = 6
"""Of the sums over excitons: number, growth of x² and of y², dx², dy², energy over k_B T."""


class Grid(NamedTuple):
    """How the index of a site in the list of all sites gives its place, in sites.

    x = column + skew · row and y = height · row, counted from the centre of the spot.
    """

    size: int
    plane: int
    stride: int
    center_column: int
    center_row: int
    skew: float
    height: float


@jit
def locate(site: int, grid: Grid) -> tuple[int, float, float]:
    """Replica, x and y of a site."""
    replica, rest = site // grid.size, site % grid.size % grid.plane
    row = rest // grid.stride - grid.center_row
    column = rest % grid.stride - grid.center_column
    return replica, column + grid.skew * row, grid.height * row


@jit
def fill_random(state: U64, out: U64) -> None:
    """Fill `out`, a multiple of `LANES` long, by as many interleaved xoshiro256++ generators.

    Parameters
    ----------
    state : (4, LANES)
        Changed in place.
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for block in range(0, out.size, LANES):
        for lane in range(LANES):
            a, b, c, d = s0[lane], s1[lane], s2[lane], s3[lane]
            total = a + d
            out[block + lane] = ((total << np.uint64(23)) | (total >> np.uint64(41))) + a
            t = b << np.uint64(17)
            c ^= a
            d ^= b
            b ^= c
            a ^= d
            c ^= t
            d = (d << np.uint64(45)) | (d >> np.uint64(19))
            s0[lane], s1[lane], s2[lane], s3[lane] = a, b, c, d


@jit
def encode(words: U32, edges: U32, jumps: I32, tries: I32) -> None:
    """Turn random words into tries: four times the way to a neighbour's index, plus the class.

    Parameters
    ----------
    words : (try,)
        Random.
    edges, jumps : (1 + 4 · any,)
        Where the intervals of the words begin, the first at 0, and by how much the try of one
        differs from that of the interval before; filled up with jumps of 0.
    tries : (try,)
        Filled.
    """
    n = words.size
    for i in range(n):
        tries[i] = jumps[0]
    none = np.int32(0)
    for k in range(1, edges.size, 4):  # four at once spare loads and stores
        e0, e1, e2, e3 = edges[k], edges[k + 1], edges[k + 2], edges[k + 3]
        j0, j1, j2, j3 = jumps[k], jumps[k + 1], jumps[k + 2], jumps[k + 3]
        for i in range(n):
            word = words[i]
            first = (j0 if word >= e0 else none) + (j1 if word >= e1 else none)
            last = (j2 if word >= e2 else none) + (j3 if word >= e3 else none)
            tries[i] += first + last


@jit
def walk(
    lattice: U8,
    place: I32,
    death: I32,
    count: int,
    begin: int,
    end: int,
    tries: I32,
    chances: F32,
    weight: F32 | None,
    annihilation: float | None,
    marked: I32,
    n_marked: int,
) -> tuple[int, int]:
    """Let excitons hop and die through the steps `begin` to `end` (exclusive).

    No branch depends on what cannot be foreseen, but for one that is rarely taken.

    Parameters
    ----------
    lattice : (site,)
        States of the sites, a frame of walls around each lattice; changed in place.
    place, death : (exciton,)
        Site, and the step after which the exciton is gone; sorted, the last to die first. The
        site of one that was annihilated becomes -1.
    count : int
        Excitons alive.
    tries : (at least count · steps,)
        Of `encode`.
    chances : (at least count · steps,)
        Uniform in [0, 1), for the next two; else empty.
    weight : (site,), optional
        Boltzmann factors: a hop from a to b is made with probability min(1, w_b/w_a).
    annihilation : float, optional
        Probability that an exciton which would enter a modified site, but for another exciton
        there, is gone.
    marked, n_marked
        Modified sites so far; each is there once.

    Returns
    -------
    tuple of int
        Excitons alive and sites modified, after it.
    """
    used = 0
    for step in range(begin, end):
        for i in range(count):
            # unsigned indices spare numba's test for negative ones
            at = np.uint64(used + i)
            here = place[np.uint64(i)]
            if annihilation is not None and here < 0:
                continue
            code = tries[at]
            kind = code & np.int32(3)
            there = here + (code >> np.int32(2))
            state = np.int32(lattice[np.uint64(there)])
            hops = state < kind
            if weight is not None:
                hops &= chances[at] * weight[here] < weight[there]
            if annihilation is not None:  # noqa: SIM102
                if kind > 0 and state == OCCUPIED and chances[at] < annihilation:
                    lattice[here] = MOD
                    place[i] = -1
                    continue
            new = there if hops else here
            lattice[np.uint64(here)] = MOD
            lattice[np.uint64(new)] = OCCUPIED
            place[np.uint64(i)] = new
            # few tries are of this class: put first, it is a branch that is nearly always right
            if kind == 2 and state == GND and hops:
                marked[n_marked] = new
                n_marked += 1
        used += count
        while count > 0 and death[count - 1] <= step:
            count -= 1
            if place[count] >= 0:
                lattice[place[count]] = MOD
    return count, n_marked


@jit
def excite(
    lattice: U8,
    replica: int,
    layer: int,
    reach: int,
    sigma: float,
    alpha: float,
    grid: Grid,
    place: I32,
    count: int,
    marked: I32,
    n_marked: int,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Make excitons with probability α exp(−r²/2σ²) at each site within `reach` of the centre.

    Candidates are found by geometric skipping with probability α and thinned by the Gaussian.
    """
    side = 2 * reach + 1
    skip = np.log1p(-alpha)
    origin = replica * grid.size + layer * grid.plane
    at = -1
    while True:
        # no further than the end: a tiny α would skip more sites than an integer holds
        at += 1 + int(min(np.log1p(-rng.random()) / skip, float(side * side))) if alpha < 1 else 1
        if at >= side * side:
            return count, n_marked
        row, column = at // side - reach, at % side - reach
        dx, dy = column + grid.skew * row, grid.height * row
        if rng.random() < np.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma)):
            row += grid.center_row
            column += grid.center_column
            if row < 0 or row * grid.stride >= grid.plane or column < 0 or column >= grid.stride:
                continue
            site = origin + row * grid.stride + column
            if lattice[site] == WALL:
                continue
            if lattice[site] == GND:
                marked[n_marked] = site
                n_marked += 1
            lattice[site] = OCCUPIED
            place[count] = site
            count += 1


@jit
def relax(lattice: U8, marked: I32, n_marked: int, share: float, rng: np.random.Generator) -> int:
    """Return each modified site to the ground state with probability `share`."""
    if share >= 1:
        for i in range(n_marked):
            lattice[marked[i]] = GND
        return 0
    if share <= 0:
        return n_marked
    skip = np.log1p(-share)
    kept, begin = 0, 0
    while True:
        at = begin + int(min(np.log1p(-rng.random()) / skip, 2.0e9))
        stop = min(at, n_marked)
        for i in range(begin, stop):
            marked[kept + i - begin] = marked[i]
        kept += stop - begin
        if at >= n_marked:
            return kept
        lattice[marked[at]] = GND
        begin = at + 1


@jit
def tally(
    place: I32, start: I32, count: int, grid: Grid, weight: F32 | None, sums: F64, k: int
) -> None:
    """Add up the living excitons of each replica.

    For each: 1, the growth of x² and of y² from the centre of the spot since its own start, and
    dx² and dy² of its own displacement. The profile widens by the former, which is less: where
    the lattice is modified near the centre only, excitons drift inwards.
    """
    for i in range(count):
        replica, x, y = locate(place[i], grid)
        _, x0, y0 = locate(start[i], grid)
        row = sums[replica, k]
        row[0] += 1
        row[1] += x * x - x0 * x0
        row[2] += y * y - y0 * y0
        row[3] += (x - x0) ** 2
        row[4] += (y - y0) ** 2
        if weight is not None:
            row[5] -= np.log(weight[place[i]])


@jit
def draw(place: I32, begin: int, end: int, grid: Grid, bin_sites: int, image: U32) -> None:
    """Count excitons in the bins of a square image whose middle bin lies on the spot."""
    half = 0.5 * bin_sites * image.shape[0]
    for i in range(begin, end):
        if place[i] >= 0:
            _, x, y = locate(place[i], grid)
            row, column = np.floor((y + half) / bin_sites), np.floor((x + half) / bin_sites)
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                image[int(row), int(column)] += 1


@jit
def without_annihilated(place: I32, start: I32, death: I32, count: int) -> int:
    """Close the gaps in the list; gives how many are left."""
    kept = 0
    for i in range(count):
        if place[i] >= 0:
            place[kept], start[kept], death[kept] = place[i], start[i], death[i]
            kept += 1
    return kept


@jit
def run_pulses(
    lattice: U8,
    replicas: int,
    first_layer: int,
    layers: int,
    reach: int,
    sigma: float,
    alpha: float,
    grid: Grid,
    edges: U32,
    jumps: I32,
    decay: float,
    share: float,
    pulses: int,
    every: int,
    weight: F32 | None,
    annihilation: float | None,
    chances: F32,
    marked: I32,
    n_marked: int,
    place: I32,
    start: I32,
    death: I32,
    words: U64,
    tries: I32,
    state: U64,
    sums: F64 | None,
    bin_sites: int,
    density: U32 | None,
    photons: U32 | None,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Run pulse after pulse on all replicas; gives the sites modified and the hops tried."""
    word32 = words.view(np.uint32)
    log_survival = np.log1p(-decay)
    tried = 0
    for _ in range(pulses):
        count = 0
        for replica in range(replicas):
            for layer in range(first_layer, first_layer + layers):
                count, n_marked = excite(
                    lattice,
                    replica,
                    layer,
                    reach,
                    sigma,
                    alpha,
                    grid,
                    place,
                    count,
                    marked,
                    n_marked,
                    rng,
                )
        for i in range(count):
            # the last step it takes part in
            death[i] = int(min(np.log1p(-rng.random()) / log_survival, 2.0e9))
        order = np.argsort(-death[:count])
        place[:count] = place[:count][order]
        death[:count] = death[:count][order]
        start[:count] = place[:count]
        step, k = 0, 0
        while count > 0:
            if annihilation is not None:
                count = without_annihilated(place, start, death, count)
            if sums is not None and k < sums.shape[1]:
                tally(place, start, count, grid, weight, sums, k)
            if density is not None and k < density.shape[0]:
                draw(place, 0, count, grid, bin_sites, density[k])
            before = count
            stop = step + every
            while step < stop and count > 0:
                block = min(stop - step, word32.size // count)
                needed = count * block
                whole = ((needed + 1) // 2 + LANES - 1) // LANES * LANES
                if chances.size > 0:
                    fill_random(state, words[:whole])
                    for i in range(needed):
                        chances[i] = np.float32(word32[i] >> np.uint32(8)) * np.float32(2.0**-24)
                fill_random(state, words[:whole])
                encode(word32[:needed], edges, jumps, tries)
                tried += needed
                count, n_marked = walk(
                    lattice,
                    place,
                    death,
                    count,
                    step,
                    step + block,
                    tries,
                    chances,
                    weight,
                    annihilation,
                    marked,
                    n_marked,
                )
                step += block
            # the list still holds those that decayed, at the place where they did
            if photons is not None and k < photons.shape[0]:
                draw(place, count, before, grid, bin_sites, photons[k])
            k += 1
        n_marked = relax(lattice, marked, n_marked, share, rng)
    return n_marked, tried
